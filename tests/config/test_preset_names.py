"""Names of presets are checked without importing methods; tests/methods/test_presets.py composes them."""

import subprocess
import sys

import pytest

from codial.config.preset_names import split_preset, unknown_preset
from codial.errors import CodialError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("codial/photos", ("codial", "", "photos")),
        ("codial-cls-hue50/cifar10", ("codial", "cls-hue50", "cifar10")),
        ("rotnet/paper", ("rotnet", "", "paper")),
    ],
)
def test_a_name_is_split(name, parts):
    assert split_preset(name) == parts


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("kodial/photos", "codial/photos"),
        ("codial/foto", "codial/photos"),
        ("codial-cls/cifar", "codial/cifar10"),
        ("rotnet/x", "rotnet/"),
        ("", ""),
        ("x/y/z", ""),
    ],
)
def test_an_unknown_method_or_recipe_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(CodialError) as error:
        split_preset(name)
    text = str(error.value)
    assert text.startswith(
        f"There is no preset called {name!r}; a preset is METHOD[-VARIANT]/RECIPE. Nearest: {nearest}"
    )
    assert text.endswith("`codial pretrain --list` shows all methods, variants and recipes.")


def test_an_unknown_variant_is_answered_with_the_nearest_variants():
    text = str(unknown_preset("codial-hue5/photos", ["hue50", "mi-hue50", "z16"]))
    assert "Nearest: codial-hue50/photos" in text
    assert "Nearest: random/photos." in str(unknown_preset("random-x/photos"))


def test_no_torch_is_imported():
    code = "import sys; from codial.config.preset_names import split_preset; split_preset('rotnet/paper')"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "torch" not in done.stdout.split()
