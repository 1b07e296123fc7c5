"""The notebooks' form, and the runner, on tiny notebooks made here."""

import ast
import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import codial
from codial import notebooks
from codial.errors import CodialError
from codial.plots.style import new_figure, png

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
AT_LEAST = 6
MOST_CELLS, MOST_LINES, MOST_LINES_OF_FUNCTION, MOST_IMAGES = 25, 15, 10, 1.5e6
HERE = re.compile(r"/(home|root|work|tmp|opt|mnt|Users|private|var/folders)/|\b[A-Za-z]:\\")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def parse(source):
    """Parse a cell's Python; lines of magic (%, !) count as empty statements."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def words(notebook):
    """Join all text of the outputs; pictures are left out."""
    streams = [output.get("text", "") for output in outputs(notebook)]
    shown = [output.get("data", {}).items() for output in outputs(notebook)]
    return "\n".join(
        streams + [str(value) for items in shown for kind, value in items if not kind.startswith("image/p")]
    )


# Form.


def test_enough_notebooks_with_a_number_each():
    assert len(NOTEBOOKS) >= AT_LEAST
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in NOTEBOOKS)
    assert len({path.name[:2] for path in NOTEBOOKS}) == len(NOTEBOOKS)


@every_notebook
def test_is_valid_and_opens_with_a_title(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@every_notebook
def test_is_short(path):
    notebook = load(path)
    assert len(notebook.cells) <= MOST_CELLS
    assert [cell.id for cell in code_cells(notebook) if len(cell.source.splitlines()) > MOST_LINES] == []


@every_notebook
def test_holds_no_logic(path):
    nodes = [node for cell in code_cells(load(path)) for node in ast.walk(parse(cell.source))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 > MOST_LINES_OF_FUNCTION] == []


@every_notebook
def test_parameters_are_typed_literals_with_help(path):
    (cell,) = tagged(load(path), "parameters")
    statements = ast.parse(cell.source).body
    known = papermill.inspect_notebook(path)
    assert [node.target.id for node in statements] == list(known)
    for node, parameter in zip(statements, known.values(), strict=True):
        value = ast.literal_eval(node.value)
        assert (type(value).__name__ if value is not None else "None") in ast.unparse(node.annotation), parameter
        assert "=" not in str(value), parameter
        assert parameter["inferred_type_name"] == ast.unparse(node.annotation)
        assert parameter["help"], parameter


@every_notebook
def test_was_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(load(path)) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run: make refresh"


@every_notebook
def test_has_outputs_without_errors_or_places(path):
    notebook = load(path)
    assert outputs(notebook)
    assert [output.ename for output in outputs(notebook) if output.output_type == "error"] == []
    assert HERE.findall(words(notebook)) == []


@every_notebook
def test_has_one_key_result(path):
    notebook = load(path)
    assert len(tagged(notebook, notebooks.KEY_RESULT)) == 1
    assert notebooks.key_result(notebook) != "-"


@every_notebook
def test_images_are_light(path):
    shown = [item for output in outputs(load(path)) for item in output.get("data", {}).items()]
    assert sum(len(value) * 3 / 4 for kind, value in shown if kind.startswith("image/")) <= MOST_IMAGES


@every_notebook
def test_is_as_refresh_leaves_it(path):
    notebook = load(path)
    assert notebook.metadata == {"kernelspec": notebooks.KERNEL, "language_info": notebooks.LANGUAGE}, "make refresh"
    assert [cell.id for cell in notebook.cells] == [f"cell-{n:02d}" for n in range(1, len(notebook.cells) + 1)]
    assert [cell.id for cell in notebook.cells if "papermill" in cell.metadata or "execution" in cell.metadata] == []
    assert notebook == notebooks.tidy(notebook), "make refresh"


# The runner.


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


PARAMETERS = code("steps: int = 3  # how many", "parameters")
KEY = code("print('noise')\nprint(f'took {steps} steps')", "key-result")
BAD = code("raise ValueError('no run here;\\nmake one')")
WIDGET = code("import ipywidgets\nipywidgets.IntSlider(3)")
LONG = code("import os, pathlib, time\npathlib.Path('pid.tmp').write_text(str(os.getpid()))\ntime.sleep(60)")
DRIFTING = code("import sys\nprint('a'); print('late', file=sys.stderr); print('b')")


@pytest.fixture
def folder(tmp_path):
    """A folder with three notebooks; the second fails, the first and the third take parameters."""
    (tmp_path / "notebooks").mkdir()
    save(tmp_path / "notebooks/01_good.ipynb", PARAMETERS, WIDGET, DRIFTING, KEY)
    save(tmp_path / "notebooks/02_bad.ipynb", BAD, code("print('never')", "key-result"))
    save(tmp_path / "notebooks/03_plain.ipynb", code("import os\nprint(os.path.basename(os.getcwd()))"))
    return tmp_path / "notebooks"


def save(path, *cells):
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "My own"}}
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title"), *cells], metadata=kernel), path)


@pytest.mark.slow
def test_run_goes_on_after_a_failure_and_tells_all(folder, tmp_path, capfd):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = notebooks.main(["run", "--folder", str(folder), "--out", str(tmp_path / "deep/out")])
    shown = capfd.readouterr()
    table = shown.out.strip().splitlines()
    assert code == 1
    assert [line.split()[0] for line in table[2:]] == ["01_good", "02_bad", "03_plain"]
    assert re.search(r"\d\.\d  took 3 steps ", table[2])
    assert "FAILED In [1] ValueError: no run here; make one" in table[3]
    assert table[4].split()[2] == "-"
    assert all(line.endswith(f"deep/out/{line.split()[0]}.ipynb") for line in table[2:])
    assert "01_good: 100%" in shown.err
    assert "without encryption" not in shown.err
    assert "ValueError" in (tmp_path / "deep/out/02_bad.ipynb").read_text()
    assert words(load(tmp_path / "deep/out/03_plain.ipynb")).strip() == "notebooks"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_run_passes_parameters_to_the_notebooks_that_have_them(folder, tmp_path, capsys):
    found = notebooks.run_all(folder, tmp_path / "out", ["01_good", "plain.ipynb"], {"steps": 5})
    assert [(outcome.name, outcome.status, outcome.text) for outcome in found] == [
        ("01_good", "done", "took 5 steps"),
        ("03_plain", "done", "-"),
    ]
    assert "took 5 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_refresh_stores_outputs_tidied_and_twice_the_same(folder, tmp_path):
    arguments = ["refresh", "--folder", str(folder), "--out", str(tmp_path / "out")]
    bad = (folder / "02_bad.ipynb").read_bytes()
    assert notebooks.main([*arguments, "01", "02"]) == 1
    first = (folder / "01_good.ipynb").read_bytes()
    good = load(folder / "01_good.ipynb")
    nbformat.validate(good)
    assert good == notebooks.tidy(good)
    assert [cell.execution_count for cell in code_cells(good)] == [1, 2, 3, 4]
    assert words(good).split() == ["a", "b", "noise", "took", "3", "steps", "IntSlider(value=3)"]
    assert not re.search(rb"papermill|widget-view|iopub|\"stderr|\"late|\d{4}-\d\d-\d\d|3\.1[123]", first)
    assert (folder / "02_bad.ipynb").read_bytes() == bad
    assert notebooks.main([*arguments, "01"]) == 0
    assert (folder / "01_good.ipynb").read_bytes() == first


@pytest.mark.slow
def test_an_interrupt_ends_with_the_table_so_far(folder, tmp_path):
    save(folder / "02_bad.ipynb", LONG)
    command = [sys.executable, "-m", "codial.notebooks", "run", "--folder", str(folder), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid = folder / "pid.tmp"
    until(lambda: pid.exists() and pid.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line.split()[0] for line in out.strip().splitlines()[2:]] == ["01_good", "02_bad"]
    assert "interrupted" in out
    assert "Traceback" not in err
    until(lambda: not alive(int(pid.read_text())))


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", ["01", "good", "01_good", "01_good.ipynb", "notebooks/01_good.ipynb"])
def test_notebooks_are_found_by_any_name(folder, name):
    assert [path.stem for path in notebooks.find(folder, [name])] == ["01_good"]


def test_all_notebooks_are_found_in_name_order(folder):
    (folder / "scratch.ipynb").touch()
    assert [path.stem for path in notebooks.find(folder)] == ["01_good", "02_bad", "03_plain"]


def test_mistakes_in_a_call_are_told_without_a_run(folder, tmp_path, capsys):
    with pytest.raises(CodialError, match=r"No notebook '09' .*it has 01_good, 02_bad, 03_plain"):
        notebooks.find(folder, ["01", "09"])
    with pytest.raises(CodialError, match=r"No notebook has a parameter 'stepz'; they have steps"):
        notebooks.run_all(folder, tmp_path / "out", parameters={"stepz": 1})
    with pytest.raises(CodialError, match="another folder"):
        notebooks.run_all(folder, folder)
    assert notebooks.main(["run", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: No notebooks")
    assert not (tmp_path / "out").exists()


def test_a_notebook_that_is_none_fails_by_name(folder, tmp_path):
    (folder / "04_broken.ipynb").write_text("{")
    (tmp_path / "04_broken.ipynb").write_text("an older copy")
    outcome = notebooks.run_one(folder / "04_broken.ipynb", tmp_path)
    assert outcome.status == "failed"
    assert "JSON" in outcome.text
    assert notebooks.table([outcome]).splitlines()[-1].endswith("-")


def test_key_result_is_the_last_text_of_the_last_tagged_cell():
    texts = [new_output("stream", name="stdout", text="epoch 1\n\nconv5 71.2 %\n")]
    picture = new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"})
    warning = new_output("stream", name="stderr", text="slow\n")
    value = new_output("execute_result", data={"text/plain": "'said'"}, execution_count=1)
    first, last = code("", "key-result"), code("", "key-result")
    first.outputs, last.outputs = [value], [*texts, picture, warning]
    plain = code("")
    plain.outputs = [value]
    assert notebooks.key_result(new_notebook(cells=[first, last, plain])) == "conv5 71.2 %"
    assert notebooks.key_result(new_notebook(cells=[last, first])) == "said"
    assert notebooks.key_result(new_notebook(cells=[plain])) == "-"
    assert notebooks.key_result(new_notebook(cells=[code("", "key-result")])) == "-"


def test_pictures_shrink_and_look_the_same():
    patch = codial.load_images("photos", limit=8).images[0].permute(1, 2, 0).numpy()
    plain = io.BytesIO()
    Image.fromarray(patch.repeat(8, 0).repeat(8, 1)).save(plain, "png")
    small = notebooks.smaller(plain.getvalue())
    before, after = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB"), float) for p in (plain.getvalue(), small))
    assert before.shape == after.shape
    assert abs(before - after).mean() < 4
    assert len(small) < len(plain.getvalue())
    assert notebooks.smaller(small) == small


def test_of_a_figure_in_html_the_picture_is_kept_and_of_a_table_the_html():
    figure = {
        "text/html": "<div>",
        "image/png": base64.b64encode(notebooks.smaller(png(new_figure(0.2, 0.2)))).decode(),
    }
    cell = code("1")
    cell.outputs = [new_output("display_data", data=data) for data in (figure, {"text/html": "<table>"})]
    kept = notebooks.tidy(new_notebook(cells=[cell])).cells[0].outputs
    assert [list(output.data) for output in kept] == [["image/png"], ["text/html"]]


def test_tidy_leaves_its_argument_alone():
    cell = code("1", "parameters")
    cell.metadata.update(papermill={"duration": 1}, execution={"iopub.status.busy": "2026-11-22"}, collapsed=True)
    notebook = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}, "papermill": {}, "title": "x"})
    neat = notebooks.tidy(notebook)
    assert neat.metadata == {"kernelspec": notebooks.KERNEL, "language_info": notebooks.LANGUAGE}
    assert neat.cells[0].metadata == {"tags": ["parameters"]}
    assert "papermill" in notebook.metadata
    assert "papermill" in cell.metadata


@every_notebook
def test_kept_pictures_are_those_of_the_notebook(path):
    for name, picture in notebooks.tagged_pictures(load(path)).items():
        assert (notebooks.PICTURES / f"{name}.png").read_bytes() == picture, "run: make refresh"
