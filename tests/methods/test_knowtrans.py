from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.jigsaw import make_puzzles, standardize
from codial.methods.knowtrans import KnowTrans, KnowTransConfig
from codial.models import AlexNet
from codial.runs.checkpoints import read_tensors
from codial.transforms import plain_view
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup

OPTIONS = KnowTransConfig(
    teacher_part=0.5, teacher_width=0.1, permutations=6, clusters=6, kmeans_steps=20, teacher_rate=2.0
)


@pytest.fixture(scope="module")
def config(tiny):
    """Six clusters of 24 images; two epochs of three steps for the teacher, then two for the student."""
    views = replace(tiny.views, primary=("rot0",))
    return replace(tiny, name="knowtrans", method=OPTIONS, views=views, train=replace(tiny.train, epochs=4))


@pytest.fixture
def method(config, seed):
    torch.manual_seed(seed)
    method = build(config, classes=8, images=24)
    assert isinstance(method, KnowTrans)
    return method


def batch_of(few, config, indices, stage, seed, processes=ProcessGroup()):  # noqa: B008
    views = sample_views(few.batch(indices), config.views, torch.Generator().manual_seed(seed))
    rng = BatchGenerator(torch.Generator().manual_seed(seed), len(indices), processes)
    return Batch(views, torch.full((len(indices),), -1), 0.0, rng, torch.tensor(indices), stage)


def step(method, config, few, stage, seed):
    """Take one step of training."""
    (optimizer,) = method.optimizers(config.train).values()
    loss = method.train().terms(batch_of(few, config, list(range(12)), stage, seed))["loss"]
    loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
    optimizer.step()


# Stages


def test_teacher_and_student_share_the_run(method):
    assert method.stages() == (0.5, 0.5)


def test_in_the_first_stage_the_loss_is_that_of_the_permutations(method, config, few, seed):
    batch = batch_of(few, config, list(range(12)), 0, seed)
    terms = method.terms(batch)
    rng = BatchGenerator(torch.Generator().manual_seed(seed), 12)
    settings = {name: getattr(config.method, name) for name in ("foreign", "tile_part", "tile_size", "grayscale")}
    puzzles = make_puzzles(batch.views.images[:, 0], method.orders, rng, **settings)
    logits = method.teacher(puzzles.tiles)
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, puzzles.labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == puzzles.labels).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy"}


def test_in_the_second_stage_the_loss_is_that_of_the_clusters(method, config, few, seed):
    method.labels.copy_(torch.arange(24) % 5)
    indices = [5, 11, 2, 23, 14, 9]
    batch = batch_of(few, config, indices, 1, seed)
    terms = method.terms(batch)
    logits, expected = method.head(method.backbone(batch.views.images[:, 0])), torch.tensor([i % 5 for i in indices])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, expected))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == expected).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy", "cluster_entropy"}


@pytest.mark.parametrize(("stage", "trained"), [(0, ("teacher.",)), (1, ("backbone.", "head."))])
def test_a_step_changes_either_the_teacher_or_the_student(method, config, few, seed, stage, trained):
    """All weights and batch norm statistics of the one, none of the other."""
    before = {name: value.clone() for name, value in method.state_dict().items()}
    step(method, config, few, stage, seed)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(trained)}


def test_the_teacher_has_its_own_learning_rate(method, config):
    (optimizer,) = method.optimizers(config.train).values()
    rates = {p: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert set(rates) == set(method.parameters())
    for module, rate in ((method.backbone, 1e-3), (method.head, 1e-3), (method.teacher, 2e-3)):
        assert {rates[p] for p in module.parameters()} == {(rate, config.train.weight_decay), (rate, 0.0)}
        assert all(rates[p][1] == 0 for p in module.parameters() if p.ndim == 1)


def test_the_student_starts_from_random_weights(config, run, tmp_path, few):
    """After the teacher's stage the backbone still has its initial weights."""
    stopped = pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(6))
    random = pretrain_quietly(replace(config, train=replace(config.train, epochs=0)), tmp_path / "random", few)
    backbones = [
        read_tensors(r.folder / "checkpoints" / "last.safetensors", "model.backbone.") for r in (stopped, random)
    ]
    assert all(torch.equal(value, backbones[1][name]) for name, value in backbones[0].items())
    assert not torch.equal(run.backbone().conv1.conv.weight, backbones[0]["model.backbone.conv1.conv.weight"])


