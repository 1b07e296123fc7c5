"""The trunk and the small networks on top of it."""

from codial.models.alexnet import CONV_TAPS, TAPS, AlexNet
from codial.models.critic import Critic
from codial.models.head import StochasticHead, to_gaussian
from codial.models.norm import synchronise

__all__ = ["CONV_TAPS", "TAPS", "AlexNet", "Critic", "StochasticHead", "synchronise", "to_gaussian"]
