import json
import math
import signal
from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after, without_seconds
from PIL import Image

import codial
from codial import methods
from codial.data import ImageSet
from codial.errors import CodialError
from codial.methods.codial import Codial
from codial.methods.supervised import SupervisedConfig
from codial.runs.metadata import read_metadata
from codial.training import prefetch
from codial.training.monitors import feature_monitors
from codial.training.prefetch import replay, step_seed
from codial.training.schedule import learning_rate
from codial.transforms import render
from codial.utils.devices import choose_device, uses_bf16

TERMS = {"loss", "loss_transform", "pretext_accuracy", "mi_js", "skl", "beta", "lr"}
MONITORS = {"feature_std", "rankme", "knn", "probe", "confusion"}
POSITION = {"kind", "step", "epoch", "views", "seconds"}


# Runs


def test_a_run_writes_its_folder(tiny_run):
    files = {str(path.relative_to(tiny_run.folder)) for path in tiny_run.folder.rglob("*") if path.is_file()}
    files = {name for name in files if not name.startswith("evaluations/") and name != ".lock"}  # of other tests
    checkpoints = {f"checkpoints/{name}.safetensors" for name in ("last", "previous", "best")}
    assert files == {"config.json", "history.jsonl", "provenance.json"} | checkpoints


def test_every_line_of_the_history_has_all_fields(tiny_run, tiny):
    for line in tiny_run.history:
        assert set(line) == POSITION | (TERMS if line["kind"] == "train" else MONITORS)
        assert all(math.isfinite(value) for key, value in line.items() if key not in ("kind", "confusion"))
        assert line["views"] == line["step"] * 8 * 5
        assert line["epoch"] == pytest.approx(line["step"] / 3, abs=1e-3)
    lines = [line for line in tiny_run.history if line["kind"] == "train"]
    for line in lines:
        assert line["lr"] == pytest.approx(learning_rate((line["step"] - 1) / 6, tiny.train))
    seconds = [line["seconds"] for line in tiny_run.history]
    assert seconds == sorted(seconds)


def test_a_line_of_the_history_is_the_mean_over_the_steps_since_the_last_one(tiny, few, tmp_path):
    """With a line every 4 of 6 steps, the second one covers two steps."""
    every = pretrain_quietly(replace(tiny, train=replace(tiny.train, log_every=1)), tmp_path / "every", few)
    fourth = pretrain_quietly(replace(tiny, train=replace(tiny.train, log_every=4)), tmp_path / "fourth", few)
    for term in TERMS - {"lr"}:
        values = every.curve(term)[1]
        expected = [sum(values[:4]) / 4, sum(values[4:]) / 2]
        assert fourth.curve(term)[1] == pytest.approx(expected, rel=1e-6)
    assert fourth.curve("loss")[0] == [4, 6]


@pytest.mark.numbers("seeds across processes")
def test_runs_depend_on_the_seed_only(tiny, tiny_run, few, tmp_path):
    torch.manual_seed(99)  # the global state has no influence
    again = pretrain_quietly(tiny, tmp_path / "again", few)
    assert_same_run(again, tiny_run)
    other = pretrain_quietly(replace(tiny, seed=tiny.seed + 1), tmp_path / "other", few)
    assert other.curve("loss")[1] != tiny_run.curve("loss")[1]


def test_every_step_and_seed_has_its_own_random_numbers(tiny, few, tmp_path, monkeypatch):
    seeds, sample_params, terms = [], prefetch.sample_params, Codial.terms

    def record_params(count, image, config, generator):
        seeds.append(generator.initial_seed())
        return sample_params(count, image, config, generator)

    def record_noise(self, batch):
        seeds.append(batch.rng.generator.initial_seed())
        return terms(self, batch)

    monkeypatch.setattr(prefetch, "sample_params", record_params)
    monkeypatch.setattr(Codial, "terms", record_noise)
    for seed in (0, 1):
        pretrain_quietly(replace(tiny, seed=seed), tmp_path / str(seed), few)
    assert len(set(seeds)) == len(seeds) == 2 * 6 * 2


