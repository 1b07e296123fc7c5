from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.config import ViewsConfig
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.globstat import GlobStat, GlobStatConfig, cut, paste, window_pixels
from codial.training.trainer import Trainer
from codial.transforms import rotate
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup

IMAGES, SIDE, BORDER = 8, 16, 2
HOLE = slice(BORDER, SIDE - BORDER)


@pytest.fixture(scope="module")
def config(tiny):
    """Patches of 16 in views of 32 pixels; three steps per epoch."""
    return replace(tiny, name="globstat", method=GlobStatConfig(width=0.1))


@pytest.fixture
def method(config, seed):
    torch.manual_seed(seed)
    method = build(config, classes=0, images=24)
    assert isinstance(method, GlobStat)
    return method.train()


@pytest.fixture
def batch_of(config, few, seed):
    """Return a function that makes batches of the same views, with noise of a given seed."""

    def make(count=IMAGES, noise=seed, processes=ProcessGroup(), views=config.views):  # noqa: B008
        sampled = sample_views(few.batch(range(count)), views, torch.Generator().manual_seed(seed))
        rows = processes.shard(count)
        sampled = sampled._replace(images=sampled.images[rows], labels=sampled.labels[rows])
        rng = BatchGenerator(torch.Generator().manual_seed(noise), len(sampled.images), processes)
        return Batch(sampled, torch.full((len(sampled.images),), -1), 0.0, rng, torch.arange(count)[rows])

    return make


def inpaint_white(method):
    """Replace the inpainter's output by white, and return the list of its inputs."""
    inputs = []

    def inpaint(patches):
        inputs.append(patches.clone())
        return torch.ones_like(patches)

    method.inpainter.forward = inpaint
    return inputs


def corners_of(seed, count=IMAGES, size=32):
    """Return (row, column) of the inpainted patch and of those in the first four views, which are sampled first."""
    return torch.randint(0, size - SIDE + 1, (count, 5, 2), generator=torch.Generator().manual_seed(seed))


def window(corner):
    row, column = corner.tolist()
    return slice(row, row + SIDE), slice(column, column + SIDE)


# Images of the six classes


def test_images_differ_from_views_only_in_their_patches(method, batch_of, seed):
    """Pixel by pixel, with white patches."""
    inpaint_white(method)
    batch = batch_of()
    images = batch.views.images
    expected = torch.cat((images[:, :1], images[:, :1], images[:, 1:]), 1)  # class 1 is made of the upright view
    for i, corners in enumerate(corners_of(seed)):
        rows, columns = window(corners[0])
        expected[i, 1, :, rows, columns] = 1
        for k, corner in enumerate(corners[1:]):
            rows, columns = window(corner)
            expected[i, (0, 2, 3, 4)[k], :, rows, columns] = (
                1 if i % 2 else expected[i, (0, 2, 3, 4)[k]][:, rows, columns]
            )
    assert torch.equal(method.class_images(batch), expected)


