import importlib
import json
import math
import signal
from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after, timeless
from PIL import Image

import codial
from codial import feed, objectives
from codial.checkpoints import read_note
from codial.config import SupervisedOptions
from codial.data import ImageSet
from codial.devices import choose_device, uses_bf16
from codial.errors import CodialError
from codial.feed import replay, step_seed
from codial.monitors import measure
from codial.schedule import learning_rate
from codial.views import render

LOOP = importlib.import_module("codial.pretrain")  # the module; `codial.pretrain` is its function
TERMS = {"loss", "loss_transform", "pretext_accuracy", "mi_js", "skl", "beta", "lr"}
MONITORS = {"feature_std", "rankme", "knn", "probe", "confusion"}
PLACE = {"kind", "step", "epoch", "views", "seconds"}


# A run


def test_a_run_leaves_its_folder(tiny_run):
    found = {str(path.relative_to(tiny_run.folder)) for path in tiny_run.folder.rglob("*") if path.is_file()}
    found = {name for name in found if not name.startswith("evaluations/")}  # by tests that came before
    checkpoints = {f"checkpoints/{name}.safetensors" for name in ("last", "previous", "best")}
    assert found == {"config.json", "history.jsonl", "provenance.json"} | checkpoints


def test_every_line_of_history_has_its_fields(tiny_run, tiny):
    for line in tiny_run.history:
        assert set(line) == PLACE | (TERMS if line["kind"] == "train" else MONITORS)
        assert all(math.isfinite(value) for key, value in line.items() if key not in ("kind", "confusion"))
        assert line["views"] == line["step"] * 8 * 5
        assert line["epoch"] == pytest.approx(line["step"] / 3, abs=1e-3)
    lines = [line for line in tiny_run.history if line["kind"] == "train"]
    for line in lines:
        assert line["lr"] == pytest.approx(learning_rate((line["step"] - 1) / 6, tiny.train))
    seconds = [line["seconds"] for line in tiny_run.history]
    assert seconds == sorted(seconds)


def test_a_line_is_the_mean_over_the_steps_since_the_last(tiny, few, tmp_path):
    """Lines every 4 of 6 steps: the second one covers two."""
    every = go(replace(tiny, train=replace(tiny.train, log_every=1)), tmp_path / "every", few)
    some = go(replace(tiny, train=replace(tiny.train, log_every=4)), tmp_path / "some", few)
    for term in TERMS - {"lr"}:
        values = every.curve(term)[1]
        expected = [sum(values[:4]) / 4, sum(values[4:]) / 2]
        assert some.curve(term)[1] == pytest.approx(expected, rel=1e-6)
    assert some.curve("loss")[0] == [4, 6]


@pytest.mark.numbers("seeds across processes")
def test_the_same_seed_gives_the_same_run_and_another_does_not(tiny, tiny_run, few, tmp_path):
    torch.manual_seed(99)  # no global state is read
    again = go(tiny, tmp_path / "again", few)
    assert_same_run(again, tiny_run)
    other = go(replace(tiny, seed=tiny.seed + 1), tmp_path / "other", few)
    assert other.curve("loss")[1] != tiny_run.curve("loss")[1]


def test_every_step_of_every_seed_draws_its_own_views_and_noise(tiny, few, tmp_path, monkeypatch):
    seeds, draw, terms = [], feed.draw, objectives.Codial.terms

    def watched_draw(count, picture, config, generator):
        seeds.append(generator.initial_seed())
        return draw(count, picture, config, generator)

    def watched_terms(self, batch):
        seeds.append(batch.draws.generator.initial_seed())
        return terms(self, batch)

    monkeypatch.setattr(feed, "draw", watched_draw)
    monkeypatch.setattr(objectives.Codial, "terms", watched_terms)
    for seed in (0, 1):
        go(replace(tiny, seed=seed), tmp_path / str(seed), few)
    assert len(set(seeds)) == len(seeds) == 2 * 6 * 2


def test_no_global_state_is_changed(tiny, few, tmp_path):
    handler, state = signal.getsignal(signal.SIGINT), torch.get_rng_state()
    go(replace(tiny, train=replace(tiny.train, epochs=1)), tmp_path / "run", few)
    assert torch.equal(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGINT) is handler


def test_lines_are_handed_over_as_they_are_written(tiny, few, tmp_path):
    heard = []

    def listen(line):
        heard.append(dict(line))
        assert codial.open_run(tmp_path / "run").history == heard, "a run can be read while it is written"

    run = go(tiny, tmp_path / "run", few, on_log=listen)
    assert heard == run.history


def test_pictures_are_loaded_as_the_config_says(tiny, tmp_path):
    config = replace(tiny, train=replace(tiny.train, epochs=0, monitor_every=0))
    run = codial.pretrain(config, tmp_path / "run", progress=False)
    expected = codial.load_images("photos", "train", limit=24, seed=config.seed)
    assert run.provenance["pictures"]["fingerprint"] == expected.fingerprint


