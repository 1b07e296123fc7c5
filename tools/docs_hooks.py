"""Hooks of MkDocs: add the notebooks as pages, fill in generated tables and formulas, check what pages load."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from tools import docs_methods, docs_notebooks, docs_results
from tools.docs_math import replace_formulas

_MARKER = re.compile(r"^<!-- (\w+)(?: (\w+))? -->$", re.MULTILINE)
_LOADED = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")
_PAGES = docs_notebooks.pages()


def on_config(config: Any) -> Any:
    """Add the notebooks to the navigation."""
    (notebooks,) = (entry["Notebooks"] for entry in config.nav if "Notebooks" in entry)
    notebooks += [{page.title.replace(" · ", " "): f"notebooks/{page.name}.md"} for page in _PAGES]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each notebook, and its images."""
    for page in _PAGES:
        files.append(File.generated(config, f"notebooks/{page.name}.md", content=page.markdown))
        for name, content in page.images.items():
            files.append(File.generated(config, f"notebooks/{page.name}/{name}", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace markers, such as `<!-- results photos -->`, by tables, and formulas by MathML."""
    return replace_formulas(_MARKER.sub(_filled, markdown))


def on_post_build(config: Any) -> None:
    """Check that no page loads anything from another server.

    Raises:
        PluginError: one does.
    """
    for path in Path(config.site_dir).rglob("*.html"):
        if found := _LOADED.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} loads {found[1]}; a page may load nothing from other servers.")


def _filled(marker: re.Match) -> str:
    return _TABLES[marker[1]](*filter(None, [marker[2]]))


def _notebook_table() -> str:
    rows = [[f"[{page.title}]({page.name}.md)", page.question] for page in _PAGES]
    return docs_results.markdown_table(["notebook", "question"], rows)


_TABLES: dict[str, Callable[..., str]] = {
    "results": docs_results.method_table,
    "variants": docs_results.variant_table,
    "shortcuts": docs_results.shortcut_table,
    "transfer": docs_results.transfer_table,
    "faults": docs_results.fault_table,
    "paper": docs_results.paper_table,
    "bench": docs_results.bench_table,
    "methods": docs_methods.method_table,
    "departures": docs_methods.departure_list,
    "recipes": docs_methods.recipe_table,
    "notebooks": _notebook_table,
}
