"""Pretext predictions and their saliency maps."""

import shutil
from dataclasses import replace

import pytest
import torch

import codial
from codial import methods, open_run, preset, pretrain
from codial.config import ROTATIONS
from codial.errors import CodialError
from codial.evaluate import Prediction, predictions
from codial.evaluate.method_inputs import load_weights
from codial.methods import Batch
from codial.methods.codial import CodialConfig
from codial.runs.checkpoints import read_tensors
from codial.utils.batch_generator import BatchGenerator


@pytest.fixture
def untrained(tiny, few, tmp_path):
    """Return a function that makes a run with untrained weights."""

    def make(config):
        config = replace(config, train=replace(tiny.train, epochs=0), model=tiny.model)
        config = replace(config, views=replace(config.views, size=tiny.views.size))
        return pretrain(config, tmp_path / config.method.name, images=few, progress=False)

    return make


def sample(run, few, seed):
    return codial.sample_views(few.batch([1, 2, 3]), run.config.views, torch.Generator().manual_seed(seed))


def classifier(run):
    """Weight and bias as they lie in the checkpoint."""
    prefix = "model.loss.classifier."
    tensors = read_tensors(run.checkpoint(), prefix)
    return tensors[f"{prefix}weight"], tensors[f"{prefix}bias"]


def test_probabilities_are_those_of_the_checkpoints_classifier(tiny_run, few, seed):
    images = sample(tiny_run, few, seed).images.flatten(0, 1)
    weight, bias = classifier(tiny_run)
    with torch.no_grad():
        logits = tiny_run.backbone()(images) @ weight.T + bias
    prediction = predictions(tiny_run, images)
    assert prediction.names == tiny_run.config.views.primary
    torch.testing.assert_close(prediction.probabilities, logits.softmax(1))
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(15))
    assert float(prediction.probabilities.std()) > 0, "else nothing is compared"


def test_saliency_matches_finite_differences(tiny_run, few, seed):
    """HiResCAM's sum_c A_c dy/dA_c is the derivative of y by a factor on the position's activations."""
    images = sample(tiny_run, few, seed).images[:, 0]
    backbone = tiny_run.backbone()
    weight = classifier(tiny_run)[0].double()
    prediction = predictions(tiny_run, images)
    best = weight[prediction.probabilities.argmax(1)]
    with torch.no_grad():
        maps = backbone.features(images, ("conv5",))["conv5"].double()
        backbone.double()
        slopes = torch.empty(len(maps), *maps.shape[2:], dtype=torch.float64)
        for i, j in [(i, j) for i in range(maps.shape[2]) for j in range(maps.shape[3])]:
            logits = []
            for factor in (1 + 1e-4, 1 - 1e-4):
                stronger = maps.clone()
                stronger[:, :, i, j] *= factor
                logits.append((backbone.dense(stronger) * best).sum(1))
            slopes[:, i, j] = (logits[0] - logits[1]) / 2e-4
    expected = slopes.clamp_min(0)
    expected = expected / expected.amax((1, 2), keepdim=True)
    step, first = backbone.grid("conv5")
    centers = [round(first) + step * i for i in range(maps.shape[2])]
    got = prediction.saliency[:, centers][:, :, centers]
    torch.testing.assert_close(got.double(), expected, atol=1e-3, rtol=0)
    assert float(expected.std()) > 0.1, "else nothing is compared"


def test_saliency_is_per_pixel_in_0_to_1(tiny_run, few, seed):
    images = sample(tiny_run, few, seed).images.flatten(0, 1)
    places = predictions(tiny_run, images).saliency
    assert places.shape == (15, 32, 32)
    assert 0 <= float(places.min()) <= float(places.max()) <= 1 + 1e-6


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
def test_prediction_has_the_pretext_loss_of_codial(head, untrained, tiny, few, seed):
    run = untrained(replace(tiny, method=CodialConfig(head=head, z_dim=8, critic_hidden=16)))
    assert_same_loss(run, few, seed, "loss_transform")


@pytest.mark.parametrize(("method", "term"), [("rotnet", "loss"), ("decouple", "loss_transform")])
def test_prediction_has_the_pretext_loss_of_rotation_methods(method, term, untrained, few, seed):
    run = untrained(preset(f"{method}/photos"))
    assert_same_loss(run, few, seed, term)
    assert predictions(run, sample(run, few, seed).images[0]).names == ROTATIONS


def test_predictions_of_essl_are_those_of_its_rotation_head(untrained, few, seed):
    run = untrained(preset("essl/photos"))
    images = sample(run, few, seed).images[:, 0]
    method = load_weights(methods.build(run.config, len(few)), run)
    prediction = predictions(run, images)
    assert prediction.names == ROTATIONS
    with torch.no_grad():
        torch.testing.assert_close(prediction.probabilities, method.classifier(method.backbone(images)).softmax(1))


def assert_same_loss(run, few, seed, term):
    """The cross-entropy of predictions is the method's loss term."""
    views = sample(run, few, seed)
    method = load_weights(methods.build(run.config, len(few), classes=2), run)
    batch = Batch(views, torch.full((3,), -1), 0.0, BatchGenerator(torch.Generator(), 3), torch.arange(3))
    with torch.no_grad():
        expected = method.terms(batch)[term]
    prediction = predictions(run, views.images.flatten(0, 1))
    likelihood = prediction.probabilities.gather(1, views.labels.flatten().unsqueeze(1)).log().mean()
    torch.testing.assert_close(-likelihood, expected)


def test_globstat_has_an_inpainted_class(untrained, few, seed):
    run = untrained(preset("globstat/photos"))
    prediction = predictions(run, sample(run, few, seed).images[0])
    assert prediction.names == ("rot0", "inpainted", "rot90", "rot180", "rot270", "warp")
    assert prediction.probabilities.shape == (5, 6)


@pytest.mark.parametrize("method", ["supervised", "cmc", "codial-mi"])
def test_methods_without_transform_classes_raise(method, untrained, few, seed):
    run = untrained(preset(f"{method}/photos"))
    with pytest.raises(CodialError, match=r"does not classify transforms; choose a run of codial, rotnet, decouple"):
        predictions(run, sample(run, few, seed).images[0])


def test_views_of_another_size_raise(tiny_run):
    with pytest.raises(
        CodialError, match=r"images are \[2, 3, 40, 40\]; .* views of 32 pixels, so expected \[N, 3, 32, 32\]"
    ):
        predictions(tiny_run, torch.rand(2, 3, 40, 40))


def test_run_without_a_checkpoint_raises(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(CodialError, match="has no 'last' checkpoint yet"):
        predictions(open_run(tmp_path / "run"), torch.rand(2, 3, 32, 32))


def test_predictions_are_deterministic_and_keep_the_global_generator(tiny_run):
    images, state = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.get_rng_state()
    first, again = predictions(tiny_run, images), predictions(tiny_run, images)
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.saliency, again.saliency)
    assert torch.equal(torch.get_rng_state(), state)


def test_outcome_is_right_wrong_or_empty():
    prediction = Prediction(("rot0", "rot90"), torch.tensor([[0.4, 0.6]]), torch.zeros(1, 8, 8))
    assert prediction.top_class(0) == "rot90"
    assert [prediction.outcome(0, name) for name in ("rot90", "rot0", "warp")] == ["right", "wrong", ""]
