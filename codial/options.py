"""Each system's own settings, and what it needs of views and trunk; a reason stands at each default."""

import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codial.settings import require, require_choice, settle

if TYPE_CHECKING:
    from codial.config import ModelConfig, ViewsConfig

PRIMARY = ("turn0", "turn90", "turn180", "turn270", "warp")  # the paper's five classes, in its order (section 3.1)
TURNS = PRIMARY[:4]  # the four classes of RotNet and Decouple


@dataclass(frozen=True)
class SystemOptions:
    """What all systems' options have."""

    system: str = ""  # its name, which tells whose options these are

    def __post_init__(self) -> None:
        settle(self, "objective.")
        require_choice("objective.system", self.system, (type(self).system,))

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check what a system needs of its views and its trunk.

        Raises:
            CodialError: these do not fit.
        """


def _require_one_view(system: str, views: "ViewsConfig") -> None:
    expected = f"turn0 alone: {system} has one view a picture, upright"
    require(views.primary == ("turn0",), "views.primary", views.primary, expected)


@dataclass(frozen=True)
class CodialOptions(SystemOptions):
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
        super().__post_init__()
        require_choice("objective.head", self.head, ("shared", "split", "decoupled"))
        require_choice("objective.negatives", self.negatives, ("random", "same", "roll"))
        require_choice("objective.skl", self.skl, ("closed", "sampled"))
        require_choice("objective.skl_reduce", self.skl_reduce, ("sum", "mean"))
        require(self.z_dim >= 1, "objective.z_dim", self.z_dim, "at least 1")
        require(self.critic_hidden >= 1, "objective.critic_hidden", self.critic_hidden, "at least 1")
        require(self.pairs >= 1, "objective.pairs", self.pairs, "at least 1")
        for name in ("cls_weight", "mi_weight"):
            require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")
        ascending = 0 < self.beta_start <= self.beta_end
        require(ascending, "objective.beta_start", self.beta_start, "a number in (0, beta_end]")
        parts = self.beta_hold >= 0 and self.beta_ramp >= 0 and self.beta_hold + self.beta_ramp <= 1 + 1e-9
        require(parts, "objective.beta_hold + beta_ramp", self.beta_hold + self.beta_ramp, "parts of the run, sum <= 1")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that there are so many pairs of views, where pairs are aligned."""
        if self.mi_weight > 0:
            possible = len(views.primary) * (len(views.primary) - 1) // 2
            expected = f"at most {possible}, the pairs of {len(views.primary)} views (or mi_weight 0)"
            require(self.pairs <= possible, "objective.pairs", self.pairs, expected)


@dataclass(frozen=True)
class SupervisedOptions(SystemOptions):
    """Cross-entropy on the pictures' own labels: the upper reference of the paper's tables."""

    system: str = "supervised"


@dataclass(frozen=True)
class RotNetOptions(SystemOptions):
    """RotNet has no settings of its own; its four turns are `views.primary`."""

    system: str = "rotnet"

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that the views are the four turns."""
        expected = f"{', '.join(TURNS)}, the four classes of {self.system}"
        require(views.primary == TURNS, "views.primary", views.primary, expected)


@dataclass(frozen=True)
class DecoupleOptions(SystemOptions):
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
        super().__post_init__()
        for name in ("cls_weight", "mean_weight", "instance_weight"):
            require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")
        for name in ("dims", "negatives"):
            require(getattr(self, name) >= 1, f"objective.{name}", getattr(self, name), "at least 1")
        high_enough = self.temperature >= 0.02
        require(high_enough, "objective.temperature", self.temperature, "at least 0.02, for exp(1 / T) is computed")
        require(0 <= self.bank_momentum < 1, "objective.bank_momentum", self.bank_momentum, "a part in [0, 1)")
        require(self.pu_part >= 0, "objective.pu_part", self.pu_part, "a part of the run, 0 or more")
        require(self.weighted_part > 0, "objective.weighted_part", self.weighted_part, "a part of the run above 0")
        parts = self.pu_part + self.weighted_part
        require(parts < 1, "objective.pu_part + weighted_part", parts, "parts of the run, sum below 1")
        require(self.gamma > 0, "objective.gamma", self.gamma, "a positive power")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that the views are the four turns."""
        expected = f"{', '.join(TURNS)}, the four classes of {self.system}"
        require(views.primary == TURNS, "views.primary", views.primary, expected)


