"""The documentation: its examples run, its messages are raised, its files are there. `make docs` checks its links."""

import ast
import doctest
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.docs_math import replace_formulas

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
TEXTS = {name: path.read_text() for name, path in PAGES.items()}
FOLDERS = ("benchmarks", "codial", "data", "docs", "notebooks", "results", "tests", "tools")
EXTENSIONS = ("upside_down", "tiny", "noise", "printer")  # the names of the classes on the page
MADE_LATER = ("codial/photos", "codial/cifar10", "codial/paper", "codial/brief", "codial/recommended")  # presets


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if ">>> " in text])
def test_the_examples_of_a_page_run(name):
    results = doctest.testfile(
        str(PAGES[name]), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert results.failed == 0
    assert results.attempted > 1


@pytest.mark.slow
def test_the_classes_of_the_page_on_extending_train_a_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", TEXTS["how-to/extend.md"], re.MULTILINE | re.DOTALL)
    assert [re.search(r"register\w*\(\"(\w+)\"\)", block)[1] for block in blocks] == list(EXTENSIONS)
    call = [sys.executable, "-m", "codial"]
    for name, block in zip(EXTENSIONS, blocks, strict=True):
        (tmp_path / f"my_{name}.py").write_text(block)
        call += ["--plugin", f"my_{name}.py"]
    call += ["pretrain", "upside_down/photos", "--logger", "printer", "--out", "run", "--device", "cpu", "--quiet"]
    settings = ("model.backbone=tiny", "model.width=1", "data.source=noise", "views.size=32", "train.epochs=1")
    call += [part for each in settings for part in ("--set", each)]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "pretext_accuracy" in done.stdout  # by the logger
    assert "finished" in done.stdout


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_files_that_a_page_names_are_in_the_project(name):
    pattern = rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`"
    named = set(re.findall(pattern, TEXTS[name])) - set(MADE_LATER)
    assert [path for path in named if not (PROJECT / path).exists()] == []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_make_targets_that_a_page_names_exist(name):
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXTS[name], re.MULTILINE))
    targets = re.search(r"^\.PHONY: (.+)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert named <= set(targets)


def test_messages_of_troubleshooting_are_those_of_the_code():
    messages = re.findall(r"^`(.+)`\n:   ", TEXTS["troubleshooting.md"], re.MULTILINE)
    assert len(messages) > 30
    assert [message for message in messages if not any(_matches(message, raised) for raised in _raised())] == []


def test_formulas_are_mathml_and_code_is_left_alone():
    page = replace_formulas(r"$\frac{a}{b}$ costs `$x$` and 5 $ or 6 $")
    assert "<mfrac>" in page
    assert page.endswith("costs `$x$` and 5 $ or 6 $")
    with pytest.raises(ValueError, match="foo"):
        replace_formulas(r"$a \foo b$")


def _matches(message: str, raised: str) -> bool:
    parts = message.split("…")
    return max(parts, key=len) in raised and re.search(".+?".join(map(re.escape, parts)), raised) is not None


@cache
def _raised() -> list[str]:
    """Return all texts with values in the code, … for each value, and the Makefile's message."""
    sources = [ast.parse(path.read_text()) for path in (PROJECT / "codial").rglob("*.py")]
    nodes = [node for tree in sources for node in ast.walk(tree)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts += ["".join(_text(part) for part in node.values) for node in nodes if isinstance(node, ast.JoinedStr)]
    return [*texts, (PROJECT / "Makefile").read_text().replace("%s", "…")]


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"
