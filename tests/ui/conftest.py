"""A real JupyterLab and a real browser, for tests that use notebooks as a person does.

The server listens on 127.0.0.1 with a random token and its own settings, so that no other JupyterLab is affected.
Notebooks are opened as copies in runs/ui/, which also holds the screenshots.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import nbformat
import papermill
import pytest

PROJECT = Path(__file__).resolve().parents[2]
OUT = PROJECT / "runs/ui"
SIZE = {"width": 1280, "height": 800}
INSTALL = "get one with `apt-get install chromium` or `playwright install chromium`"

# Render all cells, and turn off autosave and news.
SETTINGS = {
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "docmanager-extension/plugin": '{"autosave": false}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}


@pytest.fixture(scope="module")
def browser():
    """Chromium, closed after each module, since papermill does not run within the event loop that Playwright keeps."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'codial[test]'")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = ["--disable-dev-shm-usage", *["--no-sandbox"] * (os.geteuid() == 0)]
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=path, args=flags)
        except playwright.Error as error:
            if path is None:
                pytest.skip(f"no Chromium here; {INSTALL}")
            raise AssertionError(f"{path} does not start") from error
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab on the checkout: a function from a path on the server to a URL."""
    home, token = tmp_path_factory.mktemp("jupyter"), secrets.token_hex(16)
    for name, text in SETTINGS.items():
        path = home / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with _serving(home, token) as port:
        yield lambda path: f"http://127.0.0.1:{port}/{path}?token={token}"


@contextmanager
def _serving(home: Path, token: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    settings |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = os.environ | {"PYTHONPATH": str(PROJECT)} | {key: str(home / name) for key, name in settings.items()}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += [f"--ServerApp.root_dir={PROJECT}", f"--IdentityProvider.token={token}"]
    with (home / "log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=log, stderr=log)
        try:
            _wait_for_server(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log")
            yield port
        finally:
            server.terminate()  # it shuts down its kernels first
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for_server(address: str, server: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab does not respond:\n{log.read_text()[-3000:]}")


@pytest.fixture
def notebook(browser, lab):
    """Return a function that opens a copy of a notebook with parameters; kernels are shut down after the test."""
    with _notebooks(browser, lab) as open_copy:
        yield open_copy


@pytest.fixture(scope="module")
def shared_notebook(browser, lab):
    """Return a function as `notebook`; kernels are shut down after the module."""
    with _notebooks(browser, lab) as open_copy:
        yield open_copy


@contextmanager
def _notebooks(browser, lab):
    context = browser.new_context(viewport=SIZE)
    yield lambda path, parameters=None: Notebook(context.new_page(), lab, _copy(path, parameters or {}))
    for session in context.request.get(lab("api/sessions")).json():
        context.request.delete(lab(f"api/sessions/{session['id']}"))
    context.close()


def _copy(path: Path, parameters: dict) -> Path:
    """Copy a notebook without its outputs."""
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / path.name
    papermill.execute_notebook(path, target, parameters, prepare_only=True, progress_bar=False)
    notebook = nbformat.read(target, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    nbformat.write(notebook, target)
    return target


class Notebook:
    """A notebook in JupyterLab, as it is displayed."""

    def __init__(self, page, lab, path: Path) -> None:
        self.page = page
        page.set_default_timeout(60_000)
        page.goto(lab(f"lab/tree/{path.relative_to(PROJECT).as_posix()}") + "&reset")
        self.wait_until_idle()  # otherwise JupyterLab asks for a kernel
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")

    def wait_until_idle(self) -> None:
        self.page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()

    def run_all(self, seconds: float = 150) -> None:
        """Run all cells by the menu, and wait until every cell has finished or one has failed."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
        end = time.monotonic() + seconds
        while not self.page.evaluate(ENDED):
            if time.monotonic() > end:
                self.page.screenshot(path=OUT / "not-ended.png")
                raise AssertionError(f"not ended after {seconds:.0f} s: prompts {self.prompts}, errors {self.errors}")
            self.page.wait_for_timeout(200)

    @property
    def prompts(self) -> list[str]:
        return self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_inner_texts()

    @property
    def errors(self) -> list[str]:
        shown = self.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]')
        return [text for text in shown.all_inner_texts() if ERROR.search(text)]

    def cell(self, text: str):
        """Scroll to the code cell whose source contains a text and return it."""
        cell = self.cells.filter(has=self.page.locator(".jp-InputArea", has_text=text))
        cell.scroll_into_view_if_needed()
        return cell

    def values(self, css: str, attribute: str) -> list[str]:
        """Return an attribute of all elements in code cells that match a CSS selector."""
        return self.page.evaluate(VALUES, [css, attribute])

    def wait_for(self, css: str, attribute: str, values: list[str], *, other: bool = False) -> None:
        """Wait until the attribute has these values or, if `other`, until it has other values."""
        compare = "!==" if other else "==="
        condition = f"([css, name, old]) => JSON.stringify(({VALUES})([css, name])) {compare} JSON.stringify(old)"
        self.page.wait_for_function(condition, arg=[css, attribute, values])

    def screenshot(self, name: str) -> None:
        """Save a screenshot as runs/ui/NAME.png once the kernel is idle."""
        self.wait_until_idle()
        self.page.screenshot(path=OUT / f"{name}.png")

    def cut_off(self) -> list[str]:
        """Return widgets' labels and buttons whose text is cut off or that reach out of the notebook."""
        return self.page.evaluate(CUT_OFF)


# JupyterLab shows errors like warnings; only the last line of an error starts with its type.
ERROR = re.compile(r"^\w*(Error|Exception|Interrupt)\b", re.MULTILINE)
ENDED = r"""() => {
    const prompts = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map(p => p.innerText);
    return prompts.some(p => /\d/.test(p)) && !prompts.some(p => p.includes('*'));
}"""
VALUES = "([css, name]) => [...document.querySelectorAll(`.jp-CodeCell ${css}`)].map(e => e.getAttribute(name))"
CUT_OFF = """() => {
    const edge = document.querySelector('.jp-WindowedPanel-outer').getBoundingClientRect();
    const labels = document.querySelectorAll('.widget-label, .widget-readout, .jupyter-button, .widget-html-content');
    const cut = e => {
        const box = e.getBoundingClientRect();
        const out = box.right > edge.right || box.left < edge.left;
        return box.width && (out || e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1);
    };
    return [...labels].filter(cut).map(e => `${e.className}: ${e.innerText}`);
}"""
