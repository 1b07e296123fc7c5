"""Settings by name: SYSTEM/photos, /short and /cifar10 for a laptop; /brief, /recommended and /paper for a GPU.

An ablation of CODIAL is a system too, named codial-ABLATION; so is a reading of what the paper leaves open, where
those are studied: codial-READING/short, /cifar10, /brief and /recommended.
"""

from dataclasses import replace
from difflib import get_close_matches
from math import ceil

from codial.ablations import ABLATIONS
from codial.config import (
    TURNS,
    CmcOptions,
    CodialOptions,
    Config,
    DataConfig,
    DecoupleOptions,
    DeepClusterOptions,
    GlobStatOptions,
    KnowTransOptions,
    ModelConfig,
    ObjectiveOptions,
    RotNetOptions,
    SpotArtifactsOptions,
    SupervisedOptions,
    TrainConfig,
    ViewsConfig,
)
from codial.errors import CodialError
from codial.readings import READINGS

# The literal reading of the paper, at the scale of its CIFAR-10 column.
_PAPER = Config(data=DataConfig("cifar10"), train=TrainConfig(epochs=200, batch=128))

# Milder than the paper's, so that less is to be learnt at once; a choice, still to be settled by a study.
_RECOMMENDED_VIEWS = ViewsConfig(crop_area=(0.2, 1.0), hue=0.1)
# Strangers under the same transform, so that the bound measures what pictures share and not which transform it was.
_RECOMMENDED_CODIAL = CodialOptions(negatives="same", beta_end=0.01, beta_hold=0.0, beta_ramp=1.0)
_RECOMMENDED = replace(_PAPER, views=_RECOMMENDED_VIEWS, objective=_RECOMMENDED_CODIAL)

# A quarter of the width, and a batch norm that settles within a short run.
_LAPTOP_MODEL = ModelConfig(width=0.25, bn_momentum=0.1)
_LAPTOP_CODIAL = replace(_RECOMMENDED_CODIAL, critic_hidden=256)
_CIFAR10 = Config(
    data=DataConfig("cifar10", limit=10_000),
    views=_RECOMMENDED_VIEWS,
    model=_LAPTOP_MODEL,
    objective=_LAPTOP_CODIAL,
    train=TrainConfig(epochs=20, batch=32, lr=5e-5, betas=(0.9, 0.99), weight_decay=0.01, monitor_every=2),
)
# Milder still: few photographs, that differ in colour.
_PHOTOS = replace(
    _CIFAR10,
    data=DataConfig("photos"),
    views=replace(_CIFAR10.views, crop_area=(0.3, 1.0), hue=0.05),
    train=replace(_CIFAR10.train, epochs=6, lr=1.2e-4, monitor_every=1),
)

# At most eight minutes for every system on two cores, the dearest too: 300,000 views, and twice the rate instead.
_SHORT = replace(_CIFAR10, train=replace(_CIFAR10.train, epochs=6, lr=1e-4, monitor_every=1))

# As recommended, but for a GPU that is at hand for a quarter of an hour, several systems' time.
_BRIEF = replace(_RECOMMENDED, train=replace(_RECOMMENDED.train, epochs=20, monitor_every=2))

_SCALES = {
    "photos": _PHOTOS,
    "short": _SHORT,
    "cifar10": _CIFAR10,
    "brief": _BRIEF,
    "recommended": _RECOMMENDED,
    "paper": _PAPER,
}

# Where open questions are studied: at scales whose settings are choices.
_STUDIED = {"short": _SHORT, "cifar10": _CIFAR10, "brief": _BRIEF, "recommended": _RECOMMENDED}

