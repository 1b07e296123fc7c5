"""Imports point one way, and a bare machine can pretrain: what is heavy is imported where it is used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "codial"
ROOT = "__init__"

# From the first to the last; a module imports only from earlier rows, or from within its own package.
LAYERS = (
    {"errors"},
    {"settings", "stored", "writing"},
    {"options"},
    {"config"},
    {"ablations", "checkpoints", "claims", "devices", "interrupts", "paper", "parameters", "ranks"},
    {"readings"},
    {"data", "views", "models", "information", "presets", "schedule"},
    {"feed", "objectives", "shortcuts", "toys"},
    {"moments", "monitors", "runs", "verdicts"},
    {"pretrain", "results"},
    {"background", "comparison", "epochs", "evaluate"},
    {"scale"},
    {"reports"},
    {"tables"},
    {"answers", "export", "papertables", "sweep"},
    {"reproduce"},
    {ROOT},
    {"plots"},
    {"widgets", "notebooks"},
    {"cli"},
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}

ONLY_IN = {name: {"widgets"} for name in ("IPython", "anywidget", "ipywidgets")}  # and nowhere else, whatever the place
LAZY = {
    "anywidget": {"widgets"},
    "cv2": set(),
    "faiss": set(),
    "matplotlib": {"plots", "widgets"},
    "scipy": set(),
    "skimage": set(),
    "sklearn": set(),
    "umap": set(),
}
NEVER = ("matplotlib.pyplot", "matplotlib.pylab")  # they keep global state, which callbacks on other threads spoil
BLOCKED = ("anywidget", "cv2", "faiss", "umap", "ipywidgets", "IPython", "matplotlib", "scipy", "skimage", "sklearn")


class Import(NamedTuple):
    """One imported name: by which file, on which line, and whether only when a function is called."""

    path: Path
    line: int
    name: str
    within: bool


def imports(path: Path, package: Path) -> Iterator[Import]:
    """List what a file imports, in full names; what only type checkers read is left out."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while pending:
        node, within = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += [(child, within) for child in node.orelse]
            continue
        for name in names(node, path, package):
            yield Import(path, node.lineno, name, within)
        within = within or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending += [(child, within) for child in ast.iter_child_nodes(node)]


def names(node: ast.AST, path: Path, package: Path) -> list[str]:
    """Return the full names that a statement imports: of `from codial import runs`, codial.runs."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = path.relative_to(package.parent).parts[: -node.level] if node.level else ()
    source = ".".join([*parents, *([node.module] if node.module else [])])
    return [f"{source}.{alias.name}" for alias in node.names]


def unit(path: Path, package: Path) -> str:
    """Return which row entry a file belongs to: its module or sub-package."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def target(name: str, package: Path) -> str | None:
    """Return which unit of the package a full name is in, ROOT for the package itself, None for what is not in it."""
    first, _, rest = name.partition(".")
    if first != package.name:
        return None
    inside = rest.partition(".")[0]
    is_module = (package / inside).is_dir() or (package / f"{inside}.py").is_file()
    return inside if inside and is_module else ROOT


def wrong_way(item: Import, package: Path) -> str | None:
    """Say what is wrong with an import within the package."""
    source, goal = unit(item.path, package), target(item.name, package)
    if goal is None or goal == source:
        return None
    if unknown := sorted({source, goal} - set(RANK)):
        return f"{unknown[0]} has no layer"
    if goal == ROOT and item.within:  # for __version__, when everything is there
        return None
    return None if RANK[goal] < RANK[source] else f"{source} may not import {goal}"


def misplaced(item: Import, package: Path) -> str | None:
    """Say what is wrong with an import of another package."""
    source, top = unit(item.path, package), item.name.partition(".")[0]
    if any(f"{item.name}.".startswith(f"{name}.") for name in NEVER):
        return f"{item.name} is not to be used"
    if source not in ONLY_IN.get(top, {source}):
        return f"{top} belongs in {' and '.join(ONLY_IN[top])}"
    if not item.within and source not in LAZY.get(top, {source}):
        return f"{top} is to be imported within a function"
    return None


