"""Downloads from a server in this process: verified before they get their name, unpacked aside, renamed at the end."""

import hashlib
import io
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from codial.data import download, load_images
from codial.data.download import File
from codial.errors import CodialError


class Server(ThreadingHTTPServer):
    """Serves files by name; `cut`: the connection breaks after so many bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.cut = {}, [], None

    def file(self, name, content):
        self.files[f"/{name}"] = content
        return File(name, hashlib.md5(content).hexdigest(), f"http://127.0.0.1:{self.server_port}/")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files[self.path]
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def cifar100(server, monkeypatch):
    """An archive of CIFAR-100 with two files of random bytes."""
    content = tar_of({"cifar-100-python/meta": b"names", "cifar-100-python/train": bytes(range(256)) * 4000})
    file = server.file("cifar-100-python.tar.gz", content)
    monkeypatch.setitem(download.FILES, "cifar100", (file,))
    return file


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_set_is_downloaded_once_and_nothing_else_stays(server, cifar100, tmp_path):
    for _ in range(2):
        download.get("cifar100", tmp_path / "data")
    assert names(tmp_path / "data") == ["cifar-100-python", "cifar-100-python/meta", "cifar-100-python/train"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["interrupted", "damaged", "unreachable"])
def test_a_download_that_fails_leaves_nothing_that_looks_complete(fault, server, cifar100, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        if fault == "interrupted":
            patch.setattr(server, "cut", 1000)
        elif fault == "damaged":
            patch.setitem(server.files, f"/{cifar100.name}", b"something else")
        else:
            patch.setitem(download.FILES, "cifar100", (cifar100._replace(prefix="http://127.0.0.1:9/"),))
        with pytest.raises(CodialError, match=rf"{cifar100.name} could not be downloaded .* then try again"):
            download.get("cifar100", tmp_path)
    assert [name for name in names(tmp_path) if name != ".cifar100.download"] == []
    download.get("cifar100", tmp_path)
    assert (tmp_path / "cifar-100-python" / "meta").read_bytes() == b"names"


def test_an_interrupted_unpacking_is_repeated_without_a_download(server, cifar100, tmp_path, monkeypatch):
    def interrupt(archive, folder):
        (folder / "cifar-100-python").mkdir()
        (folder / "cifar-100-python" / "half").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_unpack", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download.get("cifar100", tmp_path)
    assert not (tmp_path / "cifar-100-python").exists()
    download.get("cifar100", tmp_path)
    assert names(tmp_path) == ["cifar-100-python", "cifar-100-python/meta", "cifar-100-python/train"]
    assert len(server.requests) == 1


def test_both_archives_of_voc2007_make_one_folder(server, tmp_path, monkeypatch):
    files = [server.file(f"{part}.tar", tar_of({f"VOCdevkit/VOC2007/{part}": b""})) for part in ("trainval", "test")]
    monkeypatch.setitem(download.FILES, "voc2007", files)
    download.get("voc2007", tmp_path)
    assert names(tmp_path / "VOCdevkit") == ["VOC2007", "VOC2007/test", "VOC2007/trainval"]


def test_celeba_is_an_archive_and_its_lists(server, tmp_path, monkeypatch):
    archive = server.file("img_align_celeba.zip", zip_of({"img_align_celeba/1.jpg": b""}))
    monkeypatch.setitem(download.FILES, "celeba", (archive, server.file("list_attr_celeba.txt", b"a list")))
    download.get("celeba", tmp_path)
    assert names(tmp_path / "celeba") == ["img_align_celeba", "img_align_celeba/1.jpg", "list_attr_celeba.txt"]


def test_google_drive_needs_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(CodialError, match=r"needs gdown .*: pip install gdown\. Or download img_align_celeba\.zip"):
        load_images("celeba", root=tmp_path, download=True)


@pytest.mark.parametrize(
    ("name", "instruction"),
    [("imagenet", r"ILSVRC2012_img_train.tar.*imagenet/train"), ("places205", r"imagesPlaces205_resize.tar.gz")],
)
def test_sets_that_need_an_account_say_how(tmp_path, name, instruction):
    message = rf"{name} cannot be downloaded without an account. Register at .*{instruction}"
    with pytest.raises(CodialError, match=message):
        load_images(name, root=tmp_path, download=True)


def test_addresses_and_checksums_are_torchvisions():
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    for name in ("cifar10", "cifar100", "stl10"):
        official, (file,) = getattr(datasets, name.upper()), download.FILES[name]
        assert (file.url, file.md5, file.name) == (official.url, official.tgz_md5, official.filename)
    files = [*download.FILES["voc2007"], *download.FILES["voc2012"]]
    editions = [datasets.voc.DATASET_YEAR_DICT[edition] for edition in ("2007", "2007-test", "2012")]
    assert [(file.url, file.md5) for file in files] == [(edition["url"], edition["md5"]) for edition in editions]
    drive = {name: (f"{download._DRIVE}{key}#{name}", md5) for key, md5, name in datasets.CelebA.file_list}
    assert all(drive[file.name] == (file.url, file.md5) for file in download.FILES["celeba"])


# Archives that would write elsewhere


def tar_with(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 4 if kind == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


FILE, LINK = tarfile.REGTYPE, tarfile.SYMTYPE
HOSTILE = {
    "parent": tar_with(("../evil", FILE, "")),
    "parent of a folder": tar_with(("good", FILE, ""), ("a/../../evil", FILE, "")),
    "file through a link": tar_with(("a", LINK, ".."), ("a/evil", FILE, "")),
    "link to a link": tar_with(("a", LINK, "b"), ("b", LINK, "../.."), ("a/evil", FILE, "")),
    "hard link": tar_with(("a", tarfile.LNKTYPE, "../archive.tar"), ("a", FILE, "")),
    "device": tar_with(("null", tarfile.CHRTYPE, "")),
    "parent in a zip": zip_of({"../evil": b"", "a/../../evil": b"", "/evil": b""}),
}


@pytest.mark.faults("hostile file or setting")
@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_writes_nothing_outside_its_folder(kind, server, tmp_path, monkeypatch):
    suffix = "zip" if "zip" in kind else "tar"
    monkeypatch.setitem(download.FILES, "cifar100", (server.file(f"archive.{suffix}", HOSTILE[kind]),))
    if suffix == "tar":
        with pytest.raises(CodialError, match=r"cifar100 could not be unpacked in .*download: "):
            download.get("cifar100", tmp_path / "data")
        assert not (tmp_path / "data" / "cifar-100-python").exists()
    else:
        download.get("cifar100", tmp_path / "data")
    assert not list(tmp_path.rglob("evil"))
    assert (tmp_path / "data" / ".cifar100.download" / "archive.tar").exists() == (suffix == "tar")