def test_half_of_the_unwarped_images_have_an_autoencoded_patch(method, batch_of):
    inpaint_white(method)
    batch = batch_of()
    class_images, images = method.class_images(batch), batch.views.images
    changed = (class_images[:, (0, 2, 3, 4, 5)] != images).flatten(2).any(2)
    assert torch.equal(changed, torch.tensor([[False] * 5, [True] * 4 + [False]] * (IMAGES // 2)))
    assert (class_images[:, 1] != images[:, 0]).flatten(1).any(1).all()


def test_the_inpainter_gets_a_border_around_noise_or_a_complete_patch(method, batch_of, seed):
    inputs = inpaint_white(method)
    batch = batch_of()
    method.class_images(batch)
    (context,) = inputs
    assert context.shape == (IMAGES + 4 * IMAGES // 2, 3, SIDE, SIDE)
    images, corners, noise = 2 * batch.views.images - 1, corners_of(seed), []
    for i in range(IMAGES):
        rows, columns = window(corners[i, 0])
        inpainted, real = context[i], images[i, 0, :, rows, columns]
        differs = (inpainted != real).all(0)
        assert differs[HOLE, HOLE].float().mean() > 0.99
        assert differs.sum() == differs[HOLE, HOLE].sum(), "the border is that of the image"
        noise.append(inpainted[:, HOLE, HOLE])
    assert torch.stack(noise).std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.stack(noise).mean().item() == pytest.approx(0, abs=0.01)
    complete = context[IMAGES:].unflatten(0, (-1, 4))
    for i, k in ((1, 0), (1, 3), (3, 1), (7, 2)):
        rows, columns = window(corners[i, 1 + k])
        assert torch.equal(complete[i // 2, k], images[i, k, :, rows, columns])


def test_pasting_cut_patches_back_changes_nothing(few, generator):
    images = few.images[:6].float()
    corners = torch.randint(0, 64 - SIDE + 1, (6, 2), generator=generator)
    corners[0], corners[1] = 0, 64 - SIDE  # the extremes
    pixels = window_pixels(corners, SIDE, 64)
    patches = cut(images, pixels, SIDE)
    for patch, image, corner in zip(patches, images, corners, strict=True):
        rows, columns = window(corner)
        assert torch.equal(patch, image[:, rows, columns])
    assert torch.equal(paste(images, pixels, patches), images)


def test_patches_reach_all_rows_and_columns(method, batch_of):
    inpaint_white(method)
    changed = torch.zeros(32, 32, dtype=torch.bool)
    for noise in range(12):
        batch = batch_of(noise=noise)
        changed |= (method.class_images(batch)[:, 1] != batch.views.images[:, 0]).all(1).any(0)
    assert changed.any(0).all()
    assert changed.any(1).all()


def test_with_a_shared_crop_rotated_images_are_rotations_of_the_first(method, batch_of, config):
    inpaint_white(method)
    images = method.class_images(batch_of(views=replace(config.views, shared_crop=True)))
    for k in range(1, 4):
        torch.testing.assert_close(images[::2, 1 + k], rotate(images[::2, 0], k), rtol=0, atol=1e-5)


def test_a_batch_can_have_one_image(method, batch_of):
    assert method.eval().class_images(batch_of(1)).shape == (1, 6, 3, 32, 32)


# Losses


def test_the_loss_is_the_cross_entropy_of_the_six_classes(method, batch_of, seed):
    method.eval()
    logits = method.classifier(method.backbone(method.class_images(batch_of()).flatten(0, 1)))
    labels = torch.arange(6).repeat(IMAGES)
    terms = method.terms(batch_of())
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    correct = (logits.argmax(1) == labels).float().view(IMAGES, 6)
    assert terms["pretext_accuracy"].item() == pytest.approx(correct.mean().item())
    assert terms["inpainted_accuracy"].item() == pytest.approx(correct[:, 1].mean().item())
    assert terms["autoencoded_accuracy"].item() == pytest.approx(correct[1::2, 0].mean().item())


class FixedClassifier(nn.Module):
    """A classifier that is right or wrong about every image, whatever its features are."""

    def __init__(self, is_right):
        super().__init__()
        self.is_right = is_right

    def forward(self, features):
        rows = torch.cat((torch.ones(IMAGES), torch.tensor([0.0, 2, 3, 4]).repeat(IMAGES), torch.full((IMAGES,), 5)))
        return 50 * torch.eye(6)[(rows.long() + (0 if self.is_right else 1)) % 6]


def test_the_inpainters_loss_decreases_by_the_classifiers_loss(method, batch_of):
    """Between a perfect classifier and one that is always wrong, all else equal."""
    method.eval()
    terms = {}
    for is_right in (True, False):
        method.classifier = FixedClassifier(is_right)
        terms[is_right] = method.terms(batch_of())
    assert terms[True]["loss"] < 1e-6
    assert terms[True]["pretext_accuracy"] == terms[True]["inpainted_accuracy"] == 1
    assert terms[False]["pretext_accuracy"] == terms[False]["autoencoded_accuracy"] == 0
    difference = terms[True]["loss_inpainter"] - terms[False]["loss_inpainter"]
    torch.testing.assert_close(difference, terms[False]["loss"] - terms[True]["loss"])
    assert difference > 40
    assert terms[True]["loss_discriminator"] == terms[False]["loss_discriminator"]


def test_the_discriminator_has_a_hinge_loss_and_the_inpainter_the_negative_score(method, batch_of, seed):
    """With fixed scores, of real pairs first, then of generated ones."""
    method.eval()
    scores = torch.tensor([2.0, 0.5, -1.0, 1.0, -3.0, -0.5, 0.0, 2.0])
    pairs = []
    method.discriminator.forward = lambda inputs: pairs.append(inputs) or scores
    terms = method.terms(batch_of())
    assert terms["loss_discriminator"].item() == pytest.approx((0 + 0.5 + 2 + 0) / 4 + (0 + 0.5 + 1 + 3) / 4)
    kept = 50 * (terms["loss_border"] + terms["loss_autoencoded"])
    torch.testing.assert_close(terms["loss_inpainter"], kept + 1.5 / 4 - terms["loss"])
    real, generated = pairs[0].chunk(2)
    assert real.shape == (IMAGES // 2, 6, SIDE, SIDE)
    images, corners = 2 * batch_of().views.images - 1, corners_of(seed)
    for i in range(IMAGES):
        rows, columns = window(corners[i, 0])
        half = slice(3 * (i % 2), 3 * (i % 2) + 3)
        assert torch.equal(real[i // 2, half], images[i, 0, :, rows, columns])
        inside = method.class_images(batch_of())[i, 1, :, rows, columns]
        torch.testing.assert_close(generated[i // 2, half], 2 * inside - 1, rtol=0, atol=1e-5)


def test_the_inpainter_preserves_borders_and_autoencoded_patches(method, batch_of, seed):
    inpaint_white(method)
    terms = method.terms(batch_of())
    images, corners = 2 * batch_of().views.images - 1, corners_of(seed)
    border, autoencoded = [], []
    for i in range(IMAGES):
        rows, columns = window(corners[i, 0])
        errors = (images[i, 0, :, rows, columns] - 1).square()
        outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        outside[HOLE, HOLE] = False
        border.append(errors[:, outside])
        for k in range(4 * (i % 2)):
            rows, columns = window(corners[i, 1 + k])
            autoencoded.append((images[i, k, :, rows, columns] - 1).square())
    torch.testing.assert_close(terms["loss_border"], torch.stack(border).mean())
    torch.testing.assert_close(terms["loss_autoencoded"], torch.stack(autoencoded).mean())


# Gradients


OWN = {
    "loss": ("backbone", "classifier"),
    "loss_inpainter": ("inpainter",),
    "loss_discriminator": ("discriminator",),
}


def test_each_parameter_has_one_optimizer_with_its_rate(method, config):
    optimizers = method.optimizers(config.train)
    assert list(optimizers) == list(OWN)
    for term, optimizer in optimizers.items():
        own = [p for group in optimizer.param_groups for p in group["params"]]
        expected = [p for name, p in method.named_parameters() if name.split(".")[0] in OWN[term]]
        assert {id(p) for p in own} == {id(p) for p in expected}
        assert len(own) == len(expected)
    groups = {term: optimizer.param_groups[0] for term, optimizer in optimizers.items()}
    assert [group["lr"] for group in groups.values()] == [config.train.lr, 2e-4, 8e-4]
    assert type(optimizers["loss"]) is torch.optim.AdamW
    for term in ("loss_inpainter", "loss_discriminator"):
        assert type(optimizers[term]) is torch.optim.Adam
        assert groups[term]["betas"] == (0.5, 0.999)
        assert groups[term]["weight_decay"] == 0


@pytest.mark.parametrize("term", OWN)
def test_each_term_has_gradients_for_all_of_its_own_parameters_only(term, method, batch_of, config):
    """As the trainer computes them, with all other terms multiplied by 0."""
    trainer = object.__new__(Trainer)
    trainer.processes, trainer.optimizers = ProcessGroup(), method.optimizers(config.train)
    terms = method.terms(batch_of())
    trainer._backward({name: value if name == term else 0 * value for name, value in terms.items()})
    reached = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    own = {name for name, _ in method.named_parameters() if name.split(".")[0] in OWN[term]}
    assert reached <= own
    assert own - reached <= {"discriminator.last.bias"}  # 0 while all scores are within the hinges


def test_the_inpainters_gradient_is_the_sum_of_three_parts(method, batch_of):
    """From the discriminator, the classifier and the preserved pixels, each with its sign."""
    own = list(method.inpainter.parameters())
    gradient = torch.autograd.grad(method.terms(batch_of())["loss_inpainter"], own)
    state = {k: v.clone() for k, v in method.state_dict().items()}
    scores = []
    forward = method.discriminator.forward
    method.discriminator.forward = lambda pairs: scores.append(forward(pairs)) or scores[-1]
    method.discriminator.eval()  # spectral norms as after the pass above
    method.load_state_dict(state)
    terms = method.terms(batch_of())
    generated = scores[0].chunk(2)[1].mean()
    parts = (-generated, -terms["loss"], 50 * (terms["loss_border"] + terms["loss_autoencoded"]))
    gradients = [torch.autograd.grad(part, own, retain_graph=True) for part in parts]
    assert all(g.any() for part in gradients for g in part)
    total = [sum(gs) for gs in zip(*gradients, strict=True)]
    for got, expected in zip(gradient, total, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-7)


def test_batch_norm_statistics_are_updated_once_per_step(method, batch_of):
    before = {k: v.clone() for k, v in method.named_buffers() if k.endswith("num_batches_tracked")}
    method.terms(batch_of())
    assert before
    assert all(v - before[k] == 1 for k, v in method.named_buffers() if k in before)


def test_class_images_change_no_state(method, batch_of):
    before = {k: v.clone() for k, v in method.state_dict().items()}
    assert not method.eval().class_images(batch_of()).requires_grad
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


# Several processes


@pytest.mark.parametrize("rank", [0, 1])
def test_images_of_two_processes_are_those_of_one(rank, method, batch_of):
    method.eval()
    complete, half = method.class_images(batch_of()), method.class_images(batch_of(processes=ProcessGroup(rank, 2)))
    torch.testing.assert_close(half, complete[ProcessGroup(rank, 2).shard(IMAGES)])


def test_losses_of_two_processes_are_those_of_one(method, batch_of):
    """In evaluation mode, where batch norm does not differ: pairs, alternation and noise are the same."""
    method.eval()
    complete = method.terms(batch_of())
    halves = [method.terms(batch_of(processes=ProcessGroup(rank, 2))) for rank in range(2)]
    for name, expected in complete.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, expected, msg=name)


# Runs


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_resumes_to_the_same_numbers(precision, config, few, tmp_path):
    """Stopped at the start, within an epoch and at its end; in the memory format channels last."""
    config = replace(config, train=replace(config.train, precision=precision))
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    for step in (0, 1, 4):
        folder = tmp_path / str(step)
        assert pretrain_quietly(config, folder, few, stop=stop_after(step)).progress["step"] == step
        assert_same_run(pretrain_quietly(config, folder, few), uninterrupted)
    assert {"loss_inpainter", "loss_discriminator", "inpainted_accuracy"} < set(uninterrupted.history[1])


@pytest.mark.slow
def test_a_short_run_learns_all_tasks(config, photos, tmp_path):
    """Accuracy rises above chance, a sixth, and the inpainter's errors fall."""
    views = replace(config.views, crop_area=(0.5, 1.0), hue=0.05)
    train = replace(config.train, epochs=8, batch=16, lr=2e-3, weight_decay=0.01, log_every=10, monitor_every=0)
    config = replace(config, views=views, train=train, method=replace(config.method, width=0.2))
    run = pretrain_quietly(config, tmp_path / "run", photos["train"].subset(160))
    assert run.curve("pretext_accuracy")[1][-1] > 0.2
    for term in ("loss_border", "loss_autoencoded"):
        errors = run.curve(term)[1]
        assert errors[-1] < 0.75 * errors[0]


# Errors


def test_the_side_of_a_patch_is_a_multiple_of_8(config):
    sides = {size: GlobStatConfig().side(size) for size in (32, 64, 80, 96, 224)}
    assert sides == {32: 16, 64: 40, 80: 48, 96: 56, 224: 136}
    assert GlobStatConfig(patch=1.0).side(33) == 32


def test_a_patch_too_small_and_a_border_too_wide_are_refused(config):
    with pytest.raises(
        CodialError,
        match=r"^method.patch is 0.2; expected at least 0.25, so that patches have 8 or more of the view's 32",
    ):
        replace(config, method=GlobStatConfig(patch=0.2))
    with pytest.raises(
        CodialError, match=r"^method.border is 8; expected less than 8, half of the 16 pixels of a patch"
    ):
        replace(config, method=GlobStatConfig(border=8))
    assert replace(config, method=GlobStatConfig(border=7))
    assert replace(config, method=GlobStatConfig(patch=0.2), views=ViewsConfig(size=64))
