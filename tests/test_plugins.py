"""Methods of one's own, from an installed package or a file, through everything that a method goes through."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from codial.errors import CodialError
from codial.utils import plugins
from codial.utils.plugins import Registry, import_file

PACKAGE = Path(__file__).parent / "plugin_package"
TINY = ("data.limit=80", "views.size=32", "model.width=0.05", "train.batch=40", "train.epochs=1")
FAST = ("--limit", "80", "--quiet", "--device", "cpu")
# Runs several commands in one process; prints their output, and stops at the first that fails.
SESSION = """
import json, sys
from codial.cli.main import main
for arguments in json.loads(sys.argv[1]):
    print("$", *arguments)
    if main(arguments):
        sys.exit(f"failed: {arguments}")
"""


def session(commands, cwd, **environment):
    """Run `codial` commands in a process without this one's registered classes, and return what they print."""
    call = [sys.executable, "-c", SESSION, json.dumps(commands)]
    done = subprocess.run(call, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pretrain(preset, out, *changes):
    settings = [part for change in (*TINY, *changes) for part in ("--set", change)]
    return ["pretrain", preset, "--out", out, "--quiet", "--device", "cpu", *settings]


@pytest.fixture
def installed(tmp_path):
    """The folder in which the package is installed as pip would, without a package index."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"]
    (info / "entry_points.txt").write_text(
        "\n".join(f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in groups.items())
    )
    for module in PACKAGE.glob("*.py"):
        (site / module.name).write_text(module.read_text())
    return site


def test_a_package_adds_a_method_by_its_entry_point(installed, tmp_path):
    commands = [
        ["pretrain", "--list"],
        pretrain("blurred/photos", "plain"),
        pretrain("blurred-strong/photos", "strong"),
        pretrain("blurred-strong/photos", "strong"),  # finished already
        ["runs", "."],
        ["probe", "plain", *FAST, "--seeds", "1", "--epochs", "1"],
        ["retrieve", "plain", *FAST],
        ["compare", "plain", "strong", *FAST, "--seeds", "1", "--epochs", "1"],
        ["embed", "plain", *FAST, "--out", "features.npz"],
    ]
    printed = session(commands, tmp_path, PYTHONPATH=str(installed))
    parts = dict(part.split("\n", 1) for part in printed.split("$ ")[1:])
    listed = next(text for command, text in parts.items() if command == "pretrain --list")
    assert "blurred        Classify views as sharp or blurred." in listed
    assert "blurred-strong" in listed
    assert "method.kernel=7" in listed
    compared = next(text for command, text in parts.items() if command.startswith("compare"))
    assert "blurred/photos" in compared
    assert "blurred-strong/photos" in compared
    assert (tmp_path / "features.npz").exists()


def test_a_run_of_a_method_that_is_missing_says_what_to_do(installed, tmp_path):
    session([pretrain("blurred/photos", "plain")], tmp_path, PYTHONPATH=str(installed))
    call = [sys.executable, "-m", "codial", "probe", "plain", *FAST]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "There is no method called 'blurred'" in done.stderr
    assert "install its package" in done.stderr
    assert "--plugin" in done.stderr
    listed = session([["runs", "."], ["--plugin", str(PACKAGE / "blurred_views.py"), "runs", "."]], tmp_path)
    assert listed.count("blurred/photos") == 2, "runs are listed without their method"


def test_a_file_adds_a_method(tmp_path):
    file = str(PACKAGE / "blurred_views.py")
    printed = session([["--plugin", file, *pretrain("blurred/photos", "run")]], tmp_path)
    assert "finished" in printed
    settings = session([["pretrain", "blurred/photos", "--show"]], tmp_path, CODIAL_PLUGINS=file)
    assert "method.kernel = 3" in settings


# Bad plug-ins


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        (
            "import nowhere_to_be_found",
            r"cannot be imported \(ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("x = (", r"cannot be imported \(SyntaxError"),
        ("raise SystemExit(3)", r"cannot be imported \(SystemExit: 3\)"),
        ("from codial.errors import CodialError\nraise CodialError('Mend it.')", r"bad_plugin.py: Mend it\."),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(tmp_path, text, message):
    file = tmp_path / "bad_plugin.py"
    file.write_text(text)
    for _ in range(2):  # the second attempt must not find a half-imported module
        with pytest.raises(CodialError, match=message):
            import_file(file)
    assert "bad_plugin" not in sys.modules


@pytest.mark.parametrize("name", ["missing.py", "", "."])
def test_a_file_that_does_not_exist_is_named(tmp_path, name):
    with pytest.raises(CodialError, match="does not exist; expected the path of a Python file"):
        import_file(tmp_path / name)


def test_a_file_cannot_take_the_name_of_a_module(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(CodialError, match="has the name of a module that is in use; rename the file"):
        import_file(tmp_path / "json.py")


def test_a_file_is_imported_once(tmp_path):
    file = tmp_path / "counts_imports.py"
    file.write_text("import os\nos.environ['IMPORTS'] = os.environ.get('IMPORTS', '') + 'x'")
    try:
        import_file(file)
        import_file(file)
        assert os.environ.pop("IMPORTS") == "x"
    finally:
        sys.modules.pop("counts_imports", None)


def test_broken_entries_are_left_out_of_the_list_with_a_warning(monkeypatch):
    from importlib.metadata import EntryPoint, EntryPoints

    entries = EntryPoints(
        [EntryPoint("broken", "nowhere:Broken", "group"), EntryPoint("fine", "builtins:int", "group")]
    )
    monkeypatch.setattr(plugins, "entry_points", lambda **query: entries.select(**query))
    registry = Registry("widget", "group")
    with pytest.warns(UserWarning, match="Widget 'broken' cannot be imported from nowhere:Broken"):
        assert registry.available() == {"fine": int}
