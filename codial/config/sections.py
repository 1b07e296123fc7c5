"""Sections of the config of every run: data, views, model and training. Comments give the reason of each default."""

from dataclasses import dataclass

from codial.config.registry import BACKBONE, require_backbone, require_loggers
from codial.config.validation import coerce, require, require_choice, require_range

PRIMARY = ("rot0", "rot90", "rot180", "rot270", "warp")  # the paper's five classes, in its order (section 3.1)
ROTATIONS = PRIMARY[:4]  # the four classes of RotNet and Decouple


@dataclass(frozen=True)
class DataConfig:
    """The training images."""

    source: str = "photos"  # name of a data set, hf:NAME of Hugging Face's, or a folder; photos needs no network
    split: str = "train"
    limit: int | None = None  # number of images, sampled evenly over the classes; None for all
    size: int | None = None  # side in pixels to which the images of a folder are resized; data sets have their own

    def __post_init__(self) -> None:
        coerce(self, "data.")
        require(self.limit is None or self.limit >= 2, "data.limit", self.limit, "None or at least 2 images")
        require(self.size is None or self.size >= 8, "data.size", self.size, "None or at least 8 pixels")


@dataclass(frozen=True)
class ViewsConfig:
    """The K views of an image and the distributions of their random parameters (paper sections 3.1 and 4)."""

    size: int = 64  # side of a view in pixels; at 32, AlexNet with stride 4 would end in 2 x 2 maps
    primary: tuple[str, ...] = PRIMARY  # one view each; a transform may be repeated, as for two upright views
    flip: float = 0.5  # probability of a horizontal flip, the same for all views of an image
    crop_area: tuple[float, float] = (0.08, 1.0)  # fraction of the image's area, uniform
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)  # width over height, log-uniform
    shared_crop: bool = False  # one crop, color jitter and blur for all views of an image, as RotNet; CODIAL has K
    brightness: float = 0.5  # factor uniform in [1 - x, 1 + x]; 0 switches it off
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.5  # shift uniform in [-x, x], a fraction of the hue circle; the paper's [0.5, 1.5] is no shift
    grayscale: float = 0.0  # probability; the paper has none, contrastive methods use 0.2
    blur: float = 0.0  # probability; 0 in the paper's best row (Table 2, cr + co)
    blur_kernel: float = 0.1  # side of the kernel as a fraction of the view's, rounded to an odd number of pixels
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # standard deviation in pixels, uniform
    warp_offset: float = 0.1  # control points move by U[-x, x] times the side of the view (equation 2)
    warp_placement: str = "grid"  # control points on a 4 x 4 grid, or random as in GlobStat's released code
    warp_border: str = "replicate"  # beyond the crop a warp shows its replicated edge, or the image around it

    def __post_init__(self) -> None:
        coerce(self, "views.")
        require(self.size >= 16, "views.size", self.size, "at least 16 pixels")
        require(len(self.primary) > 0, "views.primary", self.primary, "at least one transform")
        for name in self.primary:
            require_choice("views.primary", name, PRIMARY)
        for name in ("flip", "grayscale", "blur"):
            require(0 <= getattr(self, name) <= 1, f"views.{name}", getattr(self, name), "a probability in [0, 1]")
        require(0 < self.blur_kernel <= 0.5, "views.blur_kernel", self.blur_kernel, "a fraction in (0, 0.5]")
        require_range("views.blur_sigma", self.blur_sigma, 0.01, 100)
        require_range("views.crop_area", self.crop_area, 0.001, 1)
        require_range("views.crop_aspect", self.crop_aspect, 0.1, 10)
        for name in ("brightness", "contrast", "saturation"):
            require(0 <= getattr(self, name) <= 1, f"views.{name}", getattr(self, name), "a number in [0, 1]")
        require(0 <= self.hue <= 0.5, "views.hue", self.hue, "a fraction of the hue circle in [0, 0.5]")
        require(0 <= self.warp_offset <= 0.5, "views.warp_offset", self.warp_offset, "a fraction in [0, 0.5]")
        require_choice("views.warp_placement", self.warp_placement, ("grid", "random"))
        require_choice("views.warp_border", self.warp_border, ("replicate", "image"))

    @property
    def transforms(self) -> tuple[str, ...]:
        """The distinct primary transforms in the order of their first view: the classes of methods that tell them."""
        return tuple(dict.fromkeys(self.primary))

    @property
    def view_names(self) -> tuple[str, ...]:
        """A distinct name for each view: its transform, and from the second view of a transform on its number."""
        earlier = [self.primary[:k].count(name) for k, name in enumerate(self.primary)]
        return tuple(f"{name} ({n + 1})" if n else name for name, n in zip(self.primary, earlier, strict=True))

    @property
    def changes_color(self) -> bool:
        """Whether any color operation is switched on."""
        return any((self.brightness, self.contrast, self.saturation, self.hue, self.grayscale))


