"""`make lab` as a stranger on the network finds it: nothing without the token, nothing but on this machine."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[2]
TOKEN = re.compile(r"http://127\.0\.0\.1:(\d+)/lab/tree/notebooks\?token=([0-9a-f]{32,})")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab by the Makefile's own command, with settings of its own: its port and its token."""
    pytest.importorskip("jupyterlab")
    home = tmp_path_factory.mktemp("jupyter")
    own = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "RUNTIME", "DATA")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in ("SETTINGS", "WORKSPACES")}
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"}
    log = home / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command(), cwd=PROJECT, env=environment | own, stdout=out, stderr=out)
        try:
            yield announced(log, server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def command():
    """Return the line that `make lab` runs, without a browser, on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = re.search(r"^lab:.*\n\t@\$\(BIN\)/python (.+) \$\(ARGS\)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    root = ["--allow-root"] * (os.geteuid() == 0)
    return [sys.executable, *line[1].split(), "--no-browser", f"--port={port}", *root]


def announced(log, server, seconds=90):
    """Wait for the address that is printed for the user."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        if found := TOKEN.search(log.read_text()):
            return int(found[1]), found[2]
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab does not say where it is:\n{log.read_text()[-3000:]}")


def status(address, method="GET", **headers):
    request = Request(address, b"{}" if method == "POST" else None, headers, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_who_has_the_token_is_let_in(lab):
    """Otherwise the tests below would show nothing."""
    port, token = lab
    for given in ({"Authorization": f"token {token}"}, {}):
        query = "" if given else f"?token={token}"
        assert status(f"http://127.0.0.1:{port}/api/contents/notebooks{query}", **given) == 200


STRANGERS = {
    "no token": lambda token: ("", {}),
    "an empty token": lambda token: ("?token=", {}),
    "another token": lambda token: (f"?token={secrets.token_hex(len(token) // 2)}", {}),
    "half of the token": lambda token: (f"?token={token[: len(token) // 2]}", {}),
    "another token in the head": lambda token: ("", {"Authorization": f"token {'0' * len(token)}"}),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "api/contents/notebooks"), ("GET", "api/kernels"), ("POST", "api/kernels"),
                         ("POST", "api/terminals"), ("GET", "files/README.md")],
)  # fmt: skip
def test_who_has_not_is_refused(method, path, stranger, lab, ledger):
    port, token = lab
    query, head = STRANGERS[stranger](token)
    with ledger.fault("stranger at JupyterLab"):
        refused = status(f"http://127.0.0.1:{port}/{path}{query}", method, **head)
        assert refused in (302, 401, 403) or (path.startswith("files") and refused == 200)
        if path.startswith("files"):  # sent on to a page that asks for the token
            with urlopen(f"http://127.0.0.1:{port}/{path}{query}", timeout=10) as answer:
                assert "/login?" in answer.url


def test_another_site_is_refused(lab, ledger):
    """A page elsewhere may make the user's browser ask, by a name of its own for this machine, too."""
    port, token = lab
    with ledger.fault("stranger at JupyterLab"):
        address = f"http://127.0.0.1:{port}/api/contents/notebooks"
        assert status(address, Origin="http://evil.example") in (403, 404)
        assert status(f"{address}?token={token}", Host="evil.example") == 403


def other_addresses():
    """Return this machine's addresses but the loopback's."""
    told = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    return [address for address in told if not address.startswith("127.")]


def test_no_other_interface_answers(lab, ledger):
    port, _ = lab
    if not other_addresses():
        pytest.skip("this machine has no other interface")
    for address in other_addresses():
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        with ledger.fault("stranger at JupyterLab"), socket.socket(kind) as caller:
            caller.settimeout(5)
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                caller.connect((address, port))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system has no /proc/net/tcp")
def test_the_kernel_knows_one_listener_only(lab):
    port, _ = lab
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
