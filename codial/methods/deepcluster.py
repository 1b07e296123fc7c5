"""DeepCluster: classify images by clusters of the network's own features (Caron et al., ECCV 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from codial.config import Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import register
from codial.config.validation import require
from codial.data import Dataset
from codial.methods.base import Batch, Method, Terms, accuracy, adamw, require_alexnet, require_one_view
from codial.methods.clustering import entropy, kmeans, normalized_mutual_information, whiten
from codial.methods.whole_dataset import require_fewer_clusters, require_one_process, uncropped_batches
from codial.models import SobelAlexNet, build_backbone
from codial.utils.devices import to_device


@dataclass(frozen=True)
class DeepClusterConfig(MethodConfig):
    """Settings of DeepCluster."""

    name: str = "deepcluster"
    clusters: int = 128  # 10 to 20 per class of a small data set; the original's 10,000 are for 1.28 million images
    pca_dims: int = 256  # of the whitened last layer, as the original
    kmeans_steps: int = 20  # as the original
    head_rate: float = 10.0  # learning rate of the head over the backbone's: a head trains for one short epoch only

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("clusters", 2), ("pca_dims", 1), ("kmeans_steps", 1)):
            require(getattr(self, name) >= least, f"method.{name}", getattr(self, name), f"at least {least}")
        require(self.head_rate > 0, "method.head_rate", self.head_rate, "a positive factor")

    @property
    def input(self) -> str:
        """Gradients, as in the original, so that clusters do not depend on colors."""
        return "sobel"

    def check(self, config: Config) -> None:
        """Check that an image has one view, and the backbone is AlexNet."""
        require_one_view(config)
        require_alexnet(config, "deepcluster has it on gradients, and clusters its last layer before the ReLU")


@register("deepcluster")
class DeepCluster(Method):
    """Classify each image by its cluster; clusters and the linear head are new in every epoch.

    Before an epoch, the last layer before its ReLU of all uncropped images is whitened by PCA, normalized and clustered
    by k-means. Images are then sampled so that all clusters that are not empty are equally frequent.

    Departures from the original: backbone and optimizer are those of all methods here (batch norm on the dense layers
    too, no dropout, grouped convolutions, AdamW with a cosine schedule; the head has a higher, constant rate, and its
    optimizer state restarts with it); k-means gives an empty cluster a far image instead of a part of a large cluster;
    images of a small cluster are repeated equally often instead of at random; Sobel's filters replicate the border
    pixels; crops and colors are the config's.

    Args:
        config: config of the run; `config.method` holds DeepCluster's settings.
        images: N, the number of images in the data set.
        classes: unused.

    Raises:
        CodialError: there are fewer images than clusters.
    """

    settings = DeepClusterConfig

    labels: Tensor
    nmi: Tensor
    sizes: Tensor
    clustered: Tensor

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, DeepClusterConfig)
        require_fewer_clusters(options.clusters, images)
        self.options = options
        backbone = build_backbone(config)
        assert isinstance(backbone, SobelAlexNet)
        self.backbone: SobelAlexNet = backbone
        self.head = nn.Linear(self.backbone.feature_dim, options.clusters)
        self.register_buffer("labels", torch.zeros(images, dtype=torch.int64))  # cluster of each image
        self.register_buffer("nmi", torch.zeros(()))  # with the clusters of the previous epoch; 0 in the first
        self.register_buffer("sizes", torch.zeros(options.clusters, dtype=torch.int64))  # images of each cluster
        self.register_buffer("clustered", torch.tensor(-1.0, dtype=torch.float64))  # progress at the last clustering

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with one upright view per image."""
        return recipe.with_primary(("rot0",)).config(DeepClusterConfig())

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimizer; it is kept as an attribute to reset the head's state in each epoch."""
        self.optimizer = adamw(self.backbone, train)
        head = {"params": list(self.head.parameters()), "lr": train.lr * self.options.head_rate, "weight_decay": 0.0}
        self.optimizer.add_param_group(head | {"constant": True})
        return {"loss": self.optimizer}

    def begin_epoch(self, images: Dataset, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Cluster the images and reset the head, unless a checkpoint had the clusters of this epoch."""
        if self.clustered == progress:
            return
        features = normalize(whiten(self.features(images), self.options.pca_dims), dim=1)
        labels = kmeans(features, self.options.clusters, self.options.kmeans_steps, generator)
        self.nmi.copy_(normalized_mutual_information(self.labels, labels, self.options.clusters))
        self.sizes.copy_(torch.bincount(labels, minlength=self.options.clusters))
        self.labels.copy_(labels)
        self.clustered.fill_(progress)
        self._reset_head(generator)

    @torch.no_grad()
    def features(self, images: Dataset) -> Tensor:
        """Return the last layer before its ReLU of uncropped images, [N, F] float32, in evaluation mode."""
        self.eval()
        batches = uncropped_batches(images, self.backbone.size, self.labels.device)
        return torch.cat([self.backbone.before_relu(batch) for batch in batches])

    @torch.no_grad()
    def _reset_head(self, generator: torch.Generator) -> None:
        """Initialize the head's weights from N(0, 0.01), its bias with 0, and drop its optimizer state."""
        self.head.weight.copy_(0.01 * torch.randn(self.head.weight.shape, generator=generator))
        self.head.bias.zero_()
        for parameter in self.head.parameters():
            self.optimizer.state.pop(parameter, None)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the gradients of the views by Sobel's filters, with zero at middle gray."""
        edges = 0.5 + 0.1 * self.backbone.edges(batch.views.images[:, 0])
        names = ("horizontal gradient", "vertical gradient")
        return {name: edges[:, i : i + 1].clamp(0, 1).repeat(1, 3, 1, 1) for i, name in enumerate(names)}

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Return [count] image indices with equally many, up to one, of each cluster that is not empty."""
        shuffled = torch.randperm(count, generator=generator)
        labels = self.labels.cpu()[shuffled]
        by_cluster = shuffled[labels.argsort(stable=True)]
        sizes = torch.bincount(labels)
        sizes = sizes[sizes > 0].unsqueeze(1)
        repeats = torch.arange(-(-count // len(sizes)))
        sampled = by_cluster[sizes.cumsum(0) - sizes + repeats % sizes]  # [clusters, repeats]: cycles through each
        return sampled.flatten()[torch.randperm(sampled.numel(), generator=generator)][:count]

    def terms(self, batch: Batch) -> Terms:
        """Return loss, pretext_accuracy, nmi (with the clusters of the previous epoch) and statistics of the clusters.

        Statistics are cluster_entropy in nats, and cluster_smallest and cluster_largest in images.

        Raises:
            CodialError: there are several processes.
        """
        require_one_process(batch, "DeepCluster trains", "clusters")
        logits = self.head(self.backbone(batch.views.images.squeeze(1))).float()  # [B, C]
        labels = self.labels.index_select(0, to_device(batch.indices, self.labels.device))
        return {
            "loss": cross_entropy(logits, labels),
            "pretext_accuracy": accuracy(logits, labels),
            "nmi": self.nmi.clone(),
            "cluster_entropy": entropy(self.sizes),
            "cluster_smallest": self.sizes.min().float(),
            "cluster_largest": self.sizes.max().float(),
        }
