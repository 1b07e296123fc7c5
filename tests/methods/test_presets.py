"""Presets of every method and variant under every recipe."""

import dataclasses

import pytest

import codial
from codial.config import PRIMARY, RECIPES, ROTATIONS, ModelConfig, config_hash, from_dict, to_dict
from codial.config.registry import method_named, method_names
from codial.errors import CodialError
from codial.methods import build
from codial.methods.codial import Codial, CodialConfig, questions
from codial.methods.decouple import DecoupleConfig
from codial.methods.globstat import GlobStatConfig
from codial.methods.knowtrans import KnowTransConfig
from codial.methods.presets import heads, is_preset
from codial.methods.spotartifacts import SpotArtifactsConfig
from codial.training.schedule import stage_ends

NO_COLOR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
JS = {
    "bound": "js",
    "critic": "mlp",
    "projector": "linear",
    "z_dim": 64,
    "negatives": "same",
    "bottleneck": True,
}
INFONCE = {
    "bound": "infonce",
    "critic": "cosine",
    "projector": "mlp",
    "z_dim": 128,
    "negatives": "batch",
    "bottleneck": False,
}
CHANGES = {  # the section that a variant of CODIAL changes under the recipe cifar10, and its new values
    # Table 2, Figure 3
    "cls": ("method", {"mi_weight": 0.0}),
    "mi": ("method", {"cls_weight": 0.0}),
    "cr": ("views", NO_COLOR),
    "cr-bl": ("views", NO_COLOR | {"blur": 0.5}),
    "cr-bl-co": ("views", {"blur": 0.5}),
    **{f"pairs{count}": ("method", {"pairs": count}) for count in range(1, 10)},
    # what the paper leaves open
    "split": ("method", {"head": "split"}),
    "decoupled": ("method", {"head": "decoupled"}),
    "beta0": ("method", {"beta_end": 1e-6}),
    "beta1": ("method", {"beta_end": 1.0}),
    "early": ("method", {"beta_hold": 0.053, "beta_ramp": 0.107}),
    "early1": ("method", {"beta_end": 1.0, "beta_hold": 0.053, "beta_ramp": 0.107}),
    "mean1": ("method", {"skl_reduce": "mean", "beta_end": 1.0}),
    "infonce": ("method", INFONCE),
    "upright": ("method", INFONCE | {"align": "rotation", "pairs": 1, "mi_weight": 0.1}),
    "jsbatch": ("method", {"negatives": "batch"}),
    "nwj": ("method", {"bound": "nwj"}),
    "dv": ("method", {"bound": "dv"}),
    "z16": ("method", {"z_dim": 16}),
    "z256": ("method", {"z_dim": 256}),
    "any": ("method", {"negatives": "random"}),
    "roll": ("method", {"negatives": "roll"}),
    "crop8": ("views", {"crop_area": (0.08, 1.0)}),
    "crop50": ("views", {"crop_area": (0.5, 1.0)}),
    "hue50": ("views", {"hue": 0.5}),
    "gray50": ("views", {"grayscale": 0.5}),
    "mild": ("views", {"brightness": 0.25, "contrast": 0.25, "saturation": 0.25, "hue": 0.05}),
    "slow": ("train", {"lr": 2.5e-5}),
    "fast": ("train", {"lr": 1e-4}),
}
CHANGES_OF_HUE50 = {"cls-hue50": {"mi_weight": 0.0}, "mi-hue50": {"cls_weight": 0.0}}  # of codial-hue50's method
METHODS = {
    "codial",
    "rotnet",
    "decouple",
    "deepcluster",
    "cmc",
    "globstat",
    "knowtrans",
    "spotartifacts",
    "supervised",
    "simclr",
    "barlowtwins",
    "vicreg",
    "byol",
    "essl",
    "random",
}
SMALL_RECIPES = ("photos", "short", "cifar10")


def stages_of(config):
    return build(dataclasses.replace(config, model=ModelConfig(width=0.1)), classes=0, images=2).stages()


# All presets


def test_codial_and_every_baseline_are_methods():
    assert set(method_names()) == METHODS
    assert method_names()[0] == "codial"