def test_global_state_is_restored(tiny, few, tmp_path):
    handler, state = signal.getsignal(signal.SIGINT), torch.get_rng_state()
    pretrain_quietly(replace(tiny, train=replace(tiny.train, epochs=1)), tmp_path / "run", few)
    assert torch.equal(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGINT) is handler


def test_on_log_gets_every_line_of_the_history(tiny, few, tmp_path):
    lines = []

    def listen(line):
        lines.append(dict(line))
        assert codial.open_run(tmp_path / "run").history == lines, "a run can be read while it is written"

    run = pretrain_quietly(tiny, tmp_path / "run", few, on_log=listen)
    assert lines == run.history


def test_images_are_those_of_the_config(tiny, tmp_path):
    config = replace(tiny, train=replace(tiny.train, epochs=0, monitor_every=0))
    run = codial.pretrain(config, tmp_path / "run", progress=False)
    expected = codial.load_images("photos", "train", limit=24, seed=config.seed)
    assert run.provenance["images"]["fingerprint"] == expected.fingerprint


def test_a_batch_of_the_entire_set_has_every_image_once(tiny, few, tmp_path, monkeypatch):
    batches = []

    def watch(images, *rest):
        batches.append(images.clone())
        return render(images, *rest)

    monkeypatch.setattr(prefetch, "render", watch)
    config = replace(tiny, train=replace(tiny.train, batch=1000))
    assert pretrain_quietly(config, tmp_path / "run", few).progress["step"] == 2
    orders = []
    for batch in batches:
        flat = {tuple(p.flatten().tolist()): i for i, p in enumerate(few.images)}
        orders.append([flat[tuple(p.flatten().tolist())] for p in batch])
        assert sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1], "epochs have different orders"


def test_training_lowers_the_loss_and_keeps_the_weights_of_the_best_knn_accuracy(photos, tiny, tmp_path):
    train = replace(tiny.train, epochs=6, batch=32, lr=2e-3, monitor_images=160)
    config = replace(tiny, method=replace(tiny.method, mi_weight=0), train=train)
    run = pretrain_quietly(config, tmp_path / "run", photos["train"].subset(160))
    losses = run.curve("loss")[1]
    assert sum(losses[-3:]) / 3 < losses[0] - 0.02
    steps, knn = run.curve("knn")
    note = read_metadata(run.folder / "checkpoints" / "best.safetensors")
    assert note["best"] == max(knn)
    assert note["step"] == steps[knn.index(max(knn))]


# Random weights


def test_a_run_without_epochs_has_random_weights_and_one_line_of_monitors(tiny, few, tmp_path, seed):
    config = replace(tiny, train=replace(tiny.train, epochs=0))
    run = pretrain_quietly(config, tmp_path / "run", few)
    assert run.finished
    assert [(line["kind"], line["step"]) for line in run.history] == [("monitor", 0)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(config.seed, "weights", 0))
        expected = methods.build(config, classes=8).backbone.state_dict()
    for name, tensor in run.backbone().state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_the_first_monitors_are_those_of_random_weights(tiny, tiny_run, few, tmp_path):
    run = pretrain_quietly(replace(tiny, train=replace(tiny.train, epochs=0)), tmp_path / "run", few)
    assert without_seconds(run)[0] == without_seconds(tiny_run)[0]


def test_monitors_can_be_disabled(tiny, few, tmp_path):
    run = pretrain_quietly(replace(tiny, train=replace(tiny.train, monitor_every=0)), tmp_path / "run", few)
    assert {line["kind"] for line in run.history} == {"train"}
    assert not (run.folder / "checkpoints" / "best.safetensors").exists()


# NaN and infinite losses


