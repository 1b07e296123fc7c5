"""The package and the notebooks execute no strings and load no pickles; notebooks start no programs."""

import ast
import json
import re
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

pytestmark = pytest.mark.faults

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for part in ("codial", "benchmarks", "tools") for path in (PROJECT / part).rglob("*.py"))
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
YAML = {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"}  # not yaml.safe_load
MAGICS = {"load_ext", "autoreload", "matplotlib"}  # that start no program


def unsafe_calls(source):
    """Yield the calls that execute strings, load pickles or run shell commands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            unsafe = {options.get("shell", "False"), options.get("allow_pickle", "False")} != {"False"}
            if unsafe or ast.unparse(node.func) in CODE | PICKLES | SHELLS | YAML:
                yield ast.unparse(node)


def unsafe_calls_of_cell(cell):
    """Yield the unsafe calls of a notebook cell, and those that start a program."""
    source = TransformerManager().transform_cell(cell)  # !ls becomes get_ipython().system("ls")
    yield from unsafe_calls(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            magic = name == "get_ipython().run_line_magic" and ast.literal_eval(node.args[0]) in MAGICS
            if re.match(r"subprocess\.|os\.(exec|spawn|posix_spawn)|get_ipython\(", name) and not magic:
                yield ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_a_module_executes_no_strings(path):
    verified = {PROJECT / "codial/data/io/checksums.py": ["pickle.load(file, encoding='latin1')"]}
    assert list(unsafe_calls(path.read_text())) == verified.get(path, []), "only files with a pinned MD5 are unpickled"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_starts_no_program(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [call for cell in cells for call in unsafe_calls_of_cell("".join(cell["source"]))] == []


@pytest.mark.parametrize(
    "code",
    [
        *("eval(x)", "exec(config.name)", "__import__(name)", "torch.load(p)", "pickle.load(f)", "yaml.load(f)"),
        *("np.load(p, allow_pickle=True)", "subprocess.run(c, shell=True)", "os.system(f'ls {folder}')"),
    ],
)
def test_unsafe_calls_are_found(code):
    assert list(unsafe_calls(code)) == [code]
    assert set(unsafe_calls_of_cell(f"x = {code}")) == {code}


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
def test_programs_started_by_notebooks_are_found(cell):
    assert list(unsafe_calls_of_cell(cell))


@pytest.mark.parametrize(
    "cell", ["x = 1 != 2", "print('well!')", "# !ls", "%autoreload 2", "assert run.finished, f'{run}!'"]
)
def test_safe_cells_are_accepted(cell):
    assert not list(unsafe_calls_of_cell(cell))
