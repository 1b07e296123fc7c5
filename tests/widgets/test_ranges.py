"""Controls bound to the settings of views, and the text that makes the same settings elsewhere."""

import re
from dataclasses import fields, replace

import pytest

import codial
from codial.config import PRIMARY, TURNS, ViewsConfig
from codial.presets import PRESETS
from codial.widgets.ranges import ViewsControls, as_text

GIVEN = codial.preset("codial/paper").views
OTHER = ViewsConfig(
    size=32,
    primary=("turn0", "warp"),
    flip=0.25,
    crop_area=(0.2, 0.9),
    crop_aspect=(0.5, 2.0),
    shared_crop=True,
    brightness=0.1,
    contrast=0.2,
    saturation=0.3,
    hue=0.4,
    grey=0.6,
    blur=0.5,
    blur_kernel=0.2,
    blur_sigma=(0.2, 1.0),
    warp_offset=0.3,
    warp_placement="random",
    warp_border="picture",
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


def test_controls_stand_in_as_many_columns_as_fit(controls):
    _, columns, _ = controls.box.children
    assert [type(column).__name__ for column in columns.children] == ["VBox"] * 3
    assert sum(len(column.children) for column in columns.children) == len(controls.controls)
    assert max(len(column.children) for column in columns.children) <= len(controls.controls) // 3 + 1


@pytest.mark.parametrize("name", PRESETS)
def test_controls_start_with_what_is_given(name):
    given = codial.preset(name).views
    assert ViewsControls(given, lambda: None).config == given


@pytest.mark.parametrize("name", NAMES)
def test_each_control_moves_its_setting_alone(controls, changes, name):
    move(controls, name, getattr(OTHER, name))
    assert controls.config == replace(GIVEN, **{name: getattr(OTHER, name)})
    assert changes
    controls.reset()
    assert controls.config == GIVEN


def test_the_text_makes_the_same_settings_in_a_shell_and_in_python(controls):
    for name in NAMES:
        move(controls, name, getattr(OTHER, name))
    assert controls.config == OTHER
    shell, python = as_text(GIVEN, controls.config).split("\n")
    words = re.findall(r"--set (\S+)=(\S+)", shell)
    assert [key for key, _ in words] == [f"views.{name}" for name in NAMES]
    pairs = {"objective.pairs": 1}  # of two views
    assert codial.override(codial.preset("codial/paper"), dict(words) | pairs).views == OTHER
    assert eval(python, {"replace": replace, "config": codial.preset("codial/paper")}) == OTHER


def test_only_what_differs_is_said():
    text = as_text(GIVEN, replace(GIVEN, warp_offset=0.2, primary=TURNS))
    assert text == (
        "--set views.primary=turn0,turn90,turn180,turn270 --set views.warp_offset=0.2\n"
        "replace(config.views, primary=('turn0', 'turn90', 'turn180', 'turn270'), warp_offset=0.2)"
    )
    assert as_text(GIVEN, GIVEN).startswith("# Nothing is changed yet")


def test_the_field_is_read_only_and_its_text_is_escaped(controls):
    move(controls, "warp_offset", 0.2 + 1e-9)  # steps leave such tails
    controls.tell()
    assert "<textarea readonly " in controls.text.value
    assert "--set views.warp_offset=0.2\nreplace(config.views, warp_offset=0.2)</textarea>" in controls.text.value
    move(controls, "primary", ("warp",))
    controls.tell()
    assert "primary=(&#x27;warp&#x27;,)" in controls.text.value
