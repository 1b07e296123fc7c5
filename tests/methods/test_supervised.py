from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.supervised import Supervised, SupervisedConfig
from codial.utils.batch_generator import BatchGenerator


@pytest.fixture
def config(tiny):
    views = replace(tiny.views, primary=("rot0", "rot90"))
    return replace(tiny, method=SupervisedConfig(), views=views)


def test_the_loss_is_the_cross_entropy_of_the_images_label(config, few, generator):
    method = build(config, classes=8)
    assert isinstance(method, Supervised)
    views = sample_views(few.batch(range(6)), config.views, generator)
    terms = method.terms(Batch(views, few.labels[:6], 0.0, BatchGenerator(generator, 6), torch.arange(6)))
    logits = method.classifier(method.backbone(views.images.flatten(0, 1)))
    labels = torch.tensor([label for label in few.labels[:6].tolist() for _ in range(2)])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy"}


def test_steps_lower_the_loss_of_a_fixed_batch(config, few, generator, seed):
    torch.manual_seed(seed)
    method = build(config, classes=8).train()
    views = sample_views(few.batch(range(8)), config.views, generator)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = method.terms(Batch(views, few.labels[:8], 0.0, BatchGenerator(generator, 8), torch.arange(8)))["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("classes", [0, 1])
def test_images_without_labels_are_refused_with_a_hint(classes, config):
    expected = r"^Supervised learning needs a label of 2 or more classes.*'photos'.*Put the images of each class"
    with pytest.raises(CodialError, match=expected):
        build(config, classes=classes)