def test_a_batch_is_never_larger_than_the_set_and_every_picture_is_seen(tiny, few, tmp_path, monkeypatch):
    seen = []

    def watch(pictures, *rest):
        seen.append(pictures.clone())
        return render(pictures, *rest)

    monkeypatch.setattr(feed, "render", watch)
    config = replace(tiny, train=replace(tiny.train, batch=1000))
    assert go(config, tmp_path / "run", few).progress["step"] == 2
    orders = []
    for batch in seen:
        flat = {tuple(p.flatten().tolist()): i for i, p in enumerate(few.images)}
        orders.append([flat[tuple(p.flatten().tolist())] for p in batch])
        assert sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1], "each epoch has its own order"


def test_learning_lowers_the_loss_and_weights_are_the_best_by_knn(photos, tiny, tmp_path):
    train = replace(tiny.train, epochs=6, batch=32, lr=2e-3, monitor_pictures=160)
    config = replace(tiny, objective=replace(tiny.objective, mi_weight=0), train=train)
    run = go(config, tmp_path / "run", photos["train"].subset(160))
    losses = run.curve("loss")[1]
    assert sum(losses[-3:]) / 3 < losses[0] - 0.02
    steps, knn = run.curve("knn")
    note = read_note(run.folder / "checkpoints" / "best.safetensors")
    assert note["best"] == max(knn)
    assert note["step"] == steps[knn.index(max(knn))]


# Random weights


def test_no_epochs_give_random_weights_and_a_line_of_monitors(tiny, few, tmp_path, seed):
    config = replace(tiny, train=replace(tiny.train, epochs=0))
    run = go(config, tmp_path / "run", few)
    assert run.finished
    assert [(line["kind"], line["step"]) for line in run.history] == [("monitor", 0)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(config.seed, "weights", 0))
        expected = objectives.build(config, classes=8).trunk.state_dict()
    for name, tensor in run.trunk().state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_the_random_preset_is_where_the_trained_one_starts(tiny, tiny_run, few, tmp_path):
    run = go(replace(tiny, train=replace(tiny.train, epochs=0)), tmp_path / "run", few)
    assert timeless(run)[0] == timeless(tiny_run)[0]


def test_monitors_can_be_switched_off(tiny, few, tmp_path):
    run = go(replace(tiny, train=replace(tiny.train, monitor_every=0)), tmp_path / "run", few)
    assert {line["kind"] for line in run.history} == {"train"}
    assert not (run.folder / "checkpoints" / "best.safetensors").exists()


# A loss that is no number


@pytest.mark.faults("loss that is no number")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint_before(
    bad, log_every, tiny, few, tmp_path, monkeypatch
):
    """It goes wrong in the fifth of nine steps; the checkpoint of the third must stay, whenever lines are written."""
    config = replace(tiny, train=replace(tiny.train, epochs=3, log_every=log_every))
    terms, calls = objectives.Codial.terms, 0

    def spoilt(self, batch):
        nonlocal calls
        calls += 1
        found = terms(self, batch)
        return found | {"loss": found["loss"] * bad} if calls == 5 else found

    monkeypatch.setattr(objectives.Codial, "terms", spoilt)
    with pytest.raises(CodialError, match=r"^The loss is no longer a number at step 5 .* Try a smaller train.lr"):
        go(config, tmp_path / "run", few)
    run = codial.open_run(tmp_path / "run")
    assert run.progress["step"] == 3
    for which in ("last", "best"):
        assert all(torch.isfinite(tensor).all() for tensor in run.trunk(which).state_dict().values())
    assert all(math.isfinite(v) for line in run.history for v in line.values() if isinstance(v, float))
    monkeypatch.undo()
    assert_same_run(go(config, tmp_path / "run", few), go(config, tmp_path / "whole", few))


@pytest.mark.faults("loss that is no number")
@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_the_batch_that_broke_a_run_can_be_made_again(log_every, tiny, few, tmp_path, monkeypatch):
    """The sixth of nine; the very views come back, from what the run wrote down."""
    config = replace(tiny, train=replace(tiny.train, epochs=3, log_every=log_every))
    terms, seen = objectives.Codial.terms, []

    def spoilt(self, batch):
        seen.append(batch)
        found = terms(self, batch)
        return found | {"loss": found["loss"] * float("nan")} if len(seen) == 6 else found

    monkeypatch.setattr(objectives.Codial, "terms", spoilt)
    with pytest.raises(CodialError, match=r"at step 6 .*diverged.json says which batch it was"):
        go(config, tmp_path / "run", few)
    record = json.loads((tmp_path / "run" / "diverged.json").read_text())
    batch = replay(record, config, few)
    assert record["step"] == 6
    assert torch.equal(batch.indices, seen[5].indices)
    assert torch.equal(batch.views.images, seen[5].views.images)
    assert not torch.equal(batch.views.images, seen[4].views.images)


