"""`codial embed` writes features in two formats, and a map."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from codial.cli.main import main
from codial.evaluate import embeddings


def test_it_writes_features_in_two_formats(run, tmp_path, fast):
    for name in ("features.safetensors", "features.npz"):
        assert main(["embed", str(run), "--layer", "conv5", "--out", str(tmp_path / name), *fast]) == 0
    tensors = load_file(tmp_path / "features.safetensors")
    arrays = np.load(tmp_path / "features.npz")
    assert len(tensors["features"]) == 80
    assert np.array_equal(tensors["features"].numpy(), arrays["features"])
    assert np.array_equal(tensors["labels"].numpy(), arrays["labels"])
    with safe_open(tmp_path / "features.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["run"], metadata["layer"], metadata["set"]) == ("codial/photos", "conv5", "photos/test")
    assert json.loads(metadata["classes"]) == list(arrays["classes"])


def test_it_draws_a_map(run, tmp_path, monkeypatch, fast):
    # UMAP takes half a minute to start.
    monkeypatch.setattr(embeddings, "project", lambda vectors, **_: vectors[:, :2])
    assert main(["embed", str(run), "--out", str(tmp_path / "map.png"), *fast]) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "features.csv"], "--out is 'features.csv'; expected a file name that ends in .safetensors, .npz"),
        (["--out", "x.npz", "--layer", "fc8"], "conv1"),
        (["--out", "x.npz", "--data", "nowhere/images"], "nowhere/images"),
        (["--out", "x.npz", "--split", "both"], "'both'"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, trained, error_of):
    assert expected in error_of(["embed", trained, *arguments])
