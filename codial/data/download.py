"""Public sets, downloaded into their official layouts; of the others, how to get them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from codial.data import celeba, cifar, cifar100, imagenet, places205, stl10, tiny_imagenet, voc
from codial.data.fetch import Remote, fetch, from_drive, over_http
from codial.data.unpack import unpack
from codial.errors import CodialError

TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"  # torchvision has no such set
TINY_COUNTS = {"train": 100_000, "val": 10_000, "test": 10_000}  # pictures, for no sum of the archive is published
_ARCHIVES = (".zip", ".tar", ".gz")


@dataclass(frozen=True)
class _Recipe:
    locate: Callable[[Path], Path]  # the set's folder, of the data root
    inner: str  # that folder as the archives have it
    files: Callable[[], list[Remote]]
    archives_in: str = "."  # where they are unpacked, for those that have not the set's folder in them
    complaint: Callable[[Path], str] = lambda folder: ""  # of the unpacked folder


@dataclass(frozen=True)
class _ByHand:
    locate: Callable[[Path], Path]
    told: str  # with {folder}


def get(name: str, root: Path) -> None:
    """Download a set, unless its folder is there. Nothing is to be downloaded for `photos`.

    The folder appears when all is downloaded, verified and unpacked. What an interruption leaves is gone on with.

    Args:
        name: the set's.
        root: the data root.

    Raises:
        CodialError: the set is not given out freely (how to get it is told), or the network, the disk or a file fails.
    """
    recipe = _RECIPES.get(name)
    if recipe is None or recipe.locate(root).is_dir():
        return
    goal = recipe.locate(root)
    if isinstance(recipe, _ByHand):
        raise CodialError(f"{name} cannot be downloaded without an account. {recipe.told.format(folder=goal)}")
    goal.parent.mkdir(parents=True, exist_ok=True)
    files = [fetch(remote, goal.parent) for remote in recipe.files()]
    room = goal.with_name(f".{goal.name}.unpacking")
    shutil.rmtree(room, ignore_errors=True)  # of a process that was killed
    try:
        _fill(room, recipe, files)
        (room / recipe.inner).rename(goal)
    except OSError as error:
        raise CodialError(
            f"{name} could not be unpacked in {goal.parent}: {error}. Make room, and try again."
        ) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    for file in files:
        file.unlink()


def _fill(room: Path, recipe: _Recipe, files: Sequence[Path]) -> None:
    place = room / recipe.archives_in
    place.mkdir(parents=True)
    for file in files:
        if file.suffix in _ARCHIVES:
            unpack(file, place)
        else:
            shutil.copyfile(file, place / file.name)
    if complaint := recipe.complaint(room / recipe.inner):
        raise CodialError(f"What was unpacked is not the whole set: {complaint}. Remove {files[0]} and try again.")


def _torchvision() -> ModuleType:
    try:
        from torchvision import datasets  # only here: reading works without torchvision
    except (ImportError, RuntimeError) as error:
        raise CodialError(f"The addresses of public sets are torchvision's, which fails: {error}.") from error
    return datasets


def _one_archive(kind: str) -> list[Remote]:
    known = getattr(_torchvision(), kind)
    return [Remote(known.filename, known.tgz_md5, partial(over_http, known.url))]


def _voc_archives(*editions: str) -> list[Remote]:
    known = [_torchvision().voc.DATASET_YEAR_DICT[edition] for edition in editions]
    return [Remote(each["filename"], each["md5"], partial(over_http, each["url"])) for each in known]


def _celeba_files() -> list[Remote]:
    return [Remote(name, md5, partial(from_drive, key)) for key, md5, name in _torchvision().CelebA.file_list]


def _tiny_archive() -> list[Remote]:
    return [Remote("tiny-imagenet-200.zip", None, partial(over_http, TINY_IMAGENET))]


def _tiny_complaint(folder: Path) -> str:
    for split, count in TINY_COUNTS.items():
        found = sum(1 for _ in (folder / split).rglob("*.JPEG"))
        if found != count:
            return f"{split} has {found} pictures, expected {count}"
    return ""


_RECIPES: dict[str, _Recipe | _ByHand] = {
    "cifar10": _Recipe(cifar.locate, cifar.FOLDER, partial(_one_archive, "CIFAR10")),
    "cifar100": _Recipe(cifar100.locate, cifar100.FOLDER, partial(_one_archive, "CIFAR100")),
    "stl10": _Recipe(stl10.locate, stl10.FOLDER, partial(_one_archive, "STL10")),
    "celeba": _Recipe(celeba.locate, celeba.FOLDER, _celeba_files, archives_in=celeba.FOLDER),
    "voc2007": _Recipe(
        partial(voc.locate, year=2007), "VOCdevkit/VOC2007", partial(_voc_archives, "2007", "2007-test")
    ),
    "voc2012": _Recipe(partial(voc.locate, year=2012), "VOCdevkit/VOC2012", partial(_voc_archives, "2012")),
    "tiny-imagenet": _Recipe(tiny_imagenet.locate, tiny_imagenet.FOLDER, _tiny_archive, complaint=_tiny_complaint),
    "imagenet": _ByHand(
        imagenet.locate,
        "Register at image-net.org, ask for ILSVRC 2012 and download ILSVRC2012_img_train.tar,"
        " ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz. Unpack the first to {folder}/train, and each of the"
        " 1,000 archives in it to the folder of its name (train/n01440764/n01440764_18.JPEG); the second to"
        " {folder}/val, flat or sorted into the same 1,000 folders; the third to {folder}/ILSVRC2012_devkit_t12.",
    ),
    "places205": _ByHand(
        places205.locate,
        "Register at places.csail.mit.edu, and download of Places205 the resized pictures,"
        " imagesPlaces205_resize.tar.gz, and the lists, trainvalsplit_places205.tar.gz. Unpack both to {folder}, so"
        " that there are {folder}/trainvalsplit_places205/train_places205.csv and val_places205.csv, and the pictures"
        " in {folder}/images256 or {folder}/data/vision/torralba/deeplearning/images256.",
    ),
}
