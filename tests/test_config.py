import dataclasses
import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from codial.config import (
    SYSTEMS,
    TURNS,
    CodialOptions,
    Config,
    DataConfig,
    DecoupleOptions,
    ModelConfig,
    RotNetOptions,
    SupervisedOptions,
    TrainConfig,
    ViewsConfig,
    config_hash,
    flatten,
    from_dict,
    override,
    to_dict,
)
from codial.errors import CodialError

# One other value for every setting: a hash, a round trip and an override must see each of them.
OTHER = {
    "seed": 1,
    "data.source": "cifar10",
    "data.split": "test",
    "data.limit": 100,
    "data.size": 32,
    "views.size": 48,
    "views.primary": ("turn0", "turn90", "turn180", "turn270", "warp")[::-1],
    "views.flip": 0.25,
    "views.crop_area": (0.2, 0.9),
    "views.crop_aspect": (0.5, 2.0),
    "views.shared_crop": True,
    "views.brightness": 0.4,
    "views.grey": 0.2,
    "views.contrast": 0.4,
    "views.saturation": 0.4,
    "views.hue": 0.4,
    "views.blur": 0.4,
    "views.blur_kernel": 0.2,
    "views.blur_sigma": (0.5, 1.5),
    "views.warp_offset": 0.2,
    "views.warp_placement": "random",
    "views.warp_border": "picture",
    "model.width": 0.5,
    "model.resolution": "full",
    "model.bn_eps": 1e-5,
    "model.bn_momentum": 0.1,
    "model.mean": (0.5, 0.5, 0.5),
    "model.std": (0.5, 0.5, 0.5),
    "objective.head": "split",
    "objective.z_dim": 32,
    "objective.critic_hidden": 512,
    "objective.cls_weight": 2.0,
    "objective.mi_weight": 0.5,
    "objective.pairs": 3,
    "objective.negatives": "roll",
    "objective.share_negatives": False,
    "objective.skl": "sampled",
    "objective.skl_reduce": "mean",
    "objective.beta_start": 1e-4,
    "objective.beta_end": 0.1,
    "objective.beta_hold": 0.1,
    "objective.beta_ramp": 0.5,
    "train.epochs": 5,
    "train.batch": 32,
    "train.lr": 1e-3,
    "train.lr_end": 0.1,
    "train.betas": (0.9, 0.999),
    "train.weight_decay": 0.01,
    "train.sync_norm": False,
    "train.precision": "float32",
    "train.device": "cpu",
    "train.log_every": 7,
    "train.monitor_every": 0,
    "train.monitor_pictures": 100,
    "train.checkpoint_every": 3,
}
NAMES = ["name", *OTHER, "objective.system"]


