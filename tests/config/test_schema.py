"""Validation, overrides, JSON and hashes of configs."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from codial.config import (
    Config,
    DataConfig,
    ModelConfig,
    TrainConfig,
    ViewsConfig,
    config_hash,
    flatten,
    from_dict,
    override,
    to_dict,
)
from codial.config.registry import METHODS, method_named, method_names
from codial.errors import CodialError
from codial.methods.codial import CodialConfig
from codial.methods.supervised import SupervisedConfig

# Another value of every setting.
OTHER = {
    "seed": 1,
    "data.source": "cifar10",
    "data.split": "test",
    "data.limit": 100,
    "data.size": 32,
    "views.size": 48,
    "views.primary": ("rot0", "rot90", "rot180", "rot270", "warp")[::-1],
    "views.flip": 0.25,
    "views.crop_area": (0.2, 0.9),
    "views.crop_aspect": (0.5, 2.0),
    "views.shared_crop": True,
    "views.brightness": 0.4,
    "views.grayscale": 0.2,
    "views.contrast": 0.4,
    "views.saturation": 0.4,
    "views.hue": 0.4,
    "views.blur": 0.4,
    "views.blur_kernel": 0.2,
    "views.blur_sigma": (0.5, 1.5),
    "views.warp_offset": 0.2,
    "views.warp_placement": "random",
    "views.warp_border": "image",
    "model.backbone": "resnet18",
    "model.width": 0.5,
    "model.resolution": "full",
    "model.bn_eps": 1e-5,
    "model.bn_momentum": 0.1,
    "model.mean": (0.5, 0.5, 0.5),
    "model.std": (0.5, 0.5, 0.5),
    "method.head": "split",
    "method.z_dim": 32,
    "method.critic_hidden": 512,
    "method.cls_weight": 2.0,
    "method.mi_weight": 0.5,
    "method.pairs": 3,
    "method.negatives": "roll",
    "method.skl_reduce": "mean",
    "method.bound": "infonce",
    "method.critic": "cosine",
    "method.temperature": 0.5,
    "method.projector": "mlp",
    "method.bottleneck": False,
    "method.beta_start": 1e-4,
    "method.beta_end": 0.1,
    "method.beta_hold": 0.1,
    "method.beta_ramp": 0.5,
    "train.epochs": 5,
    "train.batch": 32,
    "train.lr": 1e-3,
    "train.lr_end": 0.1,
    "train.betas": (0.9, 0.999),
    "train.weight_decay": 0.01,
    "train.precision": "float32",
    "train.device": "cpu",
    "train.log_every": 7,
    "train.monitor_every": 0,
    "train.monitor_images": 100,
    "train.checkpoint_every": 3,
}
NAMES = ["name", *OTHER, "method.name", "method.align", "train.loggers"]  # rotation needs other pairs, too


def value_at(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_flatten_yields_every_setting_once():
    assert sorted(name for name, _ in flatten(Config())) == sorted(NAMES)
    assert dict(flatten(Config()))["train.epochs"] == 200


def test_a_config_and_its_sections_are_frozen():
    config = Config()
    for part in (config, *(getattr(config, f.name) for f in fields(config) if f.name not in ("name", "seed"))):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


@pytest.mark.parametrize("name", OTHER)
def test_each_setting_can_be_overridden_is_kept_in_json_and_changes_the_hash(name):
    default = Config()
    assert value_at(default, name) != OTHER[name], "the other value must differ"
    changed = override(default, {name: OTHER[name]})
    assert value_at(changed, name) == OTHER[name]
    assert [n for n, v in flatten(changed) if v != dict(flatten(default))[n]] == [name]
    back = from_dict(json.loads(json.dumps(to_dict(changed))))
    assert back == changed
    assert config_hash(back) == config_hash(changed) != config_hash(default)
    assert default == Config(), "the original does not change"


@pytest.mark.parametrize("name", OTHER)
def test_override_parses_strings_as_the_type_of_the_setting(name):
    value = OTHER[name]
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    assert override(Config(), {name: text}) == override(Config(), {name: value})


@pytest.mark.parametrize("text", ["0.2,0.9", "0.2, 0.9", "(0.2, 0.9)", "[0.2, 0.9]"])
def test_override_parses_a_list_with_or_without_brackets(text):
    assert override(Config(), {"views.crop_area": text}).views.crop_area == (0.2, 0.9)


@pytest.mark.parametrize("text", ["none", "None", None])
def test_override_parses_none(text):
    config = Config(data=DataConfig(limit=100))
    assert override(config, {"data.limit": text}).data.limit is None


def test_the_hash_has_twelve_hexadecimal_digits_and_ignores_the_name_and_the_loggers():
    assert len(config_hash(Config())) == 12
    assert int(config_hash(Config()), 16) >= 0
    assert config_hash(Config(name="other")) == config_hash(Config())
    logged = Config(train=TrainConfig(loggers=("wandb", "mlflow")))
    values = to_dict(Config())
    assert config_hash(logged) == config_hash(to_dict(logged)) == config_hash(Config()) == config_hash(values)
    del values["train"]["loggers"]  # as an earlier version wrote it
    assert config_hash(values) == config_hash(Config())


def test_different_settings_have_different_hashes():
    hashes = {config_hash(override(Config(), {name: value})) for name, value in OTHER.items()}
    assert len(hashes) == len(OTHER)


def test_equal_numbers_of_different_types_are_equal_settings():
    integers = Config(train=TrainConfig(lr=1, betas=[0, 0]), views=ViewsConfig(flip=1))
    floats = Config(train=TrainConfig(lr=1.0, betas=(0.0, 0.0)), views=ViewsConfig(flip=1.0))
    assert integers == floats
    assert config_hash(integers) == config_hash(floats) == config_hash(from_dict(to_dict(integers)))
    assert type(integers.train.lr) is float
    assert type(override(Config(), {"train.epochs": 5.0}).train.epochs) is int


def test_missing_settings_have_their_defaults():
    assert from_dict({}) == Config()
    assert from_dict({"train": {"epochs": 3}}) == Config(train=TrainConfig(epochs=3))


def test_replace_validates():
    with pytest.raises(CodialError, match=r"^train.batch is 1; expected at least 2"):
        replace(Config().train, batch=1)


# Methods


def test_another_method_has_its_own_settings():
    supervised = override(Config(), {"method.name": "supervised"})
    assert supervised.method == SupervisedConfig()
    assert from_dict(to_dict(supervised)) == supervised
    back = override(supervised, {"method.name": "codial", "method.z_dim": 16})
    assert back.method == CodialConfig(z_dim=16)
    assert override(supervised, {"method.z_dim": 16, "method.name": "codial"}) == back, "in either order"


def test_naming_the_same_method_keeps_its_settings():
    config = Config(method=CodialConfig(beta_end=0.01))
    assert override(config, {"method.name": "codial"}) == config


def test_a_setting_of_another_method_is_unknown_and_not_suggested():
    with pytest.raises(CodialError, match=r"no setting called 'method.pairs'") as caught:
        override(Config(), {"method.name": "supervised", "method.pairs": 3})
    assert str(caught.value).count("method.pairs") == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            "simcrl",
            f"There is no method called 'simcrl'. Did you mean simclr? Available: {', '.join(METHODS.names())}.",
        ),
        (None, "method.name is None; expected the name of a method."),
        (3, "method.name is 3; expected the name of a method."),
    ],
)
def test_an_unknown_method_is_refused(method, message):
    for build in (
        lambda: override(Config(), {"method.name": method, "method.pairs": 3}),
        lambda: from_dict({"method": {"name": method}}),
    ):
        with pytest.raises(CodialError) as caught:
            build()
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", method_names())
def test_settings_refuse_the_name_of_another_method(name):
    other = "supervised" if name == "codial" else "codial"
    with pytest.raises(CodialError, match=rf"method.name is '{other}'; expected one of {name}"):
        method_named(name).settings(name=other)


# Mistakes


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.epoch", "train.epochs"),
        ("train.learning_rate", None),
        ("views.sise", "views.size"),
        ("epochs", "train.epochs"),
        ("method.betaend", "method.beta_end"),
        ("qqqq", None),
        ("", None),
        ("train", "train."),
        ("train.epochs.more", "train.epochs"),
        (".name", "name"),
    ],
)
def test_the_error_for_an_unknown_key_lists_similar_and_all_valid_names(key, near):
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
        ({"sed": 1}, "sed", "name, seed, data, views, model, method, train"),
        ({"train": {"epoch": 1}}, "train.epoch", "train.epochs, train.batch"),
        ({"method": {"name": "supervised", "pairs": 1}}, "method.pairs", "method.name"),
    ],
)
def test_an_unknown_key_in_a_file_is_refused(values, unknown, valid):
    with pytest.raises(CodialError, match=rf"no setting called '{unknown}'.*{valid}"):
        from_dict(values)


@pytest.mark.parametrize("values", [[1], "codial", None, 3])
def test_a_section_that_is_no_mapping_is_refused(values):
    with pytest.raises(CodialError, match=r"^config is .*; expected a mapping from names to values"):
        from_dict(values)
    with pytest.raises(CodialError, match=r"^train is .*; expected a mapping from names to values"):
        from_dict({"train": values})
    with pytest.raises(CodialError, match=r"^method is .*; expected a mapping from names to values"):
        from_dict({"method": values})
    with pytest.raises(CodialError, match=r"^data is .*; expected a mapping from names to values"):
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
] + [(f"method.{f.name}", f.type) for f in fields(CodialConfig) if f.name != "name"]


@pytest.mark.parametrize(("name", "kind"), [*SCALARS, ("seed", int), ("name", str)])
def test_the_error_for_a_wrong_type_has_the_value_and_the_expected_type(name, kind):
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
def test_nan_and_infinity_are_refused(text):
    with pytest.raises(CodialError, match=rf"^train.lr is {text}; expected a number"):
        override(Config(), {"train.lr": text})


@pytest.mark.parametrize("name", ["views.crop_area", "train.betas", "model.mean"])
@pytest.mark.parametrize("wrong", [0.5, None, {}, (0.1,), (0.1, 0.2, 0.3, 0.4), "0.1", ("a", "b", "c"), "a,b,c"])
def test_a_wrong_tuple_is_refused(name, wrong):
    with pytest.raises(CodialError, match=rf"^{name} is .*; expected (values separated|. values|a number)"):
        override(Config(), {name: wrong})


@pytest.mark.parametrize("wrong", ["1.5", "many", 0, 1, -5])
def test_an_optional_number_is_validated(wrong):
    with pytest.raises(CodialError, match=r"^data.limit is .*; expected (a whole number|None or at least 2)"):
        override(Config(), {"data.limit": wrong})


@pytest.mark.parametrize(
    ("name", "outside", "inside"),
    [
        ("seed", [-1], [0]),
        ("data.limit", [1], [2, None]),
        ("data.size", [7], [8, None]),
        ("views.size", [15], [16]),
        ("views.primary", [(), ("rot45",)], [("warp", "rot90", "rot0", "rot180", "rot270"), ("rot0",) * 5]),
        ("views.flip", [-0.1, 1.1], [0, 1]),
        ("views.grayscale", [-0.1, 1.1], [0, 1]),
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
        ("views.warp_border", ["black"], ["replicate", "image"]),
        ("model.width", [0.04, 4.1], [0.05, 4]),
        ("model.resolution", ["high"], ["low", "full"]),
        ("model.bn_eps", [0, -1e-3], [1e-8]),
        ("model.bn_momentum", [0, 1.1], [1]),
        ("model.std", [(0, 1, 1), (-1, 1, 1)], [(1, 1, 1)]),
        ("method.head", ["both"], ["shared", "split", "decoupled"]),
        ("method.negatives", ["own"], ["random", "roll"]),
        ("method.skl_reduce", ["max"], ["sum", "mean"]),
        ("method.z_dim", [0], [1]),
        ("method.critic_hidden", [0], [1]),
        ("method.pairs", [0, 11], [1, 10]),
        ("method.cls_weight", [-1], [0]),
        ("method.mi_weight", [-1], [0]),
        ("method.beta_start", [0, 2], [1]),
        ("method.beta_end", [0, 1e-7], [1e-6]),
        ("method.beta_hold", [-0.1, 0.9], [0, 0.893]),
        ("method.beta_ramp", [-0.1, 0.95], [0, 0.947]),
        ("train.epochs", [-1], [0]),
        ("train.batch", [1], [2]),
        ("train.lr", [0, -1], [1]),
        ("train.lr_end", [-0.1, 1.1], [0, 1]),
        ("train.betas", [(1, 0.9), (0.9, 1), (-0.1, 0.9)], [(0, 0)]),
        ("train.weight_decay", [-1], [0]),
        ("train.precision", ["float16"], ["auto", "bf16", "float32"]),
        ("train.log_every", [0], [1]),
        ("train.monitor_every", [-1], [0]),
        ("train.monitor_images", [19], [20]),
        ("train.checkpoint_every", [0], [1]),
    ],
)
def test_values_out_of_range_are_refused_and_limits_are_accepted(name, outside, inside):
    for value in outside:
        group = "method.beta_" if "beta_" in name else name
        with pytest.raises(CodialError, match=rf"^{group}.* is .*; expected "):
            override(Config(), {name: value})
    for value in inside:
        override(Config(), {name: value})


def test_the_number_of_pairs_is_limited_by_the_views_unless_alignment_is_off():
    views = ViewsConfig(primary=("rot0", "rot90", "warp"))
    expected = r"^method.pairs is 10; expected at most 3, the pairs of 3 views \(or mi_weight 0\)"
    with pytest.raises(CodialError, match=expected):
        Config(views=views)
    assert Config(views=views, method=CodialConfig(pairs=3)).method.pairs == 3
    assert Config(views=views, method=CodialConfig(mi_weight=0)).method.pairs == 10
    assert Config(views=views, method=SupervisedConfig())


def test_a_transform_may_be_repeated_and_transforms_are_the_distinct_ones_in_order():
    views = ViewsConfig(primary=("warp", "rot90", "warp", "rot0", "rot90", "warp"))
    assert views.transforms == ("warp", "rot90", "rot0")
    assert views.view_names == ("warp", "rot90", "warp (2)", "rot0", "rot90 (2)", "warp (3)")
    assert ViewsConfig().transforms == ViewsConfig().view_names == ViewsConfig().primary
    assert Config(views=views).method.pairs == 10  # of the 15 pairs of six views


def test_every_default_is_valid():
    methods = [method_named(name).settings for name in method_names()]
    for part in (DataConfig, ViewsConfig, ModelConfig, *methods, TrainConfig, Config):
        assert replace(part()) == part()
