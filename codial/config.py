"""Every setting of a run, as frozen dataclasses with a reason at each default.

A config is checked when it is made, when it is read from a file and when it is overridden: an unknown key, a wrong type
or a value out of range is a `CodialError` that says what was expected.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from codial.errors import CodialError

PRIMARY = ("turn0", "turn90", "turn180", "turn270", "warp")  # the paper's five classes, in its order (section 3.1)
TURNS = PRIMARY[:4]  # the four classes of RotNet and Decouple


def _require(holds: bool, name: str, got: Any, expected: str) -> None:
    if not holds:
        raise CodialError(f"{name} is {got!r}; expected {expected}.")


def _require_choice(name: str, got: str, choices: tuple[str, ...]) -> None:
    _require(got in choices, name, got, "one of " + ", ".join(choices))


def _settle(settings: Any, section: str) -> None:
    """Bring every field to its declared type, so that equal settings are alike: 1 becomes 1.0, a list a tuple.

    Raises:
        CodialError: a value has the wrong type.
    """
    hints = typing.get_type_hints(type(settings))
    for name in hints:
        object.__setattr__(settings, name, _convert(hints[name], getattr(settings, name), section + name))


def _require_range(name: str, got: tuple[float, ...], low: float, high: float) -> None:
    ordered = len(got) == 2 and low <= got[0] <= got[1] <= high
    _require(ordered, name, got, f"two ascending numbers between {low:g} and {high:g}")


@dataclass(frozen=True)
class DataConfig:
    """Which pictures are learnt from."""

    source: str = "photos"  # a set's name or a folder; photos needs neither network nor download
    split: str = "train"
    limit: int | None = None  # this many pictures, drawn evenly over the classes; None takes all
    size: int | None = None  # side in pixels that a folder's pictures are brought to; sets keep their own

    def __post_init__(self) -> None:
        _settle(self, "data.")
        _require(self.limit is None or self.limit >= 2, "data.limit", self.limit, "None or at least 2 pictures")
        _require(self.size is None or self.size >= 8, "data.size", self.size, "None or at least 8 pixels")


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
    blur: float = 0.0  # probability; off in the paper's best row (Table 2, cr + co)
    blur_kernel: float = 0.1  # kernel side as a part of the view, made odd
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels, uniform
    warp_offset: float = 0.1  # control points move by U[-x, x] of the view's side (equation 2)
    warp_placement: str = "grid"  # 4 x 4 grid, or random as in GlobStat's released code
    warp_border: str = "replicate"  # what a warp shows from outside the crop: its edge, or the picture around it

    def __post_init__(self) -> None:
        _settle(self, "views.")
        _require(self.size >= 16, "views.size", self.size, "at least 16 pixels")
        _require(len(self.primary) > 0, "views.primary", self.primary, "at least one transform")
        for name in self.primary:
            _require_choice("views.primary", name, PRIMARY)
        _require(len(set(self.primary)) == len(self.primary), "views.primary", self.primary, "each transform once")
        _require(0 <= self.flip <= 1, "views.flip", self.flip, "a probability in [0, 1]")
        _require(0 <= self.blur <= 1, "views.blur", self.blur, "a probability in [0, 1]")
        _require(0 < self.blur_kernel <= 0.5, "views.blur_kernel", self.blur_kernel, "a part in (0, 0.5]")
        _require_range("views.blur_sigma", self.blur_sigma, 0.01, 100)
        _require_range("views.crop_area", self.crop_area, 0.001, 1)
        _require_range("views.crop_aspect", self.crop_aspect, 0.1, 10)
        for name in ("brightness", "contrast", "saturation"):
            _require(0 <= getattr(self, name) <= 1, f"views.{name}", getattr(self, name), "a number in [0, 1]")
        _require(0 <= self.hue <= 0.5, "views.hue", self.hue, "a number in [0, 0.5] (turns of the colour circle)")
        _require(0 <= self.warp_offset <= 0.5, "views.warp_offset", self.warp_offset, "a part in [0, 0.5]")
        _require_choice("views.warp_placement", self.warp_placement, ("grid", "random"))
        _require_choice("views.warp_border", self.warp_border, ("replicate", "picture"))


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
        _settle(self, "model.")
        _require(0.05 <= self.width <= 4, "model.width", self.width, "a factor in [0.05, 4]")
        _require_choice("model.resolution", self.resolution, ("low", "full"))
        _require(0 < self.bn_momentum <= 1, "model.bn_momentum", self.bn_momentum, "a number in (0, 1]")
        _require(self.bn_eps > 0, "model.bn_eps", self.bn_eps, "a positive number")
        _require(len(self.mean) == 3, "model.mean", self.mean, "three numbers, one a colour")
        _require(len(self.std) == 3 and min(self.std) > 0, "model.std", self.std, "three positive numbers")


@dataclass(frozen=True)
class CodialOptions:
    """CODIAL's own choices (equations 1 and 3-7); where the paper is silent, the reason is given."""

    system: str = "codial"
    head: str = "shared"  # shared: classifier and stochastic head both read fc7; split: fc7 is [mu | sigma]; decoupled
    z_dim: int = 64  # of Multi-View Information Bottleneck, which the paper builds on; unused by the split head
    critic_hidden: int = 1024  # likewise
    cls_weight: float = 1.0  # lambda_cls, equation 7
    mi_weight: float = 1.0  # lambda_mi, equation 7
    pairs: int = 10  # view pairs a picture, of K (K - 1) / 2; more is better in Figure 3
    negatives: str = "random"  # another picture's any view, as the paper; same: its same view; roll: the neighbour's
    share_negatives: bool = True  # over the pictures of all processes of a run, as if there were one
    skl: str = "closed"  # closed form, or sampled: one draw, as Multi-View Information Bottleneck does
    skl_reduce: str = "sum"  # over z, as a divergence of the whole vector is; mean divides by z_dim
    beta_start: float = 1e-6
    beta_end: float = 1.0
    beta_hold: float = 0.053  # part of the run before the ramp: 50k of 937.5k steps in its ancestor
    beta_ramp: float = 0.107  # part of the run that the ramp takes: 100k of 937.5k steps

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("codial",))
        _require_choice("objective.head", self.head, ("shared", "split", "decoupled"))
        _require_choice("objective.negatives", self.negatives, ("random", "same", "roll"))
        _require_choice("objective.skl", self.skl, ("closed", "sampled"))
        _require_choice("objective.skl_reduce", self.skl_reduce, ("sum", "mean"))
        _require(self.z_dim >= 1, "objective.z_dim", self.z_dim, "at least 1")
        _require(self.critic_hidden >= 1, "objective.critic_hidden", self.critic_hidden, "at least 1")
        _require(self.pairs >= 1, "objective.pairs", self.pairs, "at least 1")
        for name in ("cls_weight", "mi_weight"):
            _require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")
        ascending = 0 < self.beta_start <= self.beta_end
        _require(ascending, "objective.beta_start", self.beta_start, "a number in (0, beta_end]")
        parts = self.beta_hold >= 0 and self.beta_ramp >= 0 and self.beta_hold + self.beta_ramp <= 1 + 1e-9
        _require(
            parts, "objective.beta_hold + beta_ramp", self.beta_hold + self.beta_ramp, "parts of the run, sum <= 1"
        )


