"""Backbones by name: of one's own, with what they promise checked, and unknown ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_methods import small
from torch import nn

from codial.config import ModelConfig, from_dict, to_dict
from codial.config.registry import BACKBONES
from codial.errors import CodialError
from codial.models import AlexNet, Backbone, build_backbone, layer_names, register_backbone

PROJECT = Path(__file__).resolve().parents[2]


class Good(Backbone):
    """Two layers, as short as possible."""

    def __init__(self, config, size):
        super().__init__()
        self.size, self.feature_dim = size, 4
        self.layers, self.map_layers = ("maps", "mean"), ("maps",)
        self.maps = nn.Conv2d(3, 4, 4, stride=4)

    def features(self, images, layers=None):
        names = self.require(layers)
        maps = self.maps(images)
        return {name: x for name, x in (("maps", maps), ("mean", maps.mean((2, 3)))) if name in names}


@pytest.fixture
def register():
    """Return a function that registers a class as "good" for one test."""
    yield lambda cls: register_backbone("good")(cls)
    BACKBONES._classes.pop("good", None)


def config_of(backbone="good", width=1.0):
    return replace(small("rotnet"), model=ModelConfig(backbone=backbone, width=width))


def test_a_registered_class_is_built_by_its_name(register):
    assert register(Good) is Good
    backbone = build_backbone(config_of())
    assert (type(backbone), backbone.training, backbone.size) == (Good, True, 32)
    assert layer_names(config_of()) == (("maps", "mean"), ("maps",))
    assert register(Good) is Good, "a notebook cell may run twice"


def test_the_check_changes_neither_weights_nor_random_numbers(register):
    class Normed(Good):
        def __init__(self, config, size):
            super().__init__(config, size)
            self.norm = nn.BatchNorm2d(3)

        def features(self, images, layers=None):
            return super().features(self.norm(images), layers)

    register(Normed)
    torch.manual_seed(0)
    built = build_backbone(config_of())
    following = torch.rand(1)
    torch.manual_seed(0)
    created = Normed(config_of().model, 32)
    assert torch.equal(following, torch.rand(1))
    for name, value in created.state_dict().items():
        assert torch.equal(built.state_dict()[name], value), name


def broken(**changes):
    """Return a class that sets other attributes."""

    class Broken(Good):
        def __init__(self, config, size):
            super().__init__(config, size)
            for name, value in changes.items():
                setattr(self, name, value)

    return Broken


def answering(answer):
    """Return a class whose `features` is a function of the right answer and the names asked for."""

    class Answering(Good):
        def features(self, images, layers=None):
            return answer(super().features(images, layers), layers)

    return Answering


class Unset(Backbone):
    def __init__(self, config, size):
        super().__init__()
        self.size, self.layers = size, ("a", "b")

    def features(self, images, layers=None):
        return {}


class Lenient(Good):
    def features(self, images, layers=None):
        known = [name for name in layers or self.layers if name in self.layers]
        return super().features(images, known) if known else {}


class Unchecked(Good):
    def features(self, images, layers=None):
        x = super().features(images)
        return {name: x[name] for name in layers or self.layers}


class Raising(Good):
    def features(self, images, layers=None):
        raise ValueError("some mistake")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Unset, r"Unset: set self.map_layers, self.feature_dim in __init__"),
        (broken(layers=("maps", "maps")), r"self.layers is .*; expected a tuple of distinct names"),
        (broken(layers=()), r"self.layers is \(\); expected"),
        (broken(map_layers=()), r"self.map_layers is \(\); expected at least one of maps, in this order"),
        (broken(map_layers=("other",)), r"self.map_layers is \('other',\)"),
        (broken(map_layers=("maps", "mean")), r"The last of self.layers, mean, is the feature vector"),
        (broken(size=64), r"self.size is 64; expected 32"),
        (broken(feature_dim=5), r"self.feature_dim is 5, but mean has 4 features"),
        (broken(layers=("maps", "more", "mean")), r"returns maps, mean; expected .*in this order: maps, more, mean"),
        (answering(lambda x, _: {**x, "extra": x["maps"]}), r"returns maps, mean, extra; expected a dict"),
        (answering(lambda x, _: {name: v.flatten(1) for name, v in x.items()}), r"maps of shape \[2, 256\]; expected"),
        (answering(lambda x, _: list(x.values())), r"returns <class 'list'>; expected a dict"),
        (answering(lambda x, names: x if names is None else {**x, "mean": 0}), r"; expected maps alone"),
        (Lenient, r"does not exist returns activations; expected a CodialError: .* = self.require\(layers\)"),
        (Unchecked, r"does not exist: KeyError\('no such layer'\); expected a CodialError"),
        (Raising, r"features\(\) of images \[2, 3, 32, 32\] raises ValueError: some mistake"),
    ],
)  # fmt: skip
def test_a_class_that_breaks_its_promises_is_refused(cls, message, register):
    register(cls)
    with pytest.raises(CodialError, match=rf"Backbone 'good', .*{message}"):
        build_backbone(config_of())


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (nn.Linear, r"Backbone 'good': torch\..*Linear is no subclass of codial.models.Backbone"),
        (type("Empty", (Backbone,), {}), r"Backbone 'good': .*Empty must implement features"),
    ],
)
def test_a_class_of_another_kind_is_refused(cls, message):
    with pytest.raises(CodialError, match=message):
        register_backbone("good")(cls)
    assert "good" not in BACKBONES.names()


def test_taken_names_are_refused():
    with pytest.raises(CodialError, match=r"backbone name 'alexnet' is taken by codial.models.alexnet.AlexNet"):
        register_backbone("alexnet")(Good)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(CodialError, match=r"no backbone called 'resnet19'. Did you mean resnet18 or resnet50"):
        config_of("resnet19")


def test_a_width_that_the_class_does_not_follow_is_refused(register):
    register(Good)
    with pytest.raises(CodialError, match=r"model.width is 0.25; expected 1, since good has one width"):
        build_backbone(config_of(width=0.25))


def test_a_config_without_a_backbone_is_alexnets():
    values = to_dict(small("rotnet"))
    del values["model"]["backbone"]
    assert type(build_backbone(from_dict(values))) is AlexNet


def test_published_configs_open_as_alexnets():
    path = next(iter(sorted(PROJECT.glob("results/*/*/config.json"))))
    assert from_dict(json.loads(path.read_text())).model.backbone == "alexnet"
