"""Validation of the settings of every method, and of the views that it requires."""

import pytest

from codial.config import PRIMARY, ROTATIONS, override
from codial.config.registry import method_named
from codial.errors import CodialError

ONE_VIEW = "rot0 alone: {} uses one upright view per image"
FOUR_ROTATIONS = "rot0, rot90, rot180, rot270, the four classes of {}"
INVALID = {
    "cmc": [("loss", "softmax"), ("negatives", 0), ("dims", 0), ("temperature", 0.01), ("bank_momentum", 1.0)],
    "decouple": [
        ("dims", 0),
        ("negatives", 0),
        ("temperature", 0.0),
        ("temperature", 0.01),
        ("bank_momentum", -0.1),
        ("bank_momentum", 1.0),
        ("pu_part", -0.1),
        ("pu_part", 0.9),
        ("weighted_part", 0.0),
        ("gamma", 0.0),
    ],
    "deepcluster": [("clusters", 1), ("pca_dims", 0), ("kmeans_steps", 0), ("head_rate", 0.0)],
    "globstat": [
        ("patch", 0.0),
        ("patch", 1.1),
        ("border", 0),
        ("width", 0.0),
        ("kept_weight", -1.0),
        ("inpainter_rate", 0.0),
        ("discriminator_rate", 0.0),
    ],
    "knowtrans": [
        ("teacher_part", 0.0),
        ("teacher_part", 1.0),
        ("teacher_depth", 13),
        ("teacher_width", 0.0),
        ("teacher_rate", 0.0),
        ("permutations", 1),
        ("min_distance", 10),
        ("tile_part", 0.2),
        ("tile_part", 1.1),
        ("tile_size", 15),
        ("foreign", 3),
        ("grayscale", 1.5),
        ("layer", 6),
        ("clusters", 1),
        ("kmeans_steps", 0),
    ],
    "spotartifacts": [
        ("autoencoder_part", 0.0),
        ("autoencoder_part", 1.0),
        ("keep", 0.0),
        ("keep", 1.0),
        ("width", 0.01),
        ("autoencoder_rate", 0.0),
        ("mask_weight", -0.1),
        ("error_weight", -1.0),
    ],
}


@pytest.mark.parametrize(
    ("method", "name", "value"), [(method, *setting) for method, settings in INVALID.items() for setting in settings]
)
def test_settings_out_of_range_are_refused(method, name, value):
    with pytest.raises(CodialError, match=rf"^method.{name}( \+ weighted_part)? is .*; expected "):
        method_named(method).settings(**{name: value})


@pytest.mark.parametrize("method", ["cmc", "deepcluster", "knowtrans", "spotartifacts"])
@pytest.mark.parametrize("primary", [PRIMARY, ("rot90",)])
def test_methods_of_one_view_refuse_others(method, primary, tiny):
    assert_views_are_refused(tiny, method, primary, ONE_VIEW.format(method))
    assert override(tiny, {"method.name": method, "views.primary": "rot0"}).method.name == method


@pytest.mark.parametrize("method", ["rotnet", "decouple"])
@pytest.mark.parametrize("primary", [PRIMARY, ROTATIONS[:2], ROTATIONS[::-1]])
def test_methods_of_four_rotations_refuse_other_views(method, primary, tiny):
    assert_views_are_refused(tiny, method, primary, FOUR_ROTATIONS.format(method))
    assert override(tiny, {"method.name": method, "views.primary": ROTATIONS}).method.name == method


@pytest.mark.parametrize("primary", [ROTATIONS, ("rot0",), PRIMARY[::-1]])
def test_globstat_refuses_other_views_than_codials(primary, tiny):
    expected = "rot0, rot90, rot180, rot270, warp, five of globstat's six classes"
    assert_views_are_refused(tiny, "globstat", primary, expected)


def assert_views_are_refused(config, method, primary, expected):
    with pytest.raises(CodialError) as caught:
        override(config, {"method.name": method, "views.primary": primary})
    assert str(caught.value) == f"views.primary is {primary!r}; expected {expected}."