@dataclass(frozen=True)
class SupervisedOptions:
    """Cross-entropy on the pictures' own labels: the upper reference of the paper's tables."""

    system: str = "supervised"

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("supervised",))


@dataclass(frozen=True)
class RotNetOptions:
    """RotNet has no settings of its own; its four turns are `views.primary`."""

    system: str = "rotnet"

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("rotnet",))


@dataclass(frozen=True)
class DecoupleOptions:
    """Decouple's choices; the defaults are those of its released code, which adds up three losses as they are."""

    system: str = "decouple"
    cls_weight: float = 1.0  # of loss_transform
    mean_weight: float = 1.0  # of loss_mean
    instance_weight: float = 1.0  # of loss_instance
    dims: int = 128  # of a remembered vector
    negatives: int = 4096  # K, drawn uniformly from the set for each picture, with replacement
    temperature: float = 0.07  # T, which divides a cosine; about 1 / ln(N / G) suits N pictures of which G look alike
    bank_momentum: float = 0.5  # part of a remembered vector that stays when its picture is seen again
    pu_part: float = 0.0  # of the run, in which RotNets learn that weigh turned pictures; 0: all weights are 1
    weighted_part: float = 0.12  # of the run, at its end, in which they count; 35 of 245 epochs beside pu_part 1 / 6
    gamma: float = 2.0  # weights are 1 - p^gamma

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("decouple",))
        for name in ("cls_weight", "mean_weight", "instance_weight"):
            _require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")
        for name in ("dims", "negatives"):
            _require(getattr(self, name) >= 1, f"objective.{name}", getattr(self, name), "at least 1")
        high_enough = self.temperature >= 0.02
        _require(high_enough, "objective.temperature", self.temperature, "at least 0.02, for exp(1 / T) is computed")
        _require(0 <= self.bank_momentum < 1, "objective.bank_momentum", self.bank_momentum, "a part in [0, 1)")
        _require(self.pu_part >= 0, "objective.pu_part", self.pu_part, "a part of the run, 0 or more")
        _require(self.weighted_part > 0, "objective.weighted_part", self.weighted_part, "a part of the run above 0")
        parts = self.pu_part + self.weighted_part
        _require(parts < 1, "objective.pu_part + weighted_part", parts, "parts of the run, sum below 1")
        _require(self.gamma > 0, "objective.gamma", self.gamma, "a positive power")


