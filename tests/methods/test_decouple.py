import math
from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, softmax

from codial import sample_views
from codial.config import ROTATIONS
from codial.errors import CodialError
from codial.methods import Batch, build, decouple, whole_dataset
from codial.methods.decouple import Decouple, DecoupleConfig
from codial.runs.checkpoints import read_tensors
from codial.transforms import plain_view
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup

BATCH, IMAGES, NEGATIVES, DIMS = 6, 24, 16, 8
INDICES = torch.tensor([3, 20, 7, 0, 11, 23])  # of the images of a batch
PU = {"pu_part": 1 / 3, "weighted_part": 1 / 3}


@pytest.fixture
def config(tiny):
    options = DecoupleConfig(dims=DIMS, negatives=NEGATIVES)
    return replace(tiny, method=options, views=replace(tiny.views, primary=ROTATIONS))


@pytest.fixture
def decouple_of(config, seed):
    def make(**options):
        torch.manual_seed(seed)
        return build(replace(config, method=replace(config.method, **options)), classes=0, images=IMAGES)

    return make


@pytest.fixture
def batch_at(config, few, seed):
    """Return a function that makes batches of the same views, with a given seed of the noise and stage."""
    views = sample_views(few.batch(INDICES), config.views, torch.Generator().manual_seed(seed))

    def make(noise=seed, stage=0):
        rng = BatchGenerator(torch.Generator().manual_seed(noise), BATCH)
        return Batch(views, few.labels[INDICES], 0.5, rng, INDICES, stage)

    return make


def halves(method, batch):
    """Return both halves of fc7, [B, 4, F / 2] each."""
    features = method.backbone(batch.views.images.flatten(0, 1)).view(BATCH, 4, -1)
    half = features.shape[2] // 2
    return features[..., :half], features[..., half:]


def vectors_of(method, batch):
    """Return the unit vectors of images, [B, D], computed image by image."""
    vectors = [method.projection(features.sum(0) / 4) for features in halves(method, batch)[1]]
    return torch.stack([vector / vector.square().sum().sqrt() for vector in vectors])


def negatives_of(seed):
    return torch.randint(0, IMAGES, (BATCH, NEGATIVES), generator=torch.Generator().manual_seed(seed))


def nce(vectors, bank, negatives, constant, temperature=0.07):
    """Return the loss of noise-contrastive estimation from probabilities, entry by entry in float64."""
    noise, total = negatives.shape[1] / len(bank), 0.0
    for vector, own, others in zip(vectors.double(), INDICES, negatives, strict=True):
        own_p = math.exp(vector @ bank[own].double() / temperature) / constant
        total -= math.log(own_p / (own_p + noise))
        for other in others:
            p = math.exp(vector @ bank[other].double() / temperature) / constant
            total -= math.log(noise / (p + noise))
    return total / len(vectors)


def constant_of(vectors, bank, negatives, temperature=0.07):
    entries = torch.cat((INDICES.unsqueeze(1), negatives), 1)
    values = [torch.exp(bank[e].double() @ v.double() / temperature) for v, e in zip(vectors, entries, strict=True)]
    return torch.cat(values).mean().item() * len(bank)


# Terms


def test_the_terms_are_those_of_a_loop_over_images_and_rotations(decouple_of, batch_at, seed):
    method = decouple_of().train()
    bank = method.bank.memory.clone()
    assert isinstance(method, Decouple)
    terms = method.terms(batch_at())
    assert set(terms) == {"loss", "loss_transform", "loss_mean", "loss_instance", "pretext_accuracy"}
    rotation_half, instance_half = halves(method, batch_at())
    logits = method.classifier(rotation_half)
    pairs = [(i, k) for i in range(BATCH) for k in range(4)]
    transform = torch.stack([cross_entropy(logits[i, k], torch.tensor(k)) for i, k in pairs]).mean()
    distances = [(instance_half[i, k] - instance_half[i].sum(0) / 4).square().mean() for i, k in pairs]
    torch.testing.assert_close(terms["loss_transform"], transform)
    torch.testing.assert_close(terms["loss_mean"], torch.stack(distances).mean())
    correct = sum(int(logits[i, k].argmax()) == k for i, k in pairs)
    assert terms["pretext_accuracy"].item() == pytest.approx(correct / len(pairs))
    vectors, negatives = vectors_of(method, batch_at()).detach(), negatives_of(seed)
    constant = constant_of(vectors, bank, negatives)
    assert method.bank.constant.item() == pytest.approx(constant, rel=1e-4)
    assert terms["loss_instance"].item() == pytest.approx(nce(vectors, bank, negatives, constant), rel=1e-4)
    torch.testing.assert_close(terms["loss"], terms["loss_transform"] + terms["loss_mean"] + terms["loss_instance"])


