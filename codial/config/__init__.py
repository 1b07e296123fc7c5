"""Settings of a run: dataclasses, their validation, recipes, and the registry of methods."""

from codial.config.recipes import RECIPES, Recipe
from codial.config.registry import MethodConfig
from codial.config.schema import Config, config_hash, flatten, from_dict, override, to_dict
from codial.config.sections import PRIMARY, ROTATIONS, DataConfig, ModelConfig, TrainConfig, ViewsConfig

__all__ = [
    "PRIMARY",
    "RECIPES",
    "ROTATIONS",
    "Config",
    "DataConfig",
    "MethodConfig",
    "ModelConfig",
    "Recipe",
    "TrainConfig",
    "ViewsConfig",
    "config_hash",
    "flatten",
    "from_dict",
    "override",
    "to_dict",
]