@dataclass(frozen=True)
class DeepClusterOptions:
    """DeepCluster: cross-entropy on clusters of the network's own features, found anew each epoch."""

    system: str = "deepcluster"
    clusters: int = 128  # 10 to 20 for each class of a small set; the original's 10,000 are for 1.28 million pictures
    pca_dims: int = 256  # of whitened fc7, as the original
    kmeans_steps: int = 20  # as the original
    head_rate: float = 10.0  # the head's lr over the trunk's: an epoch of few steps is all that a head has
    sobel: bool = True  # as the original: the network sees edges, lest it clusters colours

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("deepcluster",))
        for name, least in (("clusters", 2), ("pca_dims", 1), ("kmeans_steps", 1)):
            _require(getattr(self, name) >= least, f"objective.{name}", getattr(self, name), f"at least {least}")
        _require(self.head_rate > 0, "objective.head_rate", self.head_rate, "a positive factor")


@dataclass(frozen=True)
class CmcOptions:
    """CMC: lightness and colours of a view are each told in a memory of the other."""

    system: str = "cmc"
    loss: str = "nce"  # noise-contrastive estimation, as the original; infonce: a softmax over the same scores
    negatives: int = 4096  # K, drawn uniformly from the set for each picture; of the released weights
    dims: int = 128  # of a remembered vector, as the original
    temperature: float = 0.07  # T, which divides a cosine, as the original
    bank_momentum: float = 0.5  # part of a remembered vector that stays when its picture is seen again, as the original

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("cmc",))
        _require_choice("objective.loss", self.loss, ("nce", "infonce"))
        for name in ("negatives", "dims"):
            _require(getattr(self, name) >= 1, f"objective.{name}", getattr(self, name), "at least 1")
        high_enough = self.temperature >= 0.02
        _require(high_enough, "objective.temperature", self.temperature, "at least 0.02, for exp(1 / T) is computed")
        _require(0 <= self.bank_momentum < 1, "objective.bank_momentum", self.bank_momentum, "a part in [0, 1)")


