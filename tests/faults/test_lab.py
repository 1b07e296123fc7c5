"""`make lab` answers only on this machine and only to requests with its token."""

import os
import re
import secrets
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
    """Start JupyterLab by the Makefile's command with separate settings, and return its port and token."""
    pytest.importorskip("jupyterlab")
    home = tmp_path_factory.mktemp("jupyter")
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "RUNTIME", "DATA")}
    folders |= {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in ("SETTINGS", "WORKSPACES")}
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"}
    log = home / "log"
    with log.open("w") as out:
        server = subprocess.Popen(command(), cwd=PROJECT, env=environment | folders, stdout=out, stderr=out)
        try:
            yield wait_for_address(log, server)
        finally:
            stop(server)


def command():
    """Return the command of `make lab`, without a browser and on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = re.search(
        r"\$\(BIN\)/python (-m jupyterlab .+) \$\$root \$\(ARGS\)$", (PROJECT / "Makefile").read_text(), re.M
    )
    root = ["--allow-root"] * (os.geteuid() == 0)
    return [sys.executable, *line[1].split(), "--no-browser", f"--port={port}", *root]


def stop(server):
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()


def wait_for_address(log, server, seconds=90):
    """Return port and token from the address that JupyterLab prints."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        if found := TOKEN.search(log.read_text()):
            return int(found[1]), found[2]
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab printed no address:\n{log.read_text()[-3000:]}")


def status(address, method="GET", **headers):
    request = Request(address, b"{}" if method == "POST" else None, headers, method=method)
    try:
        with urlopen(request, timeout=10) as response:
            return response.status
    except HTTPError as error:
        return error.code


def test_requests_with_the_token_are_accepted(lab):
    """Without this, the tests below would prove nothing."""
    port, token = lab
    for headers in ({"Authorization": f"token {token}"}, {}):
        query = "" if headers else f"?token={token}"
        assert status(f"http://127.0.0.1:{port}/api/contents/notebooks{query}", **headers) == 200


UNAUTHENTICATED = {
    "no token": lambda token: ("", {}),
    "an empty token": lambda token: ("?token=", {}),
    "another token": lambda token: (f"?token={secrets.token_hex(len(token) // 2)}", {}),
    "half of the token": lambda token: (f"?token={token[: len(token) // 2]}", {}),
    "another token in the header": lambda token: ("", {"Authorization": f"token {'0' * len(token)}"}),
}


@pytest.mark.parametrize("credentials", UNAUTHENTICATED)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "api/contents/notebooks"), ("GET", "api/kernels"), ("POST", "api/kernels"),
                         ("POST", "api/terminals"), ("GET", "files/README.md")],
)  # fmt: skip
def test_requests_without_the_token_are_refused(method, path, credentials, lab, ledger):
    port, token = lab
    query, headers = UNAUTHENTICATED[credentials](token)
    with ledger.fault("unauthenticated request to JupyterLab"):
        code = status(f"http://127.0.0.1:{port}/{path}{query}", method, **headers)
        assert code in (302, 401, 403) or (path.startswith("files") and code == 200)
        if path.startswith("files"):  # redirected to the login page
            with urlopen(f"http://127.0.0.1:{port}/{path}{query}", timeout=10) as response:
                assert "/login?" in response.url


def test_requests_of_other_sites_are_refused(lab, ledger):
    """Another site may send requests from the user's browser (CSRF), also under its own name (DNS rebinding)."""
    port, token = lab
    with ledger.fault("unauthenticated request to JupyterLab"):
        address = f"http://127.0.0.1:{port}/api/contents/notebooks"
        assert status(address, Origin="http://evil.example") in (403, 404)
        assert status(f"{address}?token={token}", Host="evil.example") == 403


def other_addresses():
    """Return the addresses of this machine's other interfaces."""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=10).stdout.split()
    return [address for address in addresses if not address.startswith("127.")]


def test_no_other_interface_answers(lab, ledger):
    port, _ = lab
    if not other_addresses():
        pytest.skip("this machine has no other interface")
    for address in other_addresses():
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        with ledger.fault("unauthenticated request to JupyterLab"), socket.socket(kind) as caller:
            caller.settimeout(5)
            with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
                caller.connect((address, port))


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system has no /proc/net/tcp")
def test_the_only_listener_is_on_the_loopback_interface(lab):
    port, _ = lab
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
