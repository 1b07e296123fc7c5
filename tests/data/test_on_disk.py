"""Images on disk: the same as in memory; damaged files, threads, forks, and constant memory."""

import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.clock import Memory
from benchmarks.streaming import write
from codial.data import ImageFiles, ImageSet, load_images
from codial.data.io.decode import WORKERS, decode
from codial.errors import CodialError

SIDE = 64  # of the patches of `photos`, so that nothing is resized
CLASSES = ("cat", "dog", "emu")
PER_CLASS = 8  # images


@pytest.fixture
def patches(photos) -> torch.Tensor:
    return photos["train"].images[: len(CLASSES) * PER_CLASS]


@pytest.fixture
def folder(tmp_path, patches):
    """Three classes of eight PNGs, in the order of `patches`."""
    for number, patch in enumerate(patches):
        path = tmp_path / "pets" / CLASSES[number // PER_CLASS] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(patch.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "pets"


def on_disk(folder, **options) -> ImageFiles:
    return load_images(folder, "all", size=SIDE, storage="files", **options)


def damage(folder, *numbers):
    """Truncate files."""
    for number in numbers:
        path = folder / CLASSES[number // PER_CLASS] / f"{number:02}.png"
        path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "indices",
    [range(24), range(20, 2, -5), [5, 5, 23], [-1, -24], torch.tensor([4, 2], dtype=torch.uint8), np.array([3, 1]), []],
)
def test_a_batch_has_the_requested_images(folder, patches, indices):
    batch = on_disk(folder).batch(indices)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, patches[torch.as_tensor(np.asarray(indices, dtype=np.int64))])


@pytest.mark.parametrize("size", [40, 96])
def test_it_equals_the_set_in_memory(folder, size):
    files = load_images(folder, "all", size=size, storage="files")
    loaded = load_images(folder, "all", size=size, storage="memory")
    assert isinstance(loaded, ImageSet)
    assert (len(files), files.name, files.split) == (len(loaded), loaded.name, loaded.split) == (24, "pets", "all")
    assert torch.equal(files.labels, loaded.labels)
    assert files.labels.dtype == torch.int64
    assert (files.classes, files.labeled, files.skipped) == (loaded.classes, loaded.labeled, loaded.skipped)
    assert repr(files) == repr(loaded).replace("ImageSet", "ImageFiles")
    assert files.describe() == f"pets/all 24 {files.fingerprint}"
    assert torch.equal(files.batch(range(24)), loaded.images)


def test_images_without_classes_have_no_labels(folder):
    images = load_images(folder / "cat", "all", storage="files")
    assert images.labels.tolist() == [-1] * PER_CLASS
    assert not images.labeled
    assert repr(images) == "ImageFiles(cat/all: 8 images of 96 x 96, no labels)"


@pytest.mark.parametrize(
    ("indices", "message"),
    [([0, 24], "0 to 23"), ([-25], "-25"), ([0.5], "whole numbers"), (torch.ones(24).bool(), "mask"), (3, "one")],
)
def test_indices_out_of_range_are_refused(folder, indices, message):
    with pytest.raises(CodialError, match=message):
        on_disk(folder).batch(indices)


@pytest.mark.parametrize(
    ("labels", "size", "message"),
    [
        (torch.zeros(3).long(), 8, r"labels .*\[3\]"),
        (torch.tensor([0, 5]), 8, "5"),
        (torch.zeros(2).long(), 0, "size"),
    ],
)
def test_wrong_labels_and_sizes_are_refused(folder, labels, size, message):
    with pytest.raises(CodialError, match=message):
        ImageFiles("pets", "all", folder, ("cat/00.png", "cat/01.png"), labels, CLASSES, size)