@dataclass(frozen=True)
class GlobStatOptions:
    """GlobStat: six transforms, one of them an inpainting that an opponent learns to hide; the original's values."""

    system: str = "globstat"
    patch: float = 0.625  # side as a part of the view's, then a multiple of 8: 40 of 64; the original's is 48 of 80
    border: int = 2  # pixels of a patch that the inpainter sees; 4 for 224-pixel views
    width: float = 1.0  # multiplies the channels of inpainter and discriminator
    kept_weight: float = 50.0  # of loss_border and loss_autoencoded beside the adversarial terms
    inpainter_rate: float = 2e-4
    discriminator_rate: float = 8e-4

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("globstat",))
        _require(0 < self.patch <= 1, "objective.patch", self.patch, "a part in (0, 1]")
        _require(self.border >= 1, "objective.border", self.border, "at least 1 pixel")
        _require(0.05 <= self.width <= 4, "objective.width", self.width, "a factor in [0.05, 4]")
        _require(self.kept_weight >= 0, "objective.kept_weight", self.kept_weight, "a number >= 0")
        for name in ("inpainter_rate", "discriminator_rate"):
            _require(getattr(self, name) > 0, f"objective.{name}", getattr(self, name), "a positive number")

    def side(self, size: int) -> int:
        """Return a patch's side in pixels, in views of `size`: a multiple of 8, for the inpainter halves it thrice."""
        return 8 * int(self.patch * size / 8)


@dataclass(frozen=True)
class KnowTransOptions:
    """Knowledge transfer: a deep teacher learns from jigsaw puzzles; the trunk learns the clusters of its features.

    The defaults are for a laptop; the original has 701 permutations that differ in 3 places, a whole VGG-16 and 2,000
    clusters.
    """

    system: str = "knowtrans"
    teacher_part: float = 0.25  # of the run's epochs; the student has the others
    teacher_depth: int = 11  # VGG-11, or VGG-16
    teacher_width: float = 0.25  # multiplies every layer's channels
    teacher_rate: float = 10.0  # the teacher's lr over the trunk's
    permutations: int = 8  # to tell from each other: few, so that a short run gets above guessing
    min_distance: int = 8  # places in which two permutations differ at least
    tile_part: float = 0.75  # side of a tile over that of its cell, 64 of 85 pixels in the original; the rest is jitter
    tile_size: int = 16  # pixels that tiles are brought to; 16 is the least that the teacher's pools leave something of
    foreign: int = 2  # most tiles of a puzzle that are another picture's, as the original
    grey: float = 0.7  # probability that a puzzle has no colours, as the original
    layer: int = 5  # the teacher's block whose maps' means are clustered; the original doesn't say
    clusters: int = 128  # 10 to 20 for each class of a small set
    kmeans_steps: int = 20

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("knowtrans",))
        _require(0 < self.teacher_part < 1, "objective.teacher_part", self.teacher_part, "a part in (0, 1)")
        _require(self.teacher_depth in (11, 16), "objective.teacher_depth", self.teacher_depth, "11 or 16")
        fits = 0.05 <= self.teacher_width <= 4
        _require(fits, "objective.teacher_width", self.teacher_width, "a factor in [0.05, 4]")
        _require(self.teacher_rate > 0, "objective.teacher_rate", self.teacher_rate, "a positive factor")
        _require(2 <= self.min_distance <= 9, "objective.min_distance", self.min_distance, "2 to 9 places")
        _require(0.25 <= self.tile_part <= 1, "objective.tile_part", self.tile_part, "a part in [0.25, 1]")
        _require(0 <= self.foreign <= 2, "objective.foreign", self.foreign, "0, 1 or 2 tiles")
        _require(0 <= self.grey <= 1, "objective.grey", self.grey, "a probability in [0, 1]")
        _require(1 <= self.layer <= 5, "objective.layer", self.layer, "1 to 5, one of the teacher's blocks")
        for name, least in (("permutations", 2), ("tile_size", 16), ("clusters", 2), ("kmeans_steps", 1)):
            _require(getattr(self, name) >= least, f"objective.{name}", getattr(self, name), f"at least {least}")


