"""DeepCluster: tell the clusters of the network's own features apart (Caron et al., ECCV 2018)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from codial.config import Config, DeepClusterOptions, TrainConfig
from codial.data import Pictures
from codial.devices import to_device
from codial.models import AlexNet, SobelAlexNet, build_trunk
from codial.objectives.clusters import entropy, kmeans, mutual_information, whiten
from codial.objectives.protocol import Batch, Objective, Terms, adamw
from codial.objectives.whole import plain_views, require_fewer_clusters, require_one_process


class DeepCluster(Objective):
    """Classify each picture as its cluster; clusters and the linear head are new in every epoch.

    Before an epoch, fc7 before its ReLU of all plain pictures is whitened (PCA), brought to unit length and clustered
    (k-means). Pictures are then drawn so that every cluster that is not empty comes equally often.

    Departures from the original: the trunk and the optimiser are those that all systems share (batch norm on the dense
    layers too, no dropout, grouped convolutions, AdamW with a cosine schedule; the head has a higher rate, which is
    constant, and its part of AdamW starts anew with it); k-means gives an empty cluster a far picture
    instead of a part of a large one; a small cluster's pictures are repeated equally often instead of at random;
    Sobel's filters repeat the edge pixels; the crops and colours are the config's.

    Args:
        config: of the run; `config.objective` holds DeepCluster's options.
        pictures: N, of the set.

    Raises:
        CodialError: there are fewer pictures than clusters.
    """

    labels: Tensor
    nmi: Tensor
    sizes: Tensor
    clustered: Tensor

    def __init__(self, config: Config, pictures: int) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, DeepClusterOptions)
        require_fewer_clusters(options.clusters, pictures)
        self.options = options
        trunk = build_trunk(config)
        assert isinstance(trunk, AlexNet)
        self.trunk: AlexNet = trunk
        self.head = nn.Linear(self.trunk.features, options.clusters)
        self.register_buffer("labels", torch.zeros(pictures, dtype=torch.int64))  # each picture's cluster
        self.register_buffer("nmi", torch.zeros(()))  # with the epoch before; 0 in the first
        self.register_buffer("sizes", torch.zeros(options.clusters, dtype=torch.int64))  # of the clusters, in pictures
        self.register_buffer("clustered", torch.tensor(-1.0, dtype=torch.float64))  # progress at the last clustering

    def optimisers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser, which is kept: a new head is to start without the old one's moments."""
        self.optimiser = adamw(self.trunk, train)
        head = {"params": list(self.head.parameters()), "lr": train.lr * self.options.head_rate, "weight_decay": 0.0}
        self.optimiser.add_param_group(head | {"constant": True})  # it is new in every epoch
        return {"loss": self.optimiser}

    def begin_epoch(self, images: Pictures, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Cluster the pictures' features and begin a new head, unless a run that resumes here has done so."""
        if self.clustered == progress:
            return
        features = normalize(whiten(self.features(images), self.options.pca_dims), dim=1)
        labels = kmeans(features, self.options.clusters, self.options.kmeans_steps, generator)
        self.nmi.copy_(mutual_information(self.labels, labels, self.options.clusters))
        self.sizes.copy_(torch.bincount(labels, minlength=self.options.clusters))
        self.labels.copy_(labels)
        self.clustered.fill_(progress)
        self._begin_head(generator)

    @torch.no_grad()
    def features(self, images: Pictures) -> Tensor:
        """Return fc7 before its ReLU of whole pictures, [N, F] float32, batch norm in evaluation mode."""
        self.eval()
        views = plain_views(images, self.trunk.size, self.labels.device)
        return torch.cat([self.trunk.fc7[:2](self.trunk.taps(view, ("fc6",))["fc6"]) for view in views])

    @torch.no_grad()
    def _begin_head(self, generator: torch.Generator) -> None:
        """Draw the head's weights from N(0, 0.01), its bias 0; forget the old one's moments."""
        self.head.weight.copy_(0.01 * torch.randn(self.head.weight.shape, generator=generator))
        self.head.bias.zero_()
        for parameter in self.head.parameters():
            self.optimiser.state.pop(parameter, None)

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return the gradients that Sobel's filters find, around a middle grey, where the trunk has them."""
        if not isinstance(self.trunk, SobelAlexNet):
            return {}
        edges = 0.5 + 0.1 * self.trunk.edges(batch.views.images[:, 0])
        names = ("edges to the right", "edges downwards")
        return {name: edges[:, i : i + 1].clamp(0, 1).repeat(1, 3, 1, 1) for i, name in enumerate(names)}

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Return pictures of which every cluster that is not empty has the same number, to within one, [count]."""
        shuffled = torch.randperm(count, generator=generator)
        labels = self.labels.cpu()[shuffled]
        by_cluster = shuffled[labels.argsort(stable=True)]
        sizes = torch.bincount(labels)
        sizes = sizes[sizes > 0].unsqueeze(1)
        each = torch.arange(-(-count // len(sizes)))
        drawn = by_cluster[sizes.cumsum(0) - sizes + each % sizes]  # [clusters, each]: round and round in each
        return drawn.flatten()[torch.randperm(drawn.numel(), generator=generator)][:count]

    def terms(self, batch: Batch) -> Terms:
        """Return loss, pretext_accuracy, nmi (with the epoch before) and what the clusters' sizes are like.

        Those are cluster_entropy in nats, cluster_smallest and cluster_largest in pictures; every checkpoint holds all
        sizes.

        Raises:
            CodialError: there are several processes.
        """
        require_one_process(batch, "DeepCluster trains", "clusters")
        logits = self.head(self.trunk(batch.views.images.squeeze(1))).float()  # [B, C]
        labels = self.labels.index_select(0, to_device(batch.indices, self.labels.device))
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        found: Terms = {"loss": cross_entropy(logits, labels), "pretext_accuracy": accuracy}
        found |= {"nmi": self.nmi.clone(), "cluster_entropy": entropy(self.sizes)}
        return found | {"cluster_smallest": self.sizes.min().float(), "cluster_largest": self.sizes.max().float()}
