"""Run the notebooks without a person, and refresh the outputs that are committed with them.

    python -m codial.notebooks run [NAME ...] [--out DIR]      executed copies, by default in runs/notebooks/
    python -m codial.notebooks refresh [NAME ...]              the notebooks themselves

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from codial.errors import CodialError

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "notebooks"
OUT = PROJECT / "runs" / "notebooks"
KEY_RESULT = "key-result"  # the tag of the cell whose text is the notebook's result in one line
PICTURE = "picture-"  # a tag such as picture-views keeps that cell's picture as views.png for the README
PICTURES = PROJECT / "results" / "pictures"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # without the version: it differs between machines
KEPT = ("jupyter", "slideshow", "tags")  # of a cell's metadata; all else is when and how it last ran
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDTH = 100  # columns for a key result or an error


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook."""

    name: str
    status: str  # "done", "failed" or "interrupted"
    seconds: float
    text: str  # the key result or the error, in one line
    copy: Path  # executed, wholly or in part


def run_all(
    folder: Path = FOLDER,
    out: Path = OUT,
    names: Iterable[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> list[Outcome]:
    """Execute notebooks one after another, each in a kernel of its own, and print a table of what came out.

    A notebook that fails does not stop the others; an interrupt (Ctrl-C) stops all that is left.

    Args:
        folder: of the notebooks, and their working directory.
        out: where the executed copies go; made if missing.
        names: of the notebooks to run; none means all.
        parameters: for `papermill`; each notebook gets those that it has.

    Returns:
        One outcome for each notebook that was started, in name order.

    Raises:
        CodialError: no notebook has such a name or such a parameter, or papermill is not installed.
    """
    paths = find(folder, names)
    shares = _share(paths, parameters or {})
    outcomes: list[Outcome] = []
    for path, share in zip(paths, shares, strict=True):
        outcomes.append(run_one(path, out, share))
        if outcomes[-1].status == "interrupted":
            break
    print("\n" + table(outcomes))
    return outcomes


def refresh(
    folder: Path = FOLDER, out: Path = OUT, names: Iterable[str] = (), pictures: Path = PICTURES
) -> list[Outcome]:
    """Execute notebooks and store their fresh outputs in place, tidied; one that fails keeps its old ones.

    Args:
        folder: of the notebooks.
        out: where the untidied copies go, of failed notebooks too.
        names: of the notebooks to refresh; none means all.
        pictures: where the pictures of cells tagged `picture-NAME` go, as NAME.png.

    Returns:
        The outcomes, as of `run_all`.

    Raises:
        CodialError: as `run_all`.
    """
    outcomes = run_all(folder, out, names)
    for outcome in outcomes:
        if outcome.status == "done":
            notebook = tidy(_read(outcome.copy))
            _write(notebook, folder / outcome.copy.name)
            for name, picture in tagged_pictures(notebook).items():
                pictures.mkdir(parents=True, exist_ok=True)
                (pictures / f"{name}.png").write_bytes(picture)
    return outcomes


def run_one(path: Path, out: Path, parameters: Mapping[str, Any] | None = None) -> Outcome:
    """Execute one notebook in its own folder; whatever goes wrong is told in the outcome."""
    path, target = path.resolve(), out.resolve() / path.name
    if path == target:
        raise CodialError(f"{out} is where the notebooks lie; the executed copies need another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # never point at an older run's copy
    start = time.perf_counter()
    status, text = _execute(path, target, dict(parameters or {}))
    return Outcome(path.stem, status, time.perf_counter() - start, text, target)


def find(folder: Path = FOLDER, names: Iterable[str] = ()) -> list[Path]:
    """List the numbered notebooks of a folder in name order, all of them or those with the given names.

    Raises:
        CodialError: there are none, or none has a given name.
    """
    every = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not every:
        raise CodialError(f"No notebooks (01_name.ipynb, ...) in {folder}; say where they are with --folder.")
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names]
    called = {path: {path.stem, *path.stem.split("_", 1)} for path in every}
    unknown = [name for name in wanted if not any(name in calls for calls in called.values())]
    if unknown:
        raise CodialError(f"No notebook {unknown[0]!r} in {folder}; it has {', '.join(path.stem for path in every)}.")
    return [path for path in every if not wanted or called[path] & set(wanted)]


def key_result(notebook: Any) -> str:
    """Return the last line of text under the last cell tagged `key-result`, or "-" if there is none."""
    cells = [
        cell for cell in notebook.cells if cell.cell_type == "code" and KEY_RESULT in cell.metadata.get("tags", [])
    ]
    outputs = cells[-1].outputs if cells else []
    lines = [line.strip() for output in outputs for line in _text(output).splitlines() if line.strip()]
    return lines[-1] if lines else "-"


def tagged_pictures(notebook: Any) -> dict[str, bytes]:
    """Return the last picture of each cell tagged `picture-NAME`, as PNG bytes by NAME."""
    found = {}
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            shown = [
                output.data["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
            ]
            if tag.startswith(PICTURE) and shown:
                found[tag.removeprefix(PICTURE)] = base64.b64decode(shown[-1])
    return found


def tidy(notebook: Any) -> Any:
    """Return a copy of a notebook without what changes from run to run or from machine to machine.

    Sources, tags, outputs and execution counts stay; timings, widget state and links to it, versions, what was written
    to stderr and random cell ids go. Pictures are brought to 256 colours each, a third of their bytes.
    """
    notebook = copy.deepcopy(notebook)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = type(notebook)(kernelspec=dict(KERNEL), language_info=dict(LANGUAGE))
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = type(cell)({key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                data = output.get("data", {})
                data.pop(WIDGET, None)
                if "image/png" in data:
                    data.pop("text/html", None)  # the same picture, with values to point at
                    data["image/png"] = base64.b64encode(smaller(base64.b64decode(data["image/png"]))).decode()
    return notebook


def smaller(picture: bytes) -> bytes:
    """Return a PNG with the 256 colours that suit it best; one that has its own palette as it is."""
    image, buffer = Image.open(io.BytesIO(picture)), io.BytesIO()
    if image.mode == "P":
        return picture
    image.convert("RGB").quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def table(outcomes: Sequence[Outcome]) -> str:
    """Lay out the outcomes in columns: notebook, seconds, key result, executed copy."""
    rows = [("notebook", "seconds", "key result", "executed copy")]
    rows += [(o.name, f"{o.seconds:.1f}", _cell(o), _where(o.copy)) for o in outcomes]
    names, seconds, texts = (max(len(row[column]) for row in rows) for column in range(3))
    lines = [f"{a:<{names}}  {b:>{seconds}}  {c:<{texts}}  {d}" for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 if a notebook failed, 2 for a mistake in the call, 130 for Ctrl-C."""
    given = _parser().parse_intermixed_args(arguments)  # names may follow options
    try:
        outcomes = (refresh if given.action == "refresh" else run_all)(given.folder, given.out, given.names)
    except CodialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # between two notebooks
        return 130
    states = {outcome.status for outcome in outcomes}
    return 130 if "interrupted" in states else int("failed" in states)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codial.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "refresh"], help="into executed copies, or in place")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which, such as 03 or 03_pretrain (default: all)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="of the copies (runs/notebooks)")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="of the notebooks (notebooks)")
    return parser


def _share(paths: Sequence[Path], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each notebook those parameters that its `parameters` cell has."""
    if find_spec("papermill") is None:
        raise CodialError("Notebooks are run by papermill, which is not installed: pip install 'codial[notebooks]'.")
    import papermill

    known = [papermill.inspect_notebook(path) for path in paths] if parameters else [{} for _ in paths]
    valid = {name for names in known for name in names}
    unknown = sorted(set(parameters) - valid)
    if unknown:
        raise CodialError(f"No notebook has a parameter {unknown[0]!r}; they have {', '.join(sorted(valid))}.")
    return [{name: value for name, value in parameters.items() if name in names} for names in known]


def _execute(path: Path, target: Path, parameters: dict[str, Any]) -> tuple[str, str]:
    """Return the status of an execution, and its key result or error."""
    import papermill

    try:
        executed = papermill.execute_notebook(
            path,
            target,
            parameters,
            kernel_name=KERNEL["name"],
            cwd=path.parent,
            progress_bar={"desc": path.stem},
            coalesce_streams=True,  # or the pieces that prints arrive in would differ from run to run
            extra_arguments=["--log-level=CRITICAL"],  # or kernels chat on the console; what cells raise is kept anyway
        )
    except KeyboardInterrupt:
        return "interrupted", "interrupted"
    except Exception as error:  # of any kind: the other notebooks still get their turn
        return "failed", _explain(error)
    return "done", key_result(executed)


def _explain(error: Exception) -> str:
    """Put an error in one line: of a cell what it raised and where, of anything else its name and message."""
    if hasattr(error, "ename"):  # PapermillExecutionError
        text = f"In [{error.exec_count}] {error.ename}: {error.evalue}"  # type: ignore[attr-defined]
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _text(output: Any) -> str:
    """Return what an output says in words; nothing for pictures, widgets and stderr."""
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    spoken = not any(kind == WIDGET or kind.startswith("image/") for kind in data)
    return data.get("text/plain", "").strip("'\"") if spoken else ""


def _cell(outcome: Outcome) -> str:
    text = f"FAILED {outcome.text}" if outcome.status == "failed" else outcome.text
    return textwrap.shorten(text, WIDTH, placeholder=" ...")


def _where(path: Path) -> str:
    """Return a path as seen from here if it lies below, in full otherwise; "-" if there is no such file."""
    if not path.exists():
        return "-"
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def _write(notebook: Any, path: Path) -> None:
    import nbformat

    nbformat.write(notebook, path)


if __name__ == "__main__":
    sys.exit(main())