def value_at(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_flatten_names_every_setting_once():
    assert sorted(name for name, _ in flatten(Config())) == sorted(NAMES)
    assert dict(flatten(Config()))["train.epochs"] == 200


def test_a_config_and_all_its_parts_are_frozen():
    config = Config()
    for part in (config, *(getattr(config, f.name) for f in fields(config) if f.name not in ("name", "seed"))):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


@pytest.mark.parametrize("name", OTHER)
def test_each_setting_changes_by_override_survives_json_and_changes_the_hash(name):
    default = Config()
    assert value_at(default, name) != OTHER[name], "the other value must differ"
    changed = override(default, {name: OTHER[name]})
    assert value_at(changed, name) == OTHER[name]
    assert [n for n, v in flatten(changed) if v != dict(flatten(default))[n]] == [name]
    back = from_dict(json.loads(json.dumps(to_dict(changed))))
    assert back == changed
    assert config_hash(back) == config_hash(changed) != config_hash(default)
    assert default == Config(), "the original is left as it is"


@pytest.mark.parametrize("name", OTHER)
def test_override_reads_text_as_the_settings_type(name):
    value = OTHER[name]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    assert override(Config(), {name: text}) == override(Config(), {name: value})


@pytest.mark.parametrize("text", ["0.2,0.9", "0.2, 0.9", "(0.2, 0.9)", "[0.2, 0.9]"])
def test_override_reads_a_list_with_or_without_brackets(text):
    assert override(Config(), {"views.crop_area": text}).views.crop_area == (0.2, 0.9)


@pytest.mark.parametrize("text", ["none", "None", None])
def test_override_reads_none(text):
    config = Config(data=DataConfig(limit=100))
    assert override(config, {"data.limit": text}).data.limit is None


def test_the_hash_of_the_defaults_is_twelve_hexadecimal_digits_and_blind_to_the_name():
    assert len(config_hash(Config())) == 12
    assert int(config_hash(Config()), 16) >= 0
    assert config_hash(Config(name="other")) == config_hash(Config())


def test_all_other_values_give_different_hashes():
    hashes = {config_hash(override(Config(), {name: value})) for name, value in OTHER.items()}
    assert len(hashes) == len(OTHER)


def test_equal_numbers_of_other_types_are_one_setting():
    whole = Config(train=TrainConfig(lr=1, betas=[0, 0]), views=ViewsConfig(flip=1))
    parts = Config(train=TrainConfig(lr=1.0, betas=(0.0, 0.0)), views=ViewsConfig(flip=1.0))
    assert whole == parts
    assert config_hash(whole) == config_hash(parts) == config_hash(from_dict(to_dict(whole)))
    assert type(whole.train.lr) is float
    assert type(override(Config(), {"train.epochs": 5.0}).train.epochs) is int


def test_what_is_left_out_keeps_its_default():
    assert from_dict({}) == Config()
    assert from_dict({"train": {"epochs": 3}}) == Config(train=TrainConfig(epochs=3))


def test_replace_checks_again():
    with pytest.raises(CodialError, match=r"^train.batch is 1; expected at least 2"):
        replace(Config().train, batch=1)


# Systems


def test_another_system_brings_its_own_settings():
    supervised = override(Config(), {"objective.system": "supervised"})
    assert supervised.objective == SupervisedOptions()
    assert from_dict(to_dict(supervised)) == supervised
    back = override(supervised, {"objective.system": "codial", "objective.z_dim": 16})
    assert back.objective == CodialOptions(z_dim=16)
    assert override(supervised, {"objective.z_dim": 16, "objective.system": "codial"}) == back, "in either order"


def test_the_same_system_keeps_its_settings():
    config = Config(objective=CodialOptions(beta_end=0.01))
    assert override(config, {"objective.system": "codial"}) == config


def test_a_setting_of_another_system_is_unknown_and_not_offered():
    with pytest.raises(CodialError, match=r"no setting called 'objective.pairs'") as caught:
        override(Config(), {"objective.system": "supervised", "objective.pairs": 3})
    assert str(caught.value).count("objective.pairs") == 1


@pytest.mark.parametrize("system", ["simclr", None, ["codial"]])
def test_an_unknown_system_lists_the_known(system):
    message = f"objective.system is {system!r}; expected one of {', '.join(SYSTEMS)}."
    for build in (
        lambda: override(Config(), {"objective.system": system, "objective.pairs": 3}),
        lambda: from_dict({"objective": {"system": system}}),
    ):
        with pytest.raises(CodialError) as caught:
            build()
        assert str(caught.value) == message


@pytest.mark.parametrize("options", SYSTEMS.values())
def test_options_carry_the_name_of_their_own_system_only(options):
    other = "supervised" if options is CodialOptions else "codial"
    with pytest.raises(CodialError, match=rf"objective.system is '{other}'; expected one of {options().system}"):
        options(system=other)


# Mistakes


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.epoch", "train.epochs"),
        ("train.learning_rate", None),
        ("views.sise", "views.size"),
        ("epochs", "train.epochs"),
        ("objective.betaend", "objective.beta_end"),
        ("qqqq", None),
        ("", None),
        ("train", "train."),
        ("train.epochs.more", "train.epochs"),
        (".name", "name"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_and_all_valid_names(key, near):
    with pytest.raises(CodialError) as caught:
        override(Config(), {key: 5})
    message = str(caught.value)
    assert message.startswith(f"There is no setting called {key!r}.")
    assert "Valid names: name, seed, data.source" in message
    assert all(name in message for name in NAMES)
    if near:
        assert near in message.partition("Did you mean ")[2].partition("?")[0]


@pytest.mark.parametrize(
    ("values", "unknown", "valid"),
    [
        ({"sed": 1}, "sed", "name, seed, data, views, model, objective, train"),
        ({"train": {"epoch": 1}}, "train.epoch", "train.epochs, train.batch"),
        ({"objective": {"system": "supervised", "pairs": 1}}, "objective.pairs", "objective.system"),
    ],
)
def test_an_unknown_key_in_a_file_is_named(values, unknown, valid):
    with pytest.raises(CodialError, match=rf"no setting called '{unknown}'.*{valid}"):
        from_dict(values)


@pytest.mark.parametrize("values", [[1], "codial", None, 3])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(CodialError, match=r"^config is .*; expected settings by name"):
        from_dict(values)
    with pytest.raises(CodialError, match=r"^train is .*; expected settings by name"):
        from_dict({"train": values})
    with pytest.raises(CodialError, match=r"^objective is .*; expected settings by name"):
        from_dict({"objective": values})
    with pytest.raises(CodialError, match=r"^data is .*; expected settings by name"):
        Config(data=values)


KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
WRONG = {
    int: [2.5, "2.5", "five", "", True, None, float("nan"), [1], {}],
    float: ["fast", "", True, None, float("nan"), float("inf"), [1.0], {}],
    str: [1, None, True, 1.5, ["cpu"]],
    bool: [1, 0.0, "yes", "", None, [True], {}],
}
SCALARS = [
    (f"{section}.{f.name}", f.type)
    for section, part in (("data", DataConfig), ("views", ViewsConfig), ("model", ModelConfig), ("train", TrainConfig))
    for f in fields(part)
    if f.type in KINDS
] + [(f"objective.{f.name}", f.type) for f in fields(CodialOptions) if f.name != "system"]


@pytest.mark.parametrize(("name", "kind"), [*SCALARS, ("seed", int), ("name", str)])
def test_a_wrong_type_says_what_was_got_and_what_is_expected(name, kind):
    section, _, last = name.rpartition(".")
    for wrong in WRONG[kind]:
        expected = f"{name} is {wrong!r}; expected {KINDS[kind]}."
        with pytest.raises(CodialError) as caught:
            override(Config(), {name: wrong})
        assert str(caught.value) == expected
        with pytest.raises(CodialError) as caught:
            replace(value_at(Config(), section) if section else Config(), **{last: wrong})
        assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_text_that_is_not_a_finite_number_is_refused(text):
    with pytest.raises(CodialError, match=rf"^train.lr is {text}; expected a number"):
        override(Config(), {"train.lr": text})


@pytest.mark.parametrize("name", ["views.crop_area", "train.betas", "model.mean"])
@pytest.mark.parametrize("wrong", [0.5, None, {}, (0.1,), (0.1, 0.2, 0.3, 0.4), "0.1", ("a", "b", "c"), "a,b,c"])
def test_a_wrong_tuple_is_refused(name, wrong):
    with pytest.raises(CodialError, match=rf"^{name} is .*; expected (values separated|. values|a number)"):
        override(Config(), {name: wrong})


@pytest.mark.parametrize("wrong", ["1.5", "many", 0, 1, -5])
def test_an_optional_number_is_checked_too(wrong):
    with pytest.raises(CodialError, match=r"^data.limit is .*; expected (a whole number|None or at least 2)"):
        override(Config(), {"data.limit": wrong})


@pytest.mark.parametrize(
    ("name", "outside", "inside"),
    [
        ("seed", [-1], [0]),
        ("data.limit", [1], [2, None]),
        ("data.size", [7], [8, None]),
        ("views.size", [15], [16]),
        ("views.primary", [(), ("turn0", "turn0"), ("turn45",)], [("warp", "turn90", "turn0", "turn180", "turn270")]),
        ("views.flip", [-0.1, 1.1], [0, 1]),
        ("views.grey", [-0.1, 1.1], [0, 1]),
        ("views.blur", [-0.1, 1.1], [0, 1]),
        ("views.blur_kernel", [0, 0.6], [0.5]),
        ("views.blur_sigma", [(0, 1), (2, 1)], [(1, 1)]),
        ("views.crop_area", [(0, 1), (0.5, 0.4), (0.5, 1.1)], [(1, 1), (0.001, 1)]),
        ("views.crop_aspect", [(0.05, 1), (1, 11), (2, 1)], [(0.1, 10), (1, 1)]),
        ("views.brightness", [-0.1, 1.1], [0, 1]),
        ("views.contrast", [-0.1, 1.1], [0, 1]),
        ("views.saturation", [-0.1, 1.1], [0, 1]),
        ("views.hue", [-0.1, 0.51], [0, 0.5]),
        ("views.warp_offset", [-0.1, 0.6], [0, 0.5]),
        ("views.warp_placement", ["square"], ["grid", "random"]),
        ("views.warp_border", ["black"], ["replicate", "picture"]),
        ("model.width", [0.04, 4.1], [0.05, 4]),
        ("model.resolution", ["high"], ["low", "full"]),
        ("model.bn_eps", [0, -1e-3], [1e-8]),
        ("model.bn_momentum", [0, 1.1], [1]),
        ("model.std", [(0, 1, 1), (-1, 1, 1)], [(1, 1, 1)]),
        ("objective.head", ["both"], ["shared", "split", "decoupled"]),
        ("objective.negatives", ["own"], ["random", "roll"]),
        ("objective.skl", ["open"], ["closed", "sampled"]),
        ("objective.skl_reduce", ["max"], ["sum", "mean"]),
        ("objective.z_dim", [0], [1]),
        ("objective.critic_hidden", [0], [1]),
        ("objective.pairs", [0, 11], [1, 10]),
        ("objective.cls_weight", [-1], [0]),
        ("objective.mi_weight", [-1], [0]),
        ("objective.beta_start", [0, 2], [1]),
        ("objective.beta_end", [0, 1e-7], [1e-6]),
        ("objective.beta_hold", [-0.1, 0.9], [0, 0.893]),
        ("objective.beta_ramp", [-0.1, 0.95], [0, 0.947]),
        ("train.epochs", [-1], [0]),
        ("train.batch", [1], [2]),
        ("train.lr", [0, -1], [1]),
        ("train.lr_end", [-0.1, 1.1], [0, 1]),
        ("train.betas", [(1, 0.9), (0.9, 1), (-0.1, 0.9)], [(0, 0)]),
        ("train.weight_decay", [-1], [0]),
        ("train.precision", ["float16"], ["auto", "bf16", "float32"]),
        ("train.log_every", [0], [1]),
        ("train.monitor_every", [-1], [0]),
        ("train.monitor_pictures", [19], [20]),
        ("train.checkpoint_every", [0], [1]),
    ],
)
def test_a_value_out_of_range_is_refused_and_one_on_the_edge_is_taken(name, outside, inside):
    for value in outside:
        group = "objective.beta_" if "beta_" in name else name
        with pytest.raises(CodialError, match=rf"^{group}.* is .*; expected "):
            override(Config(), {name: value})
    for value in inside:
        override(Config(), {name: value})


@pytest.mark.parametrize(
    ("name", "outside", "inside"),
    [
        ("cls_weight", [-1], [0]),
        ("mean_weight", [-1], [0]),
        ("instance_weight", [-1], [0]),
        ("dims", [0], [1]),
        ("negatives", [0], [1]),
        ("temperature", [0, 0.01], [0.02, 1]),
        ("bank_momentum", [-0.1, 1], [0, 0.99]),
    ],
)
def test_decouples_settings_have_their_ranges_too(name, outside, inside):
    for value in outside:
        with pytest.raises(CodialError, match=rf"^objective.{name} is .*; expected "):
            DecoupleOptions(**{name: value})
    for value in inside:
        assert getattr(DecoupleOptions(**{name: value}), name) == value


@pytest.mark.parametrize("options", [RotNetOptions, DecoupleOptions])
def test_systems_of_four_turns_need_these_as_views(options):
    with pytest.raises(CodialError, match=r"^views.primary is .*'warp'\); expected turn0, turn90, turn180, turn270"):
        Config(objective=options())
    assert Config(objective=options(), views=ViewsConfig(primary=TURNS)).views.primary == TURNS


def test_pairs_are_bounded_by_the_views_unless_nothing_is_aligned():
    views = ViewsConfig(primary=("turn0", "turn90", "warp"))
    expected = r"^objective.pairs is 10; expected at most 3, the pairs of 3 views \(or mi_weight 0\)"
    with pytest.raises(CodialError, match=expected):
        Config(views=views)
    assert Config(views=views, objective=CodialOptions(pairs=3)).objective.pairs == 3
    assert Config(views=views, objective=CodialOptions(mi_weight=0)).objective.pairs == 10
    assert Config(views=views, objective=SupervisedOptions())


def test_every_default_is_in_its_range():
    for part in (DataConfig, ViewsConfig, ModelConfig, *SYSTEMS.values(), TrainConfig, Config):
        assert dataclasses.replace(part()) == part()