def test_the_current_folder_may_change(folder, patches, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    images = load_images("pets", "all", size=SIDE, storage="files")
    monkeypatch.chdir("/")
    assert torch.equal(images.batch([3]), patches[3:4])


# Subsets and fingerprints


@pytest.mark.parametrize(("limit", "seed"), [(1, 0), (7, 0), (7, 1), (23, 5)])
def test_a_subset_equals_the_subset_in_memory(folder, limit, seed):
    files, loaded = on_disk(folder), load_images(folder, "all", size=SIDE, storage="memory")
    expected = loaded.subset(limit, seed)
    for part in (files.subset(limit, seed), on_disk(folder, limit=limit, seed=seed)):
        assert torch.equal(part.labels, expected.labels)
        assert torch.equal(part.batch(range(limit)), expected.images)
    assert files.subset(24) is files
    with pytest.raises(CodialError, match="limit is 0"):
        files.subset(0)


def test_the_fingerprint_changes_only_with_file_sizes_paths_labels_and_image_size(folder, tmp_path):
    images = on_disk(folder)
    shutil.copytree(folder, tmp_path / "copy" / "pets")
    assert on_disk(tmp_path / "copy" / "pets").fingerprint == images.fingerprint
    fingerprints = {
        images.fingerprint,
        images.subset(23).fingerprint,
        load_images(folder, "all", storage="files").fingerprint,
    }
    relabeled = ImageFiles("pets", "all", folder, images.paths, 2 - images.labels, CLASSES, SIDE)
    renamed = ImageFiles("pets", "all", folder, images.paths, images.labels, ("cat", "dog", "fox"), SIDE)
    fingerprints |= {relabeled.fingerprint, renamed.fingerprint}
    (folder / "cat" / "00.png").rename(folder / "cat" / "0.png")
    fingerprints.add(on_disk(folder).fingerprint)
    with (folder / "emu" / "23.png").open("ab") as file:
        file.write(b"\0")  # after the end of the image, so its pixels stay
    fingerprints.add(on_disk(folder).fingerprint)
    assert len(fingerprints) == 7
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints)


def test_a_fingerprint_needs_no_pixels(folder):
    damage(folder, 3)
    (folder / "cat" / "lost.png").symlink_to("nothing.png")
    images = on_disk(folder)
    assert len(images.fingerprint) == 16
    assert images.skipped == ()


# Damaged files


def batch_quietly(images, *indices) -> torch.Tensor:
    """Return a batch, without warnings of damaged files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return images.batch(indices)


def test_a_damaged_file_is_replaced_by_the_next_of_its_label(folder, patches):
    damage(folder, 3, 4, 12, 15)
    images = on_disk(folder)
    with pytest.warns(UserWarning, match=r"An image in .*pets could not be decoded; another replaces it.*") as caught:
        batch = images.batch(range(24))
    replacements = {3: 5, 4: 5, 12: 13, 15: 8}  # the last of a class is followed by its first
    assert torch.equal(batch, patches[[replacements.get(i, i) for i in range(24)]])
    assert len(images) == 24
    assert [line.split(": ")[0] for line in images.skipped] == ["cat/03.png", "cat/04.png", "dog/12.png", "dog/15.png"]
    assert "4 skipped" in repr(images)
    assert len(caught) == 4
    assert "cat/03.png: " in str(caught[0].message)
    assert caught[0].filename == __file__  # the caller


def test_each_damaged_file_is_warned_of_once(folder, patches):
    damage(folder, 3)
    images = on_disk(folder)
    assert len(batch_quietly(images, 3)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(images.batch([3, 2, 3]), patches[[4, 2, 4]])
    assert len(images.skipped) == 1


@pytest.mark.parametrize("first", [0, 1, 2, 4, 7, 9, 23])
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_do_not_depend_on_earlier_ones(folder, first, mixed):
    """A resumed run needs this. All files of one label are damaged, some of another."""
    labels = torch.arange(24) % 3 if mixed else torch.arange(24) // 8
    damage(folder, *(labels == 0).nonzero().flatten().tolist(), *(1, 10, 22, 23))

    def fresh():
        return ImageFiles("pets", "all", folder, on_disk(folder).paths, labels, CLASSES, SIDE)

    expected = torch.cat([batch_quietly(fresh(), i) for i in range(24)])
    images = fresh()
    for i in (first, 17, 10, 7, 5, 0, 1, 15, 22, 23, 3):
        assert torch.equal(batch_quietly(images, i)[0], expected[i])


def test_if_no_file_of_a_label_decodes_the_first_of_another_replaces_it(folder, patches):
    damage(folder, *range(8, 16), 0)
    assert torch.equal(batch_quietly(on_disk(folder), 8, 15, 0), patches[[1, 1, 1]])


def test_a_file_damaged_later_is_replaced_too(folder, patches):
    damage(folder, 3)
    images = on_disk(folder)
    assert torch.equal(batch_quietly(images, 3), patches[[4]])
    damage(folder, 4)  # the replacement of 3
    assert torch.equal(batch_quietly(images, 3, 4, 3), patches[[5, 5, 5]])


def test_it_is_an_error_if_no_file_decodes(folder):
    damage(folder, *range(24))
    images = on_disk(folder)
    for use in (lambda: images.batch([5]), lambda: images.batch([5, 6]), on_disk(folder).check):
        with pytest.raises(
            CodialError, match=r"None of the 24 images in .*pets could be decoded; the first: cat/0[05]"
        ):
            use()


def test_strict_raises_an_error_that_names_the_file(folder, patches):
    damage(folder, 3, 4)
    images = on_disk(folder, strict=True)
    assert torch.equal(images.batch([2, 5]), patches[[2, 5]])
    for use in (lambda: images.batch([2, 4]), lambda: images.subset(23).check()):
        with pytest.raises(CodialError, match=r"pets/cat/0[34]\.png: .*\. Repair or remove the file, or load without"):
            use()


@pytest.mark.parametrize("kind", ["empty", "text", "lost", "folder"])
def test_any_file_that_does_not_decode_is_replaced(folder, patches, kind):
    path = folder / "cat" / "03.png"
    path.unlink()
    if kind == "lost":
        path.symlink_to("nothing.png")
    else:
        path.write_bytes(b"" if kind == "empty" else b"<html>404</html>")
    images = on_disk(folder)
    if kind == "folder":
        path.unlink()
        path.mkdir()
    assert torch.equal(batch_quietly(images, 3), patches[[4]])


def test_check_lists_all_files_that_do_not_decode(folder, monkeypatch):
    monkeypatch.setattr("codial.data.on_disk._CHUNK", 5)
    damage(folder, 3, 4, 15)
    images = on_disk(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.check()
    with pytest.warns(UserWarning, match="3 of 24 images"):
        loaded = load_images(folder, "all", size=SIDE, storage="memory")
    assert images.skipped == loaded.skipped
    assert len(images.skipped) == 3


# Threads and forks


def test_concurrent_threads_get_their_images(folder, patches):
    images = on_disk(folder)
    orders = [torch.randperm(24, generator=torch.Generator().manual_seed(seed)) for seed in range(4 * WORKERS)]
    with ThreadPoolExecutor(len(orders)) as pool:
        for order, batch in zip(orders, pool.map(images.batch, orders), strict=True):
            assert torch.equal(batch, patches[order])


def test_threads_warn_of_a_damaged_file_once(folder, patches):
    damage(folder, 3)
    images, barrier = on_disk(folder), threading.Barrier(4)

    def request(number):
        barrier.wait()
        return images.batch([3, number])

    with pytest.warns(UserWarning, match="cat/03") as caught, ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(request, range(4, 8)))
    assert len(caught) == len(images.skipped) == 1
    assert all(torch.equal(batch, patches[[4, number]]) for number, batch in enumerate(batches, 4))


class OneByOne(Dataset):
    """A dataset for the workers of a DataLoader, one image at a time."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images.batch([index])[0]