@dataclass(frozen=True)
class DeepClusterOptions(SystemOptions):
    """DeepCluster: cross-entropy on clusters of the network's own features, found anew each epoch."""

    system: str = "deepcluster"
    clusters: int = 128  # 10 to 20 for each class of a small set; the original's 10,000 are for 1.28 million pictures
    pca_dims: int = 256  # of whitened fc7, as the original
    kmeans_steps: int = 20  # as the original
    head_rate: float = 10.0  # the head's lr over the trunk's: an epoch of few steps is all that a head has
    sobel: bool = True  # as the original: the network sees edges, lest it clusters colours

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("clusters", 2), ("pca_dims", 1), ("kmeans_steps", 1)):
            require(getattr(self, name) >= least, f"objective.{name}", getattr(self, name), f"at least {least}")
        require(self.head_rate > 0, "objective.head_rate", self.head_rate, "a positive factor")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that there is one view."""
        _require_one_view(self.system, views)


@dataclass(frozen=True)
class CmcOptions(SystemOptions):
    """CMC: lightness and colours of a view are each told in a memory of the other."""

    system: str = "cmc"
    loss: str = "nce"  # noise-contrastive estimation, as the original; infonce: a softmax over the same scores
    negatives: int = 4096  # K, drawn uniformly from the set for each picture; of the released weights
    dims: int = 128  # of a remembered vector, as the original
    temperature: float = 0.07  # T, which divides a cosine, as the original
    bank_momentum: float = 0.5  # part of a remembered vector that stays when its picture is seen again, as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("objective.loss", self.loss, ("nce", "infonce"))
        for name in ("negatives", "dims"):
            require(getattr(self, name) >= 1, f"objective.{name}", getattr(self, name), "at least 1")
        high_enough = self.temperature >= 0.02
        require(high_enough, "objective.temperature", self.temperature, "at least 0.02, for exp(1 / T) is computed")
        require(0 <= self.bank_momentum < 1, "objective.bank_momentum", self.bank_momentum, "a part in [0, 1)")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that there is one view."""
        _require_one_view(self.system, views)


