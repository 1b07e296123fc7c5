from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch import nn
from torch.nn.functional import cross_entropy

from codial import config as configs
from codial import sample_views
from codial.config import PRIMARY, TURNS, GlobStatOptions, ViewsConfig
from codial.errors import CodialError
from codial.objectives import Batch, Draws, GlobStat, build
from codial.objectives.globstat import cut, paste, window_pixels
from codial.pretrain import _Loop
from codial.ranks import Ranks
from codial.views import rotate

PICTURES, SIDE, BORDER = 8, 16, 2
HOLE = slice(BORDER, SIDE - BORDER)


@pytest.fixture(scope="module")
def config(tiny):
    """Patches of 16 in views of 32 pixels; three steps an epoch."""
    return replace(tiny, name="global", objective=GlobStatOptions(width=0.1))


@pytest.fixture
def system(config, seed):
    torch.manual_seed(seed)
    found = build(config, classes=0, pictures=24)
    assert isinstance(found, GlobStat)
    return found.train()


@pytest.fixture
def batch_of(config, few, seed):
    """The same views, and the same draws for a seed."""

    def make(count=PICTURES, noise=seed, ranks=Ranks(), views=config.views):  # noqa: B008
        made = sample_views(few.batch(range(count)), views, torch.Generator().manual_seed(seed))
        rows = ranks.rows(count)
        made = made._replace(images=made.images[rows], labels=made.labels[rows])
        draws = Draws(torch.Generator().manual_seed(noise), len(made.images), ranks)
        return Batch(made, torch.full((len(made.images),), -1), 0.0, draws, torch.arange(count)[rows])

    return make


def watched(system):
    """Paint everything white, and return the list of what the inpainter is asked to paint."""
    asked = []

    def paint(patches):
        asked.append(patches.clone())
        return torch.ones_like(patches)

    system.inpainter.forward = paint
    return asked


def corners_of(seed, count=PICTURES, size=32):
    """What is drawn first: (row, column) of the patch to inpaint and of those in the four turned views."""
    return torch.randint(0, size - SIDE + 1, (count, 5, 2), generator=torch.Generator().manual_seed(seed))


def window(corner):
    row, column = corner.tolist()
    return slice(row, row + SIDE), slice(column, column + SIDE)


# The six pictures


def test_the_six_pictures_differ_from_the_views_in_their_patches_alone(system, batch_of, seed):
    """Pixel by pixel, with an inpainter that paints all white."""
    watched(system)
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
    assert torch.equal(system.pictures(batch), expected)


