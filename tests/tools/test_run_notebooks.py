"""The runner of notebooks, on tiny notebooks made here."""

import base64
import io
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import codial
from codial.errors import CodialError
from codial.plots.style import new_figure, png
from tools import run_notebooks


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


KEY = code("print('noise')\nprint('took 3 steps')", "key-result")
BAD = code("raise ValueError('no run here;\\nmake one')")
WIDGET = code("import ipywidgets\nipywidgets.IntSlider(3)")
LONG = code("import os, pathlib, time\npathlib.Path('pid.tmp').write_text(str(os.getpid()))\ntime.sleep(60)")
STREAMS = code("import sys\nprint('a'); print('late', file=sys.stderr); print('b')")


@pytest.fixture
def folder(tmp_path):
    """A folder with three notebooks, the second of which fails."""
    (tmp_path / "notebooks").mkdir()
    save(tmp_path / "notebooks/01_good.ipynb", WIDGET, STREAMS, KEY)
    save(tmp_path / "notebooks/02_bad.ipynb", BAD, code("print('never')", "key-result"))
    save(tmp_path / "notebooks/03_plain.ipynb", code("import os\nprint(os.path.basename(os.getcwd()))"))
    return tmp_path / "notebooks"


def save(path, *cells):
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "My own"}}
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title"), *cells], metadata=kernel), path)


def load(path):
    return nbformat.read(path, as_version=4)


def output_words(notebook):
    """Return the words of all streams and results."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return " ".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs).split()


@pytest.mark.slow
def test_all_notebooks_are_run_and_reported_after_a_failure(folder, tmp_path, capfd):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = run_notebooks.main(["run", "--folder", str(folder), "--out", str(tmp_path / "deep/out")])
    printed = capfd.readouterr()
    table = printed.out.strip().splitlines()
    assert code == 1
    assert [line.split()[0] for line in table[2:]] == ["01_good", "02_bad", "03_plain"]
    assert re.search(r"\d\.\d +took 3 steps ", table[2])
    assert "FAILED In [1] ValueError: no run here; make one" in table[3]
    assert table[4].split()[2] == "-"
    assert all(line.endswith(f"deep/out/{line.split()[0]}.ipynb") for line in table[2:])
    assert "01_good: 100%" in printed.err
    assert "without encryption" not in printed.err
    assert "ValueError" in (tmp_path / "deep/out/02_bad.ipynb").read_text()
    assert output_words(load(tmp_path / "deep/out/03_plain.ipynb")) == ["notebooks"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_refreshed_outputs_are_clean_and_reproducible(folder, tmp_path):
    arguments = ["refresh", "--folder", str(folder), "--out", str(tmp_path / "out")]
    bad = (folder / "02_bad.ipynb").read_bytes()
    assert run_notebooks.main([*arguments, "01", "02"]) == 1
    first = (folder / "01_good.ipynb").read_bytes()
    good = load(folder / "01_good.ipynb")
    nbformat.validate(good)
    assert good == run_notebooks.clean(good)
    assert [cell.execution_count for cell in good.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert output_words(good) == ["IntSlider(value=3)", "a", "b", "noise", "took", "3", "steps"]
    assert not re.search(rb"papermill|widget-view|iopub|\"stderr|\"late|\d{4}-\d\d-\d\d|3\.1[123]", first)
    assert (folder / "02_bad.ipynb").read_bytes() == bad
    assert run_notebooks.main([*arguments, "01"]) == 0
    assert (folder / "01_good.ipynb").read_bytes() == first


@pytest.mark.slow
def test_a_figure_may_be_updated_by_a_later_cell(folder, tmp_path):
    """The first cell's text comes in several pieces, which are joined only at the end."""
    pieces = "for i in range(3):\n    print(i, file=sys.stderr, flush=True); time.sleep(0.3)"
    shown = code(f"import sys, time\n{pieces}\nhandle = display('first', display_id=True)")
    save(folder / "01_good.ipynb", shown, code("handle.update('second')\nprint('updated')", "key-result"))
    assert run_notebooks.main(["refresh", "--folder", str(folder), "--out", str(tmp_path / "out"), "01"]) == 0
    assert output_words(load(folder / "01_good.ipynb")) == ["'second'", "updated"]


@pytest.mark.slow
def test_an_interrupt_ends_with_the_table_so_far(folder, tmp_path):
    save(folder / "02_bad.ipynb", LONG)
    options = ["--folder", str(folder), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "tools.run_notebooks", "run", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, preexec_fn=receive_interrupts, **pipes)
    try:
        pid = folder / "pid.tmp"
        wait_until(lambda: pid.exists() and pid.read_text())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert [line.split()[0] for line in out.strip().splitlines()[2:]] == ["01_good", "02_bad"]
    assert "interrupted" in out
    assert "Traceback" not in err
    wait_until(lambda: not is_alive(int(pid.read_text())))


