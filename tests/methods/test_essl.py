import math

import pytest
import torch
from small_methods import small
from torch.nn.functional import cross_entropy, normalize

from codial import sample_views
from codial.config import ROTATIONS
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.essl import ESSLConfig, RotationHead, rotations
from codial.transforms import rotate
from codial.utils.batch_generator import BatchGenerator

IMAGES = 5


@pytest.fixture
def method(seed):
    torch.manual_seed(seed)
    return build(small("essl"))


@pytest.fixture
def batch(few, generator):
    views = sample_views(few.batch(range(IMAGES)), small("essl").views, generator)
    return Batch(views, few.labels[:IMAGES], 0.0, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))


@pytest.fixture
def evaluated(method, batch):
    """The method with batch norms that have seen the batch, in evaluation mode: images do not influence each other."""
    for _ in range(40):
        method.train().terms(batch)
    return method.eval()


def test_two_views_are_aligned_and_the_third_is_classified_under_all_rotations(evaluated, batch):
    method = evaluated
    images = batch.views.images
    first, second = (normalize(method.projector(method.backbone(images[:, k]))) for k in (0, 1))
    scores = first @ second.T / 0.5
    own = torch.arange(IMAGES)
    align = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
    upright = rotations(images[:, 2])[:IMAGES]
    logits = [method.classifier(method.backbone(rotate(upright, k))) for k in range(4)]
    rotation = torch.stack([cross_entropy(each, torch.full((IMAGES,), k)) for k, each in enumerate(logits)]).mean()
    terms = method.terms(batch)
    torch.testing.assert_close(terms["loss_align"], align)
    torch.testing.assert_close(terms["loss_rotation"], rotation)
    torch.testing.assert_close(terms["loss"], align + 0.4 * rotation)
    correct = torch.cat([each.argmax(1) == k for k, each in enumerate(logits)])
    assert terms["pretext_accuracy"].item() == pytest.approx(correct.float().mean().item())
    assert set(terms) == {"loss", "loss_align", "loss_rotation", "pretext_accuracy", "matching_accuracy"}


def test_the_rotation_head_reads_the_third_view_alone_and_the_alignment_the_others(evaluated, batch):
    terms = evaluated.terms(batch)
    for changed, same in (((0, 1), "loss_rotation"), ((2,), "loss_align")):
        images = batch.views.images.clone()
        images[:, changed] = 1 - images[:, changed]
        others = evaluated.terms(batch._replace(views=batch.views._replace(images=images)))
        for name in ("loss_rotation", "loss_align"):
            assert torch.allclose(others[name], terms[name], rtol=1e-5) == (name == same)


def test_a_rotation_of_the_third_view_only_permutes_what_the_head_reads(batch):
    images = batch.views.images[:, 2]
    parts = rotations(images).unflatten(0, (4, IMAGES))
    turned = rotations(rotate(images, 1)).unflatten(0, (4, IMAGES))
    torch.testing.assert_close(turned, parts.roll(-1, 0))


def test_the_third_view_has_half_the_resolution(generator):
    """A checkerboard of single pixels becomes gray; of blocks of 2 x 2 pixels it keeps its extremes at the corners."""
    fine = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(8, 8).expand(1, 3, -1, -1)
    assert torch.equal(rotations(fine), torch.full((4, 3, 16, 16), 0.5))
    coarse = torch.kron(fine[0, 0, :8, :8], torch.ones(2, 2)).expand(1, 3, -1, -1)
    shown = rotations(coarse)
    assert shown.shape == (4, 3, 16, 16)
    assert (shown.min(), shown.max()) == (0, 1)


def test_the_confusion_matrix_counts_every_rotation_of_every_image(evaluated, batch):
    method = evaluated
    matrix = method.confusion(batch)
    assert matrix.classes == method.transforms == ROTATIONS
    assert matrix.counts.sum(1).tolist() == [IMAGES] * 4
    accuracy = method.terms(batch)["pretext_accuracy"].item()
    assert matrix.counts.trace().item() / (4 * IMAGES) == pytest.approx(accuracy)


def test_the_inputs_that_are_shown_are_those_of_the_backbone(method, batch):
    inputs = method.inputs(batch)
    assert list(inputs) == ["view 1", "view 2", *ROTATIONS]
    seen = []
    backbone = method.backbone.forward
    method.backbone.forward = lambda images: (seen.append(images), backbone(images))[1]
    method.terms(batch)
    shown = torch.cat(
        [torch.stack((inputs["view 1"], inputs["view 2"]), 1).flatten(0, 1), *(inputs[r] for r in ROTATIONS)]
    )
    assert torch.equal(torch.cat(seen), shown)


def test_a_head_at_chance_has_the_loss_ln_4(method, batch):
    torch.nn.init.zeros_(method.classifier[-1].weight)
    torch.nn.init.zeros_(method.classifier[-1].bias)
    assert method.terms(batch)["loss_rotation"].item() == pytest.approx(math.log(4))


def test_the_head_has_three_layers_with_layer_norm():
    head = RotationHead(in_features=5, hidden=7, classes=4)
    assert head.in_features == 5
    assert [tuple(p.shape) for p in head.parameters() if p.ndim == 2] == [(7, 5), (7, 7), (4, 7)]
    assert sum(isinstance(layer, torch.nn.LayerNorm) for layer in head) == 2


@pytest.mark.parametrize(
    ("field", "value"), [("projector", 0.0), ("head", 17.0), ("temperature", 0.0), ("rotation_weight", -0.1)]
)
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(CodialError, match=f"method.{field} is {value}"):
        ESSLConfig(**{field: value})
