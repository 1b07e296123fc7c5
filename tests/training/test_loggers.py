"""Loggers of one's own: what they get, also when a run is interrupted, and what happens when they raise."""

import importlib.util
import signal
import sys
import threading
import warnings
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn
from torch.nn.functional import pad

import codial
from codial.cli.main import main
from codial.config import TrainConfig, ViewsConfig, flatten, from_dict, override, to_dict
from codial.config.registry import LOGGERS
from codial.errors import CodialError
from codial.training import Logger, register_logger
from codial.training.background import BackgroundTraining
from codial.training.loggers import guard, images, session
from codial.training.loggers.mlflow import MLflow
from codial.training.loggers.tensorboard import TensorBoard
from codial.training.loggers.trackio import Trackio
from codial.training.loggers.wandb import WandB
from codial.training.monitors import monitored_indices
from codial.utils.distributed import ProcessGroup
from codial.utils.plugins import Registry

PRETRAIN = import_module("codial.training.pretrain")  # whose name codial.pretrain hides
METHODS = ("start", "scalars", "image", "close")
PACKAGES = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio, "mlflow": MLflow}


class Recorder(Logger):
    """Keeps every call, and raises an error in one method."""

    def __init__(self):
        self.calls.append(("__init__",))
        self.fail("__init__")

    def fail(self, method):
        if method in self.raises:
            raise self.error

    def start(self, folder, settings):
        self.calls.append(("start", folder, settings))
        self.fail("start")

    def scalars(self, step, values):
        self.calls.append(("scalars", step, values))
        self.fail("scalars")

    def image(self, step, name, image):
        self.calls.append(("image", step, name, image))
        self.fail("image")

    def close(self, status):
        self.calls.append(("close", status))
        self.fail("close")


@pytest.fixture
def recorder(monkeypatch):
    """A registered logger `recorder`, whose class holds the calls of all its objects."""
    registry = Registry("logger", "codial.loggers", LOGGERS._check)
    monkeypatch.setattr(LOGGERS, "_classes", registry._classes)
    cls = type("Fresh", (Recorder,), {"calls": [], "raises": (), "error": RuntimeError("full\nof holes")})
    return register_logger("recorder")(cls)


@pytest.fixture
def recorded(tiny, recorder):
    return with_loggers(tiny, "recorder")


def with_loggers(config, *names, **settings):
    return replace(config, train=replace(config.train, loggers=names, **settings))


def scalars_of(run):
    """Return the calls of `scalars` that a history amounts to, without times."""
    return [
        (
            line["step"],
            {
                f"{line['kind']}/{name}": value
                for name, value in line.items()
                if name not in ("kind", "step", "confusion", "seconds")
            },
        )
        for line in run.history
    ]


def logged_scalars(recorder):
    calls = [call[1:] for call in recorder.calls if call[0] == "scalars"]
    return [(step, {k: v for k, v in values.items() if not k.endswith("/seconds")}) for step, values in calls]


# What a logger gets


def test_a_logger_gets_settings_views_all_numbers_and_the_map(recorded, recorder, tiny_run, few, tmp_path):
    run = pretrain_quietly(recorded, tmp_path / "run", few)
    kinds = [call[0] for call in recorder.calls]
    assert kinds == ["__init__", "start", "image", *["scalars"] * len(run.history), "image", "close"]
    _, folder, settings = recorder.calls[1]
    assert folder == run.folder / "loggers" / "recorder"
    assert folder.is_dir()
    assert settings == dict(flatten(recorded))
    views, feature_map = (call for call in recorder.calls if call[0] == "image")
    assert views[1:3] == (0, "views")
    assert feature_map[1:3] == (6, "map")
    for image in (views[3], feature_map[3]):
        assert (image.dtype, image.ndim, image.shape[0]) == (torch.float32, 3, 3)
        assert (image.min() >= 0, image.max() <= 1) == (True, True)
    assert logged_scalars(recorder) == scalars_of(run)
    assert {type(value) for call in recorder.calls if call[0] == "scalars" for value in call[2].values()} <= {
        int,
        float,
    }
    assert recorder.calls[-1] == ("close", "finished")
    assert_same_run(run, tiny_run)  # no number depends on loggers
    assert run.provenance["config_hash"] == tiny_run.provenance["config_hash"]


