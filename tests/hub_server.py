"""A stand-in for the Hugging Face Hub on 127.0.0.1: the part of its API that push and load_backbone use.

It keeps models in memory: {"USER/NAME": {path: content}}. Files are uploaded in the commit, none to LFS or Xet.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_stand_in"


class _Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.match(r"/api/models/([^/]+/[^/]+)/preupload/", self.path):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if match := re.match(r"/api/models/([^/]+/[^/]+)/commit/", self.path):
            return self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        return self._json({"error": "unknown"}, 404)

    def do_GET(self):
        match = re.match(r"/api/models/([^/]+/[^/?]+)(/tree/|/revision/|$)([^/?]*)", self.path)
        if match is None and (match := re.match(r"/([^/]+/[^/]+)(/resolve/)[^/]+/(.+)", self.path)):
            files = self.server.models.get(match[1], {})
            return self._file(files[match[3]]) if match[3] in files else self._missing("EntryNotFound")
        if match is None or match[1] not in self.server.models:
            return self._missing("RepoNotFound")
        if match[3] not in ("", "main", _sha(self.server.models[match[1]])):
            return self._missing("RevisionNotFound")
        return self._tree(match[1]) if match[2] == "/tree/" else self._info(match[1])

    do_HEAD = do_GET

    def _create(self, values):
        name = f"{values.get('organization') or 'me'}/{values['name']}"
        if name.startswith("other/"):
            return self._json({"error": "You don't have the rights"}, 403)
        status = 409 if name in self.server.models else 200
        self.server.models.setdefault(name, {})
        self.server.private.setdefault(name, values.get("private") or values.get("visibility") == "private")
        return self._json({"url": f"{self.server.url}/{name}", "name": name}, status)

    def _commit(self, name, lines):
        for line in lines:
            if line["key"] == "file":
                self.server.models[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.server.models[name][line["value"]["path"]]
        sha = _sha(self.server.models[name])
        return self._json({"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    def _info(self, name):
        files = self.server.models[name]
        siblings = [{"rfilename": path} for path in files]
        self._json(
            {"id": name, "modelId": name, "sha": _sha(files), "siblings": siblings, "private": False, "tags": []}
        )

    def _tree(self, name):
        files = self.server.models[name].items()
        self._json(
            [{"type": "file", "path": path, "size": len(content), "oid": _id(content)} for path, content in files]
        )

    def _file(self, content):
        self.server.downloads.append(self.path)
        headers = {"ETag": f'"{_id(content)}"', "X-Repo-Commit": self.path.split("/resolve/")[1].split("/")[0]}
        self._send(200, content, headers)

    def _missing(self, code):
        self._send(404, b"", {"X-Error-Code": code})

    def _json(self, values, status=200):
        self._send(status, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _send(self, status, content, headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _id(content):
    return hashlib.sha1(content).hexdigest()


def _sha(files):
    return _id(repr(sorted((path, _id(content)) for path, content in files.items())).encode())


@contextmanager
def running():
    """Serve until the block ends; `url`, `models`, `private` and `downloads` are attributes of what it yields."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.models, server.private, server.downloads = {}, {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def connect(monkeypatch, url, cache):
    """Let huggingface_hub talk to a server with a token, and cache in a folder of the test."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import disable_progress_bars

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    disable_progress_bars()