def test_equal_views_of_an_image_have_no_loss_mean(decouple_of, batch_at):
    method = decouple_of()
    features = torch.randn(BATCH, method.backbone.feature_dim)
    method.backbone.forward = lambda images: features.repeat_interleave(4, 0)
    assert method.terms(batch_at())["loss_mean"] < 1e-12


def test_the_positive_is_the_entry_at_the_images_index(decouple_of, batch_at):
    """The loss is lower with each vector at its own entry than at another's."""
    losses = []
    for entries in (INDICES, INDICES.roll(1)):
        method = decouple_of(negatives=4)
        method.bank.memory = torch.zeros_like(method.bank.memory)
        with torch.no_grad():
            method.bank.memory[entries] = vectors_of(method, batch_at())
            method.bank.constant.fill_(IMAGES)
        losses.append(method.terms(batch_at())["loss_instance"].item())
    assert losses[0] < losses[1]


def test_in_bfloat16_scores_are_computed_in_float32(decouple_of, batch_at, seed):
    method = decouple_of()
    bank = method.bank.memory.clone()
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.terms(batch_at())
        features = method.backbone(batch_at().views.images.flatten(0, 1)).chunk(2, 1)[1].float().view(BATCH, 4, -1)
        vectors = normalize(method.projection(features.mean(1)).float()).detach()
    negatives = negatives_of(seed)
    expected = nce(vectors, bank, negatives, constant_of(vectors, bank, negatives))
    assert terms["loss_instance"].item() == pytest.approx(expected, rel=1e-4)


# Memory bank


@pytest.mark.parametrize("momentum", [0.5, 0.0, 0.9])
def test_only_entries_of_the_batch_are_updated(momentum, decouple_of, batch_at):
    method = decouple_of(bank_momentum=momentum)
    before = method.bank.memory.clone()
    method.terms(batch_at())
    vectors = vectors_of(method, batch_at()).detach()
    for index in range(IMAGES):
        expected = before[index]
        if index in INDICES.tolist():
            updated = momentum * before[index] + (1 - momentum) * vectors[INDICES.tolist().index(index)]
            expected = updated / updated.norm()
        torch.testing.assert_close(method.bank.memory[index], expected)


def test_the_bank_is_part_of_the_state_but_has_no_parameters(decouple_of):
    method = decouple_of()
    assert {"bank.memory", "bank.constant"} <= set(method.state_dict())
    assert not {"bank.memory", "bank.constant"} & {name for name, _ in method.named_parameters()}


def test_the_bank_does_not_change_in_evaluation_mode(decouple_of, batch_at):
    method = decouple_of().eval()
    before = method.bank.memory.clone()
    method.terms(batch_at())
    assert torch.equal(method.bank.memory, before)


class OneOfTwo(ProcessGroup):
    """One of two processes; `received` holds what the other one sends, in order."""

    received: list

    def gather(self, x):
        other = self.received.pop(0)
        return torch.cat((x, other) if self.is_main else (other, x))

    def mean(self, x):
        return (x + self.received.pop(0)) / 2


def test_two_processes_update_the_bank_as_one_does(decouple_of, batch_at, seed):
    """Each has half of the batch; batch norm is in evaluation mode, so that it does not differ."""

    def update(processes):
        method, batch = decouple_of(), batch_at()
        method.backbone.eval()
        rows = processes.shard(BATCH)
        views = batch.views._replace(images=batch.views.images[rows], labels=batch.views.labels[rows])
        rng = BatchGenerator(torch.Generator().manual_seed(seed), len(views.images), processes)
        return method, method.terms(Batch(views, batch.image_labels[rows], 0.5, rng, INDICES[rows]))

    single, terms = update(ProcessGroup())
    initial = decouple_of()
    initial.backbone.eval()
    with torch.no_grad():
        vectors = vectors_of(initial, batch_at())
        entries = torch.cat((INDICES.unsqueeze(1), negatives_of(seed)), 1)
        exps = (vectors @ initial.bank.memory.T / 0.07).gather(1, entries).exp()
    losses = []
    for rank in (0, 1):
        processes, other = OneOfTwo(rank, 2), ProcessGroup(1 - rank, 2).shard(BATCH)
        processes.received = [exps[other].mean(), INDICES[other], vectors[other]]
        half, own_terms = update(processes)
        assert not processes.received
        torch.testing.assert_close(half.bank.memory, single.bank.memory)
        torch.testing.assert_close(half.bank.constant, single.bank.constant)
        losses.append(own_terms["loss_instance"])
    torch.testing.assert_close(torch.stack(losses).mean(), terms["loss_instance"])