def test_on_log_is_called_as_well(recorded, recorder, few, tmp_path):
    lines = []
    run = pretrain_quietly(recorded, tmp_path / "run", few, on_log=lambda line: lines.append(dict(line)))
    assert lines == run.history
    assert len(logged_scalars(recorder)) == len(lines)


@pytest.mark.faults("a logger changes random generators")
def test_a_logger_that_draws_random_numbers_or_changes_values_changes_no_number(
    recorded, recorder, tiny_run, few, tmp_path, monkeypatch
):
    def spoil(self, step, values):
        torch.manual_seed(step)
        torch.rand(7)
        values.clear()

    def paint(self, step, name, image):
        self.calls.append(("image", step, name, image.clone()))
        image.zero_()

    monkeypatch.setattr(recorder, "scalars", spoil)
    monkeypatch.setattr(recorder, "image", paint)
    good = register_logger("good")(type("Good", (Recorder,), {"calls": [], "raises": ()}))
    state = torch.get_rng_state()
    run = pretrain_quietly(with_loggers(recorded, "recorder", "good"), tmp_path / "run", few)
    torch.set_rng_state(state)
    assert_same_run(run, tiny_run)
    assert logged_scalars(good) == scalars_of(run)
    for seen, mine in zip(*([c[3] for c in cls.calls if c[0] == "image"] for cls in (recorder, good)), strict=True):
        assert torch.equal(seen, mine)


def test_the_state_of_torch_is_left_alone(recorded, few, tmp_path):
    state = torch.get_rng_state()
    pretrain_quietly(recorded, tmp_path / "run", few)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_of_random_weights_has_a_map(recorded, recorder, few, tmp_path):
    pretrain_quietly(with_loggers(recorded, "recorder", epochs=0), tmp_path / "run", few)
    assert [call[2] for call in recorder.calls if call[0] == "image"] == ["views", "map"]


def test_only_the_main_process_logs(recorded, recorder):
    trainer = SimpleNamespace(config=recorded, on_log=None, processes=ProcessGroup(rank=1, size=2))
    with session.logged(trainer):
        assert trainer.on_log is None
    assert recorder.calls == []


# Interrupted runs


def test_a_stopped_run_continues_its_log(recorded, recorder, few, tmp_path):
    stop = threading.Event()
    pretrain_quietly(recorded, tmp_path / "run", few, stop=stop, on_log=lambda line: line["step"] == 2 and stop.set())
    assert recorder.calls[-1] == ("close", "stopped")
    assert not any(call[2] == "map" for call in recorder.calls if call[0] == "image")
    run = pretrain_quietly(recorded, tmp_path / "run", few)
    assert logged_scalars(recorder) == scalars_of(run)
    assert [call[2] for call in recorder.calls if call[0] == "image"] == ["views", "map"]
    assert [call[0] for call in recorder.calls].count("start") == 2


@pytest.mark.faults("a run with loggers is killed")
@pytest.mark.parametrize("step", [0, 2, 4, 5])
def test_lines_that_are_repeated_after_a_failure_are_logged_once(step, recorded, recorder, few, tmp_path):
    config = with_loggers(recorded, "recorder", log_every=1)

    def fail(line):
        if line["step"] == step:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pretrain_quietly(config, tmp_path / "run", few, on_log=fail)
    assert recorder.calls[-1] == ("close", "failed")
    assert logged_scalars(recorder)[-1][0] == step
    run = pretrain_quietly(config, tmp_path / "run", few)
    assert logged_scalars(recorder) == scalars_of(run)


