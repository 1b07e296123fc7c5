import dataclasses

import pytest

import codial
from codial import presets
from codial.config import (
    SYSTEMS,
    TURNS,
    CodialOptions,
    DecoupleOptions,
    RotNetOptions,
    SpotArtifactsOptions,
    config_hash,
    from_dict,
    to_dict,
)
from codial.errors import CodialError

SCALES = ("photos", "cifar10", "paper", "recommended")
ABLATIONS = {"codial-cls": "mi_weight", "codial-mi": "cls_weight"}
NAMES = [
    f"{system}/{scale}"
    for system in (
        "codial",
        *ABLATIONS,
        "rotnet",
        "decouple",
        "deepcluster",
        "cmc",
        "spotartifacts",
        "supervised",
        "random",
    )
    for scale in SCALES
    if not (system in ABLATIONS and scale == "paper")
]


def test_these_are_the_presets():
    assert sorted(presets.PRESETS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_carries_its_name_and_survives_json(name):
    config = codial.preset(name)
    assert config.name == name
    assert from_dict(to_dict(config)) == config


def test_no_two_presets_are_the_same_run():
    assert len({config_hash(codial.preset(name)) for name in NAMES}) == len(NAMES)


def test_the_papers_preset_is_its_literal_reading():
    """Sections 3 and 4 of the paper, and research/method.md 1a where the number is not in it."""
    config = codial.preset("codial/paper")
    assert config.views.primary == ("turn0", "turn90", "turn180", "turn270", "warp")
    assert config.views.crop_area == (0.08, 1.0)
    assert config.views.crop_aspect == (3 / 4, 4 / 3)
    assert (config.views.brightness, config.views.contrast, config.views.saturation, config.views.hue) == (0.5,) * 4
    assert config.views.blur == 0
    assert config.views.warp_offset == 0.1
    options = config.objective
    assert isinstance(options, CodialOptions)
    assert (options.cls_weight, options.mi_weight, options.pairs) == (1, 1, 10)
    assert (options.beta_start, options.beta_end) == (1e-6, 1.0)
    # 50k steps at the start and 100k of ramp out of 937.5k, to a thousandth.
    assert (options.beta_hold, options.beta_ramp) == pytest.approx((50 / 937.5, 100 / 937.5), abs=1e-3)
    assert config.model.width == 1
    assert config.train.weight_decay == pytest.approx(1e-4 / 3e-4, abs=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_systems_differ_in_nothing_but_what_they_are(scale):
    ours, random = (codial.preset(f"{system}/{scale}") for system in ("codial", "random"))
    for system in ("supervised", "deepcluster", "cmc"):
        other = codial.preset(f"{system}/{scale}")
        assert isinstance(other.objective, SYSTEMS[system])
        assert other.objective == SYSTEMS[system]() or (system == "cmc" and scale != "paper")
        assert other.views.primary == ("turn0",)
        for name in ("epochs", "batch", "monitor_every"):  # as many views a step and in all, one of each picture
            assert getattr(other.train, name) == 5 * getattr(ours.train, name)
        own = {name: getattr(ours, name) for name in ("name", "objective", "train")}
        back = dataclasses.replace(other.views, primary=ours.views.primary)
        train = dataclasses.replace(ours.train, epochs=other.train.epochs, batch=other.train.batch)
        assert dataclasses.replace(train, monitor_every=other.train.monitor_every) == other.train
        assert dataclasses.replace(other, views=back, **own) == ours
    assert random.train.epochs == 0
    trained = dataclasses.replace(random.train, epochs=ours.train.epochs)
    assert dataclasses.replace(random, name=ours.name, train=trained) == ours


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("options", [RotNetOptions(), DecoupleOptions()])
def test_systems_of_four_turns_see_as_many_views(options, scale):
    """As many a step; in all as many, or less than one epoch more where no whole number of epochs fits."""
    ours, theirs = codial.preset(f"codial/{scale}"), codial.preset(f"{options.system}/{scale}")
    assert theirs.objective == options
    assert theirs.views.primary == TURNS
    assert 4 * theirs.train.batch == 5 * ours.train.batch
    assert 0 <= 4 * theirs.train.epochs - 5 * ours.train.epochs < 4
    kept = ("epochs", "batch", "monitor_every")
    train = dataclasses.replace(theirs.train, **{name: getattr(ours.train, name) for name in kept})
    views = dataclasses.replace(theirs.views, primary=ours.views.primary)
    if scale == "paper":  # one crop and the picture's own colours, as they were published
        assert views.shared_crop
        colours = ("brightness", "contrast", "saturation", "hue")
        assert [getattr(views, name) for name in colours] == [0] * 4
        as_ours = {name: getattr(ours.views, name) for name in colours}
        views = dataclasses.replace(views, shared_crop=False, **as_ours)
    back = dataclasses.replace(theirs, name=ours.name, objective=ours.objective, train=train, views=views)
    assert back == ours


@pytest.mark.parametrize("scale", SCALES)
def test_the_trunk_that_spots_artifacts_takes_as_many_steps_on_as_many_pictures(scale):
    """Half of the run is the autoencoder's; in the other half the trunk sees each picture intact and repaired."""
    ours, theirs = codial.preset(f"deepcluster/{scale}"), codial.preset(f"spotartifacts/{scale}")
    options = theirs.objective
    assert isinstance(options, SpotArtifactsOptions)
    assert options.autoencoder_part == 0.5
    assert theirs.train.epochs % 2 == 0
    assert 2 * theirs.train.batch == ours.train.batch
    train = dataclasses.replace(theirs.train, batch=ours.train.batch)
    assert dataclasses.replace(theirs, name=ours.name, objective=ours.objective, train=train) == ours
    laptop = scale in ("photos", "cifar10")
    assert options == (SpotArtifactsOptions(width=0.25, autoencoder_rate=10.0) if laptop else SpotArtifactsOptions())


@pytest.mark.parametrize("scale", ["photos", "cifar10", "recommended"])
@pytest.mark.parametrize("system", ABLATIONS)
def test_an_ablation_is_codial_without_one_term(system, scale):
    ours, without = codial.preset(f"codial/{scale}"), codial.preset(f"{system}/{scale}")
    weight = ABLATIONS[system]
    assert getattr(without.objective, weight) == 0
    objective = dataclasses.replace(without.objective, **{weight: getattr(ours.objective, weight)})
    assert dataclasses.replace(without, name=ours.name, objective=objective) == ours


@pytest.mark.parametrize(
    ("name", "near"),
    [("codial/photo", "codial/photos"), ("supervised/cifar", "supervised/cifar10"), ("qqqq", None), (None, None)],
)
def test_an_unknown_preset_lists_all_with_the_nearest(name, near):
    hint = f" Did you mean {near!r}?" if near else ""
    with pytest.raises(CodialError) as caught:
        codial.preset(name)
    assert str(caught.value).startswith(f"There is no preset called {name!r}.{hint} Presets: codial/photos, ")
    assert all(known in str(caught.value) for known in NAMES)