# Weights of rotated views, and the RotNets that estimate them


def test_rotated_views_have_the_weight_1_minus_p_to_the_power_of_gamma(decouple_of, batch_at, generator):
    method = decouple_of(**PU, gamma=3.0).eval()
    method.upright = torch.rand(IMAGES, 4, generator=generator)
    batch = batch_at(stage=2)
    views = batch.views._replace(images=batch.views.images.flip(1), labels=batch.views.labels.flip(1))
    terms = method.terms(batch._replace(views=views))
    logits = method.classifier(halves(method, batch)[0])
    total, weights = 0.0, []
    for i, index in enumerate(INDICES.tolist()):
        for k in range(4):
            weights.append(1.0 if k == 0 else 1 - method.upright[index, k].item() ** 3)
            total += weights[-1] * cross_entropy(logits[i, k], torch.tensor(k)).item()
    assert terms["loss_transform"].item() == pytest.approx(total / len(weights), rel=1e-5)
    assert terms["rotation_weight"].item() == pytest.approx(sum(weights) / len(weights), rel=1e-5)


def test_weights_of_0_and_1(decouple_of, batch_at):
    """With p = 0 for rotated views, terms are those without weights; with p = 1, only upright views count."""
    unweighted, method = decouple_of().eval(), decouple_of(**PU).eval()
    method.upright[:, 0] = 0.7
    terms, expected = method.terms(batch_at(stage=2)), unweighted.terms(batch_at())
    assert all(torch.equal(terms[name], value) for name, value in expected.items())
    method.upright[:, 1:] = 1
    logits = method.classifier(halves(method, batch_at())[0])
    upright = cross_entropy(logits[:, 0], torch.zeros(BATCH, dtype=torch.int64)) / 4
    torch.testing.assert_close(method.terms(batch_at(stage=2))["loss_transform"], upright)


def test_before_the_last_stage_weights_are_1(decouple_of, batch_at, generator):
    method = decouple_of(**PU).eval()
    method.upright = torch.rand(IMAGES, 4, generator=generator)
    terms = method.terms(batch_at(stage=1))
    assert terms["rotation_weight"] == 1
    assert torch.equal(terms["loss"], decouple_of().eval().terms(batch_at())["loss"])


def test_each_rotnet_gets_gradients_from_its_half_of_the_images_only(decouple_of, batch_at):
    """If the images of one half change, the gradients of the other half's RotNet stay the same, bit for bit."""
    method, batch = decouple_of(**PU).train(), batch_at()
    assert method.fold.bincount().tolist() == [IMAGES // 2] * 2
    fold = method.fold[INDICES]
    assert 0 < fold.sum() < BATCH

    def gradients(images):
        method.zero_grad()
        method.terms(batch._replace(views=batch.views._replace(images=images)))["loss"].backward()
        assert {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None} == {"rotnets"}
        return [[p.grad.clone() for p in rotnet.parameters()] for rotnet in method.rotnets]

    before = gradients(batch.views.images)
    for half in (0, 1):
        images = batch.views.images.clone()
        images[fold == half] = 1 - images[fold == half]
        after = gradients(images)
        assert all(map(torch.equal, before[1 - half], after[1 - half]))
        assert not any(map(torch.equal, before[half], after[half]))


def test_the_rotnets_loss_is_the_mean_over_all_views(decouple_of, batch_at):
    method, batch = decouple_of(**PU).eval(), batch_at()
    logits = [rotnet.classifier(rotnet.backbone(batch.views.images.flatten(0, 1))) for rotnet in method.rotnets]
    fold = method.fold[INDICES].repeat_interleave(4)
    logits = torch.where(fold.unsqueeze(1) == 0, *logits)
    terms = method.terms(batch)
    assert set(terms) == {"loss", "rotnet_accuracy"}
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, batch.views.labels.flatten()))
    correct = (logits.argmax(1) == batch.views.labels.flatten()).float().mean()
    torch.testing.assert_close(terms["rotnet_accuracy"], correct)


def test_a_batch_can_be_of_one_half_of_the_images(decouple_of, batch_at):
    method, batch = decouple_of(**PU), batch_at()
    method.fold[INDICES] = 1
    terms = method.terms(batch)
    torch.testing.assert_close(terms["loss"], method.rotnets[1].terms(batch)["loss"])


