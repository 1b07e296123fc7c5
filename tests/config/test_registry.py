"""Registration of methods, in a running program and by entry points of other packages."""

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest
import torch

import codial
from codial.config import Config, MethodConfig, from_dict, override, registry, to_dict
from codial.config.registry import method_named, method_names, register
from codial.errors import CodialError
from codial.methods import Method, build
from codial.methods.rotnet import RotNet, RotNetConfig
from codial.methods.variants import Variant, with_method
from codial.models import build_backbone
from codial.utils import plugins


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Discard what a test registers."""
    monkeypatch.setattr(registry.METHODS, "_classes", dict(registry.METHODS._classes))


@dataclass(frozen=True)
class ScaledConfig(MethodConfig):
    name: str = "scaled"
    scale: float = 1.0


def scaled_method():
    class Scaled(Method):
        settings = ScaledConfig
        variants = {"double": Variant(with_method(scale=2.0))}  # noqa: RUF012

        def __init__(self, config, images=0, classes=0):
            super().__init__(config, images, classes)
            self.backbone = build_backbone(config)

        def terms(self, batch):
            return {"loss": self.backbone(batch.views.images.flatten(0, 1)).square().mean()}

    return Scaled


def test_a_registered_method_has_configs_presets_and_runs(tiny, few, tmp_path):
    cls = register("scaled")(scaled_method())
    assert method_named("scaled") is cls
    assert method_names()[-1] == "scaled"
    assert codial.preset("scaled-double/photos").method == ScaledConfig(scale=2.0)
    config = override(tiny, {"method.name": "scaled", "method.scale": "3"})
    assert config.method == ScaledConfig(scale=3.0)
    assert from_dict(to_dict(config)) == config
    assert isinstance(build(config), cls)
    assert codial.pretrain(config, tmp_path / "run", images=few, progress=False).finished


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(CodialError, match=r"The method name 'rotnet' is taken by codial.methods.rotnet.RotNet; regis"):
        register("rotnet")(type("Other", (RotNet,), {"settings": RotNetConfig}))
    assert method_named("rotnet") is RotNet


def test_the_same_class_can_be_registered_again():
    """As by a notebook cell that is run twice."""
    register("scaled")(scaled_method())
    again = register("scaled")(scaled_method())
    assert method_named("scaled") is again


def test_settings_without_defaults_are_refused():
    @dataclass(frozen=True)
    class Incomplete(MethodConfig):
        name: str = "incomplete"
        scale: float = field(kw_only=True)

    with pytest.raises(CodialError, match=r"Method 'incomplete': every field of .*Incomplete needs a default value"):
        register("incomplete")(type("Cls", (RotNet,), {"settings": Incomplete}))


@pytest.mark.parametrize("settings", [None, dict, object(), ModuleType])
def test_settings_that_are_no_method_config_are_refused(settings):
    with pytest.raises(CodialError, match=r"Method 'mine': .*Cls.settings is .*; expected a subclass of MethodConfig"):
        register("mine")(type("Cls", (), {"settings": settings}))


def test_settings_of_another_name_are_refused():
    with pytest.raises(CodialError, match=r"RotNetConfig.name is 'rotnet'; expected 'mine', under which the method is"):
        register("mine")(type("Cls", (RotNet,), {}))
    assert "mine" not in method_names()


# Entry points


@pytest.fixture
def package(monkeypatch):
    """Return a function that installs an entry point of a package that does not exist otherwise."""
    known = plugins.entry_points

    def install(name, value, module=None):
        added = EntryPoint(name, value, registry.METHODS.group)

        def entry_points(**query):
            return EntryPoints([*known(group=registry.METHODS.group), added]).select(**query)

        monkeypatch.setattr(plugins, "entry_points", entry_points)
        if module is not None:
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return install


def test_a_method_of_another_package_is_found_by_its_entry_point(package, monkeypatch):
    module = ModuleType("another_package")
    cls = scaled_method()
    cls.__module__ = "another_package"
    module.__getattr__ = lambda name: register("scaled")(cls)  # registered when it is imported
    package("scaled", "another_package:Scaled", module)
    assert "scaled" in method_names()
    assert "scaled" not in registry.METHODS._classes, "names are listed without an import"
    assert codial.preset("scaled/photos").method == ScaledConfig()


@pytest.mark.parametrize("name", ["", "Mine", "my-name", "my/name", "2d", None, 3])
def test_a_name_that_no_preset_could_have_is_refused(name):
    with pytest.raises(
        CodialError, match=r"^The method name .* is invalid; expected lower-case letters, digits and und"
    ):
        register(name)(scaled_method())


def test_a_name_that_an_installed_package_holds_is_refused_before_its_import(package):
    package("scaled", "another_package:Scaled")
    with pytest.raises(CodialError, match=r"The method name 'scaled' is taken by another_package.Scaled; register"):
        register("scaled")(scaled_method())


@pytest.mark.parametrize("error", [ValueError("no"), SyntaxError("bad"), RuntimeError("torch")])
def test_whatever_a_package_raises_on_import_is_named(package, monkeypatch, error):
    module = ModuleType("another_package")

    def fail(name):
        raise error

    module.__getattr__ = fail
    package("broken", "another_package:Broken", module)
    with pytest.raises(
        CodialError, match=rf"^Method 'broken' cannot be imported from another_package:Broken \({type(error).__name__}"
    ):
        method_named("broken")


def test_an_unknown_name_has_the_nearest_and_what_to_do():
    with pytest.raises(
        CodialError, match=r"no method called 'rotnit'. Did you mean rotnet\? .* must be registered first"
    ):
        method_named("rotnit")


def test_a_method_that_cannot_be_imported_is_named_with_the_reason(package):
    package("broken", "missing_package.broken:Broken")
    assert "broken" in method_names()
    with pytest.raises(CodialError, match=r"Method 'broken' cannot be imported from missing_package.broken:Broken \("):
        method_named("broken")


# Random weights


@pytest.mark.parametrize("epochs", [1, 200])
def test_random_weights_refuse_epochs(epochs):
    with pytest.raises(CodialError, match=rf"^train.epochs is {epochs}; expected 0: random weights are not trained"):
        override(codial.preset("random/photos"), {"train.epochs": epochs})


def test_random_weights_have_no_loss():
    method = build(codial.preset("random/photos"))
    with pytest.raises(NotImplementedError, match="Random weights are not trained"):
        method.terms(None)


def test_random_weights_are_those_that_codial_starts_from(tiny):
    states = []
    for changes in ({}, {"method.name": "random", "train.epochs": 0}):
        torch.manual_seed(0)
        states.append(build(override(tiny, changes)).backbone.state_dict())
    assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())


def test_a_config_without_a_method_is_codials():
    assert Config().method == method_named("codial").settings()


def test_a_package_that_is_installed_later_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugins.entry_points("codial.test_group") == []
    (tmp_path / "later-1.0.dist-info").mkdir()
    (tmp_path / "later-1.0.dist-info/METADATA").write_text("Name: later\nVersion: 1.0\n")
    (tmp_path / "later-1.0.dist-info/entry_points.txt").write_text("[codial.test_group]\nblue = later:Blue\n")
    assert [entry.name for entry in plugins.entry_points("codial.test_group")] == ["blue"]
    assert plugins.entry_points("codial.test_group", name="red") == []
