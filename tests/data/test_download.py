import hashlib
import io
import re
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from codial.data import download, fetch, load_images
from codial.data.fetch import Remote, over_http
from codial.data.unpack import unpack
from codial.errors import CodialError

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves one file; `ranges`: whether it knows them; `stop`: after how many bytes of an answer it breaks off."""

    content, ranges, stop = CONTENT, True, None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    served = Server()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def remote(server, name="file.bin", md5=None):
    return Remote(name, md5 or hashlib.md5(server.content).hexdigest(), partial(over_http, server.url))


def test_a_file_comes_whole(server, tmp_path):
    assert fetch.fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_is_gone_on_with_or_begun_again(server, tmp_path, ranges):
    server.stop, server.ranges = 300_000, ranges
    with pytest.raises(CodialError, match=r"file.bin could not be downloaded .* broke off after 300000 of 1024000"):
        fetch.fetch(remote(server), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin.part"]
    server.stop = None
    assert fetch.fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_part_that_is_whole_needs_no_more(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch.fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_ctrl_c_leaves_a_part(server, tmp_path, monkeypatch):
    class Bar:
        def __init__(self, **_):
            self.blocks = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, count):
            self.blocks += 1
            if self.blocks == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "tqdm", Bar)
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch(remote(server), tmp_path)
    begun = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < begun < len(CONTENT)
    assert fetch.fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[1] == f"bytes={begun}-"


def test_a_wrong_sum_is_refused_and_removed(server, tmp_path):
    with pytest.raises(CodialError, match=rf"file.bin as downloaded has the MD5 sum .*, expected {'0' * 32}"):
        fetch.fetch(remote(server, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path):
    away = Remote("file.bin", None, partial(over_http, "http://127.0.0.1:9/file.bin"))
    with pytest.raises(CodialError, match=r"file.bin could not be downloaded .* the same command goes on"):
        fetch.fetch(away, tmp_path)


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


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_an_archive_stays_in_its_folder(tmp_path, pack, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "archive").write_bytes(pack({name: b"evil"}))
    if pack is tar_of and name == "/evil":  # tarfile's filter takes the slash away
        unpack(tmp_path / "archive", tmp_path / "in")
        assert (tmp_path / "in" / "evil").is_file()
        return
    with pytest.raises(CodialError, match=r"archive was not unpacked: .*evil.* outside"):
        unpack(tmp_path / "archive", tmp_path / "in")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "in"]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "archive.tar", "w") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        file.addfile(link)
    with pytest.raises(CodialError, match=r"archive\.tar was not unpacked"):
        unpack(tmp_path / "archive.tar", tmp_path / "in")


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_damaged_archive_is_named(tmp_path, pack):
    content = pack({"a/b": bytes(range(256)) * 100})
    (tmp_path / "archive").write_bytes(content[: len(content) // 2])
    with pytest.raises(CodialError, match="archive is damaged"):
        unpack(tmp_path / "archive", tmp_path)


@pytest.fixture
def cifar100(server, monkeypatch):
    """Torchvision's CIFAR-100 lies on the server, with one file in it."""
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    server.content = tar_of({"cifar-100-python/meta": b"names", "cifar-100-python/train": b"pictures"})
    monkeypatch.setattr(datasets.CIFAR100, "url", server.url)
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", hashlib.md5(server.content).hexdigest())


def test_a_set_is_there_when_it_is_whole(server, cifar100, tmp_path):
    for _ in range(2):
        download.get("cifar100", tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").rglob("*")) == ["cifar-100-python", "meta", "train"]
    assert len(server.asked) == 1


def test_an_interrupted_unpacking_does_not_count(server, cifar100, tmp_path, monkeypatch):
    def interrupted(archive, folder):
        (folder / "cifar-100-python").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "unpack", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download.get("cifar100", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]
    (tmp_path / ".cifar-100-python.unpacking" / "cifar-100-python").mkdir(parents=True)  # as a killed process leaves it
    download.get("cifar100", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python"]
    assert len(server.asked) == 1


def test_both_archives_of_voc2007_make_one_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    known = datasets.voc.DATASET_YEAR_DICT
    packed = {known[year]["url"]: tar_of({f"VOCdevkit/VOC2007/{year}": b""}) for year in ("2007", "2007-test")}
    for year in ("2007", "2007-test"):
        monkeypatch.setitem(known[year], "md5", hashlib.md5(packed[known[year]["url"]]).hexdigest())
    monkeypatch.setattr(download, "over_http", lambda url, part: part.write_bytes(packed[url]))
    download.get("voc2007", tmp_path)
    assert sorted(path.name for path in (tmp_path / "VOCdevkit" / "VOC2007").iterdir()) == ["2007", "2007-test"]
    assert [path.name for path in (tmp_path / "VOCdevkit").iterdir()] == ["VOC2007"]


def test_tiny_imagenet_is_counted(tmp_path, monkeypatch):
    content = zip_of({f"tiny-imagenet-200/{split}/images/{i}.JPEG": b"" for split in ("train", "val") for i in (1, 2)})
    monkeypatch.setattr(download, "over_http", lambda url, part: part.write_bytes(content))
    monkeypatch.setattr(download, "TINY_COUNTS", {"train": 2, "val": 3})
    with pytest.raises(CodialError, match=r"not the whole set: val has 2 pictures, expected 3. Remove .*200.zip"):
        download.get("tiny-imagenet", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-imagenet-200.zip"]
    monkeypatch.setattr(download, "TINY_COUNTS", {"train": 2, "val": 2})
    download.get("tiny-imagenet", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-imagenet-200"]


def test_celeba_is_its_archive_and_its_lists(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    packed = {"1": zip_of({"img_align_celeba/1.jpg": b""}), "2": b"a list"}
    names = {"1": "img_align_celeba.zip", "2": "list_attr_celeba.txt"}
    listed = [(key, hashlib.md5(content).hexdigest(), names[key]) for key, content in packed.items()]
    monkeypatch.setattr(datasets.CelebA, "file_list", listed)
    monkeypatch.setattr(download, "from_drive", lambda key, part: part.write_bytes(packed[key]))
    download.get("celeba", tmp_path)
    assert (tmp_path / "celeba" / "img_align_celeba" / "1.jpg").is_file()
    assert (tmp_path / "celeba" / "list_attr_celeba.txt").read_bytes() == b"a list"
    assert [path.name for path in tmp_path.iterdir()] == ["celeba"]


def test_google_drive_needs_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(CodialError, match=r"needs gdown .*: pip install gdown"):
        fetch.from_drive("key", tmp_path / "file.part")


@pytest.mark.parametrize(
    ("name", "told"),
    [("imagenet", r"ILSVRC2012_img_train.tar.*imagenet/train"), ("places205", r"imagesPlaces205_resize.tar.gz")],
)
def test_sets_that_need_an_account_say_how(tmp_path, name, told):
    with pytest.raises(CodialError, match=rf"{name} cannot be downloaded without an account. Register at .*{told}"):
        load_images(name, root=tmp_path, download=True)


def test_a_missing_torchvision_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(CodialError, match=r"The addresses of public sets are torchvision's"):
        load_images("cifar10", root=tmp_path, download=True)
