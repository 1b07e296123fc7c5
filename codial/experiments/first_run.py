"""The first run of a newcomer: on the bundled photographs, or on a folder of images of one's own."""

from dataclasses import dataclass
from pathlib import Path

from codial.config import Config, override
from codial.data import Dataset, load_images
from codial.data.datasets.image_folder import split_folders
from codial.errors import CodialError
from codial.evaluate.retrieval import max_k
from codial.methods.own_images import has_held_out, is_own_folder, preset_for_folder
from codial.methods.presets import preset
from codial.utils.paths import project_path

IMAGES = 4000  # of a folder that are compared with each other; all are for training
NEIGHBORS = 7  # of each query, as in the paper's Figure 4


@dataclass(frozen=True)
class FirstRun:
    """What is trained, on which images, and what it is compared with.

    Attributes:
        config: settings of the run.
        folder: folder of the run; that of `codial pretrain`, so that either continues what the other began.
        baseline: settings of the same network before training.
        baseline_folder: folder of this baseline.
        train: training images, of a folder at most `IMAGES`.
        test: images that the network was not trained on; the training images if there are no others.
        k: number of neighbors of each test image to look at, 7 if there are so many.
    """

    config: Config
    folder: Path
    baseline: Config
    baseline_folder: Path
    train: Dataset
    test: Dataset
    k: int


def first_run(source: str = "photos", seed: int = 0) -> FirstRun:
    """Prepare a run of codial/photos.

    Args:
        source: photos, or a folder of images. Without sub-folders for splits, all its images are for training.
        seed: seed of the run and of its baseline.

    Raises:
        CodialError: the source is neither, or the folder has no image.
    """
    if source == "photos":
        configs = [override(preset(f"{name}/photos"), {"seed": seed}) for name in ("codial", "random")]
        folders = [project_path(f"runs/photos/{name}") for name in ("codial", "random")]
        train, test = load_images("photos", "train"), load_images("photos", "test")
    elif is_own_folder(source):
        path = Path(source).expanduser().resolve()
        configs = [preset_for_folder(path, f"{name}/photos", {"seed": seed}) for name in ("codial", "random")]
        folders = [project_path(f"runs/{path.name}{ending}") for ending in ("", "-random")]
        train = load_images(path, configs[0].data.split, limit=IMAGES)
        test = load_images(path, _held_out(path), limit=IMAGES) if has_held_out(path) else train
    else:
        raise CodialError(f"source is {source!r}; expected 'photos' or an existing folder of images.")
    k = min(NEIGHBORS, max_k(train, test))
    return FirstRun(configs[0], folders[0], configs[1], folders[1], train, test, k)


def _held_out(folder: Path) -> str:
    """Return the split of a folder to measure with: test, if there is one."""
    splits = split_folders(folder)
    return "test" if "test" in splits else next(name for name in splits if name != "train")
