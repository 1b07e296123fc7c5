"""Every setting of a run, as frozen dataclasses with a reason at each default.

A config is checked when it is made, when it is read from a file and when it is overridden: an unknown key, a wrong type
or a value out of range is a `CodialError` that says what was expected.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codial.errors import CodialError
from codial.options import (
    PRIMARY,
    SYSTEMS,
    TURNS,
    CmcOptions,
    CodialOptions,
    DecoupleOptions,
    DeepClusterOptions,
    GlobStatOptions,
    KnowTransOptions,
    ObjectiveOptions,
    RotNetOptions,
    SpotArtifactsOptions,
    SupervisedOptions,
)
from codial.settings import build, require, require_choice, require_range, settle, unknown

__all__ = [
    "PRIMARY",
    "SYSTEMS",
    "TURNS",
    "CmcOptions",
    "CodialOptions",
    "Config",
    "DataConfig",
    "DecoupleOptions",
    "DeepClusterOptions",
    "GlobStatOptions",
    "KnowTransOptions",
    "ModelConfig",
    "ObjectiveOptions",
    "RotNetOptions",
    "SpotArtifactsOptions",
    "SupervisedOptions",
    "TrainConfig",
    "ViewsConfig",
    "config_hash",
    "flatten",
    "from_dict",
    "override",
    "to_dict",
]


@dataclass(frozen=True)
class DataConfig:
    """Which pictures are learnt from."""

    source: str = "photos"  # a set's name or a folder; photos needs neither network nor download
    split: str = "train"
    limit: int | None = None  # this many pictures, drawn evenly over the classes; None takes all
    size: int | None = None  # side in pixels that a folder's pictures are brought to; sets keep their own

    def __post_init__(self) -> None:
        settle(self, "data.")
        require(self.limit is None or self.limit >= 2, "data.limit", self.limit, "None or at least 2 pictures")
        require(self.size is None or self.size >= 8, "data.size", self.size, "None or at least 8 pixels")


@dataclass(frozen=True)
class ViewsConfig:
    """What is drawn to make the K views of a picture (paper sections 3.1 and 4)."""

    size: int = 64  # side of a view in pixels; at 32 a stride-4 AlexNet would end in 2 x 2 maps
    primary: tuple[str, ...] = PRIMARY
    flip: float = 0.5  # probability of one horizontal flip per picture, shared by its views
    crop_area: tuple[float, float] = (0.08, 1.0)  # part of the picture's area, uniform
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)  # width over height, log-uniform
    shared_crop: bool = False  # one crop, colour and blur for a picture's K views, as in RotNet; CODIAL has K of each
    brightness: float = 0.5  # factor uniform in [1 - x, 1 + x]; 0 switches it off
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.5  # shift uniform in [-x, x] turns; the paper's [0.5, 1.5] cannot be a shift
    grey: float = 0.0  # probability that a view loses its colours; the paper has none, contrastive methods 0.2
    blur: float = 0.0  # probability; off in the paper's best row (Table 2, cr + co)
    blur_kernel: float = 0.1  # kernel side as a part of the view, made odd
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels, uniform
    warp_offset: float = 0.1  # control points move by U[-x, x] of the view's side (equation 2)
    warp_placement: str = "grid"  # 4 x 4 grid, or random as in GlobStat's released code
    warp_border: str = "replicate"  # what a warp shows from outside the crop: its edge, or the picture around it

    def __post_init__(self) -> None:
        settle(self, "views.")
        require(self.size >= 16, "views.size", self.size, "at least 16 pixels")
        require(len(self.primary) > 0, "views.primary", self.primary, "at least one transform")
        for name in self.primary:
            require_choice("views.primary", name, PRIMARY)
        require(len(set(self.primary)) == len(self.primary), "views.primary", self.primary, "each transform once")
        require(0 <= self.flip <= 1, "views.flip", self.flip, "a probability in [0, 1]")
        require(0 <= self.grey <= 1, "views.grey", self.grey, "a probability in [0, 1]")
        require(0 <= self.blur <= 1, "views.blur", self.blur, "a probability in [0, 1]")
        require(0 < self.blur_kernel <= 0.5, "views.blur_kernel", self.blur_kernel, "a part in (0, 0.5]")
        require_range("views.blur_sigma", self.blur_sigma, 0.01, 100)
        require_range("views.crop_area", self.crop_area, 0.001, 1)
        require_range("views.crop_aspect", self.crop_aspect, 0.1, 10)
        for name in ("brightness", "contrast", "saturation"):
            require(0 <= getattr(self, name) <= 1, f"views.{name}", getattr(self, name), "a number in [0, 1]")
        require(0 <= self.hue <= 0.5, "views.hue", self.hue, "a number in [0, 0.5] (turns of the colour circle)")
        require(0 <= self.warp_offset <= 0.5, "views.warp_offset", self.warp_offset, "a part in [0, 0.5]")
        require_choice("views.warp_placement", self.warp_placement, ("grid", "random"))
        require_choice("views.warp_border", self.warp_border, ("replicate", "picture"))

    @property
    def recolours(self) -> bool:
        """True if any view may get other colours than its picture has."""
        return any((self.brightness, self.contrast, self.saturation, self.hue, self.grey))


@dataclass(frozen=True)
class ModelConfig:
    """The AlexNet trunk, without local response normalisation and with batch norm (paper section 4)."""

    width: float = 1.0  # multiplies every layer's channels; 0.25 trains on a laptop
    resolution: str = "low"  # low: "same" padding, no pool5 (64 px); full: the classic 224-px form
    bn_eps: float = 1e-3
    bn_momentum: float = 0.025  # the running mean's step, TensorFlow decay 0.975 in GlobStat's code
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet's, of [0, 1] pixels
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        settle(self, "model.")
        require(0.05 <= self.width <= 4, "model.width", self.width, "a factor in [0.05, 4]")
        require_choice("model.resolution", self.resolution, ("low", "full"))
        require(0 < self.bn_momentum <= 1, "model.bn_momentum", self.bn_momentum, "a number in (0, 1]")
        require(self.bn_eps > 0, "model.bn_eps", self.bn_eps, "a positive number")
        require(len(self.mean) == 3, "model.mean", self.mean, "three numbers, one a colour")
        require(len(self.std) == 3 and min(self.std) > 0, "model.std", self.std, "three positive numbers")


@dataclass(frozen=True)
class TrainConfig:
    """The loop. Optimiser values are those of GlobStat's code, whose protocol the paper follows."""

    epochs: int = 200
    batch: int = 64  # pictures a step; the network sees K views of each
    lr: float = 3e-4
    lr_end: float = 1e-3  # cosine decay ends at this part of lr
    betas: tuple[float, float] = (0.5, 0.99)
    weight_decay: float = 0.333  # AdamW: 1e-4 / 3e-4, since the original's decay is not multiplied by lr
    sync_norm: bool = True  # batch norm over the pictures of all processes of a run, as if there were one
    precision: str = "auto"  # bf16 where the device computes it, float32 elsewhere
    device: str = "auto"  # a GPU when there is one
    log_every: int = 10  # steps between two lines of history
    monitor_every: int = 1  # epochs between two kNN and probe checks; 0 switches them off
    monitor_pictures: int = 1500  # training pictures that they use
    checkpoint_every: int = 1  # epochs between two checkpoints

    def __post_init__(self) -> None:
        settle(self, "train.")
        require(self.epochs >= 0, "train.epochs", self.epochs, "0 (random weights) or more")
        require(self.batch >= 2, "train.batch", self.batch, "at least 2 pictures, for negatives come from others")
        require(self.lr > 0, "train.lr", self.lr, "a positive number")
        require(0 <= self.lr_end <= 1, "train.lr_end", self.lr_end, "a part in [0, 1]")
        require(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "train.betas", self.betas, "two in [0,1)")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "a number >= 0")
        require_choice("train.precision", self.precision, ("auto", "bf16", "float32"))
        for name, least in (("log_every", 1), ("monitor_every", 0), ("monitor_pictures", 20), ("checkpoint_every", 1)):
            require(getattr(self, name) >= least, f"train.{name}", getattr(self, name), f"at least {least}")


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    name: str = "codial"  # what tables and plots call it
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveOptions = field(default_factory=CodialOptions)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        settle(self, "")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        self.objective.require_fit(self.views, self.model)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain dictionaries, lists and numbers, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: Mapping[str, Any]) -> Config:
    """Read a config back from `to_dict`'s form; keys left out keep their defaults.

    Raises:
        CodialError: a key is unknown or a value has the wrong type or lies out of range.
    """
    return build(Config, values, "")


def config_hash(config: Config | Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that name all that decides a run's numbers (its name left out).

    Args:
        config: settings, or `to_dict`'s form of them as an older version wrote it, with the settings of its time.
    """
    values = dict(config if isinstance(config, Mapping) else to_dict(config)) | {"name": ""}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a copy with dotted keys changed, such as `{"train.epochs": 5}`; text is read as the field's type.

    Raises:
        CodialError: a key is unknown (the nearest names are listed) or a value does not fit.
    """
    values = to_dict(config)
    system = changes.get("objective.system", config.objective.system)
    if system != config.objective.system:  # another system has settings of its own
        require_choice("objective.system", system, tuple(SYSTEMS))
        values["objective"] = to_dict(SYSTEMS[system]())
    names = list(_flatten(values))
    for key, value in changes.items():
        if key not in names:
            raise CodialError(unknown(key, names))
        section, _, last = key.rpartition(".")
        (values[section] if section else values)[last] = value
    return from_dict(values)


def flatten(config: Config) -> typing.Iterator[tuple[str, Any]]:
    """Yield every setting with its dotted name, such as `("train.epochs", 200)`."""
    yield from _flatten(to_dict(config)).items()


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat
