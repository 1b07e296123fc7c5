"""What TensorBoard, W&B, Trackio and MLflow hold of a run that failed and was resumed, read back in a process.

The packages are imported in that process alone: they take hundreds of megabytes, and start threads and services.
"""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import codial
from codial.config import flatten

CHILD = """
import contextlib, json, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = sys.argv[3:]
import codial
from codial.training.background import BackgroundTraining
from test_logger_packages import READERS
from codial.config import from_dict

config, folder = from_dict(json.loads(sys.argv[1])), Path(sys.argv[2])
images = codial.load_images("photos", limit=24)

def fail(line):
    if line["step"] == 5:
        raise ZeroDivisionError

with contextlib.suppress(ZeroDivisionError):
    codial.pretrain(config, folder, images=images, progress=False, on_log=fail)
training = BackgroundTraining(config, folder, images)
training.start()
assert training.result().finished
(folder / "read.json").write_text(json.dumps({name: read(folder / "loggers" / name) for name, read in READERS.items()}))
"""


def read_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return {
        "scalars": {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
        "images": {tag: [(e.step, e.width, e.height) for e in events.Images(tag)] for tag in events.Tags()["images"]},
        "config": [e.tensor_proto.string_val[0].decode() for e in events.Tensors("config/text_summary")],
    }


def read_trackio(folder):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("codial")
    scalars, images = {}, {}
    for row in SQLiteStorage.get_logs("codial", run.name):
        for name, value in row.items():
            if isinstance(value, dict):
                with Image.open(Path(os.environ["TRACKIO_DIR"], "media", value["file_path"])) as image:
                    images.setdefault(name, []).append((row["step"], *image.size))
            elif name not in ("step", "timestamp"):
                scalars.setdefault(name, []).append((row["step"], value))
    return {"scalars": scalars, "images": images, "config": run.config, "name": run.name}


def read_mlflow(folder):
    from mlflow import MlflowClient

    client = MlflowClient(folder.resolve().as_uri())
    experiment = client.get_experiment_by_name("codial").experiment_id
    (run,) = client.search_runs([experiment])
    images = {}
    for artifact in client.list_artifacts(run.info.run_id):
        with Image.open(client.download_artifacts(run.info.run_id, artifact.path)) as image:
            images[artifact.path] = image.size
    metrics = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "scalars": {name: [(m.step, m.value) for m in history] for name, history in metrics.items()},
        "images": images,
        "config": run.data.params,
        "status": run.info.status,
    }


def read_wandb(folder):
    """Read W&B's transaction logs, which `wandb sync` uploads."""
    from wandb.proto.wandb_internal_pb2 import Record

    read = {"scalars": {}, "images": {}, "config": {}, "ids": [], "exits": []}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in log_records(path.read_bytes()):
            record = Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                read["ids"].append(record.run.run_id)
                read["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "exit":
                read["exits"].append(record.exit.exit_code)
            elif kind == "history":
                for item in record.history.item:
                    name, *part = item.nested_key or [item.key]  # an image has several parts
                    curve = read["images" if part else "scalars"].setdefault("/".join([name, *part]), [])
                    curve.append((record.history.step.num, json.loads(item.value_json)))
    return read


def log_records(data):
    """Yield the records of a file in LevelDB's log format with a 7-byte header, as W&B writes it."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full or last
            yield parts
            parts = b""


READERS = {"tensorboard": read_tensorboard, "wandb": read_wandb, "trackio": read_trackio, "mlflow": read_mlflow}


@pytest.fixture(scope="module")
def child(tiny, tmp_path_factory):
    """The run of the process, what it read back, its home folder, and what it printed."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("runs") / "run"
    config = codial.override(tiny, {"train.log_every": 1, "train.loggers": tuple(READERS)})
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_", "TRACKIO_", "HF_"))}
    environment |= {"HOME": str(home), "TRACKIO_DIR": str(folder.parent / "trackio"), "OMP_NUM_THREADS": "1"}
    environment |= {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}
    tests = Path(__file__).parent
    command = [
        sys.executable,
        "-W",
        "error::UserWarning:codial",
        "-c",
        CHILD,
        json.dumps(codial.config.to_dict(config)),
    ]
    command += [str(folder), str(tests), str(tests.parent), str(tests.parents[1])]
    done = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return codial.open_run(folder), json.loads((folder / "read.json").read_text()), home, done


def curves(run):
    """Return step and value of every number of the history by the name that loggers use."""
    scalars = {}
    for line in run.history:
        for name in line.keys() - {"kind", "step", "confusion"}:
            scalars.setdefault(f"{line['kind']}/{name}", []).append([line["step"], line[name]])
    return scalars


@pytest.mark.parametrize("name", READERS)
def test_all_scalars_are_read_back_once_and_in_order(child, name):
    run, read, _, _ = child
    scalars = {key: value for key, value in read[name]["scalars"].items() if not key.startswith("_")}
    assert run.finished
    assert {step for step, _ in curves(run)["train/loss"]} == {1, 2, 3, 4, 5, 6}
    assert scalars.keys() == curves(run).keys()
    for key, expected in curves(run).items():
        tolerance = {"abs": 60} if key.endswith("/seconds") else {"rel": 1e-6}  # of the part that failed
        assert [step for step, _ in scalars[key]] == [step for step, _ in expected]
        assert np.array(scalars[key]) == pytest.approx(np.array(expected), **tolerance)


def test_images_are_read_back(child):
    _, read, _, _ = child
    views, feature_map = (5 * 34, 8 * 34), (1024, 1024)  # width and height
    expected = {"views": [[0, *views]], "map": [[6, *feature_map]]}
    assert read["tensorboard"]["images"] == read["trackio"]["images"] == expected
    assert read["mlflow"]["images"] == {"views.png": list(views), "map.png": list(feature_map)}
    for name, ((step, width, height),) in expected.items():
        assert read["wandb"]["images"][f"{name}/width"] == [[step, width]]
        assert read["wandb"]["images"][f"{name}/height"] == [[step, height]]


def test_settings_are_read_back(child):
    run, read, _, _ = child
    settings = dict(flatten(run.config))
    for text in read["tensorboard"]["config"]:
        rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
        assert {name: json.loads(value) for name, value in rows} == settings
    assert {k: v for k, v in read["trackio"]["config"].items() if k in settings} == settings
    assert read["mlflow"]["config"] == {name: str(value) for name, value in settings.items()}
    assert {k: v for k, v in read["wandb"]["config"].items() if k in settings} == settings


def test_a_resumed_run_is_the_same_run_there(child):
    run, read, _, _ = child
    assert len(read["wandb"]["ids"]) == 2
    assert set(read["wandb"]["ids"]) == {(run.folder / "loggers/wandb/id").read_text()}
    assert read["wandb"]["exits"] == [1, 0]
    assert read["mlflow"]["status"] == "FINISHED"
    assert read["trackio"]["name"] == f"tiny {(run.folder / 'loggers/trackio/id').read_text()}"


def test_nothing_is_left_in_the_home_folder_or_running(child):
    run, _, home, done = child
    written = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert [path for path in written if path.parts[:2] != (".cache", "wandb")] == [], "but debug logs of W&B"
    assert "is switched off" not in done.stderr
    folder = str(run.folder.parent)
    left = [p.info["name"] for p in psutil.process_iter(["name", "cwd"]) if (p.info["cwd"] or "").startswith(folder)]
    assert left == []