def test_only_codial_has_variants_and_heads_list_them_after_their_method():
    assert set(Codial.variants) == CHANGES.keys() | CHANGES_OF_HUE50.keys() | {"js"}
    assert set(heads()) == METHODS | {f"codial-{variant}" for variant in Codial.variants}
    assert heads()[: 1 + len(Codial.variants)] == ["codial", *(f"codial-{name}" for name in Codial.variants)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("head", heads())
def test_every_method_and_variant_has_a_config_under_every_recipe(head, recipe):
    config = codial.preset(f"{head}/{recipe}")
    assert config.name == f"{head}/{recipe}"
    assert isinstance(config.method, method_named(head.partition("-")[0]).settings)
    assert from_dict(to_dict(config)) == config
    assert is_preset(config.name)


def test_no_two_presets_of_a_recipe_are_the_same_run():
    for recipe in RECIPES.keys() - {"paper"}:  # some variants of the paper's preset are the paper's own choice
        own = "codial-infonce" if recipe == "photos" else "codial-js"  # CODIAL itself
        presets = {head: codial.preset(f"{head}/{recipe}") for head in heads()}
        assert presets.pop(own) == dataclasses.replace(presets["codial"], name=f"{own}/{recipe}")
        assert len({config_hash(config) for config in presets.values()}) == len(presets)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("codial/photo", "codial/photos"),
        ("supervised/cifar", "supervised/cifar10"),
        ("rotnets/paper", "rotnet/paper"),
        ("codial-clss/photos", "codial-cls/photos"),
        ("codial-pairs10/short", "codial-pairs1/short"),
        ("rotnet-cls/photos", "rotnet/photos"),
        ("codial", "codial/photos"),
        ("qqqq", None),
        (None, None),
    ],
)
def test_an_unknown_preset_names_the_three_nearest_and_the_command_that_lists_all(name, nearest):
    with pytest.raises(CodialError) as caught:
        codial.preset(name)
    message = str(caught.value)
    assert message.startswith(f"There is no preset called {name!r}; a preset is METHOD[-VARIANT]/RECIPE. Nearest: ")
    suggestions = message.partition("Nearest: ")[2].partition(". ")[0].split(", ")
    assert nearest in (*suggestions, None)
    assert len(suggestions) <= 3
    assert all(is_preset(suggestion) for suggestion in suggestions)
    assert message.endswith(" `codial pretrain --list` shows all methods, variants and recipes.")
    assert not is_preset(name)


# CODIAL


def test_the_papers_preset_has_the_values_of_the_paper():
    """Sections 3 and 4 of the paper, or research/method.md 1a where it does not give a number."""
    config = codial.preset("codial/paper")
    assert config.views.primary == ("rot0", "rot90", "rot180", "rot270", "warp")
    assert config.views.crop_area == (0.08, 1.0)
    assert config.views.crop_aspect == (3 / 4, 4 / 3)
    assert (config.views.brightness, config.views.contrast, config.views.saturation, config.views.hue) == (0.5,) * 4
    assert config.views.blur == 0
    assert config.views.warp_offset == 0.1
    options = config.method
    assert isinstance(options, CodialConfig)
    assert (options.cls_weight, options.mi_weight, options.pairs) == (1, 1, 10)
    assert (options.beta_start, options.beta_end) == (1e-6, 1.0)
    # 50k initial steps and 100k steps of ramp of 937.5k, to a thousandth.
    assert (options.beta_hold, options.beta_ramp) == pytest.approx((50 / 937.5, 100 / 937.5), abs=1e-3)
    assert config.model.width == 1
    assert config.train.weight_decay == pytest.approx(1e-4 / 3e-4, abs=1e-3)


@pytest.mark.parametrize("name", CHANGES)
def test_a_variant_changes_only_what_it_is_named_after(name):
    codial_config = codial.preset("codial/cifar10")
    section, changes = CHANGES[name]
    expected = dataclasses.replace(getattr(codial_config, section), **changes)
    assert expected != getattr(codial_config, section)
    variant = codial.preset(f"codial-{name}/cifar10")
    assert variant == dataclasses.replace(codial_config, name=f"codial-{name}/cifar10", **{section: expected})