@dataclass(frozen=True)
class SpotArtifactsOptions:
    """SpotArtifacts: an autoencoder's pictures are told from those whose damaged code was repaired."""

    system: str = "spotartifacts"
    autoencoder_part: float = 0.5  # of the run, in which it alone learns: 500 of the original's 1,000 epochs
    width: float = 1.0  # multiplies the channels of autoencoder and repair network, for they cost more than the trunk
    autoencoder_rate: float = 1.0  # its lr over the two opponents', which learn alike; 1 is the original's
    keep: float = 0.3  # probability that a cell of the code is kept, as the original's corrected code
    mask_weight: float = 0.1  # of the mask's cross-entropy in the trunk's loss, as the original
    error_weight: float = 30.0  # of the squared error of pixels in [-1, 1], as the original

    def __post_init__(self) -> None:
        _settle(self, "objective.")
        _require_choice("objective.system", self.system, ("spotartifacts",))
        for name in ("autoencoder_part", "keep"):
            _require(0 < getattr(self, name) < 1, f"objective.{name}", getattr(self, name), "a part in (0, 1)")
        _require(0.05 <= self.width <= 4, "objective.width", self.width, "a factor in [0.05, 4]")
        _require(self.autoencoder_rate > 0, "objective.autoencoder_rate", self.autoencoder_rate, "a positive factor")
        for name in ("mask_weight", "error_weight"):
            _require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")


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
        _settle(self, "train.")
        _require(self.epochs >= 0, "train.epochs", self.epochs, "0 (random weights) or more")
        _require(self.batch >= 2, "train.batch", self.batch, "at least 2 pictures, for negatives come from others")
        _require(self.lr > 0, "train.lr", self.lr, "a positive number")
        _require(0 <= self.lr_end <= 1, "train.lr_end", self.lr_end, "a part in [0, 1]")
        _require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "train.betas", self.betas, "two in [0,1)"
        )
        _require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "a number >= 0")
        _require_choice("train.precision", self.precision, ("auto", "bf16", "float32"))
        for name, least in (("log_every", 1), ("monitor_every", 0), ("monitor_pictures", 20), ("checkpoint_every", 1)):
            _require(getattr(self, name) >= least, f"train.{name}", getattr(self, name), f"at least {least}")


ObjectiveOptions = (
    CodialOptions
    | SupervisedOptions
    | RotNetOptions
    | DecoupleOptions
    | DeepClusterOptions
    | CmcOptions
    | GlobStatOptions
    | KnowTransOptions
    | SpotArtifactsOptions
)
SYSTEMS: dict[str, type] = {
    "codial": CodialOptions,
    "supervised": SupervisedOptions,
    "rotnet": RotNetOptions,
    "decouple": DecoupleOptions,
    "deepcluster": DeepClusterOptions,
    "cmc": CmcOptions,
    "globstat": GlobStatOptions,
    "knowtrans": KnowTransOptions,
    "spotartifacts": SpotArtifactsOptions,
}


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
        _settle(self, "")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        if isinstance(self.objective, CodialOptions) and self.objective.mi_weight > 0:
            possible = len(self.views.primary) * (len(self.views.primary) - 1) // 2
            expected = f"at most {possible}, the pairs of {len(self.views.primary)} views (or mi_weight 0)"
            _require(self.objective.pairs <= possible, "objective.pairs", self.objective.pairs, expected)
        if isinstance(self.objective, RotNetOptions | DecoupleOptions):
            expected = f"{', '.join(TURNS)}, the four classes of {self.objective.system}"
            _require(self.views.primary == TURNS, "views.primary", self.views.primary, expected)
        if isinstance(self.objective, DeepClusterOptions | CmcOptions | KnowTransOptions | SpotArtifactsOptions):
            expected = f"turn0 alone: {self.objective.system} has one view a picture, upright"
            _require(self.views.primary == ("turn0",), "views.primary", self.views.primary, expected)
        if isinstance(self.objective, GlobStatOptions):
            expected = f"{', '.join(PRIMARY)}, five of globstat's six classes"
            _require(self.views.primary == PRIMARY, "views.primary", self.views.primary, expected)
            side = self.objective.side(self.views.size)
            expected = (
                f"8 or more of the view's {self.views.size} pixels, with a part of at least {8 / self.views.size:g}"
            )
            _require(side >= 8, "objective.patch", self.objective.patch, expected)
            expected = f"less than {side // 2}, half of a patch's {side} pixels"
            _require(2 * self.objective.border < side, "objective.border", self.objective.border, expected)
        if isinstance(self.objective, SpotArtifactsOptions):  # the mask of the code is told from conv5
            size, resolution = self.views.size, self.model.resolution
            expected = "a multiple of 16, 32 or more: spotartifacts needs a code and a conv5 of the same grid"
            _require(size % 16 == 0 and size >= 32, "views.size", size, expected)
            expected = "low: with 'full', conv5 has a row and a column less than spotartifacts' code"
            _require(resolution == "low", "model.resolution", resolution, expected)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain dictionaries, lists and numbers, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: Mapping[str, Any]) -> Config:
    """Read a config back from `to_dict`'s form; keys left out keep their defaults.

    Raises:
        CodialError: a key is unknown or a value has the wrong type or lies out of range.
    """
    return _build(Config, values, "")


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
        values["objective"] = to_dict(_system(system)())
    names = list(_flatten(values))
    for key, value in changes.items():
        if key not in names:
            raise CodialError(_unknown(key, names))
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