@pytest.mark.faults("loss that is no number")
def test_a_stop_after_a_loss_that_is_no_number_does_not_save_it(tiny, few, tmp_path):
    config = replace(tiny, train=replace(tiny.train, lr=1e30, log_every=100))
    with pytest.raises(CodialError, match=r"no longer a number at step 2 "):
        go(config, tmp_path / "run", few, stop=stopping_after(2))
    assert codial.open_run(tmp_path / "run").progress == {}


# Labels


@pytest.fixture
def unlabelled(few):
    return ImageSet("mine", "train", few.images, torch.full((24,), -1), ())


def test_pictures_without_labels_are_enough_for_codial(tiny, unlabelled, tmp_path):
    run = go(tiny, tmp_path / "run", unlabelled)
    assert run.finished
    monitors = [line for line in run.history if line["kind"] == "monitor"]
    assert [set(line) for line in monitors] == [PLACE | {"feature_std", "rankme", "confusion"}] * 3


@pytest.mark.parametrize("labelled", [0, 20])
def test_supervised_learning_says_that_it_needs_all_labels(labelled, tiny, few, unlabelled, tmp_path):
    if labelled:
        labels = few.labels.clone()
        labels[labelled:] = -1
        unlabelled = ImageSet("mine", "train", few.images, labels, few.classes)
    config = replace(tiny, objective=SupervisedOptions())
    with pytest.raises(CodialError, match=r"Supervised learning needs pictures that all have a label"):
        go(config, tmp_path / "run", unlabelled)


def test_supervised_learning_runs_behind_the_same_protocol(tiny, few, tmp_path):
    config = replace(tiny, objective=SupervisedOptions(), views=replace(tiny.views, primary=("turn0",)))
    run = go(config, tmp_path / "run", few)
    assert set(run.history[1]) == PLACE | {"loss", "pretext_accuracy", "lr"}


def test_one_picture_is_not_enough(tiny, few, tmp_path):
    with pytest.raises(CodialError, match=r"photos has 1 pictures; pretraining needs at least 2"):
        go(tiny, tmp_path / "run", few.subset(1))


def test_monitors_are_those_of_the_saved_trunk(tiny_run, few):
    """The same trunk gives the same numbers; pictures without labels are left out where labels are needed."""
    trunk = tiny_run.trunk()
    first = measure(trunk, few, 24)
    assert first == measure(trunk, few, 24)
    last = tiny_run.history[-1]
    assert {key: last[key] for key in first} == pytest.approx(first, rel=1e-3)
    some = few.labels.clone()
    some[:5] = -1
    assert set(measure(trunk, replace(few, labels=some), 24)) == {"feature_std", "rankme"}, "fewer than 20 have labels"


# Parts of the loop


def test_the_learning_rate_is_a_cosine_from_lr_to_a_part_of_it(tiny):
    train = replace(tiny.train, lr=0.2, lr_end=0.1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50, eta_min=0.02)
    for step in range(51):
        assert learning_rate(step / 50, train) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


def test_only_matrices_and_kernels_decay(tiny, few, tmp_path, monkeypatch):
    made = []
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, **k: made.append(adamw(*a, **k)) or made[-1])
    go(replace(tiny, train=replace(tiny.train, epochs=1, weight_decay=0.25)), tmp_path / "run", few)
    decayed = {p.ndim for group in made[0].param_groups if group["weight_decay"] == 0.25 for p in group["params"]}
    free = {p.ndim for group in made[0].param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert (decayed, free) == ({2, 4}, {1})


def test_seeds_of_steps_and_streams_are_all_different():
    seeds = {step_seed(s, stream, step) for s in range(3) for stream in ("views", "noise") for step in range(500)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_devices_and_precision():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wanted in ("gpu", "cuda:99"):
        with pytest.raises(CodialError, match=rf"^train.device is '{wanted}', which this machine does not offer"):
            choose_device(wanted)
    cpu = torch.device("cpu")
    assert uses_bf16("bf16", cpu)
    assert not uses_bf16("float32", cpu)


def test_bf16_learns_much_the_same(tiny, tiny_run, few, tmp_path):
    run = go(replace(tiny, train=replace(tiny.train, precision="bf16")), tmp_path / "run", few)
    ours, theirs = (r.curve("loss")[1] for r in (run, tiny_run))
    assert ours[0] == pytest.approx(theirs[0], abs=0.05)
    assert ours != theirs
    assert {tensor.dtype for tensor in run.trunk().state_dict().values()} == {torch.float32, torch.int64}


def test_pictures_left_on_disk_train_as_those_in_memory_do(tiny, few, tmp_path):
    """In the background, decoded when their turn comes; one that does not decode is replaced."""
    for number, picture in enumerate(few.images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:02}.png")
    runs_of = [
        go(tiny, tmp_path / "runs" / keep, codial.load_images(tmp_path, "all", size=64, keep=keep))
        for keep in ("files", "memory")
    ]
    assert timeless(runs_of[0]) == timeless(runs_of[1])
    (tmp_path / "05.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"another takes its place .* 05.png"):
        run = go(tiny, tmp_path / "runs" / "damaged", codial.load_images(tmp_path, "all", size=64, keep="files"))
    assert run.finished
