"""Pictures that stay on disk: the same as in memory, damaged files, threads, forks, and memory that stays flat."""

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
from codial.data import ImageSet, PictureFiles, load_images
from codial.data.decode import WORKERS, decode
from codial.errors import CodialError

SIDE = 64  # of the photographs' patches, so that nothing is resized
CLASSES = ("cat", "dog", "emu")
A_CLASS = 8  # pictures


@pytest.fixture
def patches(photos) -> torch.Tensor:
    return photos["train"].images[: len(CLASSES) * A_CLASS]


@pytest.fixture
def folder(tmp_path, patches):
    """Three classes of eight PNGs, in the order of `patches`."""
    for number, patch in enumerate(patches):
        path = tmp_path / "pets" / CLASSES[number // A_CLASS] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(patch.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "pets"


def on_disk(folder, **options) -> PictureFiles:
    return load_images(folder, "all", size=SIDE, keep="files", **options)


def damage(folder, *numbers):
    """Cut files off in their middle; they keep their place among the others."""
    for number in numbers:
        path = folder / CLASSES[number // A_CLASS] / f"{number:02}.png"
        path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "indices",
    [range(24), range(20, 2, -5), [5, 5, 23], [-1, -24], torch.tensor([4, 2], dtype=torch.uint8), np.array([3, 1]), []],
)
def test_a_batch_holds_the_pictures_asked_for(folder, patches, indices):
    batch = on_disk(folder).batch(indices)
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, patches[torch.as_tensor(np.asarray(indices, dtype=np.int64))])


@pytest.mark.parametrize("size", [40, 96])
def test_it_offers_what_a_set_in_memory_does(folder, size):
    there = load_images(folder, "all", size=size, keep="files")
    here = load_images(folder, "all", size=size, keep="memory")
    assert isinstance(here, ImageSet)
    assert (len(there), there.name, there.split) == (len(here), here.name, here.split) == (24, "pets", "all")
    assert torch.equal(there.labels, here.labels)
    assert there.labels.dtype == torch.int64
    assert (there.classes, there.labelled, there.skipped) == (here.classes, here.labelled, here.skipped)
    assert repr(there) == repr(here).replace("ImageSet", "PictureFiles")
    assert there.describe() == f"pets/all 24 {there.fingerprint}"
    assert torch.equal(there.batch(range(24)), here.images)


def test_pictures_without_classes_have_no_labels(folder):
    images = load_images(folder / "cat", "all", keep="files")
    assert images.labels.tolist() == [-1] * A_CLASS
    assert not images.labelled
    assert repr(images) == "PictureFiles(cat/all: 8 pictures of 96 x 96, no labels)"


@pytest.mark.parametrize(
    ("indices", "said"),
    [([0, 24], "0 to 23"), ([-25], "-25"), ([0.5], "whole numbers"), (torch.ones(24).bool(), "mask"), (3, "one")],
)
def test_indices_out_of_range_are_refused(folder, indices, said):
    with pytest.raises(CodialError, match=said):
        on_disk(folder).batch(indices)


@pytest.mark.parametrize(
    ("labels", "size", "said"),
    [
        (torch.zeros(3).long(), 8, r"labels .*\[3\]"),
        (torch.tensor([0, 5]), 8, "5"),
        (torch.zeros(2).long(), 0, "size"),
    ],
)
def test_wrong_labels_and_sizes_are_refused(folder, labels, size, said):
    with pytest.raises(CodialError, match=said):
        PictureFiles("pets", "all", folder, ("cat/00.png", "cat/01.png"), labels, CLASSES, size)


