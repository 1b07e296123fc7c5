"""CODIAL's loss in a loop of one's own; tests/methods/test_codial.py compares its terms with the equations."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from codial import sample_views
from codial.errors import CodialError
from codial.losses import BOUNDS, BetaSchedule, CodialLoss
from codial.methods import Batch, build
from codial.utils.batch_generator import BatchGenerator

IMAGES, VIEWS, FEATURES = 6, 3, 16
LABELS = torch.arange(VIEWS).expand(IMAGES, VIEWS)
COMBINATIONS = list(product(("shared", "split", "decoupled"), ("mlp", "cosine"), (True, False)))


@pytest.fixture
def features(generator):
    return torch.randn(IMAGES, VIEWS, FEATURES, generator=generator)


@pytest.fixture
def criterion_of(seed):
    def make(**options):
        torch.manual_seed(seed)
        return CodialLoss(FEATURES, VIEWS, **{"z_dim": 4, "critic_hidden": 8} | options)

    return make


@pytest.mark.parametrize("projector", ["linear", "mlp"])
@pytest.mark.parametrize(("head", "critic", "bottleneck"), COMBINATIONS)
def test_every_combination_trains_every_parameter(head, critic, bottleneck, projector, criterion_of, features):
    options = {"critic": critic, "bottleneck": bottleneck, "projector": projector}
    criterion = criterion_of(head=head, negatives="batch", **options)
    inputs = features.requires_grad_()
    loss, terms = criterion(inputs, LABELS, 0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert ("skl" in terms) == ("beta" in terms) == bottleneck
    assert inputs.grad.any(-1).all()
    assert [name for name, p in criterion.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_loss_is_the_weighted_sum_of_its_terms(bound, criterion_of, features):
    beta = BetaSchedule(1e-3, 1.0, hold=0.0, ramp=1.0)
    loss, terms = criterion_of(bound=bound, cls_weight=0.5, mi_weight=2.0, beta=beta)(features, LABELS, 0.5)
    assert list(terms) == ["loss_transform", "pretext_accuracy", f"mi_{bound}", "skl", "beta"]
    assert terms["beta"] == pytest.approx(1e-3**0.5)
    expected = 0.5 * terms["loss_transform"] + 2.0 * (terms["beta"] * terms["skl"] - terms[f"mi_{bound}"])
    torch.testing.assert_close(loss, expected)


def test_the_method_is_the_loss_of_its_backbones_features(tiny, few, generator, seed):
    options = {"bound": "infonce", "critic": "cosine", "projector": "mlp", "negatives": "batch", "bottleneck": False}
    config = replace(tiny, method=replace(tiny.method, **options))
    method = build(config, classes=8).eval()
    views = sample_views(few.batch(range(IMAGES)), config.views, generator)
    rng = BatchGenerator(torch.Generator().manual_seed(seed), IMAGES)
    terms = method.terms(Batch(views, few.labels[:IMAGES], 0.5, rng, torch.arange(IMAGES)))
    criterion = CodialLoss(method.backbone.feature_dim, 5, z_dim=8, critic_hidden=16, **options).eval()
    criterion.load_state_dict(method.loss.state_dict())
    features = torch.stack([method.backbone(views.images[:, view]) for view in range(5)], 1)
    loss, expected = criterion(features, views.labels)
    torch.testing.assert_close(terms, {"loss": loss} | expected)
    assert method.classifier is method.loss.classifier


def test_only_views_of_a_group_are_aligned(criterion_of, features):
    """View 1 has no partner, and with negatives "same" is no negative either."""
    assert criterion_of(groups=("a", "b", "a")).alignment.pairs.tolist() == [[0, 2]]
    options = {"critic": "cosine", "bottleneck": False, "negatives": "same", "cls_weight": 0.0}
    inputs = features.requires_grad_()
    criterion_of(groups=("a", "b", "a"), **options)(inputs, LABELS)[0].backward()
    assert inputs.grad.any(-1).any(0).tolist() == [True, False, True]


def test_a_loop_of_ones_own_learns(seed, generator):
    """Images are vectors, their transforms known shifts: discrimination and alignment both improve."""
    torch.manual_seed(seed)
    backbone, shifts = nn.Sequential(nn.Linear(8, FEATURES), nn.ReLU()), torch.eye(VIEWS, 8)
    options = {"critic": "cosine", "bound": "infonce", "negatives": "batch", "bottleneck": False}
    criterion = CodialLoss(FEATURES, VIEWS, z_dim=8, **options)
    optimizer = torch.optim.Adam([*backbone.parameters(), *criterion.parameters()], lr=1e-2)
    history = []
    for _ in range(80):
        views = torch.randn(16, 1, 8, generator=generator) + 3 * shifts
        loss, terms = criterion(backbone(views), torch.arange(VIEWS).expand(16, VIEWS), rng=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append((terms["loss_transform"].item(), terms["mi_infonce"].item()))
    assert history[-1][0] < history[0][0] - 0.3
    assert history[-1][1] > history[0][1] + 0.5


def test_without_alignment_or_divergence_there_are_no_parts_for_them(criterion_of):
    assert not any("head" in name or "critic" in name for name, _ in criterion_of(mi_weight=0.0).named_parameters())
    assert criterion_of(bottleneck=False).head.linear.out_features == 4


@pytest.mark.parametrize(
    ("features", "labels"), [((6, 3, 15), (6, 3)), ((6, 2, 16), (6, 2)), ((18, 16), (18,)), ((6, 3, 16), (6, 2))]
)
def test_invalid_shapes_are_refused(features, labels, criterion_of):
    with pytest.raises(CodialError, match=r"^features are .* and labels .*; expected \[B, 3, 16\] and \[B, 3\]"):
        criterion_of()(torch.zeros(features), torch.zeros(labels, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "both"}, "^head is 'both'; expected one of shared, split, decoupled"),
        ({"critic": "dot"}, "^critic is 'dot'; expected one of mlp, cosine"),
        ({"projector": "none"}, "^projector is 'none'; expected one of linear, mlp"),
        ({"temperature": 0.0}, "^temperature is 0.0; expected a positive number"),
        ({"bound": "mine"}, "^bound is 'mine'; expected one of js, infonce, nwj, dv"),
    ],
)
def test_invalid_options_are_refused(options, message, criterion_of):
    with pytest.raises(CodialError, match=message):
        criterion_of(**options)