def test_probabilities_are_those_of_the_other_rotnet_on_rotated_uncropped_images(
    decouple_of, few, generator, monkeypatch
):
    """Computed in several batches, with batch norm in evaluation mode, and once per run."""
    monkeypatch.setattr(whole_dataset, "_BATCH", 5)
    method = decouple_of(**PU)
    method.begin_epoch(few, 0.0, generator, 0)
    assert not method.upright.any()
    for norm in (m for m in method.rotnets.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)):
        norm.momentum = 1
    for rotnet in method.rotnets:  # statistics and weights that distinguish images and rotations
        rotnet.backbone.train()(plain_view(few.images, 32))
        nn.init.normal_(rotnet.classifier.weight, std=0.1)
    method.begin_epoch(few, 0.3, generator, 1)
    with torch.no_grad():
        for index in range(IMAGES):
            rotnet = method.rotnets[1 - int(method.fold[index])].eval()
            for k in range(4):
                rotated = torch.rot90(plain_view(few.batch([index]), 32), k, (2, 3))
                p = softmax(rotnet.classifier(rotnet.backbone(rotated)), 1)[0, 0]
                assert method.upright[index, k].item() == pytest.approx(p.item(), abs=1e-5)
    assert method.upright.std() > 0.1
    before = method.upright.clone()
    nn.init.zeros_(method.rotnets[0].classifier.weight)
    method.begin_epoch(few, 0.6, generator, 2)
    assert torch.equal(method.upright, before), "computed once"