def test_the_current_folder_may_change(folder, patches, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    images = load_images("pets", "all", size=SIDE, keep="files")
    monkeypatch.chdir("/")
    assert torch.equal(images.batch([3]), patches[3:4])


# Subsets and fingerprints


@pytest.mark.parametrize(("limit", "seed"), [(1, 0), (7, 0), (7, 1), (23, 5)])
def test_a_subset_is_the_one_chosen_in_memory(folder, limit, seed):
    there, here = on_disk(folder), load_images(folder, "all", size=SIDE, keep="memory")
    expected = here.subset(limit, seed)
    for part in (there.subset(limit, seed), on_disk(folder, limit=limit, seed=seed)):
        assert torch.equal(part.labels, expected.labels)
        assert torch.equal(part.batch(range(limit)), expected.images)
    assert there.subset(24) is there
    with pytest.raises(CodialError, match="limit is 0"):
        there.subset(0)


def test_the_fingerprint_changes_with_sizes_paths_labels_and_side_only(folder, tmp_path):
    images = on_disk(folder)
    shutil.copytree(folder, tmp_path / "copy" / "pets")
    assert on_disk(tmp_path / "copy" / "pets").fingerprint == images.fingerprint
    found = {images.fingerprint, images.subset(23).fingerprint, load_images(folder, "all", keep="files").fingerprint}
    relabelled = PictureFiles("pets", "all", folder, images.paths, 2 - images.labels, CLASSES, SIDE)
    renamed = PictureFiles("pets", "all", folder, images.paths, images.labels, ("cat", "dog", "fox"), SIDE)
    found |= {relabelled.fingerprint, renamed.fingerprint}
    (folder / "cat" / "00.png").rename(folder / "cat" / "0.png")
    found.add(on_disk(folder).fingerprint)
    with (folder / "emu" / "23.png").open("ab") as file:
        file.write(b"\0")  # behind the picture's end: the pixels stay
    found.add(on_disk(folder).fingerprint)
    assert len(found) == 7
    assert all(len(fingerprint) == 16 for fingerprint in found)


def test_a_fingerprint_needs_no_pixels_and_no_whole_files(folder):
    damage(folder, 3)
    (folder / "cat" / "lost.png").symlink_to("nothing.png")
    images = on_disk(folder)
    assert len(images.fingerprint) == 16
    assert images.skipped == ()


# Damaged files


def asked(images, *indices) -> torch.Tensor:
    """Ask for pictures of which some are damaged, whatever is told of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return images.batch(indices)


def test_a_damaged_file_is_replaced_by_the_next_of_its_label(folder, patches):
    damage(folder, 3, 4, 12, 15)
    images = on_disk(folder)
    with pytest.warns(UserWarning, match=r"pets a picture could not be read; another takes its place.*") as caught:
        batch = images.batch(range(24))
    stands = {3: 5, 4: 5, 12: 13, 15: 8}  # the last of a class is followed by its first
    assert torch.equal(batch, patches[[stands.get(i, i) for i in range(24)]])
    assert len(images) == 24
    assert [line.split(": ")[0] for line in images.skipped] == ["cat/03.png", "cat/04.png", "dog/12.png", "dog/15.png"]
    assert "4 skipped" in repr(images)
    assert len(caught) == 4
    assert "cat/03.png: " in str(caught[0].message)
    assert caught[0].filename == __file__  # it points at the caller


def test_each_damaged_file_is_told_of_once(folder, patches):
    damage(folder, 3)
    images = on_disk(folder)
    assert len(asked(images, 3)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(images.batch([3, 2, 3]), patches[[4, 2, 4]])
    assert len(images.skipped) == 1


@pytest.mark.parametrize("first", [0, 1, 2, 4, 7, 9, 23])
@pytest.mark.parametrize("mixed", [False, True])
def test_batches_do_not_depend_on_what_was_asked_for_before(folder, first, mixed):
    """As a run that is resumed needs it: here a label's files are damaged wholly, another's in part."""
    labels = torch.arange(24) % 3 if mixed else torch.arange(24) // 8
    damage(folder, *(labels == 0).nonzero().flatten().tolist(), *(1, 10, 22, 23))

    def fresh():
        return PictureFiles("pets", "all", folder, on_disk(folder).paths, labels, CLASSES, SIDE)

    expected = torch.cat([asked(fresh(), i) for i in range(24)])
    images = fresh()
    for i in (first, 17, 10, 7, 5, 0, 1, 15, 22, 23, 3):
        assert torch.equal(asked(images, i)[0], expected[i])


def test_where_no_file_of_a_label_decodes_the_first_of_another_stands_for_it(folder, patches):
    damage(folder, *range(8, 16), 0)
    assert torch.equal(asked(on_disk(folder), 8, 15, 0), patches[[1, 1, 1]])


def test_a_file_that_is_lost_later_is_replaced_too(folder, patches):
    damage(folder, 3)
    images = on_disk(folder)
    assert torch.equal(asked(images, 3), patches[[4]])
    damage(folder, 4)  # which stood for 3
    assert torch.equal(asked(images, 3, 4, 3), patches[[5, 5, 5]])


def test_if_all_are_damaged_it_is_an_error(folder):
    damage(folder, *range(24))
    images = on_disk(folder)
    for use in (lambda: images.batch([5]), lambda: images.batch([5, 6]), on_disk(folder).check):
        with pytest.raises(CodialError, match=r"None of the 24 pictures in .*pets could be read; the first: cat/0[05]"):
            use()


def test_strict_makes_a_damaged_file_an_error_that_names_it(folder, patches):
    damage(folder, 3, 4)
    images = on_disk(folder, strict=True)
    assert torch.equal(images.batch([2, 5]), patches[[2, 5]])
    for use in (lambda: images.batch([2, 4]), lambda: images.subset(23).check()):
        with pytest.raises(CodialError, match=r"pets/cat/0[34]\.png: .*\. Mend or remove the file, or read without"):
            use()


@pytest.mark.parametrize("kind", ["empty", "text", "lost", "folder"])
def test_whatever_does_not_decode_is_replaced(folder, patches, kind):
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
    assert torch.equal(asked(images, 3), patches[[4]])


def test_check_finds_all_that_do_not_decode(folder, monkeypatch):
    monkeypatch.setattr("codial.data.files._PART", 5)
    damage(folder, 3, 4, 15)
    images = on_disk(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.check()
    with pytest.warns(UserWarning, match="3 of 24 pictures"):
        here = load_images(folder, "all", size=SIDE, keep="memory")
    assert images.skipped == here.skipped
    assert len(images.skipped) == 3


# Threads and forks


def test_threads_that_ask_at_the_same_time_get_their_pictures(folder, patches):
    images = on_disk(folder)
    orders = [torch.randperm(24, generator=torch.Generator().manual_seed(seed)) for seed in range(4 * WORKERS)]
    with ThreadPoolExecutor(len(orders)) as pool:
        for order, batch in zip(orders, pool.map(images.batch, orders), strict=True):
            assert torch.equal(batch, patches[order])


def test_threads_tell_of_a_damaged_file_once(folder, patches):
    damage(folder, 3)
    images, together = on_disk(folder), threading.Barrier(4)

    def ask(number):
        together.wait()
        return images.batch([3, number])

    with pytest.warns(UserWarning, match="cat/03") as caught, ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(ask, range(4, 8)))
    assert len(caught) == len(images.skipped) == 1
    assert all(torch.equal(batch, patches[[4, number]]) for number, batch in enumerate(batches, 4))


class OneByOne(Dataset):
    """What a DataLoader's workers, forked from this process, are given."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images.batch([index])[0]


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_of_a_data_loader_read_it(folder, patches, how):
    damage(folder, 3)
    images = on_disk(folder)
    images.batch(range(8, 24))  # this process has its threads by now
    workers = DataLoader(OneByOne(images), 8, num_workers=2, timeout=30, multiprocessing_context=how)
    got = torch.cat(list(workers))
    assert torch.equal(got, patches[[4 if i == 3 else i for i in range(24)]])


# A larger set


@pytest.mark.slow
def test_an_epoch_of_a_large_folder_needs_little_memory_and_can_be_resumed(tmp_path):
    """3,000 JPEGs, 30 of them damaged; decoded, all would be 450 MB."""
    count, size, batch, done = 3000, 224, 64, 20
    write(tmp_path, count)
    bad = torch.randperm(count, generator=torch.Generator().manual_seed(1))[:30].tolist()
    paths = sorted(path for path in tmp_path.rglob("*.jpg"))
    for i in bad:
        paths[i].write_bytes(paths[i].read_bytes()[:500])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2)).split(batch)

    memory = Memory()
    images = load_images(tmp_path, "all", size=size, keep="files")
    sums = [asked(images, *chosen.tolist()).sum((1, 2, 3)) for chosen in order]
    assert memory.highest < 150

    assert {line.split(": ")[0] for line in images.skipped} == {f"{paths[i].parent.name}/{paths[i].name}" for i in bad}
    resumed = load_images(tmp_path, "all", size=size, keep="files")
    for chosen, expected in list(zip(order, sums, strict=True))[done:]:
        assert torch.equal(asked(resumed, *chosen.tolist()).sum((1, 2, 3)), expected)
    for chosen, got in zip(order[:3], sums, strict=False):
        whole = [i for i in range(len(chosen)) if int(chosen[i]) not in bad]
        expected = [int(decode(paths[chosen[i]], size).sum(dtype=np.int64)) for i in whole]
        assert got[whole].tolist() == expected
