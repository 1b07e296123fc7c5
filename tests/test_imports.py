"""Imports point down, heavy packages are imported where they are used, and `import codial` takes no time."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

PROJECT = Path(__file__).resolve().parents[1]
OPTIONAL = ("IPython", "anywidget", "cv2", "faiss", "ipywidgets", "matplotlib", "scipy", "skimage", "sklearn", "umap")
OPTIONAL += ("mlflow", "tensorboard", "trackio", "wandb")
WITHOUT_THEM = ("config", "data", "errors", "experiments", "losses", "methods", "models", "results", "runs", "training")
WITHOUT_THEM += ("transforms", "utils", "evaluate")
BLOCKED = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
"""
# Takes away what native Windows lacks, after the other packages have been imported, and imports codial once more.
AS_ON_WINDOWS = """
import os, signal, sys

for name in {modules}: __import__(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "codial"]: del sys.modules[name]
for name in ("fcntl", "grp", "pwd", "resource", "termios"): sys.modules[name] = None
for name in ("fork", "getuid", "killpg", "register_at_fork", "sched_getaffinity", "statvfs"): delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGXCPU"): delattr(signal, name)
for name in {modules}: __import__(name)
print("imported")
"""


def python(source: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)


def modules() -> list[str]:
    """Return the modules of all packages that need no optional dependency."""
    paths = [path.relative_to(PROJECT).with_suffix("") for path in (PROJECT / "codial").rglob("*.py")]
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(name for name in names if name.split(".")[1:2] and name.split(".")[1] in WITHOUT_THEM)


def test_every_import_points_down(monkeypatch):
    """The contracts are in pyproject.toml."""
    monkeypatch.chdir(PROJECT)
    assert lint_imports(no_cache=True) == 0


def test_the_core_imports_without_the_optional_packages():
    done = python(f"{BLOCKED}\nfor name in {modules()}: __import__(name)\nprint('imported')")
    assert done.stdout == "imported\n", done.stderr


def test_the_optional_packages_are_out_of_reach_there():
    assert "ImportError: sklearn is blocked" in python(f"{BLOCKED}\nimport sklearn").stderr


@pytest.mark.slow
def test_nothing_is_imported_that_windows_lacks():
    done = python(AS_ON_WINDOWS.format(modules=modules()))
    assert done.stdout == "imported\n", done.stderr


def test_importing_codial_imports_nothing_heavy():
    done = python("import sys, codial; print(codial.__version__, {'torch', 'numpy', 'numba'} & set(sys.modules))")
    assert done.stdout.split(maxsplit=1)[1] == "set()\n", done.stderr


def test_every_name_of_the_public_interface_can_be_imported():
    done = python("import codial\nfor name in codial.__all__: getattr(codial, name)\nprint(len(codial.__all__))")
    assert int(done.stdout) > 20, done.stderr