@dataclass(frozen=True)
class ModelConfig:
    """The backbone; the paper's AlexNet has batch norm instead of local response normalization (section 4)."""

    backbone: str = BACKBONE  # alexnet, resnet18, resnet50, timm:NAME, or a registered class of one's own
    width: float = 1.0  # factor for the channels of every layer; 0.25 trains on a laptop
    resolution: str = "low"  # AlexNet's: low ("same" padding, no last pooling; 64 px), full (the original; 224 px)
    bn_eps: float = 1e-3
    bn_momentum: float = 0.025  # step of the running statistics; TensorFlow's decay 0.975 in GlobStat's code
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of ImageNet, for pixels in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        coerce(self, "model.")
        require_backbone(self.backbone)
        require(0.05 <= self.width <= 4, "model.width", self.width, "a factor in [0.05, 4]")
        require_choice("model.resolution", self.resolution, ("low", "full"))
        require(0 < self.bn_momentum <= 1, "model.bn_momentum", self.bn_momentum, "a number in (0, 1]")
        require(self.bn_eps > 0, "model.bn_eps", self.bn_eps, "a positive number")
        require(min(self.std) > 0, "model.std", self.std, "three positive numbers")


@dataclass(frozen=True)
class TrainConfig:
    """The training loop. Optimizer settings are those of GlobStat's code, whose protocol the paper follows."""

    epochs: int = 200
    batch: int = 64  # images per step; the backbone gets K views of each
    lr: float = 3e-4
    lr_end: float = 1e-3  # final learning rate of the cosine schedule, as a fraction of lr
    betas: tuple[float, float] = (0.5, 0.99)
    weight_decay: float = 0.333  # AdamW: 1e-4 / 3e-4, since the original's decay is not multiplied by lr
    precision: str = "auto"  # bf16 where the device supports it, else float32
    device: str = "auto"  # a GPU if there is one
    log_every: int = 10  # steps between two lines of history
    monitor_every: int = 1  # epochs between two measurements of the monitors (kNN, probe, ...); 0 disables them
    monitor_images: int = 1500  # training images that the monitors use
    checkpoint_every: int = 1  # epochs between two checkpoints
    loggers: tuple[str, ...] = ()  # tensorboard, wandb, trackio, mlflow or one's own; the history is always written

    def __post_init__(self) -> None:
        coerce(self, "train.")
        require(self.epochs >= 0, "train.epochs", self.epochs, "0 (random weights) or more")
        require(self.batch >= 2, "train.batch", self.batch, "at least 2 images, since negatives are other images")
        require(self.lr > 0, "train.lr", self.lr, "a positive number")
        require(0 <= self.lr_end <= 1, "train.lr_end", self.lr_end, "a fraction in [0, 1]")
        in_range = all(0 <= beta < 1 for beta in self.betas)
        require(len(self.betas) == 2 and in_range, "train.betas", self.betas, "two numbers in [0, 1)")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "a number >= 0")
        require_choice("train.precision", self.precision, ("auto", "bf16", "float32"))
        for name, least in (("log_every", 1), ("monitor_every", 0), ("monitor_images", 20), ("checkpoint_every", 1)):
            require(getattr(self, name) >= least, f"train.{name}", getattr(self, name), f"at least {least}")
        require_loggers(self.loggers)
