"""What came out of a run, in one sentence."""

from dataclasses import replace

import pytest
import torch

from codial.evaluate import RetrievalResult
from codial.results.in_words import in_words


def result(share, queries=200, k=5, labeled=True):
    """Return a result with this share of relevant neighbors."""
    relevant = (torch.arange(queries * k) < share * queries * k).reshape(queries, k)
    values = torch.zeros(queries, k)
    return RetrievalResult(values.long(), values, relevant, torch.full((queries,), labeled))


VIEWS = result(0.3, k=1), result(0.9, k=1)


def test_it_gives_both_numbers_before_and_after():
    assert in_words((result(0.5), result(0.8)), VIEWS) == (
        "Training improved the features: 80 % (untrained 50 %) of an image's 5 nearest neighbors have its label, and"
        " for 90 % (untrained 30 %) of the images, the nearest view is another one of the same image."
    )


@pytest.mark.parametrize(
    ("before", "after", "queries", "judgment"),
    [
        (0.5, 0.8, 200, "Training improved the features"),
        (0.8, 0.5, 200, "Training made the features worse"),
        (0.5, 0.5, 200, "Training made no clear difference"),
        (0.5, 0.55, 200, "Training made no clear difference"),  # half of two standard errors, 10 points
        (0.5, 0.55, 2000, "Training improved the features"),
        (0.5, 0.8, 10, "Training made no clear difference"),  # ten queries
    ],
)
def test_labels_decide_if_the_difference_exceeds_two_standard_errors(before, after, queries, judgment):
    assert in_words((result(before, queries), result(after, queries)), VIEWS).startswith(judgment + ":")


def test_without_labels_views_decide_and_no_precision_is_given():
    unlabeled = result(0.0, labeled=False)
    text = in_words((unlabeled, unlabeled), VIEWS)
    assert text.startswith("Training improved the features: for 90 % (untrained 30 %) of the images")
    assert "nan" not in text
    assert "label" not in text
    assert in_words((unlabeled, unlabeled), VIEWS[::-1]).startswith("Training made the features worse")


def test_a_collapsed_network_is_called_that():
    collapsed = replace(result(0.9), feature_std=0.01)
    assert in_words((result(0.5), collapsed), VIEWS).startswith("The trained network is collapsed: feature_std 0.01")
