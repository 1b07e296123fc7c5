"""The form of the committed notebooks: short, without logic, executed, and clean."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from tools import run_notebooks

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MAX_CELLS, MAX_CELL_LINES, MAX_FUNCTION_LINES = 25, 15, 10
METHOD, MAX_METHOD_LINES = "your-method", 40  # the one cell that defines a class, in notebook 11
MAX_IMAGE_BYTES = 1.5e6
LOCAL_PATH = re.compile(r"/(home|root|work|tmp|opt|mnt|Users|private|var/folders)/|\b[A-Za-z]:\\")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def parse(source):
    """Parse a cell's Python code; lines with magics (%, !) are replaced by `pass`."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def output_text(notebook):
    """Return the text of all outputs, without images."""
    streams = [output.get("text", "") for output in outputs(notebook)]
    data = [item for output in outputs(notebook) for item in output.get("data", {}).items()]
    return "\n".join(streams + [str(value) for kind, value in data if not kind.startswith("image/p")])


def test_notebooks_have_distinct_numbers():
    assert len(NOTEBOOKS) == 12
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in NOTEBOOKS)
    assert len({path.name[:2] for path in NOTEBOOKS}) == len(NOTEBOOKS)


@every_notebook
def test_is_valid_and_begins_with_a_title(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@every_notebook
def test_is_short(path):
    notebook = load(path)
    assert len(notebook.cells) <= MAX_CELLS
    limits = {cell.id: MAX_METHOD_LINES for cell in tagged(notebook, METHOD)}
    lines = {cell.id: len(cell.source.splitlines()) for cell in code_cells(notebook)}
    assert [name for name, count in lines.items() if count > limits.get(name, MAX_CELL_LINES)] == []


@every_notebook
def test_holds_no_logic(path):
    cells = [cell for cell in code_cells(load(path)) if METHOD not in cell.metadata.get("tags", [])]
    nodes = [node for cell in cells for node in ast.walk(parse(cell.source))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 > MAX_FUNCTION_LINES] == []


@every_notebook
def test_parameters_are_typed_literals_with_help(path):
    (cell,) = tagged(load(path), "parameters")
    statements = ast.parse(cell.source).body
    parameters = papermill.inspect_notebook(path)
    assert [node.target.id for node in statements] == list(parameters)
    for node, parameter in zip(statements, parameters.values(), strict=True):
        value = ast.literal_eval(node.value)
        assert (type(value).__name__ if value is not None else "None") in ast.unparse(node.annotation), parameter
        assert "=" not in str(value), parameter
        assert parameter["inferred_type_name"] == ast.unparse(node.annotation)
        assert parameter["help"], parameter


@every_notebook
def test_parameters_are_checked_by_the_next_code_cell(path):
    notebook = load(path)
    cells = code_cells(notebook)
    after = cells[cells.index(tagged(notebook, "parameters")[0]) + 1]
    assert after.source.startswith("p = checked(")
    assert "globals()" in after.source


@every_notebook
def test_was_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(load(path)) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run: make refresh"


@every_notebook
def test_has_outputs_without_errors_or_local_paths(path):
    notebook = load(path)
    assert outputs(notebook)
    assert [output.ename for output in outputs(notebook) if output.output_type == "error"] == []
    assert LOCAL_PATH.findall(output_text(notebook)) == []


@every_notebook
def test_has_one_key_result(path):
    notebook = load(path)
    assert len(tagged(notebook, run_notebooks.KEY_RESULT)) == 1
    assert run_notebooks.key_result(notebook) != "-"


@every_notebook
def test_images_are_small(path):
    data = [item for output in outputs(load(path)) for item in output.get("data", {}).items()]
    assert sum(len(value) * 3 / 4 for kind, value in data if kind.startswith("image/")) <= MAX_IMAGE_BYTES


@every_notebook
def test_is_clean(path):
    notebook = load(path)
    assert notebook == run_notebooks.clean(notebook), "run: make refresh"


@every_notebook
def test_saved_figures_are_those_of_the_notebook(path):
    for name, image in run_notebooks.tagged_figures(load(path)).items():
        assert (run_notebooks.FIGURES / f"{name}.png").read_bytes() == image, "run: make refresh"
