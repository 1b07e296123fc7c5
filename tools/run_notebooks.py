"""Run the notebooks, or refresh the outputs that are committed with them.

    python -m tools.run_notebooks run [NAME ...] [--out DIR]      executed copies, by default in runs/notebooks/
    python -m tools.run_notebooks refresh [NAME ...]              the notebooks themselves
    python -m tools.run_notebooks tidy [NAME ...]                 only tidies them, and fails if one was not tidy

A NAME is a notebook's number, title or file: 03, pretrain, 03_pretrain, notebooks/03_pretrain.ipynb.
"""

import argparse
import base64
import copy
import io
import os
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image

from codial.errors import CodialError
from codial.utils.text_table import format_table

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "notebooks"
OUT = PROJECT / "runs" / "notebooks"
FIGURES = PROJECT / "results" / "figures"
KEY_RESULT = "key-result"  # tag of the cell whose last line of text sums up the notebook
FIGURE = "figure-"  # a cell with the tag figure-NAME: its image is saved as NAME.png in results/figures
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # without the version, which differs between machines
KEPT_METADATA = ("jupyter", "slideshow", "tags")  # of cells; the rest describes the last execution
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDTH = 100  # columns for a key result or an error


@dataclass(frozen=True)
class Execution:
    """An executed notebook.

    Attributes:
        name: of the notebook, such as 03_pretrain.
        status: "done", "failed" or "interrupted".
        seconds: how long it took.
        text: the key result or the error, in one line.
        copy: path of the executed copy, which is partial if the notebook failed.
    """

    name: str
    status: str
    seconds: float
    text: str
    copy: Path


def run_all(folder: Path = FOLDER, out: Path = OUT, names: Iterable[str] = ()) -> list[Execution]:
    """Execute notebooks one after another, each in its own kernel, and print a table of the results.

    If a notebook fails, the others are executed nevertheless; an interrupt (Ctrl-C) stops all of them.

    Args:
        folder: folder and working directory of the notebooks.
        out: folder of the executed copies.
        names: notebooks to run; all if empty.

    Returns:
        One execution for each notebook that was started, sorted by name.

    Raises:
        CodialError: a name is unknown.
    """
    executions: list[Execution] = []
    for path in find(folder, names):
        executions.append(run_one(path, out))
        if executions[-1].status == "interrupted":
            break
    print("\n" + table(executions))
    return executions


def refresh(
    folder: Path = FOLDER, out: Path = OUT, names: Iterable[str] = (), figures: Path = FIGURES
) -> list[Execution]:
    """Execute notebooks and store their outputs in place; notebooks that fail keep their old outputs.

    Args:
        folder: folder and working directory of the notebooks.
        out: folder of the executed copies, also of failed notebooks.
        names: notebooks to refresh; all if empty.
        figures: folder for the images of cells tagged `figure-NAME`.

    Returns:
        The executions, as `run_all`.

    Raises:
        CodialError: a name is unknown.
    """
    executions = run_all(folder, out, names)
    for execution in executions:
        if execution.status == "done":
            notebook = clean(nbformat.read(execution.copy, as_version=4))
            nbformat.write(notebook, folder / execution.copy.name)
            for name, image in tagged_figures(notebook).items():
                figures.mkdir(parents=True, exist_ok=True)
                (figures / f"{name}.png").write_bytes(image)
    return executions


def tidy(folder: Path = FOLDER, names: Iterable[str] = ()) -> list[Path]:
    """Remove what differs between executions or machines from notebooks, in place, without running them.

    Args:
        folder: folder of the notebooks.
        names: notebooks to tidy; all if empty.

    Returns:
        The notebooks that were changed.

    Raises:
        CodialError: a name is unknown.
    """
    changed = []
    for path in find(folder, names):
        before = path.read_text(encoding="utf-8")
        nbformat.write(clean(nbformat.reads(before, as_version=4)), path)
        if path.read_text(encoding="utf-8") != before:
            changed.append(path)
    return changed


