"""KnowTrans: predict clusters of the features of a teacher trained on jigsaw puzzles (Noroozi et al., CVPR 2018)."""

from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import register
from codial.config.validation import require
from codial.data import Dataset
from codial.methods.base import Batch, Method, Terms, accuracy, adamw, require_one_view
from codial.methods.clustering import entropy, kmeans
from codial.methods.jigsaw import JigsawNetwork, Puzzles, make_puzzles, mosaic, permutations, standardize, tile_side
from codial.methods.whole_dataset import require_fewer_clusters, require_one_process, uncropped_batches
from codial.models import build_backbone
from codial.utils.batch_generator import BatchGenerator
from codial.utils.devices import to_device


@dataclass(frozen=True)
class KnowTransConfig(MethodConfig):
    """Settings of KnowTrans. The defaults are for a laptop.

    The original has 701 permutations that differ in 3 positions, a full VGG-16 and 2,000 clusters.
    """

    name: str = "knowtrans"
    teacher_part: float = 0.25  # fraction of the run's epochs that trains the teacher; the rest trains the student
    teacher_depth: int = 11  # VGG-11 or VGG-16
    teacher_width: float = 0.25  # multiplies the channels of every layer
    teacher_rate: float = 10.0  # learning rate of the teacher over the backbone's
    permutations: int = 8  # number of classes; few, so that short runs get above chance
    min_distance: int = 8  # minimum number of positions in which two permutations differ
    tile_part: float = 0.75  # side of a tile over its cell's, 64 of 85 pixels in the original; the rest is jitter
    tile_size: int = 16  # pixels to which tiles are resized; 16 is the minimum for the teacher's pooling layers
    foreign: int = 2  # maximum number of tiles from another image, as the original
    grayscale: float = 0.7  # probability that a puzzle is converted to grayscale, as the original
    layer: int = 5  # block of the teacher whose spatial means are clustered; the original does not specify it
    clusters: int = 128  # 10 to 20 per class of a small data set
    kmeans_steps: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.teacher_part < 1, "method.teacher_part", self.teacher_part, "a fraction in (0, 1)")
        require(self.teacher_depth in (11, 16), "method.teacher_depth", self.teacher_depth, "11 or 16")
        valid = 0.05 <= self.teacher_width <= 4
        require(valid, "method.teacher_width", self.teacher_width, "a factor in [0.05, 4]")
        require(self.teacher_rate > 0, "method.teacher_rate", self.teacher_rate, "a positive factor")
        require(2 <= self.min_distance <= 9, "method.min_distance", self.min_distance, "2 to 9 positions")
        require(0.25 <= self.tile_part <= 1, "method.tile_part", self.tile_part, "a fraction in [0.25, 1]")
        require(0 <= self.foreign <= 2, "method.foreign", self.foreign, "0, 1 or 2 tiles")
        require(0 <= self.grayscale <= 1, "method.grayscale", self.grayscale, "a probability in [0, 1]")
        require(1 <= self.layer <= 5, "method.layer", self.layer, "1 to 5, a block of the teacher")
        for name, least in (("permutations", 2), ("tile_size", 16), ("clusters", 2), ("kmeans_steps", 1)):
            require(getattr(self, name) >= least, f"method.{name}", getattr(self, name), f"at least {least}")

    def check(self, config: Config) -> None:
        """Check that an image has one view."""
        require_one_view(config)


# The original's teacher, but with tiles of 32 instead of 64 pixels: tiles of a 64-pixel view have 16.
_DEEP_TEACHER = KnowTransConfig(
    teacher_depth=16, teacher_width=1.0, teacher_rate=1.0, permutations=701, min_distance=3, tile_size=32
)


