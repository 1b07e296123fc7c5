"""No text is run as code and no pickle is loaded, by the package or by notebooks; notebooks start no programs."""

import ast
import json
import re
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

pytestmark = pytest.mark.faults

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for part in ("codial", "benchmarks") for path in (PROJECT / part).rglob("*.py"))
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
CODE = {"eval", "exec", "compile", "__import__", "runpy.run_path", "runpy.run_module"}
PICKLES = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "torch.load",
    "joblib.load",
    "marshal.loads",
    "shelve.open",
}
SHELLS = {"os.system", "os.popen", "os.execvp", "os.spawnlp", "subprocess.getoutput", "subprocess.getstatusoutput"}
YAML = {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"}  # yaml.safe_load is meant
MAGICS = {"load_ext", "autoreload", "matplotlib"}  # that start nothing


def harmful(source):
    """List the calls by which strings become code, pickles or commands of a shell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            trusting = {given.get("shell", "False"), given.get("allow_pickle", "False")} != {"False"}
            if trusting or ast.unparse(node.func) in CODE | PICKLES | SHELLS | YAML:
                yield ast.unparse(node)


def starting(cell):
    """List what a cell of a notebook has of these, and what else starts a program."""
    source = TransformerManager().transform_cell(cell)  # !ls becomes get_ipython().system("ls")
    yield from harmful(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            magic = name == "get_ipython().run_line_magic" and ast.literal_eval(node.args[0]) in MAGICS
            if re.match(r"subprocess\.|os\.(exec|spawn|posix_spawn)|get_ipython\(", name) and not magic:
                yield ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_a_module_runs_no_text(path):
    assert list(harmful(path.read_text())) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_starts_no_program(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [found for cell in cells for found in starting("".join(cell["source"]))] == []


@pytest.mark.parametrize(
    "code",
    [
        *("eval(x)", "exec(config.name)", "__import__(name)", "torch.load(p)", "pickle.load(f)", "yaml.load(f)"),
        *("np.load(p, allow_pickle=True)", "subprocess.run(c, shell=True)", "os.system(f'ls {folder}')"),
    ],
)
def test_what_would_be_found(code):
    assert list(harmful(code)) == [code]
    assert set(starting(f"x = {code}")) == {code}


@pytest.mark.parametrize(
    "cell",
    [
        "!ls {folder}",
        "files = !ls",
        "  !pip install x",
        "%%bash\nls",
        "%sx ls",
        "%run other.py",
        "subprocess.run(['ls', x])",
    ],
)
def test_what_would_be_found_in_a_notebook(cell):
    assert list(starting(cell))


@pytest.mark.parametrize(
    "cell", ["x = 1 != 2", "print('well!')", "# !ls", "%autoreload 2", "assert run.finished, f'{run}!'"]
)
def test_what_is_no_shell(cell):
    assert not list(starting(cell))