def test_a_logger_that_is_added_later_gets_the_history(tiny, recorder, few, tmp_path):
    pretrain_quietly(with_loggers(tiny, log_every=1), tmp_path / "run", few, stop=stop_after(2))
    stopped = codial.open_run(tmp_path / "run")
    assert stopped.history
    run = pretrain_quietly(with_loggers(tiny, "recorder", log_every=1), tmp_path / "run", few)
    assert logged_scalars(recorder) == scalars_of(run)
    assert run.config.train.loggers == ()  # as the run was created
    assert [call[2] for call in recorder.calls if call[0] == "image"] == ["views", "map"]


def test_a_logger_gets_what_it_missed(recorded, recorder, few, tmp_path):
    """Three parts of a run, the second without the logger."""
    config = with_loggers(recorded, "recorder", log_every=1)
    for part, end in ((config, 2), (with_loggers(config), 4), (config, 99)):
        stop = threading.Event()
        run = pretrain_quietly(
            part, tmp_path / "run", few, stop=stop, on_log=lambda line, e=end, s=stop: line["step"] == e and s.set()
        )
    assert run.finished
    assert logged_scalars(recorder) == scalars_of(run)


def test_a_second_interrupt_closes_the_loggers(recorded, recorder, few, tmp_path):
    def interrupt(line):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain_quietly(recorded, tmp_path / "run", few, on_log=interrupt)
    assert recorder.calls[-1] == ("close", "stopped")


def test_a_diverged_run_closes_its_loggers(recorded, recorder, few, tmp_path):
    with pytest.raises(CodialError, match="NaN or infinite"):
        pretrain_quietly(with_loggers(recorded, "recorder", lr=1e30, lr_end=1.0), tmp_path / "run", few)
    assert recorder.calls[-1] == ("close", "failed")


def test_a_run_in_the_background_is_logged(recorded, recorder, few, tmp_path):
    training = BackgroundTraining(recorded, tmp_path / "run", few)
    training.start()
    training.stop()
    training.join(60)
    training.start()
    run = training.result()
    assert run.finished
    assert logged_scalars(recorder) == scalars_of(run)
    assert recorder.calls[-1] == ("close", "finished")


# Loggers that raise


@pytest.mark.faults("a logger raises")
@pytest.mark.parametrize("method", ["__init__", *METHODS])
@pytest.mark.parametrize("error", [RuntimeError("full\nof holes"), SystemExit(3)], ids=["error", "exit"])
def test_a_logger_that_raises_is_switched_off_and_the_run_goes_on(
    method, error, tiny, recorder, tiny_run, few, tmp_path
):
    recorder.raises, recorder.error = (method,), error
    good = register_logger("good")(type("Good", (Recorder,), {"calls": [], "raises": ()}))
    called = "start" if method == "__init__" else method
    message = (
        rf"^Logger 'recorder' is switched off, since {called}\(\) raised {type(error).__name__}: {error.args[0]}\. "
    )
    with pytest.warns(UserWarning, match=message) as warned:
        run = pretrain_quietly(with_loggers(tiny, "recorder", "good"), tmp_path / "run", few)
    assert len(warned) == 1
    assert_same_run(run, tiny_run)
    kinds = [call[0] for call in recorder.calls]
    assert kinds.count(method) == 1, "it is called no more"
    assert kinds[-1] == ("__init__" if method == "__init__" else "close"), "it is closed"
    assert logged_scalars(good) == scalars_of(run)
    assert good.calls[-1] == ("close", "finished")


def test_a_logger_that_raises_when_it_is_closed_after_an_error_warns_once(recorded, recorder, few, tmp_path):
    recorder.raises = ("scalars", "close")
    with pytest.warns(UserWarning, match=r"since scalars\(\) raised") as warned:
        assert pretrain_quietly(recorded, tmp_path / "run", few).finished
    assert len(warned) == 1