# Clusters


def test_features_are_spatial_means_of_uncropped_images_at_the_scale_of_the_tiles(config, method, few):
    """Tiles of 8 pixels are resized to 16, therefore images of 32 to 64."""
    for layer in (2, 5):
        method.options = replace(method.options, layer=layer)
        features = method.features(few)
        with torch.no_grad():
            maps = method.teacher.net(standardize(plain_view(few.images, 64)), layer)
        torch.testing.assert_close(features, maps.mean((2, 3)))


def test_the_label_of_an_image_is_its_nearest_center(method, few, generator):
    method.begin_epoch(few, 0.5, generator, 1)
    features = method.features(few)
    centers = torch.stack([features[method.labels == c].mean(0) for c in range(6)])
    assert method.labels.tolist() == pairwise_distances_argmin(features.numpy(), centers.numpy()).tolist()
    inertia = (features - centers[method.labels]).square().sum().item()
    best = KMeans(6, n_init=20, random_state=0).fit(features.numpy()).inertia_
    assert inertia < 1.5 * best
    sizes = torch.bincount(method.labels).double() / 24
    assert method.cluster_entropy.item() == pytest.approx(-float((sizes * sizes.log()).sum()))


def test_images_are_clustered_once_at_the_start_of_the_second_stage(method, few, generator):
    method.begin_epoch(few, 0.0, generator, 0)
    assert not method.labels.any()
    assert not method.clustered
    method.begin_epoch(few, 0.5, generator, 1)
    labels = method.labels.clone()
    assert len(labels.unique()) == 6
    method.begin_epoch(few, 0.75, generator, 1)  # the generator has another state
    assert torch.equal(method.labels, labels)


@pytest.mark.parametrize(("options", "same"), [({}, True), ({"seed": 1}, False)])
def test_permutations_depend_on_the_seed(config, method, options, same):
    other = build(replace(config, **options), classes=8, images=24)
    assert isinstance(other, KnowTrans)
    assert torch.equal(other.orders, method.orders) == same


# Runs


@pytest.fixture(scope="module")
def run(config, few, tmp_path_factory):
    return pretrain_quietly(config, tmp_path_factory.mktemp("knowtrans") / "run", few)


def test_the_history_has_the_terms_of_both_stages(run):
    lines = [line for line in run.history if line["kind"] == "train"]
    assert all({"loss", "pretext_accuracy"} < set(line) for line in lines)
    assert [line["step"] for line in lines if "cluster_entropy" in line] == [8, 10, 12]
    assert type(run.backbone()) is AlexNet
    saved = read_tensors(run.folder / "checkpoints" / "last.safetensors")
    assert saved["model.clustered"]
    assert len(saved["model.labels"].unique()) == 6


@pytest.mark.parametrize("at", [0, 2, 6, 7, 11])
def test_a_run_resumes_to_the_same_numbers(at, config, run, few, tmp_path):
    """At step 6 the teacher is trained and the student is not; images may be clustered or not."""
    assert pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(at)).progress["step"] == at
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), run)


@pytest.mark.slow
def test_the_teacher_learns_to_solve_puzzles(config, few, seed):
    """Chance is an eighth; jitter and foreign tiles differ between steps."""
    options = replace(OPTIONS, permutations=8, min_distance=8, teacher_width=0.25, grayscale=0.0)
    torch.manual_seed(seed)
    method = build(replace(config, method=options), classes=8, images=24)
    views, accuracies = replace(config.views, size=64, crop_area=(1.0, 1.0), hue=0.05), []
    optimizer = torch.optim.AdamW(method.train().parameters(), lr=1e-3)
    for i in range(80):
        generator = torch.Generator().manual_seed(seed + i)
        batch = Batch(
            sample_views(few.images, views, generator), few.labels, 0.0, BatchGenerator(generator, 24), torch.arange(24)
        )
        terms = method.terms(batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        accuracies.append(terms["pretext_accuracy"].item())
    assert sum(accuracies[-20:]) / 20 > 0.5


# Errors


@pytest.mark.parametrize("stage", [0, 1])
def test_several_processes_are_refused(method, config, few, seed, stage):
    batch = batch_of(few, config, [0, 1, 2], stage, seed, ProcessGroup(0, 2))
    with pytest.raises(
        CodialError, match=r"^KnowTrans trains in one process only.*there are 2. Start it without torchrun"
    ):
        method.terms(batch)