def test_half_of_the_plain_and_turned_pictures_have_a_painted_patch_and_no_warp_has(system, batch_of):
    watched(system)
    batch = batch_of()
    found, images = system.pictures(batch), batch.views.images
    changed = (found[:, (0, 2, 3, 4, 5)] != images).flatten(2).any(2)
    assert torch.equal(changed, torch.tensor([[False] * 5, [True] * 4 + [False]] * (PICTURES // 2)))
    assert (found[:, 1] != images[:, 0]).flatten(1).any(1).all()


def test_the_inpainter_sees_a_border_with_noise_in_it_or_all_that_it_autoencodes(system, batch_of, seed):
    asked = watched(system)
    batch = batch_of()
    system.pictures(batch)
    (seen,) = asked
    assert seen.shape == (PICTURES + 4 * PICTURES // 2, 3, SIDE, SIDE)
    images, drawn, noise = 2 * batch.views.images - 1, corners_of(seed), []
    for i in range(PICTURES):
        rows, columns = window(drawn[i, 0])
        inpainted, real = seen[i], images[i, 0, :, rows, columns]
        differs = (inpainted != real).all(0)
        assert differs[HOLE, HOLE].float().mean() > 0.99
        assert differs.sum() == differs[HOLE, HOLE].sum(), "the border is the picture's"
        noise.append(inpainted[:, HOLE, HOLE])
    assert torch.stack(noise).std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.stack(noise).mean().item() == pytest.approx(0, abs=0.01)
    whole = seen[PICTURES:].unflatten(0, (-1, 4))
    for i, k in ((1, 0), (1, 3), (3, 1), (7, 2)):
        rows, columns = window(drawn[i, 1 + k])
        assert torch.equal(whole[i // 2, k], images[i, k, :, rows, columns])


def test_what_is_cut_and_pasted_back_changes_nothing(few, generator):
    pictures = few.images[:6].float()
    corners = torch.randint(0, 64 - SIDE + 1, (6, 2), generator=generator)
    corners[0], corners[1] = 0, 64 - SIDE  # at both ends
    places = window_pixels(corners, SIDE, 64)
    patches = cut(pictures, places, SIDE)
    for patch, picture, corner in zip(patches, pictures, corners, strict=True):
        rows, columns = window(corner)
        assert torch.equal(patch, picture[:, rows, columns])
    assert torch.equal(paste(pictures, places, patches), pictures)


def test_windows_reach_every_place(system, batch_of):
    """A view's first and last rows and columns are in some picture's patch, as those between."""
    watched(system)
    changed = torch.zeros(32, 32, dtype=torch.bool)
    for noise in range(12):
        batch = batch_of(noise=noise)
        changed |= (system.pictures(batch)[:, 1] != batch.views.images[:, 0]).all(1).any(0)
    assert changed.any(0).all()
    assert changed.any(1).all()


def test_with_one_crop_turned_pictures_are_turns_of_the_plain_one(system, batch_of, config):
    watched(system)
    found = system.pictures(batch_of(views=replace(config.views, shared_crop=True)))
    for turn in range(1, 4):
        torch.testing.assert_close(found[::2, 1 + turn], rotate(found[::2, 0], turn), rtol=0, atol=1e-5)


def test_one_picture_can_be_looked_at(system, batch_of):
    assert system.eval().pictures(batch_of(1)).shape == (1, 6, 3, 32, 32)


# Losses


def test_the_loss_is_of_the_six_classes_of_the_six_pictures(system, batch_of, seed):
    system.eval()  # so that statistics stay as they are
    logits = system.classifier(system.trunk(system.pictures(batch_of()).flatten(0, 1)))
    labels = torch.arange(6).repeat(PICTURES)
    terms = system.terms(batch_of())
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    right = (logits.argmax(1) == labels).float().view(PICTURES, 6)
    assert terms["pretext_accuracy"].item() == pytest.approx(right.mean().item())
    assert terms["inpainted_accuracy"].item() == pytest.approx(right[:, 1].mean().item())
    assert terms["autoencoded_accuracy"].item() == pytest.approx(right[1::2, 0].mean().item())


class Told(nn.Module):
    """A classifier that says what it is told of each picture, by its brightness."""

    def __init__(self, right):
        super().__init__()
        self.right = right

    def forward(self, features):
        rows = torch.cat(
            (torch.ones(PICTURES), torch.tensor([0.0, 2, 3, 4]).repeat(PICTURES), torch.full((PICTURES,), 5))
        )
        return 50 * torch.eye(6)[(rows.long() + (0 if self.right else 1)) % 6]


def test_who_knows_all_classes_loses_nothing_and_the_inpainter_gains_from_who_does_not(system, batch_of):
    """Its loss falls by as much as the classifier's rises, all else equal."""
    system.eval()
    found = {}
    for right in (True, False):
        system.classifier = Told(right)
        found[right] = system.terms(batch_of())
    assert found[True]["loss"] < 1e-6
    assert found[True]["pretext_accuracy"] == found[True]["inpainted_accuracy"] == 1
    assert found[False]["pretext_accuracy"] == found[False]["autoencoded_accuracy"] == 0
    fall = found[True]["loss_inpainter"] - found[False]["loss_inpainter"]
    torch.testing.assert_close(fall, found[False]["loss"] - found[True]["loss"])
    assert fall > 40
    assert found[True]["loss_discriminator"] == found[False]["loss_discriminator"]


def test_opponents_losses_are_the_hinge_and_its_answer(system, batch_of, seed):
    """With scores that are known: of real pairs first, then of painted ones."""
    system.eval()
    scores = torch.tensor([2.0, 0.5, -1.0, 1.0, -3.0, -0.5, 0.0, 2.0])
    pairs = []
    system.discriminator.forward = lambda given: pairs.append(given) or scores
    terms = system.terms(batch_of())
    assert terms["loss_discriminator"].item() == pytest.approx((0 + 0.5 + 2 + 0) / 4 + (0 + 0.5 + 1 + 3) / 4)
    kept = 50 * (terms["loss_border"] + terms["loss_autoencoded"])
    torch.testing.assert_close(terms["loss_inpainter"], kept + 1.5 / 4 - terms["loss"])
    real, painted = pairs[0].chunk(2)
    assert real.shape == (PICTURES // 2, 6, SIDE, SIDE)
    images, drawn = 2 * batch_of().views.images - 1, corners_of(seed)
    for i in range(PICTURES):
        rows, columns = window(drawn[i, 0])
        half = slice(3 * (i % 2), 3 * (i % 2) + 3)
        assert torch.equal(real[i // 2, half], images[i, 0, :, rows, columns])
        inside = system.pictures(batch_of())[i, 1, :, rows, columns]
        torch.testing.assert_close(painted[i // 2, half], 2 * inside - 1, rtol=0, atol=1e-5)


def test_what_is_kept_is_the_border_of_what_is_inpainted_and_all_of_what_is_autoencoded(system, batch_of, seed):
    watched(system)
    terms = system.terms(batch_of())
    images, drawn = 2 * batch_of().views.images - 1, corners_of(seed)
    border, whole = [], []
    for i in range(PICTURES):
        rows, columns = window(drawn[i, 0])
        errors = (images[i, 0, :, rows, columns] - 1).square()
        outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        outside[HOLE, HOLE] = False
        border.append(errors[:, outside])
        for k in range(4 * (i % 2)):
            rows, columns = window(drawn[i, 1 + k])
            whole.append((images[i, k, :, rows, columns] - 1).square())
    torch.testing.assert_close(terms["loss_border"], torch.stack(border).mean())
    torch.testing.assert_close(terms["loss_autoencoded"], torch.stack(whole).mean())


# Gradients


OWN = {
    "loss": ("trunk", "classifier"),
    "loss_inpainter": ("inpainter",),
    "loss_discriminator": ("discriminator",),
}


def test_each_parameter_has_one_optimiser_with_its_rate(system, config):
    optimisers = system.optimisers(config.train)
    assert list(optimisers) == list(OWN)
    for term, optimiser in optimisers.items():
        own = [p for group in optimiser.param_groups for p in group["params"]]
        expected = [p for name, p in system.named_parameters() if name.split(".")[0] in OWN[term]]
        assert {id(p) for p in own} == {id(p) for p in expected}
        assert len(own) == len(expected)
    groups = {term: optimiser.param_groups[0] for term, optimiser in optimisers.items()}
    assert [group["lr"] for group in groups.values()] == [config.train.lr, 2e-4, 8e-4]
    assert type(optimisers["loss"]) is torch.optim.AdamW
    for term in ("loss_inpainter", "loss_discriminator"):
        assert type(optimisers[term]) is torch.optim.Adam
        assert groups[term]["betas"] == (0.5, 0.999)
        assert groups[term]["weight_decay"] == 0


@pytest.mark.parametrize("term", OWN)
def test_each_term_moves_its_own_parameters_and_all_of_them(term, system, batch_of, config):
    """By the trainer's own way, all other terms being nothing."""
    loop = object.__new__(_Loop)
    loop.ranks, loop.optimisers = Ranks(), system.optimisers(config.train)
    terms = system.terms(batch_of())
    loop._backward({name: value if name == term else 0 * value for name, value in terms.items()})
    moved = {name for name, p in system.named_parameters() if p.grad is not None and p.grad.any()}
    own = {name for name, _ in system.named_parameters() if name.split(".")[0] in OWN[term]}
    assert moved <= own
    assert own - moved <= {"discriminator.last.bias"}  # while all scores lie within the hinges, both pull it alike


def test_the_inpainters_gradient_comes_from_discriminator_classifier_and_what_it_keeps(system, batch_of):
    """The gradient of the sum is the sum of three parts, each from a forward pass of its own, with the sign it has."""
    own, total = list(system.inpainter.parameters()), None
    gradient = torch.autograd.grad(system.terms(batch_of())["loss_inpainter"], own)
    state = {k: v.clone() for k, v in system.state_dict().items()}
    scores = []
    forward = system.discriminator.forward
    system.discriminator.forward = lambda pairs: scores.append(forward(pairs)) or scores[-1]
    system.discriminator.eval()  # the estimates of the norms as they are after the pass above
    system.load_state_dict(state)
    terms = system.terms(batch_of())
    painted = scores[0].chunk(2)[1].mean()
    parts = (-painted, -terms["loss"], 50 * (terms["loss_border"] + terms["loss_autoencoded"]))
    each = [torch.autograd.grad(part, own, retain_graph=True) for part in parts]
    for gradients in each:
        assert all(g.any() for g in gradients)
    total = [sum(gs) for gs in zip(*each, strict=True)]
    for got, expected in zip(gradient, total, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-7)


def test_statistics_move_once_a_step(system, batch_of):
    before = {k: v.clone() for k, v in system.named_buffers() if k.endswith("num_batches_tracked")}
    system.terms(batch_of())
    assert before
    assert all(v - before[k] == 1 for k, v in system.named_buffers() if k in before)


def test_looking_changes_nothing(system, batch_of):
    before = {k: v.clone() for k, v in system.state_dict().items()}
    assert not system.eval().pictures(batch_of()).requires_grad
    assert all(torch.equal(v, before[k]) for k, v in system.state_dict().items())


# Several processes


@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_two_processes_paints_its_half_of_what_one_paints(rank, system, batch_of):
    system.eval()
    whole, half = system.pictures(batch_of()), system.pictures(batch_of(ranks=Ranks(rank, 2)))
    torch.testing.assert_close(half, whole[Ranks(rank, 2).rows(PICTURES)])


def test_losses_of_two_processes_are_those_of_one(system, batch_of):
    """In evaluation mode, where batch norm sees no difference: pairs, alternation and noise are the same."""
    system.eval()
    whole, halves = (
        system.terms(batch_of()),
        [system.terms(batch_of(ranks=Ranks(rank, 2))) for rank in range(2)],
    )
    for name, expected in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, expected, msg=name)


# Runs


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_resumes_to_the_same_numbers(precision, config, few, tmp_path):
    """Stopped at the start, within an epoch and at its end; the trainer's layout is channels last."""
    config = replace(config, train=replace(config.train, precision=precision))
    whole = go(config, tmp_path / "whole", few)
    for step in (0, 1, 3, 4):
        folder = tmp_path / str(step)
        assert go(config, folder, few, stop=stopping_after(step)).progress["step"] == step
        assert_same_run(go(config, folder, few), whole)
    assert {"loss_inpainter", "loss_discriminator", "inpainted_accuracy"} < set(whole.history[1])


@pytest.mark.slow
def test_a_short_run_learns_to_tell_the_classes(config, photos, tmp_path):
    """Of six, at over twice what guessing gets; patches are told when painted well: its errors fall, too."""
    views = replace(config.views, crop_area=(0.5, 1.0), hue=0.05)
    model = replace(config.model, width=0.25)
    train = replace(config.train, epochs=12, batch=16, lr=5e-4, weight_decay=0.01, log_every=20, monitor_every=0)
    config = replace(config, views=views, model=model, train=train, objective=replace(config.objective, width=0.2))
    run = go(config, tmp_path / "run", photos["train"])
    assert run.curve("pretext_accuracy")[1][-1] > 0.33
    for term in ("loss_border", "loss_autoencoded"):
        errors = run.curve(term)[1]
        assert errors[-1] < errors[0] / 2


# Refusals


@pytest.mark.parametrize("primary", [TURNS, ("turn0",), PRIMARY[::-1]])
def test_other_views_are_refused(primary, tiny):
    with pytest.raises(CodialError) as caught:
        configs.override(tiny, {"objective.system": "globstat", "views.primary": primary})
    expected = "turn0, turn90, turn180, turn270, warp, five of globstat's six classes"
    assert str(caught.value) == f"views.primary is {primary!r}; expected {expected}."


def test_a_patch_is_a_part_of_the_view_in_whole_eighths(config):
    sides = {size: GlobStatOptions().side(size) for size in (32, 64, 80, 96, 224)}
    assert sides == {32: 16, 64: 40, 80: 48, 96: 56, 224: 136}
    assert GlobStatOptions(patch=1.0).side(33) == 32


def test_a_patch_too_small_and_a_border_too_wide_are_refused(config):
    with pytest.raises(
        CodialError, match=r"^objective.patch is 0.2; expected 8 or more of the view's 32 .* least 0.25"
    ):
        replace(config, objective=GlobStatOptions(patch=0.2))
    with pytest.raises(CodialError, match=r"^objective.border is 8; expected less than 8, half of a patch's 16 pixels"):
        replace(config, objective=GlobStatOptions(border=8))
    assert replace(config, objective=GlobStatOptions(border=7))
    assert replace(config, objective=GlobStatOptions(patch=0.2), views=ViewsConfig(size=64))


@pytest.mark.parametrize(
    ("name", "outside"),
    [("patch", 0), ("patch", 1.1), ("border", 0), ("width", 0), ("kept_weight", -1), ("inpainter_rate", 0),
     ("discriminator_rate", 0), ("system", "lci")],
)  # fmt: skip
def test_options_out_of_range_are_refused(name, outside):
    with pytest.raises(CodialError, match=rf"^objective.{name} is {outside!r}.*; expected "):
        GlobStatOptions(**{name: outside})