@register("knowtrans")
class KnowTrans(Method):
    """A teacher solves Jigsaw++ puzzles; the backbone, its student, predicts clusters of the teacher's features.

    In stage 0 only the teacher trains, to classify the permutation of a view's tiles. Before stage 1, uncropped images
    at the scale of the tiles pass the teacher, and the spatial means of one of its blocks are clustered once by
    k-means. In stage 1 only the student trains, from random weights, to classify the cluster of an image.

    Departures from the original: backbone, optimizer and views, including color jitter, are those of all methods here;
    the teacher uses AdamW too, has batch norm on every layer but the last, no dropout and no last pooling layer; tiles
    are resized to a side that suits its pooling layers; the color channels of a tile are neither shifted against each
    other nor projected; foreign tiles are from the same batch, and gray if the puzzle is.

    Args:
        config: config of the run; `config.method` holds KnowTrans's settings.
        images: N, the number of images in the data set.
        classes: unused.

    Raises:
        CodialError: there are fewer images than clusters, or too few permutations with the minimum distance.
    """

    settings = KnowTransConfig

    labels: Tensor
    cluster_entropy: Tensor
    clustered: Tensor
    orders: Tensor

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, KnowTransConfig)
        require_fewer_clusters(options.clusters, images)
        self.options = options
        self.backbone = build_backbone(config)
        self.head = nn.Linear(self.backbone.feature_dim, options.clusters)
        size = options.teacher_depth, options.teacher_width
        self.teacher = JigsawNetwork(options.permutations, options.tile_size, *size, config.model)
        orders = permutations(options.permutations, options.min_distance, config.seed)
        self.register_buffer("orders", orders)  # [P, 9]
        self.register_buffer("labels", torch.zeros(images, dtype=torch.int64))  # cluster of each image
        self.register_buffer("cluster_entropy", torch.zeros(()))  # of the cluster sizes, in nats
        self.register_buffer("clustered", torch.tensor(False))

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with additional epochs for the teacher; the student gets as many views as other methods."""
        method = _DEEP_TEACHER if not recipe.small else KnowTransConfig()
        if recipe.name == "paper":
            method = replace(_DEEP_TEACHER, clusters=2000)
        if recipe.name == "photos":
            method = KnowTransConfig(teacher_part=0.4)  # an epoch has few steps
        recipe = recipe.with_primary(("rot0",))
        epochs = ceil(recipe.train.epochs / (1 - method.teacher_part))
        return replace(recipe, train=replace(recipe.train, epochs=epochs)).config(method)

    def stages(self) -> tuple[float, ...]:
        """Return the fractions of the teacher and the student."""
        return self.options.teacher_part, 1 - self.options.teacher_part

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimizer; it skips parameters without gradients, such as the student's in stage 0."""
        optimizer = adamw(nn.ModuleList((self.backbone, self.head)), train)
        for group in adamw(self.teacher, train).param_groups:
            kept = {name: group[name] for name in ("params", "weight_decay")}
            optimizer.add_param_group(kept | {"lr": train.lr * self.options.teacher_rate})
        return {"loss": optimizer}

    def begin_epoch(self, images: Dataset, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Cluster the images by the teacher's features at the start of stage 1, once per run."""
        if stage == 1 and not self.clustered:
            features = self.features(images)
            self.labels.copy_(kmeans(features, self.options.clusters, self.options.kmeans_steps, generator))
            self.cluster_entropy.copy_(entropy(torch.bincount(self.labels)))
            self.clustered.fill_(True)

    @torch.no_grad()
    def features(self, images: Dataset) -> Tensor:
        """Return spatial means of the teacher's maps of uncropped images, [N, C] float32, in evaluation mode."""
        self.eval()
        size, options = self.backbone.size, self.options
        size = round(size * options.tile_size / tile_side(size, options.tile_part))
        batches = uncropped_batches(images, size, self.labels.device)
        return torch.cat([self.teacher.net(standardize(batch), options.layer).mean((-2, -1)) for batch in batches])

    def _puzzles(self, views: Tensor, rng: BatchGenerator) -> Puzzles:
        options = self.options
        return make_puzzles(
            views,
            self.orders,
            rng,
            foreign=options.foreign if len(views) > 1 else 0,
            tile_part=options.tile_part,
            tile_size=options.tile_size,
            grayscale=options.grayscale,
        )

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy of the stage; in stage 1 also cluster_entropy, of cluster sizes in nats.

        Raises:
            CodialError: there are several processes.
        """
        require_one_process(batch, "KnowTrans trains", "clusters")
        views = batch.views.images.squeeze(1)
        if batch.stage == 0:
            puzzles = self._puzzles(views, batch.rng)
            return _classification_terms(self.teacher(puzzles.tiles), puzzles.labels)
        labels = self.labels.index_select(0, to_device(batch.indices, self.labels.device))
        terms = _classification_terms(self.head(self.backbone(views)), labels)
        return terms | {"cluster_entropy": self.cluster_entropy.clone()}

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the views, which the student gets, and their puzzles, which the teacher gets."""
        views = batch.views.images.squeeze(1)
        return {"view": views, "puzzle": mosaic(self._puzzles(views, batch.rng).tiles, 1)}


def _classification_terms(logits: Tensor, labels: Tensor) -> Terms:
    return {"loss": cross_entropy(logits.float(), labels), "pretext_accuracy": accuracy(logits, labels)}