@pytest.mark.parametrize(("how", "count"), [("fork", 2), ("spawn", 1)])  # a spawned process takes 0.4 GB for torch
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader_can_read_it(folder, patches, how, count):
    damage(folder, 3)
    images = on_disk(folder)
    images.batch(range(8, 24))  # starts the threads of this process
    workers = DataLoader(OneByOne(images), 8, num_workers=count, timeout=30, multiprocessing_context=how)
    got = torch.cat(list(workers))
    assert torch.equal(got, patches[[4 if i == 3 else i for i in range(24)]])


# A larger set


@pytest.mark.slow
def test_an_epoch_of_a_large_folder_needs_little_memory_and_can_be_resumed(tmp_path):
    """3,000 JPEGs, 30 of them damaged; decoded images would take 450 MB."""
    count, size, batch, done = 3000, 224, 64, 20
    write(tmp_path, count)
    bad = torch.randperm(count, generator=torch.Generator().manual_seed(1))[:30].tolist()
    paths = sorted(path for path in tmp_path.rglob("*.jpg"))
    for i in bad:
        paths[i].write_bytes(paths[i].read_bytes()[:500])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2)).split(batch)

    memory = Memory()
    images = load_images(tmp_path, "all", size=size, storage="files")
    sums = [batch_quietly(images, *indices.tolist()).sum((1, 2, 3)) for indices in order]
    assert memory.highest < 150

    assert {line.split(": ")[0] for line in images.skipped} == {f"{paths[i].parent.name}/{paths[i].name}" for i in bad}
    resumed = load_images(tmp_path, "all", size=size, storage="files")
    for indices, expected in list(zip(order, sums, strict=True))[done:]:
        assert torch.equal(batch_quietly(resumed, *indices.tolist()).sum((1, 2, 3)), expected)
    for indices, got in zip(order[:3], sums, strict=False):
        intact = [i for i in range(len(indices)) if int(indices[i]) not in bad]
        expected = [int(decode(paths[indices[i]], size).sum(dtype=np.int64)) for i in intact]
        assert got[intact].tolist() == expected
