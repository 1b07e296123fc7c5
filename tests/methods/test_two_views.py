"""What SimCLR, Barlow Twins, VICReg, BYOL and E-SSL have in common."""

from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from small_methods import small
from torch import nn

import codial
from codial import sample_views
from codial.config import RECIPES
from codial.errors import CodialError
from codial.methods import Batch, build, departures
from codial.methods.two_views import TWO_VIEWS, embed_pairs, mlp, with_two_views
from codial.utils.batch_generator import BatchGenerator
from codial.utils.distributed import ProcessGroup

IMAGES = 6
METHODS = ["simclr", "barlowtwins", "vicreg", "byol", "essl"]
PASSES = {"essl": 6}  # images that the backbone gets of each


@pytest.fixture
def method_of(seed):
    def make(name, **options):
        torch.manual_seed(seed)
        return build(small(name, **options))

    return make


@pytest.fixture
def batch_of(few, seed):
    """Return a function that makes a batch of a method, its images or their views in another order."""

    def make(name, order=slice(None), views=slice(None), progress=0.5):
        config = small(name)
        generator = torch.Generator().manual_seed(seed)
        sampled = sample_views(few.batch(range(IMAGES)), config.views, generator)
        sampled = sampled._replace(images=sampled.images[order][:, views].contiguous())
        rng = BatchGenerator(generator, IMAGES)
        return Batch(sampled, few.labels[:IMAGES], progress, rng, torch.arange(IMAGES))

    return make


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_depends_neither_on_the_order_of_images_nor_of_the_two_views(name, method_of, batch_of):
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
    exchanged = [1, 0, *range(2, len(small(name).views.primary))]
    losses = [
        method_of(name).terms(batch)["loss"].item()
        for batch in (batch_of(name), batch_of(name, order), batch_of(name, views=exchanged))
    ]
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_every_trained_parameter_gets_a_gradient_and_steps_lower_the_loss(name, method_of, batch_of):
    method, batch = method_of(name), batch_of(name)
    train = replace(small(name).train, lr=1e-3, weight_decay=0.0)
    (optimizer,) = method.optimizers(train).values()
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    losses = []
    for _ in range(10):
        loss = method.terms(batch)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert {id(p) for p in method.parameters() if p.grad is not None} == trained
        optimizer.step()
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("name", METHODS)
def test_a_run_resumes_to_the_same_numbers(name, few, tmp_path):
    train = replace(
        small(name).train, epochs=2, batch=8, log_every=2, device="cpu", precision="float32", monitor_images=24
    )
    config = replace(small(name), train=train)
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(4))
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), uninterrupted)


@pytest.mark.parametrize("name", METHODS)
def test_other_views_are_refused_with_the_ones_that_are_expected(name):
    config = codial.preset(f"{name}/photos")
    expected = ",".join(config.views.primary)
    for primary in (("rot0",), ("rot0", "rot90"), ("rot0",) * 4):
        with pytest.raises(CodialError, match=rf"views.primary is .*; expected {expected}: {name} uses"):
            replace(config, views=replace(config.views, primary=primary))


@pytest.mark.parametrize("name", METHODS)
def test_each_names_its_departures_from_the_original(name):
    assert "AdamW" in departures(name)
    assert "batch size" in departures(name)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", METHODS)
def test_a_run_takes_as_many_images_through_the_backbone_as_codial(name, recipe):
    """As many per step, up to the rounding of batch sizes to even numbers, and at most an epoch more in total."""
    ours, theirs = codial.preset(f"codial/{recipe}"), codial.preset(f"{name}/{recipe}")
    passes = PASSES.get(name, 2)
    assert theirs.train.batch % 2 == 0
    assert abs(passes * theirs.train.batch - 5 * ours.train.batch) <= passes
    assert 0 <= passes * theirs.train.epochs - 5 * ours.train.epochs < passes


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_fifth_of_the_views_is_gray_but_not_of_photos_and_the_papers_recipe_has_simclrs_crops_and_jitter(recipe):
    views = with_two_views(recipe).views
    assert views.primary == TWO_VIEWS == ("rot0", "rot0")
    assert views.grayscale == (0 if recipe.name == "photos" else 0.2)
    if recipe.name == "paper":
        assert views.crop_area == (0.08, 1.0)
        assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.4, 0.1)
    else:
        assert replace(views, primary=recipe.views.primary, grayscale=0) == recipe.views


def test_a_perceptron_has_batch_norm_after_all_layers_but_the_last():
    network = mlp((5, 7, 6, 3))
    kinds = [type(layer) for layer in network]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [*hidden, *hidden, nn.Linear]
    assert [tuple(network[k].weight.shape) for k in (0, 3, 6)] == [(7, 5), (6, 7), (3, 6)]
    assert network[0].bias is None
    assert network[6].bias is not None


def test_embeddings_stay_with_their_image_and_view(generator):
    images = torch.rand(4, 2, 3, 8, 8, generator=generator)
    first, second = embed_pairs(nn.Flatten(), images, ProcessGroup())
    assert torch.equal(first, images[:, 0].flatten(1))
    assert torch.equal(second, images[:, 1].flatten(1))
