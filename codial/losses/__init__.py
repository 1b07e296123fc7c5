"""Information bounds, divergences and contrastive losses, usable in any training loop."""

from codial.losses.alignment import Alignment
from codial.losses.memory_bank import MemoryBank
from codial.losses.mutual_information import (
    TWO_LN2,
    BetaSchedule,
    js_bound,
    sampled_symmetrised_kl,
    symmetrised_kl,
)

__all__ = [
    "TWO_LN2",
    "Alignment",
    "BetaSchedule",
    "MemoryBank",
    "js_bound",
    "sampled_symmetrised_kl",
    "symmetrised_kl",
]