@dataclass(frozen=True)
class GlobStatOptions(SystemOptions):
    """GlobStat: six transforms, one of them an inpainting that an opponent learns to hide; the original's values."""

    system: str = "globstat"
    patch: float = 0.625  # side as a part of the view's, then a multiple of 8: 40 of 64; the original's is 48 of 80
    border: int = 2  # pixels of a patch that the inpainter sees; 4 for 224-pixel views
    width: float = 1.0  # multiplies the channels of inpainter and discriminator
    kept_weight: float = 50.0  # of loss_border and loss_autoencoded beside the adversarial terms
    inpainter_rate: float = 2e-4
    discriminator_rate: float = 8e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.patch <= 1, "objective.patch", self.patch, "a part in (0, 1]")
        require(self.border >= 1, "objective.border", self.border, "at least 1 pixel")
        require(0.05 <= self.width <= 4, "objective.width", self.width, "a factor in [0.05, 4]")
        require(self.kept_weight >= 0, "objective.kept_weight", self.kept_weight, "a number >= 0")
        for name in ("inpainter_rate", "discriminator_rate"):
            require(getattr(self, name) > 0, f"objective.{name}", getattr(self, name), "a positive number")

    def side(self, size: int) -> int:
        """Return a patch's side in pixels, in views of `size`: a multiple of 8, for the inpainter halves it thrice."""
        return 8 * int(self.patch * size / 8)

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that the views are the five of the paper, and that a patch has a hole in them."""
        expected = f"{', '.join(PRIMARY)}, five of globstat's six classes"
        require(views.primary == PRIMARY, "views.primary", views.primary, expected)
        side = self.side(views.size)
        expected = f"8 or more of the view's {views.size} pixels, with a part of at least {8 / views.size:g}"
        require(side >= 8, "objective.patch", self.patch, expected)
        expected = f"less than {side // 2}, half of a patch's {side} pixels"
        require(2 * self.border < side, "objective.border", self.border, expected)


@dataclass(frozen=True)
class KnowTransOptions(SystemOptions):
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
        super().__post_init__()
        require(0 < self.teacher_part < 1, "objective.teacher_part", self.teacher_part, "a part in (0, 1)")
        require(self.teacher_depth in (11, 16), "objective.teacher_depth", self.teacher_depth, "11 or 16")
        fits = 0.05 <= self.teacher_width <= 4
        require(fits, "objective.teacher_width", self.teacher_width, "a factor in [0.05, 4]")
        require(self.teacher_rate > 0, "objective.teacher_rate", self.teacher_rate, "a positive factor")
        require(2 <= self.min_distance <= 9, "objective.min_distance", self.min_distance, "2 to 9 places")
        require(0.25 <= self.tile_part <= 1, "objective.tile_part", self.tile_part, "a part in [0.25, 1]")
        require(0 <= self.foreign <= 2, "objective.foreign", self.foreign, "0, 1 or 2 tiles")
        require(0 <= self.grey <= 1, "objective.grey", self.grey, "a probability in [0, 1]")
        require(1 <= self.layer <= 5, "objective.layer", self.layer, "1 to 5, one of the teacher's blocks")
        for name, least in (("permutations", 2), ("tile_size", 16), ("clusters", 2), ("kmeans_steps", 1)):
            require(getattr(self, name) >= least, f"objective.{name}", getattr(self, name), f"at least {least}")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that there is one view."""
        _require_one_view(self.system, views)


@dataclass(frozen=True)
class SpotArtifactsOptions(SystemOptions):
    """SpotArtifacts: an autoencoder's pictures are told from those whose damaged code was repaired."""

    system: str = "spotartifacts"
    autoencoder_part: float = 0.5  # of the run, in which it alone learns: 500 of the original's 1,000 epochs
    width: float = 1.0  # multiplies the channels of autoencoder and repair network, for they cost more than the trunk
    autoencoder_rate: float = 1.0  # its lr over the two opponents', which learn alike; 1 is the original's
    keep: float = 0.3  # probability that a cell of the code is kept, as the original's corrected code
    mask_weight: float = 0.1  # of the mask's cross-entropy in the trunk's loss, as the original
    error_weight: float = 30.0  # of the squared error of pixels in [-1, 1], as the original

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("autoencoder_part", "keep"):
            require(0 < getattr(self, name) < 1, f"objective.{name}", getattr(self, name), "a part in (0, 1)")
        require(0.05 <= self.width <= 4, "objective.width", self.width, "a factor in [0.05, 4]")
        require(self.autoencoder_rate > 0, "objective.autoencoder_rate", self.autoencoder_rate, "a positive factor")
        for name in ("mask_weight", "error_weight"):
            require(getattr(self, name) >= 0, f"objective.{name}", getattr(self, name), "a number >= 0")

    def require_fit(self, views: "ViewsConfig", model: "ModelConfig") -> None:
        """Check that there is one view, of a size at which conv5, which tells the mask, has the grid of the code."""
        _require_one_view(self.system, views)
        expected = "a multiple of 16, 32 or more: spotartifacts needs a code and a conv5 of the same grid"
        require(views.size % 16 == 0 and views.size >= 32, "views.size", views.size, expected)
        expected = "low: with 'full', conv5 has a row and a column less than spotartifacts' code"
        require(model.resolution == "low", "model.resolution", model.resolution, expected)


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
SYSTEMS: dict[str, type[SystemOptions]] = {kind.system: kind for kind in typing.get_args(ObjectiveOptions)}
