import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from codial.errors import CodialError
from codial.evaluate.metrics.average_precision import FORMS, average_precision, mean_average_precision


@pytest.mark.numbers("probes against scikit-learn")
@pytest.mark.parametrize("levels", [2, 5, 40, 10**6])  # few levels: many ties
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_area_matches_scikit_learn(levels, share, generator):
    for count in (1, 2, 7, 60, 500):
        scores = torch.randint(levels, (count,), generator=generator).float() / levels
        positives = torch.rand(count, generator=generator) < share
        positives[0] = True
        expected = average_precision_score(positives.numpy(), scores.numpy())
        assert average_precision(scores, positives) == pytest.approx(expected, abs=1e-12)


def eleven_point_precision(scores, positives, total):
    """Compute the definition: the mean over eleven recalls of the highest precision of thresholds that reach them."""
    best = []
    for tenth in range(11):
        reached = [0.0]
        for threshold in np.unique(scores):
            taken = positives[scores >= threshold]
            if 10 * taken.sum() >= tenth * total:
                reached.append(taken.mean())
        best.append(max(reached))
    return np.mean(best)


@pytest.mark.parametrize("missed", [0, 3, 30])
@pytest.mark.parametrize("levels", [3, 1000])
def test_eleven_point_matches_the_definition(missed, levels, generator):
    for count in (1, 9, 80):
        scores = torch.randint(levels, (count,), generator=generator).float()
        positives = torch.rand(count, generator=generator) < 0.3
        positives[-1] = True
        total = int(positives.sum()) + missed
        found = average_precision(scores, positives, "11-point", total=total)
        assert found == pytest.approx(eleven_point_precision(scores.numpy(), positives.numpy(), total), abs=1e-12)


def test_hand_computed_cases():
    scores, positives = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, True, False])
    assert average_precision(scores, positives) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, positives, "11-point") == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert average_precision(scores, positives, total=4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(scores, ~positives, "11-point") == pytest.approx(0.5)
    assert average_precision(torch.ones(4), positives) == 0.5
    assert math.isnan(average_precision(scores, torch.zeros(4, dtype=torch.bool)))
    assert average_precision(scores, torch.zeros(4, dtype=torch.bool), total=2) == 0
    assert average_precision(scores[:0], positives[:0], total=2) == 0


@pytest.mark.parametrize("form", FORMS)
def test_average_precision_depends_on_the_ranking_only(form, generator):
    scores, positives = torch.randn(50, generator=generator), torch.rand(50, generator=generator) < 0.4
    found = average_precision(scores, positives, form)
    assert average_precision(scores.exp(), positives, form) == pytest.approx(found)
    order = torch.randperm(50, generator=generator)
    assert average_precision(scores[order], positives[order], form) == pytest.approx(found)
    assert average_precision(positives.float(), positives, form) == 1


def test_unknown_tags_and_tags_without_positives_are_ignored(generator):
    scores = torch.randn(40, 3, generator=generator)
    tags = torch.randint(-1, 2, (40, 3), generator=generator).to(torch.int8)
    tags[:, 2].clamp_(max=0)
    each = [
        average_precision_score(tags[kept, c].numpy(), scores[kept, c].numpy())
        for c, kept in ((0, tags[:, 0] >= 0), (1, tags[:, 1] >= 0))
    ]
    assert mean_average_precision(scores, tags) == pytest.approx(100 * np.mean(each))
    with pytest.raises(CodialError, match=r"None of 40 images has a tag"):
        mean_average_precision(scores, tags.clamp(max=0))


def test_invalid_arguments_raise():
    yes = torch.ones(3, dtype=torch.bool)
    with pytest.raises(CodialError, match=r"form is 'auc'; expected one of area, 11-point, interpolated"):
        average_precision(torch.ones(3), yes, "auc")
    with pytest.raises(CodialError, match=r"scores are \[2\], positives torch.bool \[3\]"):
        average_precision(torch.ones(2), yes)
    with pytest.raises(CodialError, match=r"positives torch.int64 \[3\]"):
        average_precision(torch.ones(3), yes.long())
    with pytest.raises(CodialError, match=r"NaN or infinity"):
        average_precision(torch.tensor([1.0, math.nan, 2.0]), yes)
    with pytest.raises(CodialError, match=r"total is 2; expected at least the 3 positives"):
        average_precision(torch.ones(3), yes, total=2)
