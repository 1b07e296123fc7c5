from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.data import ImageSet
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.deepcluster import DeepCluster, DeepClusterConfig
from codial.models import SobelAlexNet
from codial.transforms import plain_view
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup

LOGGED = {"loss", "pretext_accuracy", "nmi", "cluster_entropy", "cluster_smallest", "cluster_largest"}


@pytest.fixture(scope="module")
def config(tiny):
    """Six clusters of 24 images; three steps per epoch."""
    views = replace(tiny.views, primary=("rot0",))
    method = DeepClusterConfig(clusters=6, pca_dims=16, kmeans_steps=5)
    return replace(tiny, name="clusters", method=method, views=views, train=replace(tiny.train, epochs=3))


@pytest.fixture
def method(config, seed):
    torch.manual_seed(seed)
    method = build(config, classes=8, images=24)
    assert isinstance(method, DeepCluster)
    method.optimizers(config.train)
    return method


def batch_of(few, config, indices, seed, processes=ProcessGroup()):  # noqa: B008
    views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
    rng = BatchGenerator(torch.Generator().manual_seed(seed), len(indices), processes)
    return Batch(views, few.labels[indices], 0.0, rng, torch.tensor(indices))


def test_the_loss_is_that_of_the_clusters_not_of_the_labels(method, config, few, seed):
    method.labels.copy_(torch.arange(24) % 6)
    indices = [5, 11, 2, 23, 14, 9]
    batch = batch_of(few, config, indices, seed)._replace(image_labels=torch.full((6,), -1))
    terms = method.terms(batch)
    logits = method.head(method.backbone(batch.views.images[:, 0]))
    expected = torch.tensor([i % 6 for i in indices])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, expected))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == expected).float().mean().item())
    assert set(terms) == LOGGED


def test_steps_lower_the_loss_of_a_fixed_batch(method, config, few, generator, seed):
    method.begin_epoch(few, 0.0, generator)
    optimizer = torch.optim.AdamW(method.train().parameters(), lr=1e-3)
    batch, losses = batch_of(few, config, list(range(16)), seed), []
    for _ in range(6):
        loss = method.terms(batch)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1


def test_the_head_has_its_own_learning_rate(method, config):
    rates = {p: group["lr"] for group in method.optimizer.param_groups for p in group["params"]}
    assert {rates[p] for p in method.backbone.parameters()} == {config.train.lr}
    assert {rates[p] for p in method.head.parameters()} == {10 * config.train.lr}
    assert set(rates) == set(method.parameters())


# Clusters


def test_features_are_fc7_before_its_relu_of_uncropped_images(method, few):
    features = method.features(few)
    view = plain_view(few.images, 32)
    with torch.no_grad():
        torch.testing.assert_close(features.relu(), method.backbone.eval()(view))
    assert 0.2 < (features < 0).float().mean() < 0.8


def test_equal_images_are_in_the_same_cluster(method, config, few, generator):
    """Each of six images occurs four times."""
    images = few.images[:6].repeat(4, 1, 1, 1)
    six = ImageSet("six", "train", images, torch.full((24,), -1), ())
    for epoch in range(5):  # the initial centers of k-means may be equal
        method.begin_epoch(six, epoch / 5, generator)
        assert torch.equal(method.labels, method.labels[:6].repeat(4))
    assert len(method.labels.unique()) > 4


def test_a_new_epoch_resets_the_head_and_its_optimizer_state_and_computes_nmi(method, config, few, generator, seed):
    method.begin_epoch(few, 0.0, generator)
    optimizer, before = method.optimizer, method.labels.clone()
    assert method.nmi == 0
    method.train().terms(batch_of(few, config, list(range(24)), seed))["loss"].backward()
    optimizer.step()
    weight, count = method.head.weight.clone(), len(optimizer.state)
    method.begin_epoch(few, 0.5, generator)
    assert len(optimizer.state) == count - 2
    assert set(optimizer.state) == set(method.parameters()) - set(method.head.parameters())
    assert not torch.equal(method.head.weight, weight)
    assert method.head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not method.head.bias.any()
    assert method.nmi.item() == pytest.approx(normalized_mutual_info_score(before, method.labels), abs=1e-6)


def test_cluster_sizes_are_logged(method, config, few, generator, seed):
    method.begin_epoch(few, 0.0, generator)
    terms = method.terms(batch_of(few, config, [0, 1, 2], seed))
    sizes = np.bincount(method.labels, minlength=6)
    assert method.sizes.tolist() == sizes.tolist()
    assert float(terms["cluster_entropy"]) == pytest.approx(scipy.stats.entropy(sizes))
    assert (int(terms["cluster_smallest"]), int(terms["cluster_largest"])) == (sizes.min(), sizes.max())


def test_an_epoch_begins_only_once(method, few, generator):
    for progress in (0.0, 0.5):
        method.begin_epoch(few, progress, generator)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    method.begin_epoch(few, 0.5, generator)
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_all_clusters_that_are_not_empty_are_equally_frequent(method, generator):
    """Clusters of 1, 2, 5 and 16 images; two are empty."""
    labels = torch.tensor([0] + [2] * 2 + [3] * 5 + [5] * 16)
    method.labels.copy_(labels)
    orders = [method.order(24, generator) for _ in range(50)]
    for order in orders:
        assert order.shape == (24,)
        assert torch.equal(torch.bincount(labels[order], minlength=6), torch.tensor([6, 0, 6, 6, 0, 6]))
        repeats = torch.bincount(order, minlength=24)
        assert set(repeats[1:3].tolist()) == {3}
        assert set(repeats[3:8].tolist()) == {1, 2}
        assert set(repeats[8:].tolist()) == {0, 1}
    assert torch.bincount(torch.cat(orders), minlength=24).min() > 0, "every image occurs"
    first = labels[torch.stack(orders)[:, 0]]
    assert len(first.unique()) == 4, "clusters are mixed"


def test_cluster_frequencies_differ_by_at_most_one(method, generator):
    labels = torch.arange(24) % 5
    method.labels.copy_(labels)
    assert set(torch.bincount(labels[method.order(24, generator)]).tolist()) <= {4, 5}


# Runs


@pytest.fixture(scope="module")
def run(config, few, tmp_path_factory):
    return pretrain_quietly(config, tmp_path_factory.mktemp("deepcluster") / "run", few)


def test_a_run_logs_its_clusters(run):
    lines = [line for line in run.history if line["kind"] == "train"]
    assert all(set(line) > LOGGED for line in lines)
    assert lines[0]["nmi"] == 0
    assert 0 < lines[-1]["nmi"] <= 1
    assert isinstance(run.backbone(), SobelAlexNet)
    assert run.backbone().features(torch.rand(2, 3, 32, 32))["conv5"].shape[0] == 2


@pytest.mark.parametrize("step", [0, 1, 3, 4, 8])
def test_a_run_resumes_to_the_same_numbers(step, config, run, few, tmp_path):
    """At steps 0 and 3 images are clustered but no step of the epoch is taken; history lines span epochs."""
    assert pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(step)).progress["step"] == step
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), run)


# Errors


def test_more_clusters_than_images_are_refused(config):
    with pytest.raises(CodialError, match=r"^method.clusters is 6, but there are 5 images; expected at most as many"):
        build(config, classes=8, images=5)


def test_several_processes_are_refused(method, config, few, seed):
    batch = batch_of(few, config, [0, 1, 2], seed, ProcessGroup(0, 2))
    with pytest.raises(
        CodialError, match=r"^DeepCluster trains in one process only.*there are 2. Start it without torchrun"
    ):
        method.terms(batch)