@pytest.mark.faults("NaN or infinite loss")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_nan_or_infinite_loss_ends_the_run_and_keeps_the_last_checkpoint(
    bad, log_every, tiny, few, tmp_path, monkeypatch
):
    """The fifth of nine steps fails; the checkpoint of the third is kept, whenever lines are written."""
    config = replace(tiny, train=replace(tiny.train, epochs=3, log_every=log_every))
    terms, calls = Codial.terms, 0

    def diverging(self, batch):
        nonlocal calls
        calls += 1
        result = terms(self, batch)
        return result | {"loss": result["loss"] * bad} if calls == 5 else result

    monkeypatch.setattr(Codial, "terms", diverging)
    with pytest.raises(CodialError, match=r"^NaN or infinite loss at step 5 .* Try a smaller train.lr"):
        pretrain_quietly(config, tmp_path / "run", few)
    run = codial.open_run(tmp_path / "run")
    assert run.progress["step"] == 3
    for which in ("last", "best"):
        assert all(torch.isfinite(tensor).all() for tensor in run.backbone(which).state_dict().values())
    assert all(math.isfinite(v) for line in run.history for v in line.values() if isinstance(v, float))
    monkeypatch.undo()
    assert_same_run(
        pretrain_quietly(config, tmp_path / "run", few), pretrain_quietly(config, tmp_path / "uninterrupted", few)
    )


@pytest.mark.faults("NaN or infinite loss")
@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_the_batch_of_a_nan_loss_can_be_replayed(log_every, tiny, few, tmp_path, monkeypatch):
    """diverged.json gives back the same views."""
    config = replace(tiny, train=replace(tiny.train, epochs=3, log_every=log_every))
    terms, batches = Codial.terms, []

    def diverging(self, batch):
        batches.append(batch)
        result = terms(self, batch)
        return result | {"loss": result["loss"] * float("nan")} if len(batches) == 6 else result

    monkeypatch.setattr(Codial, "terms", diverging)
    with pytest.raises(CodialError, match=r"at step 6 .*diverged.json describes the batch"):
        pretrain_quietly(config, tmp_path / "run", few)
    record = json.loads((tmp_path / "run" / "diverged.json").read_text())
    batch = replay(record, config, few)
    assert record["step"] == 6
    assert torch.equal(batch.indices, batches[5].indices)
    assert torch.equal(batch.views.images, batches[5].views.images)
    assert not torch.equal(batch.views.images, batches[4].views.images)


@pytest.mark.faults("NaN or infinite loss")
def test_a_stop_after_a_nan_loss_does_not_save(tiny, few, tmp_path):
    config = replace(tiny, train=replace(tiny.train, lr=1e30, log_every=100))
    with pytest.raises(CodialError, match=r"loss at step 2 \(\d+ parameters are not finite, such as "):
        pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(2))
    assert codial.open_run(tmp_path / "run").progress == {}


# Labels


@pytest.fixture
def unlabeled(few):
    return ImageSet("mine", "train", few.images, torch.full((24,), -1), ())


def test_images_without_labels_are_enough_for_codial(tiny, unlabeled, tmp_path):
    run = pretrain_quietly(tiny, tmp_path / "run", unlabeled)
    assert run.finished
    monitors = [line for line in run.history if line["kind"] == "monitor"]
    assert [set(line) for line in monitors] == [POSITION | {"feature_std", "rankme", "confusion"}] * 3


@pytest.mark.parametrize("labeled", [0, 20])
def test_supervised_learning_requires_labels_of_all_images(labeled, tiny, few, unlabeled, tmp_path):
    if labeled:
        labels = few.labels.clone()
        labels[labeled:] = -1
        unlabeled = ImageSet("mine", "train", few.images, labels, few.classes)
    config = replace(tiny, method=SupervisedConfig())
    with pytest.raises(CodialError, match=r"Supervised learning needs a label of 2 or more classes for every image"):
        pretrain_quietly(config, tmp_path / "run", unlabeled)