def _unknown(key: str, names: list[str]) -> str:
    near = get_close_matches(key, names, 3) or [n for n in names if n.split(".")[-1] == key.split(".")[-1]]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no setting called {key!r}.{hint} Valid names: {', '.join(names)}."


def _build(cls: type, values: Any, prefix: str) -> Any:
    """Make one dataclass from a mapping, checking every key; the dataclass checks the values."""
    _require(isinstance(values, Mapping), prefix.rstrip(".") or "config", values, "settings by name")
    names = [f.name for f in fields(cls)]
    for key in values:
        if key not in names:
            raise CodialError(_unknown(prefix + str(key), [prefix + n for n in names]))
    return cls(**values)


def _system(name: Any) -> type:
    _require(isinstance(name, str) and name in SYSTEMS, "objective.system", name, "one of " + ", ".join(SYSTEMS))
    return SYSTEMS[name]


def _convert(kind: Any, value: Any, name: str) -> Any:
    """Read one value as a field's type; text such as "5" or "none" comes from a command line."""
    if kind == ObjectiveOptions:
        if isinstance(value, ObjectiveOptions):
            return value
        _require(isinstance(value, Mapping), name, value, "settings by name")
        return _build(_system(value.get("system", "codial")), value, name + ".")
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _build(kind, value, name + ".")
    if isinstance(kind, types.UnionType):  # X | None
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(next(k for k in typing.get_args(kind) if k is not type(None)), value, name)
    if typing.get_origin(kind) is tuple:
        return _convert_tuple(kind, value, name)
    return _convert_scalar(kind, value, name)


def _convert_tuple(kind: Any, value: Any, name: str) -> tuple:
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("()[] ").split(",")]
    inner = typing.get_args(kind)
    _require(isinstance(value, list | tuple), name, value, "values separated by commas")
    open_ended = inner[-1] is Ellipsis
    _require(open_ended or len(value) == len(inner), name, value, f"{len(inner)} values")
    return tuple(_convert(inner[0] if open_ended else inner[i], v, name) for i, v in enumerate(value))


def _convert_scalar(kind: type, value: Any, name: str) -> Any:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, str) and kind in (int, float):
        try:
            value = kind(value)
        except ValueError:
            raise CodialError(f"{name} is {value!r}; expected {words[kind]}.") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, kind) and not (kind is not bool and isinstance(value, bool))
    _require(fits and (kind is not float or math.isfinite(value)), name, value, words[kind])
    return value
