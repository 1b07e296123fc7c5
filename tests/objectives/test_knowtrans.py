from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from torch.nn.functional import cross_entropy

from codial import config as configs
from codial import sample_views
from codial.checkpoints import read_tensors
from codial.config import KnowTransOptions
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives import Batch, Draws, KnowTrans, build
from codial.objectives.jigsaw import make_puzzles, standardise
from codial.ranks import Ranks
from codial.views import plain_view

OPTIONS = KnowTransOptions(
    teacher_part=0.5, teacher_width=0.1, permutations=6, clusters=6, kmeans_steps=20, teacher_rate=2.0
)


@pytest.fixture(scope="module")
def config(tiny):
    """Six clusters of 24 pictures; two epochs of three steps for the teacher, then two for the student."""
    views = replace(tiny.views, primary=("turn0",))
    return replace(tiny, name="knowtrans", objective=OPTIONS, views=views, train=replace(tiny.train, epochs=4))


@pytest.fixture
def system(config, seed):
    torch.manual_seed(seed)
    found = build(config, classes=8, pictures=24)
    assert isinstance(found, KnowTrans)
    return found


def batch_of(few, config, indices, stage, seed, ranks=Ranks()):  # noqa: B008
    views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
    draws = Draws(torch.Generator().manual_seed(seed), len(indices), ranks)
    return Batch(views, torch.full((len(indices),), -1), 0.0, draws, torch.tensor(indices), stage)


def step(system, config, few, stage, seed):
    """Take a step as the trainer does."""
    (optimiser,) = system.optimisers(config.train).values()
    loss = system.train().terms(batch_of(few, config, list(range(12)), stage, seed))["loss"]
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()


# Stages


def test_the_teacher_has_its_part_of_the_run(system):
    assert system.stages() == (0.5, 0.5)


def test_in_the_first_stage_the_loss_is_of_each_puzzles_permutation(system, config, few, seed):
    batch = batch_of(few, config, list(range(12)), 0, seed)
    terms = system.terms(batch)
    draws = Draws(torch.Generator().manual_seed(seed), 12)
    puzzles = make_puzzles(batch.views.images[:, 0], system.orders, draws, config.objective)
    logits = system.teacher(puzzles.tiles)
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, puzzles.labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == puzzles.labels).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy"}


def test_in_the_second_stage_the_loss_is_of_each_pictures_cluster(system, config, few, seed):
    system.labels.copy_(torch.arange(24) % 5)
    indices = [5, 11, 2, 23, 14, 9]
    batch = batch_of(few, config, indices, 1, seed)
    terms = system.terms(batch)
    logits, expected = system.head(system.trunk(batch.views.images[:, 0])), torch.tensor([i % 5 for i in indices])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, expected))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == expected).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy", "cluster_entropy"}


@pytest.mark.parametrize(("stage", "learns"), [(0, ("teacher.",)), (1, ("trunk.", "head."))])
def test_only_one_of_the_two_learns(system, config, few, seed, stage, learns):
    """Weights and the running means of batch norm: all of the one's change, none of the other's."""
    before = {name: value.clone() for name, value in system.state_dict().items()}
    step(system, config, few, stage, seed)
    changed = {name for name, value in system.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(learns)}