# RotNet, Decouple and GlobStat as they were published transform one crop and leave its colours. (The first two learn by
# SGD with a stepped rate, where ours, as all systems here, learn by AdamW with a cosine.)
_ONE_CROP = ViewsConfig(shared_crop=True, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
_TURN_PAPER = replace(_PAPER, views=_ONE_CROP)
_TURN_SCALES = _SCALES | {"paper": _TURN_PAPER}

# The original's teacher, but for tiles of 32 pixels instead of 64: views of 64 pixels have no more than 16 for each.
_DEEP_TEACHER = KnowTransOptions(
    teacher_depth=16, teacher_width=1.0, teacher_rate=1.0, permutations=701, min_distance=3, tile_size=32
)


def _with_primary(base: Config, primary: tuple[str, ...], objective: ObjectiveOptions) -> Config:
    """Give pictures fewer views; more pictures a step, and more epochs, even the views out (to whole epochs, upwards).

    So no system sees fewer views than CODIAL does.
    """
    more, train = len(base.views.primary) / len(primary), base.train
    train = replace(
        train,
        batch=round(train.batch * more),
        epochs=ceil(train.epochs * more),
        monitor_every=round(train.monitor_every * more),
    )
    return replace(base, objective=objective, views=replace(base.views, primary=primary), train=train)


def _codial(base: Config) -> Config:
    return base


def _rotnet(base: Config) -> Config:
    return _with_primary(base, TURNS, RotNetOptions())


def _decouple(base: Config) -> Config:
    """Published settings, or temperatures that fit few pictures; published, the judges have epochs of their own."""
    if base is not _TURN_PAPER:
        return _with_primary(base, TURNS, DecoupleOptions(temperature=0.4 if base is _PHOTOS else 0.2))
    plain = _with_primary(base, TURNS, DecoupleOptions(pu_part=1 / 6))
    return replace(plain, train=replace(plain.train, epochs=plain.train.epochs * 6 // 5))


def _supervised(base: Config) -> Config:
    """One view a picture, upright: the label is the target."""
    return _with_primary(base, ("turn0",), SupervisedOptions())


def _deepcluster(base: Config) -> Config:
    return _with_primary(base, ("turn0",), DeepClusterOptions())


def _cmc(base: Config) -> Config:
    """Small sets do better, by the original's authors, with a softmax and fewer negatives; not measured here."""
    return _with_primary(
        base, ("turn0",), CmcOptions() if base is _PAPER else CmcOptions(loss="infonce", negatives=512)
    )


def _globstat(base: Config) -> Config:
    """Five views a picture are drawn, the sixth it makes; opponents as wide as the trunk."""
    return replace(base, objective=GlobStatOptions(width=base.model.width))


def _knowtrans(base: Config) -> Config:
    """Epochs for the teacher come on top, so that the student sees as many views as every other trunk."""
    options = {
        _PAPER: replace(_DEEP_TEACHER, clusters=2000),
        _RECOMMENDED: _DEEP_TEACHER,
        _BRIEF: _DEEP_TEACHER,
        _PHOTOS: KnowTransOptions(teacher_part=0.4),  # an epoch has few steps
    }.get(base, KnowTransOptions())
    made = _with_primary(base, ("turn0",), options)
    epochs = ceil(made.train.epochs / (1 - options.teacher_part))
    return replace(made, train=replace(made.train, epochs=epochs))


def _spotartifacts(base: Config) -> Config:
    """Two pictures pass the trunk for each view, in the half of the run that is its own: half of the views a step.

    So the trunk takes as many steps as the others' on as many pictures. Short runs need a faster autoencoder.
    """
    laptop = base.model == _LAPTOP_MODEL
    options = SpotArtifactsOptions(width=0.25, autoencoder_rate=10.0) if laptop else SpotArtifactsOptions()
    config = _with_primary(base, ("turn0",), options)
    return replace(config, train=replace(config.train, batch=config.train.batch // 2))


def _random(base: Config) -> Config:
    """The same network before its first step."""
    return replace(base, train=replace(base.train, epochs=0))


_SYSTEMS = {
    "codial": (_codial, _SCALES),
    **{f"codial-{name}": (change, _SCALES) for name, change in ABLATIONS.items()},
    **{f"codial-{name}": (reading.change, _STUDIED) for name, reading in READINGS.items()},
    "rotnet": (_rotnet, _TURN_SCALES),
    "decouple": (_decouple, _TURN_SCALES),
    "deepcluster": (_deepcluster, _SCALES),
    "cmc": (_cmc, _SCALES),
    "globstat": (_globstat, _TURN_SCALES),
    "knowtrans": (_knowtrans, _SCALES),
    "spotartifacts": (_spotartifacts, _SCALES),
    "supervised": (_supervised, _SCALES),
    "random": (_random, _SCALES),
}
PRESETS = {
    f"{system}/{scale}": replace(make(base), name=f"{system}/{scale}")
    for system, (make, scales) in _SYSTEMS.items()
    for scale, base in scales.items()
}


def preset(name: str) -> Config:
    """Return the settings of that name; `dataclasses.replace` or `codial.override` changes them.

    Raises:
        CodialError: there is no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        near = get_close_matches(str(name), PRESETS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CodialError(f"There is no preset called {name!r}.{hint} Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