def test_photos_alone_has_infonce_and_differs_in_nothing_else():
    ours, paper = codial.preset("codial/photos"), codial.preset("codial-js/photos")
    assert ours == dataclasses.replace(paper, name=ours.name, method=dataclasses.replace(paper.method, **INFONCE))
    assert paper.method == codial.preset("codial/cifar10").method
    bounds = {recipe: codial.preset(f"codial/{recipe}").method.bound for recipe in RECIPES}
    assert bounds == {recipe: "infonce" if recipe == "photos" else "js" for recipe in RECIPES}
    assert codial.preset("codial-js/paper").method == codial.preset("codial/paper").method


@pytest.mark.parametrize("name", CHANGES)
def test_variants_of_the_form_change_the_papers_form_under_photos_and_others_its_own(name):
    section, changes = CHANGES[name]
    of_the_form = section == "method" and not name.startswith(("cls", "mi", "pairs"))
    base = codial.preset("codial-js/photos" if of_the_form else "codial/photos")
    if name in ("slow", "fast"):
        changes = {"lr": base.train.lr * {"slow": 0.5, "fast": 2}[name]}
    changed = dataclasses.replace(getattr(base, section), **changes)
    variant = codial.preset(f"codial-{name}/photos")
    assert variant == dataclasses.replace(base, name=variant.name, **{section: changed})


@pytest.mark.parametrize("name", CHANGES_OF_HUE50)
def test_strong_hue_shifts_are_studied_with_either_part_of_the_loss_alone(name):
    both, one = codial.preset("codial-hue50/short"), codial.preset(f"codial-{name}/short")
    method = dataclasses.replace(both.method, **CHANGES_OF_HUE50[name])
    assert one == dataclasses.replace(both, name=f"codial-{name}/short", method=method)


def test_every_open_question_is_answered_by_codial_and_by_variants():
    answers = [answer for answers in questions().values() for answer in list(answers)[1:]]
    assert all(next(iter(answers)) == "codial" for answers in questions().values())
    assert all(len(set(answers.values())) == len(answers) > 1 for answers in questions().values())
    assert len(set(answers)) == len(answers)
    assert set(answers) < set(heads())


# Baselines


@pytest.mark.parametrize("recipe", RECIPES)
def test_methods_of_one_view_differ_from_codial_only_in_views_and_duration(recipe):
    """They get as many views per step and in total, one of each image."""
    ours = codial.preset(f"codial/{recipe}")
    for method in ("supervised", "deepcluster", "cmc"):
        other = codial.preset(f"{method}/{recipe}")
        settings = method_named(method).settings
        assert isinstance(other.method, settings)
        assert other.method == settings() or (method == "cmc" and recipe != "paper")
        assert other.views.primary == ("rot0",)
        durations = {name: getattr(other.train, name) for name in ("epochs", "batch", "monitor_every")}
        assert durations == {name: 5 * getattr(ours.train, name) for name in durations}
        assert other.train == dataclasses.replace(ours.train, **durations)
        same = {"name": ours.name, "method": ours.method, "train": ours.train}
        views = dataclasses.replace(other.views, primary=ours.views.primary)
        assert dataclasses.replace(other, views=views, **same) == ours


@pytest.mark.parametrize("recipe", RECIPES)
def test_random_weights_have_codials_config_without_epochs(recipe):
    ours, random = codial.preset(f"codial/{recipe}"), codial.preset(f"random/{recipe}")
    assert random.train.epochs == 0
    train = dataclasses.replace(random.train, epochs=ours.train.epochs)
    assert dataclasses.replace(random, name=ours.name, method=ours.method, train=train) == ours


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("method", ["rotnet", "decouple"])
def test_methods_of_four_rotations_get_as_many_views(method, recipe):
    """As many per step, and in total less than an epoch more; Decouple's RotNets have additional epochs."""
    ours, theirs = codial.preset(f"codial/{recipe}"), codial.preset(f"{method}/{recipe}")
    assert theirs.views.primary == ROTATIONS
    assert 4 * theirs.train.batch == 5 * ours.train.batch
    epochs = theirs.train.epochs
    if theirs.name == "decouple/paper":
        epochs -= stage_ends(stages_of(theirs), epochs)[0]
    assert 0 <= 4 * epochs - 5 * ours.train.epochs < 4
    durations = {name: getattr(ours.train, name) for name in ("epochs", "batch", "monitor_every")}
    train = dataclasses.replace(theirs.train, **durations)
    views = dataclasses.replace(theirs.views, primary=ours.views.primary)
    if recipe == "paper":  # a shared crop without color jitter, as published
        assert views == dataclasses.replace(ours.views, shared_crop=True, **NO_COLOR)
        views = ours.views
    assert dataclasses.replace(theirs, name=ours.name, method=ours.method, train=train, views=views) == ours


