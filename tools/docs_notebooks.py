"""Notebooks as pages of the documentation: their text, code and stored outputs, without running them.

A page is Markdown, so that its links are checked, its text is searched, and it looks like every other page. (The plugin
mkdocs-jupyter needs the notebooks inside docs/, and its pages load scripts from other servers.)
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from tools.run_notebooks import FOLDER

_LINK = re.compile(r"\]\((\w+)\.ipynb(#[\w-]+)?\)")
_MAGIC = re.compile(r"^%.*\n?", re.MULTILINE)


@dataclass
class Page:
    """A notebook as Markdown.

    Attributes:
        name: of the notebook, such as 03_pretrain.
        title: its first heading.
        question: the question that it answers, in its first cell; empty without one.
        markdown: the page.
        images: PNG files by name; the page shows them from the folder NAME/.
    """

    name: str
    title: str = ""
    question: str = ""
    markdown: str = ""
    images: dict[str, bytes] = field(default_factory=dict)


def pages() -> list[Page]:
    """Return all notebooks as pages, by name."""
    return [page(path) for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))]


def page(path: Path) -> Page:
    """Return a notebook as a page."""
    result = Page(path.stem)
    cells = nbformat.read(path, as_version=4).cells
    first = cells[0].source
    result.title = re.search(r"^# (.+)$", first, re.MULTILINE)[1]
    question = re.search(r"\*\*Question\.\*\*\s+(.+?)\n\n", first + "\n\n", re.DOTALL)
    result.question = " ".join(question[1].split()) if question else ""
    parts = [part for cell in cells for part in _parts(cell, result)]
    note = f"*This is `notebooks/{path.name}` with its stored outputs.*"
    result.markdown = "\n\n".join([*parts[:1], note, *parts[1:]]) + "\n"
    return result


def _parts(cell: Any, page: Page) -> Iterator[str]:
    """Yield the Markdown of a cell and of its outputs; images go to the page's `images`."""
    if cell.cell_type == "markdown":
        yield _LINK.sub(r"](\1.md\2)", cell.source).replace("](../docs/notebooks/", "](")
        return
    if source := _MAGIC.sub("", cell.source).strip():
        yield _fenced(source, "python")
    for output in cell.get("outputs", ()):
        yield _output(output, page)


def _output(output: Any, page: Page) -> str:
    """Return the Markdown of an output: text, or an image with its text as the description."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    text = data.get("text/plain", "").rstrip()
    if "image/png" not in data:
        return _fenced(text, "text", "{ .text .output }")
    name = f"{len(page.images) + 1}.png"
    page.images[name] = base64.b64decode(data["image/png"])
    return f"![Figure {len(page.images)} of {page.title}]({page.name}/{name})"


def _fenced(text: str, language: str, attributes: str = "") -> str:
    return f"```` {attributes or language}\n{text}\n````"
