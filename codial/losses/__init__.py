"""Information bounds, divergences and contrastive losses, usable in any training loop."""

from codial.losses.alignment import Alignment
from codial.losses.bottleneck import BetaSchedule, sampled_symmetrised_kl, symmetrised_kl
from codial.losses.bounds import BOUNDS, TWO_LN2, ceiling, dv_bound, infonce_bound, js_bound, nwj_bound
from codial.losses.codial_loss import CodialLoss
from codial.losses.critic import CosineCritic, Critic
from codial.losses.joint_embedding import (
    BarlowTwinsLoss,
    InfoNCE,
    VICRegLoss,
    VICRegTerms,
    barlow_twins,
    info_nce,
    matching_accuracy,
    negative_cosine,
    nt_xent,
    vicreg_terms,
)
from codial.losses.memory_bank import MemoryBank
from codial.losses.stochastic_head import StochasticHead, to_gaussian

__all__ = [
    "BOUNDS",
    "TWO_LN2",
    "Alignment",
    "BarlowTwinsLoss",
    "BetaSchedule",
    "CodialLoss",
    "CosineCritic",
    "Critic",
    "InfoNCE",
    "MemoryBank",
    "StochasticHead",
    "VICRegLoss",
    "VICRegTerms",
    "barlow_twins",
    "ceiling",
    "dv_bound",
    "info_nce",
    "infonce_bound",
    "js_bound",
    "matching_accuracy",
    "negative_cosine",
    "nt_xent",
    "nwj_bound",
    "sampled_symmetrised_kl",
    "symmetrised_kl",
    "to_gaussian",
    "vicreg_terms",
]