def receive_interrupts():
    """Undo that a shell makes background processes ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", ["01", "good", "01_good", "01_good.ipynb", "notebooks/01_good.ipynb"])
def test_notebooks_are_found_by_number_title_or_file(folder, name):
    assert [path.stem for path in run_notebooks.find(folder, [name])] == ["01_good"]


def test_all_notebooks_are_found_sorted_by_name(folder):
    (folder / "scratch.ipynb").touch()
    assert [path.stem for path in run_notebooks.find(folder)] == ["01_good", "02_bad", "03_plain"]


def test_usage_errors_are_reported_without_running(folder, tmp_path, capsys):
    with pytest.raises(CodialError, match=r"No notebook '09' .*it has 01_good, 02_bad, 03_plain"):
        run_notebooks.find(folder, ["01", "09"])
    with pytest.raises(CodialError, match="another folder"):
        run_notebooks.run_all(folder, folder)
    assert run_notebooks.main(["run", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: No notebooks")
    assert not (tmp_path / "out").exists()


def test_an_invalid_notebook_fails(folder, tmp_path):
    (folder / "04_broken.ipynb").write_text("{")
    (tmp_path / "04_broken.ipynb").write_text("an earlier copy")
    execution = run_notebooks.run_one(folder / "04_broken.ipynb", tmp_path)
    assert execution.status == "failed"
    assert "JSON" in execution.text
    assert run_notebooks.table([execution]).splitlines()[-1].endswith("-")


def test_the_key_result_is_the_last_text_of_the_last_tagged_cell():
    texts = [new_output("stream", name="stdout", text="epoch 1\n\nconv5 71.2 %\n")]
    image = new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"})
    warning = new_output("stream", name="stderr", text="slow\n")
    value = new_output("execute_result", data={"text/plain": "'value'"}, execution_count=1)
    first, last = code("", "key-result"), code("", "key-result")
    first.outputs, last.outputs = [value], [*texts, image, warning]
    plain = code("")
    plain.outputs = [value]
    assert run_notebooks.key_result(new_notebook(cells=[first, last, plain])) == "conv5 71.2 %"
    assert run_notebooks.key_result(new_notebook(cells=[last, first])) == "value"
    assert run_notebooks.key_result(new_notebook(cells=[plain])) == "-"
    assert run_notebooks.key_result(new_notebook(cells=[code("", "key-result")])) == "-"


def test_quantized_images_are_smaller_and_similar():
    patch = codial.load_images("photos", limit=8).images[0].permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(patch.repeat(8, 0).repeat(8, 1)).save(buffer, "png")
    original = buffer.getvalue()
    quantized = run_notebooks.quantize(original)
    before, after = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB"), float) for p in (original, quantized))
    assert before.shape == after.shape
    assert abs(before - after).mean() < 4
    assert len(quantized) < len(original)
    assert run_notebooks.quantize(quantized) == quantized


def test_of_a_figure_the_image_is_kept_and_of_a_table_the_html():
    image = base64.b64encode(run_notebooks.quantize(png(new_figure(0.2, 0.2)))).decode()
    cell = code("1")
    outputs = ({"text/html": "<div>", "image/png": image}, {"text/html": "<table>"})
    cell.outputs = [new_output("display_data", data=data) for data in outputs]
    kept = run_notebooks.clean(new_notebook(cells=[cell])).cells[0].outputs
    assert [list(output.data) for output in kept] == [["image/png"], ["text/html"]]


def test_cleaning_does_not_modify_its_argument():
    cell = code("1", "parameters")
    cell.metadata.update(papermill={"duration": 1}, execution={"iopub.status.busy": "2026-11-22"}, collapsed=True)
    notebook = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}, "papermill": {}, "title": "x"})
    cleaned = run_notebooks.clean(notebook)
    assert cleaned.metadata == {"kernelspec": run_notebooks.KERNEL, "language_info": run_notebooks.LANGUAGE}
    assert cleaned.cells[0].metadata == {"tags": ["parameters"]}
    assert "papermill" in notebook.metadata
    assert "papermill" in cell.metadata


def test_tidying_keeps_outputs_and_is_done_once(folder, capsys):
    path = folder / "03_plain.ipynb"
    notebook = load(path)
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
    notebook.cells[1].outputs = [new_output("stream", text="notebooks\n")]
    nbformat.write(notebook, path)
    assert run_notebooks.main(["tidy", "notebooks/03_plain.ipynb", "--folder", str(folder)]) == 1
    assert "Tidied" in capsys.readouterr().out
    assert not load(path).cells[1].metadata
    assert output_words(load(path)) == ["notebooks"]
    assert run_notebooks.main(["tidy", "03", "--folder", str(folder)]) == 0
