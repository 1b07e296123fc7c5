from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from alike import assert_same_run, go, stopping_after
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import cross_entropy

from codial import config as configs
from codial import sample_views
from codial.config import DeepClusterOptions
from codial.data import ImageSet
from codial.errors import CodialError
from codial.models import AlexNet, SobelAlexNet
from codial.objectives import Batch, DeepCluster, Draws, build
from codial.ranks import Ranks
from codial.views import plain_view

LOGGED = {"loss", "pretext_accuracy", "nmi", "cluster_entropy", "cluster_smallest", "cluster_largest"}


@pytest.fixture(scope="module")
def config(tiny):
    """Six clusters of 24 pictures; three steps an epoch."""
    views = replace(tiny.views, primary=("turn0",))
    objective = DeepClusterOptions(clusters=6, pca_dims=16, kmeans_steps=5)
    return replace(tiny, name="clusters", objective=objective, views=views, train=replace(tiny.train, epochs=3))


@pytest.fixture
def system(config, seed):
    torch.manual_seed(seed)
    found = build(config, classes=8, pictures=24)
    assert isinstance(found, DeepCluster)
    found.optimisers(config.train)
    return found


def batch_of(few, config, indices, seed, ranks=Ranks()):  # noqa: B008
    views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
    draws = Draws(torch.Generator().manual_seed(seed), len(indices), ranks)
    return Batch(views, few.labels[indices], 0.0, draws, torch.tensor(indices))


def test_the_loss_is_of_each_pictures_cluster_and_of_no_label(system, config, few, seed):
    system.labels.copy_(torch.arange(24) % 6)
    indices = [5, 11, 2, 23, 14, 9]
    batch = batch_of(few, config, indices, seed)._replace(picture_labels=torch.full((6,), -1))
    terms = system.terms(batch)
    logits = system.head(system.trunk(batch.views.images[:, 0]))
    expected = torch.tensor([i % 6 for i in indices])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, expected))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == expected).float().mean().item())
    assert set(terms) == LOGGED