def test_the_teacher_alone_learns_at_its_own_rate(system, config):
    (optimiser,) = system.optimisers(config.train).values()
    rates = {p: (group["lr"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    assert set(rates) == set(system.parameters())
    for module, rate in ((system.trunk, 1e-3), (system.head, 1e-3), (system.teacher, 2e-3)):
        assert {rates[p] for p in module.parameters()} == {(rate, config.train.weight_decay), (rate, 0.0)}
        assert all(rates[p][1] == 0 for p in module.parameters() if p.ndim == 1)


def test_the_student_begins_with_the_weights_of_an_untrained_network(config, whole, tmp_path, few):
    """After the teacher's stage the trunk is as it was drawn."""
    stopped = go(config, tmp_path / "run", few, stop=stopping_after(6))
    random = go(replace(config, train=replace(config.train, epochs=0)), tmp_path / "random", few)
    trunks = [read_tensors(r.folder / "checkpoints" / "last.safetensors", "model.trunk.") for r in (stopped, random)]
    assert all(torch.equal(value, trunks[1][name]) for name, value in trunks[0].items())
    assert not torch.equal(whole.trunk().conv1.conv.weight, trunks[0]["model.trunk.conv1.conv.weight"])


# Clusters


def test_features_are_means_of_a_block_of_whole_pictures_at_the_tiles_scale(config, system, few):
    """Tiles of 8 pixels are seen at 16; so pictures at 64 instead of 32."""
    for layer in (2, 5):
        system.options = replace(system.options, layer=layer)
        found = system.features(few)
        with torch.no_grad():
            maps = system.teacher.net(standardise(plain_view(few.images, 64)), layer)
        torch.testing.assert_close(found, maps.mean((2, 3)))


def test_a_pictures_label_is_the_nearest_centre(system, few, generator):
    system.begin_epoch(few, 0.5, generator, 1)
    features = system.features(few)
    centres = torch.stack([features[system.labels == c].mean(0) for c in range(6)])
    assert system.labels.tolist() == pairwise_distances_argmin(features.numpy(), centres.numpy()).tolist()
    inertia = (features - centres[system.labels]).square().sum().item()
    best = KMeans(6, n_init=20, random_state=0).fit(features.numpy()).inertia_
    assert inertia < 1.5 * best
    sizes = torch.bincount(system.labels).double() / 24
    assert system.spread.item() == pytest.approx(-float((sizes * sizes.log()).sum()))


def test_pictures_are_clustered_once_and_not_for_the_teacher(system, few, generator):
    system.begin_epoch(few, 0.0, generator, 0)
    assert not system.labels.any()
    assert not system.clustered
    system.begin_epoch(few, 0.5, generator, 1)
    labels = system.labels.clone()
    assert len(labels.unique()) == 6
    system.begin_epoch(few, 0.75, generator, 1)  # with other draws
    assert torch.equal(system.labels, labels)


@pytest.mark.parametrize(("options", "same"), [({}, True), ({"seed": 1}, False)])
def test_a_seed_has_its_permutations(config, system, options, same):
    other = build(replace(config, **options), classes=8, pictures=24)
    assert isinstance(other, KnowTrans)
    assert torch.equal(other.orders, system.orders) == same


# Runs


@pytest.fixture(scope="module")
def whole(config, few, tmp_path_factory):
    return go(config, tmp_path_factory.mktemp("whole") / "run", few)


def test_a_run_trains_both_and_logs_what_each_does(whole):
    lines = [line for line in whole.history if line["kind"] == "train"]
    assert all({"loss", "pretext_accuracy"} < set(line) for line in lines)
    assert [line["step"] for line in lines if "cluster_entropy" in line] == [8, 10, 12]
    assert type(whole.trunk()) is AlexNet
    saved = read_tensors(whole.folder / "checkpoints" / "last.safetensors")
    assert saved["model.clustered"]
    assert len(saved["model.labels"].unique()) == 6


@pytest.mark.parametrize("at", [0, 2, 3, 6, 7, 9, 11])
def test_a_run_resumes_in_each_stage_and_between_to_the_same_numbers(at, config, whole, few, tmp_path):
    """At 6 the teacher is done; the pictures have been clustered already, or not yet, and no student's step taken."""
    assert go(config, tmp_path / "run", few, stop=stopping_after(at)).progress["step"] == at
    assert_same_run(go(config, tmp_path / "run", few), whole)


@pytest.mark.slow
def test_the_teacher_solves_puzzles_of_few_pictures(config, few, seed):
    """Eight permutations: guessing is right in an eighth. Jitter and foreign tiles are new in each step."""
    options = replace(OPTIONS, permutations=8, min_distance=8, teacher_width=0.25, grey=0.0)
    torch.manual_seed(seed)
    system = build(replace(config, objective=options), classes=8, pictures=24)
    views, right = replace(config.views, size=64, crop_area=(1.0, 1.0), hue=0.05), []
    optimiser = torch.optim.AdamW(system.train().parameters(), lr=1e-3)
    for i in range(80):
        generator = torch.Generator().manual_seed(seed + i)
        batch = Batch(
            sample_views(few.images, views, generator), few.labels, 0.0, Draws(generator, 24), torch.arange(24)
        )
        terms = system.terms(batch)
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        right.append(terms["pretext_accuracy"].item())
    assert sum(right[-20:]) / 20 > 0.5


# Refusals


def test_other_views_are_refused(tiny, config):
    with pytest.raises(
        CodialError, match=r"^views.primary is .*'warp'\); expected turn0 alone: knowtrans has one view"
    ):
        replace(config, views=tiny.views)
    assert configs.override(tiny, {"objective.system": "knowtrans", "views.primary": "turn0"})


def test_more_clusters_than_pictures_are_refused(config):
    with pytest.raises(CodialError, match=r"^objective.clusters is 6, but there are 5 pictures; expected fewer"):
        build(config, classes=8, pictures=5)


@pytest.mark.parametrize("stage", [0, 1])
def test_several_processes_are_refused(system, config, few, seed, stage):
    batch = batch_of(few, config, [0, 1, 2], stage, seed, Ranks(0, 2))
    with pytest.raises(CodialError, match=r"^KnowTrans trains in one process.*there are 2. Start it without torchrun"):
        system.terms(batch)


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        ("teacher_part", 0.0),
        ("teacher_part", 1.0),
        ("teacher_depth", 13),
        ("teacher_width", 0.0),
        ("teacher_rate", 0.0),
        ("permutations", 1),
        ("min_distance", 10),
        ("tile_part", 0.2),
        ("tile_part", 1.1),
        ("tile_size", 15),
        ("foreign", 3),
        ("grey", 1.5),
        ("layer", 6),
        ("clusters", 1),
        ("kmeans_steps", 0),
    ],
)
def test_options_out_of_range_are_refused(name, outside):
    with pytest.raises(CodialError, match=rf"^objective.{name} is {outside}; expected "):
        KnowTransOptions(**{name: outside})
