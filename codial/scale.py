"""In what a run's data and scale differ from a column of the paper: why its number may not be compared.

The paper tells the networks, the 224 pixels and 100 epochs of ImageNet; for small sets it follows GlobStat, whose code
has 64 pixels and 200 epochs.
"""

from dataclasses import dataclass

from codial.presets import PRESETS
from codial.runs import Run


@dataclass(frozen=True)
class Scale:
    """What the networks of one column learnt from, and how they were judged."""

    source: str
    pictures: int
    known: int  # labelled ones that classifiers learn from; 0 where it is not known or not told so
    asked: int  # those that they are judged on
    size: int = 64  # pixels a side of a view
    epochs: int = 200  # of five views a picture


_IMAGENET = Scale("imagenet", 1_281_167, 1_281_167, 50_000, 224, 100)
_VOC = Scale("imagenet", 1_281_167, 0, 0, 224, 100)
SCALES = {
    "stl10": Scale("stl10", 100_000, 5_000, 8_000),
    "celeba": Scale("celeba", 182_637, 162_770, 19_962),
    "cifar10": Scale("cifar10", 50_000, 50_000, 10_000),
    "cifar100": Scale("cifar100", 50_000, 50_000, 10_000),
    "tiny-imagenet": Scale("tiny-imagenet", 100_000, 100_000, 10_000),
    "imagenet": _IMAGENET,
    "places205": Scale("imagenet", 1_281_167, 2_448_873, 20_500, 224, 100),
    "voc2007 classification": _VOC,
    "voc2007 detection": _VOC,
    "voc2012 segmentation": _VOC,
}


def differences(run: Run, column: str, known: str = "", asked: str = "") -> list[str]:
    """Return what keeps a run's number from being compared with the paper's, in words; empty where nothing does.

    Args:
        run: finished, or published.
        column: the data set or the task of the paper's column, such as stl10.
        known: what a report tells of the pictures that a probe learnt from, as `Pictures.describe` has it.
        asked: the same of those that it was judged on.
    """
    return _learning(run, SCALES[column]) + _judging(SCALES[column], known, asked)


def _learning(run: Run, scale: Scale) -> list[str]:
    config, pictures = run.config, run.provenance.get("pictures", {})
    found, count = [], int(pictures.get("count", 0))
    if config.data.source != scale.source:
        found.append(f"training on {config.data.source}, not {scale.source}")
    elif count < scale.pictures:
        found.append(f"{count:,} of {scale.pictures:,} pictures")
    if config.model.width != 1:
        found.append(
            {0.25: "quarter width", 0.5: "half width"}.get(config.model.width, f"{config.model.width:g} width")
        )
    if config.views.size != scale.size:
        found.append(f"views of {config.views.size} pixels instead of {scale.size}")
    done, whole = epochs(run), _epochs(run, scale)
    if done != whole:
        found.append(f"{done} of {whole} epochs" if done < whole else f"{done} epochs instead of {whole}")
    return found


def _judging(scale: Scale, known: str, asked: str) -> list[str]:
    counts = (("probed from", known, scale.known), ("judged on", asked, scale.asked))
    return [
        f"{what} {count(told):,} of {whole:,} pictures" for what, told, whole in counts if told and count(told) < whole
    ]


def count(told: str) -> int:
    """Return how many pictures `Pictures.describe` told of: 50000 of "cifar10/train 50000 2b47f82d3f2fc6a9"."""
    return int(told.rsplit(" ", 2)[1])


def epochs(run: Run) -> int:
    """Return how many epochs a run has done; of a published one, which is whole, all."""
    unfinished = (run.folder / "checkpoints").is_dir() and not run.finished
    return int(run.progress.get("epoch", 0)) if unfinished else run.config.train.epochs


def _epochs(run: Run, scale: Scale) -> int:
    """Return the paper's epochs in this system's, which has more of them where it takes fewer views a picture."""
    own = PRESETS.get(f"{run.config.name.split('/')[0]}/paper", PRESETS["codial/paper"])
    return scale.epochs * own.train.epochs // PRESETS["codial/paper"].train.epochs