def test_decouple_has_its_published_settings_or_a_temperature_for_small_sets():
    """Published: K, T and momentum as released; 50 epochs of RotNets, then 250, 36 of them weighted (35 of 245)."""
    paper = codial.preset("decouple/paper")
    assert paper.method == DecoupleConfig(pu_part=1 / 6)
    assert (paper.method.negatives, paper.method.temperature, paper.method.bank_momentum) == (4096, 0.07, 0.5)
    assert stage_ends(stages_of(paper), paper.train.epochs) == (50, 264, 300)
    for recipe, temperature in (("photos", 0.4), ("short", 0.2), ("cifar10", 0.2), ("brief", 0.2)):
        assert codial.preset(f"decouple/{recipe}").method == DecoupleConfig(temperature=temperature)


@pytest.mark.parametrize("recipe", RECIPES)
def test_globstat_has_codials_views_and_adversaries_of_the_backbones_width(recipe):
    """Under the paper's recipe it has the shared crop of RotNet."""
    ours, theirs = codial.preset(f"codial/{recipe}"), codial.preset(f"globstat/{recipe}")
    assert theirs.method == GlobStatConfig(width=ours.model.width)
    views = theirs.views
    if recipe == "paper":
        assert views == dataclasses.replace(codial.preset("rotnet/paper").views, primary=PRIMARY)
        views = ours.views
    assert dataclasses.replace(theirs, name=ours.name, method=ours.method, views=views) == ours


@pytest.mark.parametrize("recipe", RECIPES)
def test_knowtrans_has_additional_epochs_for_its_teacher(recipe):
    """The student gets as many views as methods of one view, up to two epochs more because of rounding."""
    theirs, peer = codial.preset(f"knowtrans/{recipe}"), codial.preset(f"deepcluster/{recipe}")
    options = theirs.method
    assert isinstance(options, KnowTransConfig)
    teacher, end = stage_ends((options.teacher_part, 1 - options.teacher_part), theirs.train.epochs)
    assert 0 <= end - teacher - peer.train.epochs < 2
    train = dataclasses.replace(theirs.train, epochs=peer.train.epochs)
    assert dataclasses.replace(theirs, name=peer.name, method=peer.method, train=train) == peer
    if recipe == "paper":  # research/method.md 9
        assert (options.teacher_depth, options.teacher_width, options.clusters) == (16, 1, 2000)
        assert (options.permutations, options.min_distance, options.foreign, options.grayscale) == (701, 3, 2, 0.7)


@pytest.mark.parametrize("recipe", RECIPES)
def test_spotartifacts_has_half_as_many_images_per_step(recipe):
    """Half of the run trains the autoencoder; in the other half the backbone gets each image intact and repaired."""
    peer, theirs = codial.preset(f"deepcluster/{recipe}"), codial.preset(f"spotartifacts/{recipe}")
    options = theirs.method
    assert isinstance(options, SpotArtifactsConfig)
    assert options.autoencoder_part == 0.5
    assert theirs.train.epochs % 2 == 0
    assert 2 * theirs.train.batch == peer.train.batch
    train = dataclasses.replace(theirs.train, batch=peer.train.batch)
    assert dataclasses.replace(theirs, name=peer.name, method=peer.method, train=train) == peer
    small = SpotArtifactsConfig(width=0.25, autoencoder_rate=10.0)
    assert options == (small if recipe in SMALL_RECIPES else SpotArtifactsConfig())
