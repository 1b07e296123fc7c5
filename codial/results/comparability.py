"""Differences between a run and the setup of a column of the paper, because of which numbers are not comparable.

The paper describes the networks, and 224 pixels and 100 epochs for ImageNet. For small datasets it follows GlobStat,
whose code has 64 pixels and 200 epochs.
"""

from dataclasses import dataclass

from codial.config.registry import BACKBONE
from codial.methods.codial import CodialConfig
from codial.methods.presets import is_preset, preset
from codial.runs.run import Run


@dataclass(frozen=True)
class PaperSetup:
    """Data and scale of pretraining and evaluation in a column of the paper.

    Attributes:
        source: dataset of pretraining.
        images: number of its images.
        train: number of labeled images that classifiers are trained on; 0 if the paper does not say.
        test: number of test images.
        size: side of views in pixels.
        epochs: epochs of five views per image.
    """

    source: str
    images: int
    train: int
    test: int
    size: int = 64
    epochs: int = 200


_IMAGENET = PaperSetup("imagenet", 1_281_167, 1_281_167, 50_000, 224, 100)
_VOC = PaperSetup("imagenet", 1_281_167, 0, 0, 224, 100)
PAPER_SETUPS = {
    "stl10": PaperSetup("stl10", 100_000, 5_000, 8_000),
    "celeba": PaperSetup("celeba", 182_637, 162_770, 19_962),
    "cifar10": PaperSetup("cifar10", 50_000, 50_000, 10_000),
    "cifar100": PaperSetup("cifar100", 50_000, 50_000, 10_000),
    "tiny-imagenet": PaperSetup("tiny-imagenet", 100_000, 100_000, 10_000),
    "imagenet": _IMAGENET,
    "places205": PaperSetup("imagenet", 1_281_167, 2_448_873, 20_500, 224, 100),
    "voc2007 classification": _VOC,
    "voc2007 detection": _VOC,
    "voc2012 segmentation": _VOC,
}


def differences(run: Run, column: str, train: str = "", test: str = "") -> list[str]:
    """Return the reasons why a run's number is not comparable with the paper's; empty if it is.

    Args:
        run: a finished or published run.
        column: dataset or task of the paper's column, such as stl10.
        train: description of the images that a probe was trained on, as `Dataset.describe` returns it.
        test: description of the images that it was evaluated on.
    """
    setup = PAPER_SETUPS[column]
    return _pretraining_differences(run, setup) + _evaluation_differences(setup, train, test)


def _pretraining_differences(run: Run, setup: PaperSetup) -> list[str]:
    config = run.config
    images = int(run.provenance.get("images", {}).get("count", 0))
    reasons = []
    if config.data.source != setup.source:
        reasons.append(f"pretrained on {config.data.source}, not {setup.source}")
    elif images < setup.images:
        reasons.append(f"{images:,} of {setup.images:,} images")
    if config.model.backbone != BACKBONE:
        reasons.append(f"{config.model.backbone} instead of AlexNet")
    if config.model.width != 1:
        names = {0.25: "quarter width", 0.5: "half width"}
        reasons.append(names.get(config.model.width, f"{config.model.width:g} width"))
    if isinstance(config.method, CodialConfig) and config.method.mi_weight > 0 and config.method.bound != "js":
        reasons.append(f"the bound {config.method.bound} instead of js")
    if config.views.size != setup.size:
        reasons.append(f"views of {config.views.size} pixels instead of {setup.size}")
    done = completed_epochs(run)
    expected = _expected_epochs(run, setup)
    if done != expected:
        reasons.append(f"{done} of {expected} epochs" if done < expected else f"{done} epochs instead of {expected}")
    return reasons


def _evaluation_differences(setup: PaperSetup, train: str, test: str) -> list[str]:
    counts = (("probes trained on", train, setup.train), ("evaluated on", test, setup.test))
    return [
        f"{what} {image_count(described):,} of {expected:,} images"
        for what, described, expected in counts
        if described and image_count(described) < expected
    ]


def image_count(description: str) -> int:
    """Return the number of images in a description: 50000 in "cifar10/train 50000 2b47f82d3f2fc6a9"."""
    return int(description.rsplit(" ", 2)[1])


def completed_epochs(run: Run) -> int:
    """Return a run's completed epochs; published runs are complete."""
    unfinished = (run.folder / "checkpoints").is_dir() and not run.finished
    return int(run.progress.get("epoch", 0)) if unfinished else run.config.train.epochs


def _expected_epochs(run: Run, setup: PaperSetup) -> int:
    """Convert the paper's epochs to those of a method with fewer views per image and therefore more epochs."""
    name = f"{run.config.name.split('/')[0]}/paper"
    codial = preset("codial/paper")
    own = preset(name) if is_preset(name) else codial
    return setup.epochs * own.train.epochs // codial.train.epochs
