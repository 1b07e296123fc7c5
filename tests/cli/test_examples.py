"""Every command that a help text, README, docs or a notebook print is run, on tiny runs at the paths that it names.

The shell expands `~`, patterns and braces. Only training, downloads, and what needs data sets that are not there are
replaced.
"""

import json
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import hub_server
import pytest
from datasets import Dataset
from PIL import Image

import codial
from codial.cli import transfer
from codial.cli.main import _COMMANDS, main
from codial.models.alexnet import CONV_LAYERS

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(rf"codial (?:{'|'.join(_COMMANDS)})\b[^`\n]*")
# What replaces placeholders of the examples.
VALUES = {
    r"\bRUN( \.\.\.)?": "runs/photos/codial",
    r"\bTASK\b": "classification",
    r"\bMETHOD\b": "codial",
    r"\bPRESET\b": "codial/photos",
    r"\bFOLDER\b": "images",
    r"\bseed(=?)N\b": r"seed\g<1>1",
}
RUNS = {  # folders below runs, and the presets that they are made to be of
    "photos/codial": "codial/photos",
    "photos/codial-cls": "codial-cls/photos",
    "photos/random": "random/photos",
    "photos-seed1/codial": "codial/photos",
    "cifar10/codial": "codial/cifar10",
    "cifar10/random": "random/cifar10",
    "cifar10-seed1/rotnet": "rotnet/cifar10",
    "brief/codial": "codial/brief",
    "images": "codial/photos",
    "mine": "codial/cifar10",
    "mine-random": "random/cifar10",
    "quick": "codial/photos",
}


def help_of(*arguments):
    with redirect_stdout(StringIO()) as out:
        main([*arguments, "--help"])
    return out.getvalue()


def commands(text):
    """Return the commands in lines of code and between backticks, without mere names of commands."""
    lines = [line.split("  #")[0].strip() for line in text.splitlines() if line.startswith("    ")]
    inline = re.findall(r"`(?:[A-Z_]+=\S+ )?(codial [^`]+)`", text)
    found = [match[0] for part in [*lines, *inline] for match in COMMAND.finditer(" ".join(part.split()))]
    complete = [each for each in found if len(each.split()) > 2 and not each.endswith((" ...", " NAME"))]
    return complete + [each for each in found if each in BARE]


def indented(markdown):
    """Return Markdown whose fenced shell commands are indented instead, as in the README."""
    block = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return block.sub(lambda match: re.sub("^", "    ", match[1], flags=re.MULTILINE), markdown)


def markdown_of(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


BARE = ("codial runs", "codial data")  # complete without arguments
HELP = [each for name in ([], *([name] for name in _COMMANDS)) for each in commands(help_of(*name))]
README = commands((PROJECT / "README.md").read_text())
NOTEBOOKS = [each for path in (PROJECT / "notebooks").glob("*.ipynb") for each in commands(markdown_of(path))]
DOCS = [each for path in (PROJECT / "docs").rglob("*.md") for each in commands(indented(path.read_text()))]


def report(run, config, train="photos/train", test="photos/test"):
    layers = config.layers or CONV_LAYERS
    accuracies = {layer: (50.0,) * len(config.seeds) for layer in layers}
    dims = dict.fromkeys(layers, 9)
    return codial.ProbeReport(run.config.name, accuracies, dims, config, train, test, run.provenance["config_hash"])


@pytest.fixture(scope="module")
def workspace(trained, tmp_path_factory):
    """A folder with runs, results and images where the examples expect them; it is the home folder, too."""
    root = tmp_path_factory.mktemp("workspace")
    for name, preset in RUNS.items():
        path = shutil.copytree(trained, root / "runs" / name) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"name": preset}))
        report(codial.open_run(path.parent), codial.ProbeConfig()).save(path.parent / "evaluations/probe-photos.json")
    shutil.copytree(PROJECT / "results", root / "results")
    for folder in ("images/train", "images/test", "labeled-images/train", "labeled-images/test"):
        (root / folder / "red").mkdir(parents=True)
        Image.new("RGB", (20, 20), "red").save(root / folder / "red/image.png")
    Dataset.from_dict({"image": [Image.new("RGB", (20, 20), "red")], "label": [0]}).save_to_disk(root / "saved-set")
    return root


@pytest.fixture(scope="module")
def hub():
    """A stand-in for the Hugging Face Hub."""
    with hub_server.running() as server:
        yield server


@pytest.fixture
def replaced(workspace, monkeypatch, photos, hub):
    """Replace what takes long, needs data or the hub; nothing that reads arguments, opens runs, prints or writes."""
    hub_server.connect(monkeypatch, hub.url, workspace / "hub")
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("HOME", str(workspace))
    load_images = codial.load_images
    few = {split: images.subset(80) for split, images in photos.items()}

    def load(source, split="train", **options):
        return load_images(source, split, **options) if Path(source).is_dir() else few.get(split, few["test"])

    def pretrain(config, out, **_):
        return codial.open_run(workspace / "runs/photos/codial")

    def sweep(planned, **_):
        return SimpleNamespace(done=planned, failed=(), remaining=(), interrupted=False)

    def probe(run, train, test, config, **_):
        return report(run, config, train.describe(), test.describe())

    transferred = SimpleNamespace(value=1.0, metric="mAP", train="x", test="y", protocol="z")
    tasks = {name: task._replace(measure=lambda *_: transferred) for name, task in transfer.TASKS.items()}
    monkeypatch.setattr("codial.runs.export.project_path", lambda path: workspace / path)
    monkeypatch.setattr(codial, "load_images", load)
    monkeypatch.setattr(codial, "pretrain", pretrain)
    monkeypatch.setattr(codial, "probe", probe)
    monkeypatch.setattr("codial.results.comparison.probe", probe)
    monkeypatch.setattr("codial.experiments.sweep.sweep", sweep)
    monkeypatch.setattr("codial.evaluate.shortcuts.shortcuts", lambda *_, **__: {"colors": 0.5})
    monkeypatch.setattr("codial.evaluate.embeddings.project", lambda vectors, **_: vectors[:, :2])
    monkeypatch.setattr("codial.data.download.get", lambda name, root: None)
    monkeypatch.setattr("codial.data.registry.problems", lambda name, split, root=None: [])
    monkeypatch.setattr(transfer, "TASKS", tasks)


def expanded(command, folder):
    """Return the arguments that a shell makes of a command whose placeholders have values."""
    for placeholder, value in VALUES.items():
        command = re.sub(placeholder, value, command)
    script = ["bash", "-c", f'printf "%s\\n" {command}']
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()[1:]


def test_there_are_examples_everywhere():
    """The documentation shows every command."""
    assert {command.split()[1] for command in HELP} == set(_COMMANDS)
    assert len(README) >= 3
    assert {command.split()[1] for command in DOCS} == set(_COMMANDS)
    assert len(NOTEBOOKS) > 10


@pytest.mark.parametrize("command", sorted({*HELP, *README, *NOTEBOOKS, *DOCS}))
def test_it_runs(command, workspace, replaced, capsys):
    code = main(expanded(command, workspace))
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert printed.out
