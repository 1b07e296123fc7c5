import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate.transfer import ClassificationConfig, classify
from codial.evaluate.transfer.classification import NAME, class_precisions, fit
from codial.models import build_backbone
from codial.models.alexnet import LAYERS

NAMES = ("red", "green", "blue", "never")


def tagged(count, seed, names=NAMES):
    """Return images with random squares of three colors as tags; a tenth of the tags is unknown."""
    generator = np.random.default_rng(seed)
    images = generator.integers(90, 110, (count, 3, 32, 32), dtype=np.uint8)
    tags = np.zeros((count, len(names)), np.int8)
    tags[:, :3] = generator.random((count, 3)) < 0.4
    for image, present in zip(images, tags, strict=True):
        for color in present[:3].nonzero()[0]:
            top, left = generator.integers(0, 20, 2)
            image[color, top : top + 12, left : left + 12] = 250
    tags[generator.random(tags.shape) < 0.1] = -1
    labels = torch.full((count,), -1)
    return ImageSet("shapes", "train", torch.from_numpy(images), labels, names, tags=torch.from_numpy(tags))


@pytest.fixture(scope="module")
def backbone(tiny):
    torch.manual_seed(0)
    return build_backbone(tiny)


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_fit_matches_scikit_learn(generator, strength):
    vectors = torch.randn(150, 40, generator=generator) / 40**0.5
    tags = torch.randint(-1, 2, (150, 3), generator=generator, dtype=torch.int8)
    weight, bias = fit(vectors, tags, strength)
    for column in range(3):
        evaluated = tags[:, column] >= 0
        reference = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8)
        reference.fit(vectors[evaluated].double().numpy(), tags[evaluated, column].numpy())
        np.testing.assert_allclose(weight[column].numpy(), reference.coef_[0], rtol=1e-3, atol=2e-3)
        assert float(bias[column]) == pytest.approx(reference.intercept_[0], abs=5e-4)


def test_unknown_tags_are_ignored(generator):
    vectors = torch.randn(60, 5, generator=generator)
    tags = torch.randint(0, 2, (60, 2), generator=generator, dtype=torch.int8)
    tags[40:, 0] = -1
    weight, _ = fit(vectors, tags, 1.0)
    alone, _ = fit(vectors[:40], tags[:40, :1], 1.0)
    torch.testing.assert_close(weight[0], alone[0], rtol=1e-3, atol=1e-3)
    scores = torch.randn(60, 2, generator=generator)
    found = class_precisions(scores, tags, ("a", "b"))
    assert found["a"] == pytest.approx(100 * average_precision_score(tags[:40, 0], scores[:40, 0]))
    assert found["b"] == pytest.approx(100 * average_precision_score(tags[:, 1], scores[:, 1]))


def test_class_without_images_has_no_precision():
    found = class_precisions(
        torch.rand(4, 2), torch.tensor([[1, 0], [0, -1], [0, 0], [1, 0]], dtype=torch.int8), ("a", "b")
    )
    assert found["a"] is not None
    assert found["b"] is None


def test_classification_is_above_chance_and_deterministic(backbone):
    sets = [tagged(count, seed) for seed, count in enumerate((120, 60, 120))]
    found = classify(backbone, *sets, progress=False)
    evaluated = {name: value for name, value in found.report.classes.items() if value is not None}
    assert list(evaluated) == ["red", "green", "blue"]
    assert found.report.value == pytest.approx(sum(evaluated.values()) / 3)
    assert found.report.value > 75  # chance is 40
    assert found.eleven_point["never"] is None
    for column, name in enumerate(evaluated):
        kept = sets[2].tags[:, column] >= 0
        reference = average_precision_score(sets[2].tags[kept, column], found.scores[kept, column])
        assert evaluated[name] == pytest.approx(100 * reference)
    assert f"C {found.c:g} of 0.1, 1, 10, 100" in found.report.protocol
    assert found.report.test == sets[2].describe()
    again = classify(backbone, *sets, progress=False)
    assert torch.equal(again.scores, found.scores)


def test_c_is_selected_on_val_only(backbone):
    """It does not depend on the test set."""
    train, val = tagged(60, 1), tagged(60, 2)
    alone = {}
    for strength in (0.01, 30.0):
        each = classify(backbone, train, val, val, ClassificationConfig(c_values=(strength,)), progress=False)
        alone[strength] = each.c
    config = ClassificationConfig(c_values=(0.01, 30.0))
    selected = {classify(backbone, train, val, tagged(40, s), config, progress=False).c for s in (3, 4)}
    assert len(selected) == 1
    assert alone == {0.01: 0.01, 30.0: 30.0}


def test_report_of_a_run_is_saved(tiny_run, tmp_path, monkeypatch):
    saved = {}
    monkeypatch.setattr(
        "codial.evaluate.transfer.report.write_report", lambda run, name, values: saved.update({name: values})
    )
    found = classify(tiny_run, tagged(40, 1), tagged(20, 2), tagged(20, 3), progress=False)
    written = json.loads(json.dumps(saved[NAME]))
    assert written["value"] == found.report.value
    assert set(written) >= {"metric", "value", "classes", "train", "test", "protocol", "seed", "value_11_point"}
    assert written["classes"]["never"] is None
    assert not math.isnan(written["value_11_point"])


def test_invalid_input_raises(backbone, few):
    good = tagged(10, 1)
    with pytest.raises(CodialError, match="has no tags; expected a dataset with tags, such as voc2007"):
        classify(backbone, good, few, good)
    with pytest.raises(CodialError, match=r"The classes differ: .*'never'.* in shapes, .*'often'"):
        classify(backbone, good, good, tagged(10, 1, (*NAMES[:3], "often")))
    with pytest.raises(CodialError, match=rf"Layers are \['fc8'\]; expected some of {', '.join(LAYERS)}"):
        classify(backbone, good, good, good, ClassificationConfig(layer="fc8"))
    with pytest.raises(CodialError, match=r"c_values above 0"):
        ClassificationConfig(c_values=(0.0, 1.0))