def test_views_are_rotated_in_the_same_direction_as_uncropped_images(config, few, generator):
    views = replace(config.views, flip=0.0, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    views = replace(views, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    sampled = sample_views(few.batch([3, 4]), views, generator)
    assert sampled.labels.tolist() == [[0, 1, 2, 3]] * 2
    rotated = torch.stack([torch.rot90(plain_view(few.batch([3, 4]), 32), k, (2, 3)) for k in range(4)], 1)
    distance = (sampled.images.unsqueeze(2) - rotated.unsqueeze(1)).abs().flatten(3).mean(3)  # [2, 4, 4]
    assert distance.diagonal(dim1=1, dim2=2).max() < 2e-3  # except for borders
    assert (distance + torch.eye(4)).min() > 2e-2


def test_rotnets_do_not_change_the_initial_weights_of_the_others(decouple_of):
    without, having = decouple_of().state_dict(), decouple_of(**PU).state_dict()
    assert without.keys() < having.keys()
    assert all(torch.equal(value, having[name]) for name, value in without.items())
    assert {name.split(".")[0] for name in having.keys() - without.keys()} == {"rotnets", "upright"}


def test_with_rotnets_there_are_three_stages(decouple_of):
    assert decouple_of().stages() == (1.0,)
    assert decouple_of(pu_part=0.2, weighted_part=0.1).stages() == pytest.approx((0.2, 0.7, 0.1))


# Gradients


def reached_units(method, batch, term):
    """Return whether the gradient of a term reaches each unit of fc7."""
    method.zero_grad()
    method.terms(batch)[term].backward()
    return method.backbone.fc7[0].weight.grad.abs().sum(1) > 0


def test_each_half_of_fc7_gets_gradients_from_its_own_terms_only(decouple_of, batch_at):
    method = decouple_of()
    half = method.backbone.feature_dim // 2
    for term in ("loss_transform", "loss_mean", "loss_instance"):
        reached = reached_units(method, batch_at(), term)
        own, other = (reached[:half], reached[half:]) if term == "loss_transform" else (reached[half:], reached[:half])
        assert not other.any()
        assert own.float().mean() > 0.5


def test_the_mean_of_the_views_is_a_constant_target(decouple_of, batch_at, monkeypatch):
    """The target has no gradient, which the sum could not show, because the differences of an image sum to 0."""
    method, arguments = decouple_of(), []
    features = torch.randn(BATCH * 4, method.backbone.feature_dim, requires_grad=True)
    method.backbone.forward = lambda images: features
    monkeypatch.setattr(decouple, "mse_loss", lambda *given: arguments.append(given) or mse_loss(*given))
    method.terms(batch_at())["loss_mean"].backward()
    ((compared, target),) = arguments
    assert compared.requires_grad
    assert not target.requires_grad
    half = method.backbone.feature_dim // 2
    kept = features.detach()[:, half:].view(BATCH, 4, half)
    torch.testing.assert_close(features.grad[:, half:].view_as(kept), 2 * (kept - kept.mean(1, True)) / kept.numel())


@pytest.mark.parametrize("constant_bank", [False, True])
def test_steps_lower_the_loss_of_a_fixed_batch(constant_bank, decouple_of, batch_at):
    method = decouple_of().train()
    if constant_bank:
        method.bank.update = lambda *arguments: None
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    steps = []
    for _ in range(8):
        steps.append(method.terms(batch_at()))
        optimizer.zero_grad()
        steps[-1]["loss"].backward()
        assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []
        optimizer.step()
    for name in ("loss", "loss_transform", "loss_instance"):
        assert steps[-1][name] < steps[0][name] - 0.05, name


# Runs


def test_a_run_resumes_to_the_same_numbers(config, few, tmp_path):
    """Stopped within an epoch, at its end, and before the second of six steps; the bank is in the checkpoint."""
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    for step in (1, 3, 4):
        folder = tmp_path / str(step)
        pretrain_quietly(config, folder, few, stop=stop_after(step))
        assert_same_run(pretrain_quietly(config, folder, few), uninterrupted)
    tensors = read_tensors(uninterrupted.folder / "checkpoints" / "last.safetensors", "model.")
    assert tensors["model.bank.memory"].shape == (24, DIMS)
    torch.testing.assert_close(tensors["model.bank.memory"].norm(dim=1), torch.ones(24))
    assert tensors["model.bank.constant"] > 0


@pytest.fixture(scope="module")
def staged_config(tiny):
    """Two epochs of three steps in each of three stages."""
    views, train = replace(tiny.views, primary=ROTATIONS), replace(tiny.train, epochs=6)
    return replace(tiny, method=DecoupleConfig(dims=DIMS, negatives=NEGATIVES, **PU), views=views, train=train)


@pytest.fixture(scope="module")
def staged_run(staged_config, few, tmp_path_factory):
    return pretrain_quietly(staged_config, tmp_path_factory.mktemp("staged") / "run", few)


@pytest.fixture(scope="module")
def run_after_rotnets(staged_config, few, tmp_path_factory):
    """The same run, stopped at the end of the first stage."""
    folder = tmp_path_factory.mktemp("staged") / "stopped"
    return pretrain_quietly(staged_config, folder, few, stop=stop_after(6))


@pytest.mark.parametrize("step", [2, 7, 12, 14])
def test_a_run_with_rotnets_resumes_to_the_same_numbers_in_each_stage(step, staged_config, staged_run, few, tmp_path):
    run = pretrain_quietly(staged_config, tmp_path / "run", few, stop=stop_after(step))
    assert run.progress["step"] == step
    assert_same_run(pretrain_quietly(staged_config, tmp_path / "run", few), staged_run)


def test_each_stage_trains_its_own_modules(staged_config, staged_run, run_after_rotnets, few, tmp_path):
    """Only the RotNets change in the first stage, and they do not change afterwards."""
    path = "checkpoints/last.safetensors"
    after, end = (read_tensors(run.folder / path, "model.") for run in (run_after_rotnets, staged_run))
    untrained = replace(staged_config, train=replace(staged_config.train, epochs=0))
    start = read_tensors(pretrain_quietly(untrained, tmp_path / "run", few).folder / path, "model.")
    for name, value in after.items():
        is_rotnet, is_count = name.startswith("model.rotnets."), name.endswith("num_batches_tracked")
        assert torch.equal(value, start[name]) != is_rotnet, name
        if name != "model.bank.memory" and not name.startswith("model.upright"):
            assert torch.equal(value, end[name]) == is_rotnet or is_count, name
    assert 0 < end["model.upright"].min() < end["model.upright"].max() < 1


def test_the_history_has_the_terms_of_each_stage(staged_run):
    lines = [line for line in staged_run.history if line["kind"] == "train"]
    assert [set(line) & {"rotnet_accuracy", "pretext_accuracy"} for line in lines] == (
        [{"rotnet_accuracy"}] * 3 + [{"pretext_accuracy"}] * 6
    )
    weights = [line["rotation_weight"] for line in lines[3:]]
    assert weights[:3] == [1] * 3
    assert all(0.5 < weight < 1 for weight in weights[3:])


# Errors


def test_rotnets_refuse_several_processes(decouple_of, batch_at):
    batch = batch_at()
    expected = r"^Decouple trains its RotNets in one process only.* there are 2\. .*or set method.pu_part to 0"
    with pytest.raises(CodialError, match=expected):
        decouple_of(**PU).terms(batch._replace(rng=BatchGenerator(batch.rng.generator, 3, ProcessGroup(0, 2))))


def test_images_are_required(config):
    with pytest.raises(CodialError, match=r"^Decouple keeps a vector for each image .* got 0 images, expected 1 or"):
        build(config, classes=8)