def violations(package: Path) -> list[str]:
    """List every import that breaks a rule, as file:line: reason."""
    found = []
    for path in sorted(package.rglob("*.py")):
        for item in imports(path, package):
            if reason := wrong_way(item, package) or misplaced(item, package):
                found.append(f"{path.relative_to(package)}:{item.line}: {reason}")
    return found


def test_imports_point_one_way():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("views/bad.py", "from codial.pretrain import pretrain", "views may not import pretrain"),
        ("views/bad.py", "from codial import runs", "views may not import runs"),
        ("views/bad.py", "from ..models import AlexNet", "views may not import models"),
        ("views/bad.py", "def f():\n    import codial.runs", "views may not import runs"),
        ("views/bad.py", "class A:\n    from codial.cli import main", "views may not import cli"),
        ("runs.py", "import codial", "runs may not import __init__"),
        ("runs.py", "from codial import __version__", "runs may not import __init__"),
        ("errors.py", "import codial.config", "errors may not import config"),
        ("__init__.py", "from codial.plots import curve", "__init__ may not import plots"),
        ("helpers.py", "from codial import errors", "helpers has no layer"),
        ("plots/bad.py", "def f():\n    from IPython.display import Image", "IPython belongs in widgets"),
        ("cli.py", "import ipywidgets", "ipywidgets belongs in widgets"),
        ("evaluate/bad.py", "import faiss", "faiss is to be imported within a function"),
        ("evaluate/bad.py", "try:\n    import umap\nexcept ImportError:\n    pass", "umap is to be imported within"),
        ("data/bad.py", "from skimage import data", "skimage is to be imported within a function"),
        ("runs.py", "from matplotlib.figure import Figure", "matplotlib is to be imported within a function"),
        ("plots/bad.py", "def f():\n    from matplotlib import pyplot", "matplotlib.pyplot is not to be used"),
        ("widgets/bad.py", "import matplotlib.pyplot as plt", "matplotlib.pyplot is not to be used"),
    ],
)
def test_a_bad_import_is_found(tmp_path, file, source, reason):
    package = synthetic_package(tmp_path, file, source)
    (found,) = violations(package)
    assert found.startswith(f"{file}:")
    assert reason in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("views/good.py", "import torch\nfrom codial.config import Config\nfrom codial.views.bad import warp"),
        ("views/good.py", "from . import warp\nfrom .warp import warp"),
        ("views/good.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from codial.runs import Run"),
        ("runs.py", "def version():\n    import codial\n    return codial.__version__"),
        ("evaluate/good.py", "def f():\n    import faiss\n    from sklearn.manifold import trustworthiness"),
        ("plots/good.py", "import codial\nfrom matplotlib.figure import Figure"),
        ("widgets/good.py", "from IPython.display import display\nimport ipywidgets as widgets"),
        ("cli.py", "import codial\nfrom codial import notebooks, plots"),
    ],
)
def test_a_good_import_passes(tmp_path, file, source):
    assert violations(synthetic_package(tmp_path, file, source)) == []


def synthetic_package(folder: Path, file: str, source: str) -> Path:
    """Make a package with every unit, all empty, but for one file."""
    package = folder / "codial"
    for name in RANK:
        (package / name).mkdir(parents=True) if name != ROOT else (package / "__init__.py").touch()
    path = package / file
    path.write_text(source)
    return package


def in_a_bare_environment(source: str) -> subprocess.CompletedProcess:
    """Run Python with the optional packages out of reach."""
    finder = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
"""
    return subprocess.run([sys.executable, "-c", finder + source], capture_output=True, text=True, timeout=300)


def test_codial_imports_without_the_optional_packages():
    done = in_a_bare_environment("import codial; print('imported', codial.__version__)")
    assert done.stdout.startswith("imported"), done.stderr


def test_its_modules_import_without_the_optional_packages():
    paths = [path for path in PACKAGE.rglob("*.py") if RANK.get(unit(path, PACKAGE), 0) <= RANK[ROOT]]
    modules = sorted(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths)
    modules = [name.removesuffix(f".{ROOT}") for name in modules]
    done = in_a_bare_environment(f"for name in {modules}: __import__(name)\nprint('imported')")
    assert done.stdout == "imported\n", done.stderr


def test_the_bare_environment_is_bare():
    done = in_a_bare_environment("import sklearn.datasets")
    assert "ImportError: sklearn is blocked" in done.stderr
