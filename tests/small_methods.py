"""Configs of all methods that are small enough for tests."""

from dataclasses import replace

import codial
from codial.config import ModelConfig

SMALL = {
    "codial": {"z_dim": 8},
    "codial-js": {"z_dim": 8, "critic_hidden": 16},
    "codial-split": {"critic_hidden": 16},
    "codial-decoupled": {"z_dim": 8, "critic_hidden": 16},
    "decouple": {"dims": 8, "negatives": 8},
    "deepcluster": {"clusters": 4, "pca_dims": 4},
    "cmc": {"dims": 8, "negatives": 8},
    "globstat": {"width": 0.1, "patch": 0.75},
    "knowtrans": {"clusters": 4, "teacher_width": 0.1},
    "spotartifacts": {"width": 0.1},
    "rotnet": {},
    "supervised": {},
    "simclr": {"dims": 16},
    "barlowtwins": {"projector": 0.3},
    "vicreg": {"expander": 0.1},
    "byol": {"dims": 16, "hidden": 0.1},
    "essl": {"projector": 0.1, "head": 0.1},
}


def small(name, **options):
    """Return the config of a method or variant for photos, with 32-pixel views and a tenth of the width."""
    config = codial.preset(f"{name}/photos")
    return replace(
        config,
        views=replace(config.views, size=32),
        model=ModelConfig(width=0.1, bn_momentum=0.1),
        method=replace(config.method, **SMALL.get(name, {}) | options),
    )