def test_steps_lower_the_loss_of_a_fixed_batch(system, config, few, generator, seed):
    system.begin_epoch(few, 0.0, generator)
    optimiser = torch.optim.AdamW(system.train().parameters(), lr=1e-3)
    batch, losses = batch_of(few, config, list(range(16)), seed), []
    for _ in range(6):
        loss = system.terms(batch)["loss"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.1


def test_the_head_alone_learns_at_its_own_rate(system, config):
    rates = {p: group["lr"] for group in system.optimiser.param_groups for p in group["params"]}
    assert {rates[p] for p in system.trunk.parameters()} == {config.train.lr}
    assert {rates[p] for p in system.head.parameters()} == {10 * config.train.lr}
    assert set(rates) == set(system.parameters())


# Clusters


def test_features_are_fc7_before_its_last_relu_of_plain_pictures(system, few):
    found = system.features(few)
    view = plain_view(few.images, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.relu(), system.trunk.eval()(view))
    assert 0.2 < (found < 0).float().mean() < 0.8


def test_pictures_that_are_alike_share_a_cluster(system, config, few, generator):
    """Each of six pictures four times over."""
    pictures = few.images[:6].repeat(4, 1, 1, 1)
    six = ImageSet("six", "train", pictures, torch.full((24,), -1), ())
    for epoch in range(5):  # k-means may start twice in one picture; what was empty takes the farthest
        system.begin_epoch(six, epoch / 5, generator)
        assert torch.equal(system.labels, system.labels[:6].repeat(4))
    assert len(system.labels.unique()) > 4


def test_a_new_epoch_has_a_new_head_without_moments_and_says_how_clusters_agree(system, config, few, generator, seed):
    system.begin_epoch(few, 0.0, generator)
    optimiser, before = system.optimiser, system.labels.clone()
    assert system.nmi == 0
    system.train().terms(batch_of(few, config, list(range(24)), seed))["loss"].backward()
    optimiser.step()
    weight, kept = system.head.weight.clone(), len(optimiser.state)
    system.begin_epoch(few, 0.5, generator)
    assert len(optimiser.state) == kept - 2
    assert set(optimiser.state) == set(system.parameters()) - set(system.head.parameters())
    assert not torch.equal(system.head.weight, weight)
    assert system.head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not system.head.bias.any()
    assert system.nmi.item() == pytest.approx(normalized_mutual_info_score(before, system.labels), abs=1e-6)


def test_the_sizes_of_clusters_are_logged(system, config, few, generator, seed):
    system.begin_epoch(few, 0.0, generator)
    terms = system.terms(batch_of(few, config, [0, 1, 2], seed))
    sizes = np.bincount(system.labels, minlength=6)
    assert system.sizes.tolist() == sizes.tolist()
    assert float(terms["cluster_entropy"]) == pytest.approx(scipy.stats.entropy(sizes))
    assert (int(terms["cluster_smallest"]), int(terms["cluster_largest"])) == (sizes.min(), sizes.max())


def test_beginning_the_same_epoch_again_changes_nothing(system, few, generator):
    for progress in (0.0, 0.5):
        system.begin_epoch(few, progress, generator)
    before = {k: v.clone() for k, v in system.state_dict().items()}
    system.begin_epoch(few, 0.5, generator)
    assert all(torch.equal(v, before[k]) for k, v in system.state_dict().items())


def test_every_cluster_that_is_not_empty_comes_equally_often(system, generator):
    """Sizes 1, 2, 5 and 16; two clusters are empty."""
    labels = torch.tensor([0] + [2] * 2 + [3] * 5 + [5] * 16)
    system.labels.copy_(labels)
    orders = [system.order(24, generator) for _ in range(50)]
    for order in orders:
        assert order.shape == (24,)
        assert torch.equal(torch.bincount(labels[order], minlength=6), torch.tensor([6, 0, 6, 6, 0, 6]))
        times = torch.bincount(order, minlength=24)
        assert set(times[1:3].tolist()) == {3}
        assert set(times[3:8].tolist()) == {1, 2}
        assert set(times[8:].tolist()) == {0, 1}
    assert torch.bincount(torch.cat(orders), minlength=24).min() > 0, "each picture has its turn"
    first = labels[torch.stack(orders)[:, 0]]
    assert len(first.unique()) == 4, "clusters are mixed"


def test_a_number_that_clusters_do_not_divide_is_shared_to_within_one(system, generator):
    labels = torch.arange(24) % 5
    system.labels.copy_(labels)
    assert set(torch.bincount(labels[system.order(24, generator)]).tolist()) <= {4, 5}


# Runs


@pytest.fixture(scope="module")
def whole(config, few, tmp_path_factory):
    return go(config, tmp_path_factory.mktemp("whole") / "run", few)


def test_a_run_learns_clusters_and_logs_them(whole):
    lines = [line for line in whole.history if line["kind"] == "train"]
    assert all(set(line) > LOGGED for line in lines)
    assert lines[0]["nmi"] == 0
    assert 0 < lines[-1]["nmi"] <= 1
    assert isinstance(whole.trunk(), SobelAlexNet)
    assert whole.trunk().taps(torch.rand(2, 3, 32, 32))["conv5"].shape[0] == 2


@pytest.mark.parametrize("step", [0, 1, 3, 4, 6, 8])
def test_a_run_stopped_within_an_epoch_or_at_its_beginning_resumes_to_the_same_numbers(
    step, config, whole, few, tmp_path
):
    """At 0, 3 and 6 the pictures have been clustered and no step been taken; lines of history span epochs."""
    assert go(config, tmp_path / "run", few, stop=stopping_after(step)).progress["step"] == step
    assert_same_run(go(config, tmp_path / "run", few), whole)


def test_without_sobel_the_trunk_sees_colours(config, few, tmp_path):
    config = configs.override(config, {"objective.sobel": False, "train.epochs": 1})
    assert type(go(config, tmp_path / "run", few).trunk()) is AlexNet


# Refusals


def test_other_views_are_refused(tiny, config):
    with pytest.raises(
        CodialError, match=r"^views.primary is .*'warp'\); expected turn0 alone: deepcluster has one view"
    ):
        replace(config, views=tiny.views)
    with pytest.raises(CodialError, match=r"^views.primary is"):
        configs.override(tiny, {"objective.system": "deepcluster"})
    assert configs.override(tiny, {"objective.system": "deepcluster", "views.primary": "turn0"})


def test_more_clusters_than_pictures_are_refused(config):
    with pytest.raises(CodialError, match=r"^objective.clusters is 6, but there are 5 pictures; expected fewer"):
        build(config, classes=8, pictures=5)


def test_several_processes_are_refused(system, config, few, seed):
    batch = batch_of(few, config, [0, 1, 2], seed, Ranks(0, 2))
    with pytest.raises(
        CodialError, match=r"^DeepCluster trains in one process.*there are 2. Start it without torchrun"
    ):
        system.terms(batch)


@pytest.mark.parametrize(("name", "outside"), [("clusters", 1), ("pca_dims", 0), ("kmeans_steps", 0), ("head_rate", 0)])
def test_options_out_of_range_are_refused(name, outside):
    with pytest.raises(CodialError, match=rf"^objective.{name} is {outside}.*; expected (at least|a positive)"):
        DeepClusterOptions(**{name: outside})