@pytest.mark.parametrize("function", ["view_grid", "feature_map"])
def test_a_run_does_not_depend_on_its_images_for_loggers(function, recorded, recorder, few, tmp_path, monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(session, function, fail)
    with pytest.warns(UserWarning, match=r"since image\(\) raised MemoryError"):
        assert pretrain_quietly(recorded, tmp_path / "run", few).finished


def test_a_folder_that_cannot_be_written_switches_the_logger_off(recorded, recorder, few, tmp_path, monkeypatch):
    def fail(path):
        raise CodialError(f"{path} could not be written")

    monkeypatch.setattr(guard, "make_folder", fail)
    with pytest.warns(UserWarning, match=r"start\(\) raised CodialError: .*recorder could not be written"):
        assert pretrain_quietly(recorded, tmp_path / "run", few).finished
    assert recorder.calls == []


# Names, classes and packages


@pytest.mark.parametrize("value", [(), ("tensorboard",), "tensorboard, mlflow", ["wandb", "trackio"]])
def test_names_are_checked_without_importing_anything(value):
    train = TrainConfig(loggers=value)
    assert isinstance(train.loggers, tuple)
    assert override(codial.Config(), {"train.loggers": "()"}).train.loggers == ()
    assert override(codial.Config(), {"train.loggers": ""}).train.loggers == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (("tensorbord",), r"^train.loggers: There is no logger called 'tensorbord'. Did you mean tensorboard\?"),
        (("wandb", "wandb"), r"^train.loggers is \('wandb', 'wandb'\); expected each logger once"),
        (3, r"^train.loggers is 3; expected values separated by commas"),
    ],
)
def test_wrong_names_are_refused(value, message):
    with pytest.raises(CodialError, match=message):
        TrainConfig(loggers=value)


def test_a_class_without_the_methods_of_a_logger_is_refused():
    with pytest.raises(CodialError, match=r"^Logger 'half': .*Half lacks scalars, close; derive it from codial.train"):
        register_logger("half")(type("Half", (), {"start": print, "image": print}))
    with pytest.raises(CodialError, match="The logger name 'wandb' is taken by"):
        register_logger("wandb")(type("Mine", (Logger,), {"__module__": "mine"}))