def test_supervised_learning_logs_loss_and_accuracy(tiny, few, tmp_path):
    config = replace(tiny, method=SupervisedConfig(), views=replace(tiny.views, primary=("rot0",)))
    run = pretrain_quietly(config, tmp_path / "run", few)
    assert set(run.history[1]) == POSITION | {"loss", "pretext_accuracy", "lr"}


def test_one_image_is_not_enough(tiny, few, tmp_path):
    with pytest.raises(CodialError, match=r"photos has 1 images; pretraining needs at least 2"):
        pretrain_quietly(tiny, tmp_path / "run", few.subset(1))


def test_monitors_are_those_of_the_saved_backbone(tiny_run, few):
    """They are deterministic; knn and probe need 20 labeled images."""
    backbone = tiny_run.backbone()
    first = feature_monitors(backbone, few, 24)
    assert first == feature_monitors(backbone, few, 24)
    last = tiny_run.history[-1]
    assert {key: last[key] for key in first} == pytest.approx(first, rel=1e-3)
    labels = few.labels.clone()
    labels[:5] = -1
    assert set(feature_monitors(backbone, replace(few, labels=labels), 24)) == {"feature_std", "rankme"}


# Parts of the training loop


def test_the_learning_rate_equals_torchs_cosine_annealing(tiny):
    train = replace(tiny.train, lr=0.2, lr_end=0.1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.02)
    for step in range(51):
        assert learning_rate(step / 50, train) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_weight_decay_applies_to_matrices_and_kernels_only(tiny, few, tmp_path, monkeypatch):
    optimizers = []
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, **k: optimizers.append(adamw(*a, **k)) or optimizers[-1])
    pretrain_quietly(replace(tiny, train=replace(tiny.train, epochs=1, weight_decay=0.25)), tmp_path / "run", few)
    decayed = {p.ndim for group in optimizers[0].param_groups if group["weight_decay"] == 0.25 for p in group["params"]}
    free = {p.ndim for group in optimizers[0].param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert (decayed, free) == ({2, 4}, {1})


def test_steps_and_streams_have_different_seeds():
    seeds = {step_seed(s, stream, step) for s in range(3) for stream in ("views", "noise") for step in range(500)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_devices_and_precision():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wanted in ("gpu", "cuda:99"):
        with pytest.raises(CodialError, match=rf"^train.device is '{wanted}', which is not available on this machine"):
            choose_device(wanted)
    cpu = torch.device("cpu")
    assert uses_bf16("bf16", cpu)
    assert not uses_bf16("float32", cpu)


def test_bf16_gives_a_similar_loss_and_float32_weights(tiny, tiny_run, few, tmp_path):
    run = pretrain_quietly(replace(tiny, train=replace(tiny.train, precision="bf16")), tmp_path / "run", few)
    ours, theirs = (r.curve("loss")[1] for r in (run, tiny_run))
    assert ours[0] == pytest.approx(theirs[0], abs=0.05)
    assert ours != theirs
    assert {tensor.dtype for tensor in run.backbone().state_dict().values()} == {torch.float32, torch.int64}


def test_images_on_disk_give_the_same_run_as_images_in_memory(tiny, few, tmp_path):
    """They are decoded in the background; a damaged one is replaced by another."""
    for number, image in enumerate(few.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:02}.png")
    runs_of = [
        pretrain_quietly(tiny, tmp_path / "runs" / keep, codial.load_images(tmp_path, "all", size=64, storage=keep))
        for keep in ("files", "memory")
    ]
    assert without_seconds(runs_of[0]) == without_seconds(runs_of[1])
    (tmp_path / "05.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"another replaces it .* 05.png"):
        run = pretrain_quietly(
            tiny, tmp_path / "runs" / "damaged", codial.load_images(tmp_path, "all", size=64, storage="files")
        )
    assert run.finished
