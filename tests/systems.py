"""Every system in a size for tests: what the presets leave too large is set here."""

from dataclasses import replace

import codial
from codial.config import ModelConfig

SMALL = {
    "codial": {"z_dim": 8, "critic_hidden": 16},
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
}


def small(name, **options):
    """Return a system's settings for photos at views of 32 pixels and a tenth of the width."""
    config = codial.preset(f"{name}/photos")
    views, objective = replace(config.views, size=32), replace(config.objective, **SMALL.get(name, {}) | options)
    return replace(config, views=views, model=ModelConfig(width=0.1, bn_momentum=0.1), objective=objective)