def run_one(path: Path, out: Path) -> Execution:
    """Execute one notebook in its own folder; errors are reported in the returned execution."""
    path = path.resolve()
    target = out.resolve() / path.name
    if path == target:
        raise CodialError(f"{out} is the folder of the notebooks; choose another folder for the executed copies.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # the copy of an earlier execution
    start = time.perf_counter()
    status, text = _execute(path, target)
    return Execution(path.stem, status, time.perf_counter() - start, text, target)


def find(folder: Path = FOLDER, names: Iterable[str] = ()) -> list[Path]:
    """Return the numbered notebooks of a folder sorted by name, all of them or those with the given names.

    Raises:
        CodialError: the folder has no notebooks, or none with a given name.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise CodialError(f"No notebooks (01_name.ipynb, ...) in {folder}; set their folder with --folder.")
    aliases = {path: {path.stem, *path.stem.split("_", 1)} for path in paths}
    requested = {Path(name).name.removesuffix(".ipynb") for name in names}
    if unknown := sorted(requested - set().union(*aliases.values())):
        raise CodialError(f"No notebook {unknown[0]!r} in {folder}; it has {', '.join(path.stem for path in paths)}.")
    return [path for path in paths if not requested or aliases[path] & requested]


def key_result(notebook: Any) -> str:
    """Return the last line of text output of the last cell tagged `key-result`, or "-" if there is none."""
    cells = [
        cell for cell in notebook.cells if cell.cell_type == "code" and KEY_RESULT in cell.metadata.get("tags", [])
    ]
    outputs = cells[-1].outputs if cells else []
    lines = [line.strip() for output in outputs for line in _text(output).splitlines() if line.strip()]
    return lines[-1] if lines else "-"


def coalesced(notebook: Any) -> Any:
    """Return a copy of a notebook with printed text in one piece per stream; its chunks differ between executions.

    nbclient's option of that name does this while the notebook runs, and then loses figures that a later cell updates.
    """
    return CoalesceStreamsPreprocessor().preprocess(copy.deepcopy(notebook), {})[0]


def tagged_figures(notebook: Any) -> dict[str, bytes]:
    """Return the last image of each cell tagged `figure-NAME`, as PNG bytes by name."""
    figures = {}
    for cell in notebook.cells:
        data = [output.get("data", {}) for output in cell.get("outputs", [])]
        images = [values["image/png"] for values in data if "image/png" in values]
        for tag in cell.metadata.get("tags", []):
            if tag.startswith(FIGURE) and images:
                figures[tag.removeprefix(FIGURE)] = base64.b64decode(images[-1])
    return figures


def clean(notebook: Any) -> Any:
    """Return a copy of a notebook without anything that differs between executions or machines.

    Sources, tags, outputs and execution counts are kept. Timings, widgets, versions, stderr and random cell ids are
    removed. Images are reduced to 256 colors, a third of their size.
    """
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = type(notebook)(kernelspec=dict(KERNEL), language_info=dict(LANGUAGE))
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = type(cell)({key: cell.metadata[key] for key in KEPT_METADATA if cell.metadata.get(key)})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                _clean_data(output.get("data", {}))
    return coalesced(notebook)


def _clean_data(data: dict[str, Any]) -> None:
    data.pop(WIDGET, None)
    if "image/png" in data:
        data.pop("text/html", None)  # the same figure with tooltips
        data["image/png"] = base64.b64encode(quantize(base64.b64decode(data["image/png"]))).decode()


def quantize(image: bytes) -> bytes:
    """Return a PNG reduced to 256 colors; one that already has a palette is returned unchanged."""
    decoded = Image.open(io.BytesIO(image))
    if decoded.mode == "P":
        return image
    buffer = io.BytesIO()
    decoded.convert("RGB").quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def table(executions: Sequence[Execution]) -> str:
    """Return a table with columns notebook, seconds, key result, executed copy."""
    rows = [["notebook", "seconds", "key result", "executed copy"]]
    rows += [[e.name, f"{e.seconds:.1f}", _summary(e), _relative(e.copy)] for e in executions]
    return format_table(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 if a notebook failed or wasn't tidy, 2 for usage, 130 for Ctrl-C."""
    options = _parser().parse_intermixed_args(arguments)  # names may follow options
    command = refresh if options.action == "refresh" else run_all
    try:
        if options.action == "tidy":
            changed = tidy(options.folder, options.names)
            print("\n".join(f"Tidied {_relative(path)}" for path in changed) or "All notebooks are tidy.")
            return int(bool(changed))
        executions = command(options.folder, options.out, options.names)
    except CodialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # between two notebooks
        return 130
    statuses = {execution.status for execution in executions}
    return 130 if "interrupted" in statuses else int("failed" in statuses)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.run_notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "refresh", "tidy"], help="copies, in place, or without running")
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks, such as 03 or 03_pretrain (default: all)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="of the copies (runs/notebooks)")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="of the notebooks (notebooks)")
    return parser


def _execute(path: Path, target: Path) -> tuple[str, str]:
    """Execute a notebook, and return its status and its key result or error."""
    try:
        executed = papermill.execute_notebook(
            path,
            target,
            kernel_name=KERNEL["name"],
            cwd=path.parent,
            progress_bar={"desc": path.stem},
            extra_arguments=["--log-level=CRITICAL"],  # keeps kernels' log messages off the console
        )
    except KeyboardInterrupt:
        return "interrupted", "interrupted"
    except Exception as error:  # of any kind: the other notebooks are executed nevertheless
        return "failed", _describe(error)
    return "done", key_result(coalesced(executed))


def _describe(error: Exception) -> str:
    """Return an error in one line: cell, type and message."""
    if isinstance(error, papermill.PapermillExecutionError):
        text = f"In [{error.exec_count}] {error.ename}: {error.evalue}"
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _text(output: Any) -> str:
    """Return the text of an output; nothing for images, widgets and stderr."""
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    is_text = not any(kind == WIDGET or kind.startswith("image/") for kind in data)
    return data.get("text/plain", "").strip("'\"") if is_text else ""


def _summary(execution: Execution) -> str:
    text = f"FAILED {execution.text}" if execution.status == "failed" else execution.text
    return textwrap.shorten(text, WIDTH, placeholder=" ...")


def _relative(path: Path) -> str:
    """Return a path relative to the working directory if it is below it; "-" if the file does not exist."""
    if not path.exists():
        return "-"
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
