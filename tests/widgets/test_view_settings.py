"""Controls of view settings, and the text that reproduces them."""

import re
from dataclasses import fields, replace

import pytest

import codial
from codial.config import PRIMARY, ROTATIONS, ViewsConfig
from codial.widgets.view_settings import ViewsControls, as_text

GIVEN = codial.preset("codial/paper").views
OTHER = ViewsConfig(
    size=32,
    primary=("rot0", "warp"),
    flip=0.25,
    crop_area=(0.2, 0.9),
    crop_aspect=(0.5, 2.0),
    shared_crop=True,
    brightness=0.1,
    contrast=0.2,
    saturation=0.3,
    hue=0.4,
    grayscale=0.6,
    blur=0.5,
    blur_kernel=0.2,
    blur_sigma=(0.2, 1.0),
    warp_offset=0.3,
    warp_placement="random",
    warp_border="image",
)
NAMES = [field.name for field in fields(ViewsConfig)]


@pytest.fixture
def changes():
    return []


@pytest.fixture
def controls(changes):
    return ViewsControls(GIVEN, lambda: changes.append(1))


def move(controls, name, value):
    if name == "primary":
        for each, switch in controls.primary.items():
            switch.value = each in value
    else:
        controls.controls[name].value = value


def test_every_setting_has_a_control(controls):
    assert {*controls.controls, "primary"} == set(NAMES)
    assert list(controls.primary) == list(PRIMARY)
    sliders = [each for each in controls.controls.values() if hasattr(each, "readout")]
    assert len(sliders) == 12
    assert not any(slider.continuous_update for slider in sliders)


@pytest.mark.parametrize("name", ["codial/paper", "rotnet/photos", "cmc/cifar10", "essl/photos"])
def test_controls_start_with_the_initial_settings(name):
    given = codial.preset(name).views
    assert ViewsControls(given, lambda: None).config == given


def test_repeated_transforms_keep_their_number_of_views():
    controls = ViewsControls(codial.preset("simclr/photos").views, lambda: None)
    controls.primary["rot90"].value = True
    assert controls.config.primary == ("rot0", "rot0", "rot90")
    controls.primary["rot0"].value = False
    assert controls.config.primary == ("rot90",)
    controls.reset()
    assert controls.config.primary == ("rot0", "rot0")


@pytest.mark.parametrize("name", NAMES)
def test_each_control_changes_its_setting_only(controls, changes, name):
    move(controls, name, getattr(OTHER, name))
    assert controls.config == replace(GIVEN, **{name: getattr(OTHER, name)})
    assert changes
    controls.reset()
    assert controls.config == GIVEN


def test_the_text_reproduces_the_settings_in_a_shell_and_in_python(controls):
    for name in NAMES:
        move(controls, name, getattr(OTHER, name))
    assert controls.config == OTHER
    shell, python = as_text(GIVEN, controls.config).split("\n")
    options = re.findall(r"--set (\S+)=(\S+)", shell)
    assert [key for key, _ in options] == [f"views.{name}" for name in NAMES]
    pairs = {"method.pairs": 1}  # of two views
    assert codial.override(codial.preset("codial/paper"), dict(options) | pairs).views == OTHER
    assert eval(python, {"replace": replace, "config": codial.preset("codial/paper")}) == OTHER


def test_the_text_has_only_changed_settings():
    text = as_text(GIVEN, replace(GIVEN, warp_offset=0.2, primary=ROTATIONS))
    assert text == (
        "--set views.primary=rot0,rot90,rot180,rot270 --set views.warp_offset=0.2\n"
        "replace(config.views, primary=('rot0', 'rot90', 'rot180', 'rot270'), warp_offset=0.2)"
    )
    assert as_text(GIVEN, GIVEN).startswith("# No changes yet")


def test_the_text_field_is_read_only_and_escaped(controls):
    move(controls, "warp_offset", 0.2 + 1e-9)  # a floating-point error of the slider
    controls.update_text()
    assert "<textarea readonly " in controls.text.value
    assert "--set views.warp_offset=0.2\nreplace(config.views, warp_offset=0.2)</textarea>" in controls.text.value
    move(controls, "primary", ("warp",))
    controls.update_text()
    assert "primary=(&#x27;warp&#x27;,)" in controls.text.value
