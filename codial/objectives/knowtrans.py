"""Knowledge transfer: learn the clusters that a deep teacher of puzzles makes (Noroozi et al., CVPR 2018)."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from codial.config import Config, KnowTransOptions, TrainConfig
from codial.data import Pictures
from codial.devices import to_device
from codial.models import build_trunk
from codial.objectives.clusters import entropy, kmeans
from codial.objectives.jigsaw import Solver, make_puzzles, mosaic, permutations, standardise, tile_side
from codial.objectives.protocol import Batch, Objective, Terms, adamw
from codial.objectives.whole import plain_views, require_fewer_clusters, require_one_process


class KnowTrans(Objective):
    """A teacher solves Jigsaw++ puzzles; its features' clusters are the labels that the trunk, its student, learns.

    In stage 0 the teacher alone learns, to tell the permutation of each view's tiles. Before stage 1, whole plain
    pictures at the tiles' scale go through its convolutions; the means of one block's maps are clustered once, by
    k-means. In stage 1 the student alone learns, from random weights, to tell a picture's cluster.

    Departures from the original: the trunk, the optimiser and the views, changes of colour included, are those that
    all systems share; the teacher learns by AdamW too, has batch norm on every layer but the last and no dropout nor
    last pool; tiles are brought to a size that its pools bear; a tile's three colours are not shifted against each
    other, nor projected; foreign tiles are from the same batch, and grey where the puzzle is.

    Args:
        config: of the run; `config.objective` holds the options.
        pictures: N, of the set.

    Raises:
        CodialError: there are fewer pictures than clusters, or fewer permutations than asked for.
    """

    labels: Tensor
    spread: Tensor
    clustered: Tensor
    orders: Tensor

    def __init__(self, config: Config, pictures: int) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, KnowTransOptions)
        require_fewer_clusters(options.clusters, pictures)
        self.options = options
        self.trunk = build_trunk(config)
        self.head = nn.Linear(self.trunk.features, options.clusters)
        self.teacher = Solver(options, config.model)
        found = permutations(options.permutations, options.min_distance, config.seed)
        self.register_buffer("orders", found)  # [P, 9]
        self.register_buffer("labels", torch.zeros(pictures, dtype=torch.int64))  # each picture's cluster
        self.register_buffer("spread", torch.zeros(()))  # entropy of the clusters' sizes, nats
        self.register_buffer("clustered", torch.tensor(False))

    def stages(self) -> tuple[float, ...]:
        """Return the teacher's and the student's share."""
        return self.options.teacher_part, 1 - self.options.teacher_part

    def optimisers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser; it leaves alone whatever has no gradient, as the student in stage 0."""
        optimiser = adamw(nn.ModuleList((self.trunk, self.head)), train)
        for group in adamw(self.teacher, train).param_groups:
            kept = {name: group[name] for name in ("params", "weight_decay")}
            optimiser.add_param_group(kept | {"lr": train.lr * self.options.teacher_rate})
        return {"loss": optimiser}

    def begin_epoch(self, images: Pictures, progress: float, generator: torch.Generator, stage: int = 0) -> None:
        """Cluster the pictures by the teacher's features at the beginning of stage 1, once in a run."""
        if stage == 1 and not self.clustered:
            features = self.features(images)
            self.labels.copy_(kmeans(features, self.options.clusters, self.options.kmeans_steps, generator))
            self.spread.copy_(entropy(torch.bincount(self.labels)))
            self.clustered.fill_(True)

    @torch.no_grad()
    def features(self, images: Pictures) -> Tensor:
        """Return the means of the teacher's maps of whole pictures, [N, C] float32, batch norm in evaluation mode."""
        self.eval()
        size, options = self.trunk.size, self.options
        size = round(size * options.tile_size / tile_side(size, options.tile_part))
        views = plain_views(images, size, self.labels.device)
        return torch.cat([self.teacher.net(standardise(view), options.layer).mean((-2, -1)) for view in views])

    def terms(self, batch: Batch) -> Terms:
        """Return loss and pretext_accuracy of the stage under way; in stage 1 cluster_entropy (of sizes, in nats) too.

        Raises:
            CodialError: there are several processes.
        """
        require_one_process(batch, "KnowTrans trains", "clusters")
        views = batch.views.images.squeeze(1)
        if batch.stage == 0:
            puzzles = make_puzzles(views, self.orders, batch.draws, self.options)
            return self._classified(self.teacher(puzzles.tiles), puzzles.labels)
        labels = self.labels.index_select(0, to_device(batch.indices, self.labels.device))
        found = self._classified(self.head(self.trunk(views)), labels)
        return found | {"cluster_entropy": self.spread.clone()}

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return the view, which the student sees, and its puzzle, which the teacher does."""
        views = batch.views.images.squeeze(1)
        options = self.options if len(views) > 1 else replace(self.options, foreign=0)
        return {"view": views, "puzzle": mosaic(make_puzzles(views, self.orders, batch.draws, options).tiles, 1)}

    @staticmethod
    def _classified(logits: Tensor, labels: Tensor) -> Terms:
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {"loss": cross_entropy(logits.float(), labels), "pretext_accuracy": accuracy}