def test_a_logger_that_does_nothing_is_enough(tiny, recorder, few, tmp_path):
    register_logger("nothing")(type("Nothing", (Logger,), {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pretrain_quietly(with_loggers(tiny, "nothing"), tmp_path / "run", few).finished


@pytest.mark.parametrize("name", PACKAGES)
def test_a_logger_without_its_package_is_an_error_before_training(name, tiny, tmp_path, monkeypatch):
    assert LOGGERS.get(name) is PACKAGES[name]
    monkeypatch.setitem(sys.modules, PACKAGES[name].package, None)  # as if it were not installed
    with pytest.raises(CodialError, match=rf"needs the package {name}: pip install {name}\. Or train without"):
        codial.pretrain(with_loggers(tiny, name), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_can_be_opened_without_its_loggers(recorded, few, tmp_path, monkeypatch):
    monkeypatch.setattr(PRETRAIN, "logged", lambda trainer: nullcontext())
    pretrain_quietly(with_loggers(recorded, "wandb", "recorder", epochs=0), tmp_path / "run", few)
    monkeypatch.setattr(LOGGERS, "_classes", {})
    assert codial.open_run(tmp_path / "run").config.train.loggers == ("wandb",)
    with pytest.raises(CodialError, match="There is no logger called 'recorder'"):
        from_dict(to_dict(recorded))


def test_the_device_may_differ_when_a_run_is_resumed(tiny, few, tmp_path):
    stop = threading.Event()
    stop.set()
    pretrain_quietly(tiny, tmp_path / "run", few, stop=stop)
    moved = replace(tiny, train=replace(tiny.train, device="cpu:0"))
    run = pretrain_quietly(moved, tmp_path / "run", few)
    assert run.finished
    assert run.config == tiny


def test_the_command_line_takes_names(capsys):
    assert main(["pretrain", "codial/photos", "--show", "--logger", "mlflow", "--logger", "wandb"]) == 0
    assert "train.loggers = ['mlflow', 'wandb']" in capsys.readouterr().out
    assert main(["pretrain", "codial/photos", "--logger", "tensorbord"]) == 2
    assert "Did you mean tensorboard?" in capsys.readouterr().err


# Images


def test_the_view_grid_shows_the_views_of_each_image_in_a_row(few):
    plain = {name: 0 for name in ("flip", "brightness", "contrast", "saturation", "hue")}
    views = ViewsConfig(64, ("rot0", "rot180"), crop_area=(1, 1), crop_aspect=(1, 1), **plain)
    grid = images.view_grid(few, views)
    assert grid.shape == (3, 8 * 66, 2 * 66)
    cells = grid.unfold(1, 66, 66).unfold(2, 66, 66)  # [3, 8, 2, 66, 66], with a white margin
    pixels = few.batch(monitored_indices(few, 8)).transpose(0, 1) / 255
    assert torch.allclose(cells[:, :, 0], pad(pixels, (1, 1, 1, 1), value=1), atol=1e-5)
    assert torch.allclose(cells[:, :, 1], pad(pixels.flip(2, 3), (1, 1, 1, 1), value=1), atol=1e-5)


def test_the_view_grid_is_the_same_each_time(few, tiny):
    assert torch.equal(images.view_grid(few, tiny.views), images.view_grid(few, tiny.views))


class Positions(nn.Module):
    """A backbone whose features are points in a plane, one for each image, by the image's mean."""

    layers, map_layers, size = ("maps", "points"), ("maps",), 32

    def __init__(self, points):
        super().__init__()
        self.points = nn.Parameter(points)

    def features(self, views, layers):
        index = (views.mean((1, 2, 3)) * 255).round().long()
        return {"maps": views, "points": self.points[index]}


def test_the_map_shows_each_image_at_its_principal_components():
    """Gray images in a plane of [4] features: corners of a rectangle, whose longer side is horizontal."""
    plane = torch.tensor([[-4.0, -1.0], [-4.0, 1.0], [4.0, -1.0], [4.0, 1.0]])
    axes = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(0))).Q
    points = torch.cat([plane, 60 * torch.ones(4, 1)], 1) @ axes.T  # nearly the same length, as if normalized
    gray = torch.tensor([10, 80, 150, 220])
    table = torch.zeros(256, 6)
    table[gray] = points
    pixels = gray.view(4, 1, 1, 1).repeat(1, 3, 32, 32).byte()
    data = codial.ImageSet("gray", "train", pixels, torch.zeros(4).long(), ("x",))
    image = images.feature_map(Positions(table), data, 4)
    assert image.shape == (3, 1024, 1024)
    places = {}
    for value in gray.tolist():
        rows, columns = torch.nonzero((image[0] * 255).round() == value, as_tuple=True)
        assert len(rows) == 40 * 40
        places[value] = (float(columns.float().mean()), float(rows.float().mean()))
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = (places[value] for value in gray.tolist())
    assert abs(x1 - x3) == pytest.approx(984, abs=2)
    assert abs(y1 - y2) == pytest.approx(984 / 4, abs=2)
    assert (x1, x3, y1, y2) == pytest.approx((x2, x4, y3, y4), abs=2)
    assert (image == 1).all(0).sum() == 1024**2 - 4 * 40**2, "the rest is white"


def test_principal_components_are_those_of_scikit_learn(generator):
    from sklearn.decomposition import PCA

    features = torch.randn(30, 12, generator=generator) * torch.linspace(3, 1, 12)
    unit = features / features.norm(dim=1, keepdim=True)
    expected = torch.as_tensor(PCA(2).fit_transform(unit.numpy()))
    assert torch.allclose(images.principal_components(features).abs(), expected.abs(), atol=1e-5)


@pytest.mark.parametrize("features", [torch.zeros(5, 4), torch.ones(5, 4), torch.rand(5, 1)])
def test_collapsed_features_have_a_map(features):
    points = images._scale(images.principal_components(features))
    assert points.shape == (5, 2)
    assert points.isfinite().all()
    assert (points >= 0).all()
    assert (points <= 1).all()


def test_the_packages_are_found_by_their_names():
    for cls in PACKAGES.values():
        assert importlib.util.find_spec(cls.package) is not None
