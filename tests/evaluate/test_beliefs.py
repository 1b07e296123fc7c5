"""What runs believe about views: their own classifiers' words, and places by what each adds."""

import shutil
from dataclasses import replace

import pytest
import torch

import codial
from codial import objectives, open_run, preset, pretrain
from codial.checkpoints import read_tensors
from codial.config import TURNS, CodialOptions
from codial.errors import CodialError
from codial.evaluate import Belief, beliefs
from codial.evaluate.looks import with_weights
from codial.objectives import Batch, Draws


@pytest.fixture
def untrained(tiny, few, tmp_path):
    """Return a function that makes a run without a step: its weights are as good as any for these questions."""

    def make(config):
        config = replace(config, train=replace(tiny.train, epochs=0), model=tiny.model)
        config = replace(config, views=replace(config.views, size=tiny.views.size))
        return pretrain(config, tmp_path / config.objective.system, images=few, progress=False)

    return make


def drawn(run, few, seed):
    return codial.sample_views(few.batch([1, 2, 3]), run.config.views, torch.Generator().manual_seed(seed))


def test_probabilities_are_what_the_checkpoints_classifier_says(tiny_run, few, seed):
    images = drawn(tiny_run, few, seed).images.flatten(0, 1)
    weights = read_tensors(tiny_run.checkpoint(), "model.classifier.")
    with torch.no_grad():
        logits = tiny_run.trunk()(images) @ weights["model.classifier.weight"].T + weights["model.classifier.bias"]
    belief = beliefs(tiny_run, images)
    assert belief.names == tiny_run.config.views.primary
    torch.testing.assert_close(belief.probabilities, logits.softmax(1))
    torch.testing.assert_close(belief.probabilities.sum(1), torch.ones(15))
    assert float(belief.probabilities.std()) > 0, "else nothing is compared"


def test_a_place_counts_by_how_fast_the_logit_grows_with_its_activations(tiny_run, few, seed):
    """HiResCAM's sum_c A_c dy/dA_c is the slope of y as the place alone is made stronger: here by differences."""
    images = drawn(tiny_run, few, seed).images[:, 0]
    trunk = tiny_run.trunk()
    weight = read_tensors(tiny_run.checkpoint(), "model.classifier.")["model.classifier.weight"].double()
    belief = beliefs(tiny_run, images)
    best = weight[belief.probabilities.argmax(1)]
    with torch.no_grad():
        maps = trunk.taps(images, ("conv5",))["conv5"].double()
        trunk.double()
        slopes = torch.empty(len(maps), *maps.shape[2:], dtype=torch.float64)
        for i, j in [(i, j) for i in range(maps.shape[2]) for j in range(maps.shape[3])]:
            logits = []
            for factor in (1 + 1e-4, 1 - 1e-4):
                stronger = maps.clone()
                stronger[:, :, i, j] *= factor
                logits.append((trunk.dense(stronger) * best).sum(1))
            slopes[:, i, j] = (logits[0] - logits[1]) / 2e-4
    expected = slopes.clamp_min(0)
    expected = expected / expected.amax((1, 2), keepdim=True)
    step, first = trunk.grid("conv5")
    centres = [round(first) + step * i for i in range(maps.shape[2])]
    got = belief.places[:, centres][:, :, centres]
    torch.testing.assert_close(got.double(), expected, atol=1e-3, rtol=0)
    assert float(expected.std()) > 0.1, "else nothing is compared"


def test_places_are_pixels_in_0_to_1(tiny_run, few, seed):
    images = drawn(tiny_run, few, seed).images.flatten(0, 1)
    places = beliefs(tiny_run, images).places
    assert places.shape == (15, 32, 32)
    assert 0 <= float(places.min()) <= float(places.max()) <= 1 + 1e-6


@pytest.mark.parametrize("head", ["shared", "split", "decoupled"])
def test_codial_is_asked_as_it_learns(head, untrained, tiny, few, seed):
    run = untrained(replace(tiny, objective=CodialOptions(head=head, z_dim=8, critic_hidden=16)))
    assert_same_loss(run, few, seed, "loss_transform")


@pytest.mark.parametrize(("system", "term"), [("rotnet", "loss"), ("decouple", "loss_transform")])
def test_systems_that_tell_turns_are_asked_as_they_learn(system, term, untrained, few, seed):
    run = untrained(preset(f"{system}/photos"))
    assert_same_loss(run, few, seed, term)
    assert beliefs(run, drawn(run, few, seed).images[0]).names == TURNS


def assert_same_loss(run, few, seed, term):
    """The cross-entropy of the belief is the system's own loss."""
    views = drawn(run, few, seed)
    system = with_weights(objectives.build(run.config, 2, len(few)), run)
    batch = Batch(views, torch.full((3,), -1), 0.0, Draws(torch.Generator(), 3), torch.arange(3))
    with torch.no_grad():
        expected = system.terms(batch)[term]
    belief = beliefs(run, views.images.flatten(0, 1))
    likelihood = belief.probabilities.gather(1, views.labels.flatten().unsqueeze(1)).log().mean()
    torch.testing.assert_close(-likelihood, expected)


def test_globstat_has_a_class_of_its_own(untrained, few, seed):
    run = untrained(preset("globstat/photos"))
    belief = beliefs(run, drawn(run, few, seed).images[0])
    assert belief.names == ("turn0", "inpainted", "turn90", "turn180", "turn270", "warp")
    assert belief.probabilities.shape == (5, 6)


@pytest.mark.parametrize("system", ["supervised", "cmc", "codial-mi"])
def test_systems_with_another_task_are_refused(system, untrained, few, seed):
    run = untrained(preset(f"{system}/photos"))
    with pytest.raises(CodialError, match=r"does not learn to tell transforms; ask a run of codial, rotnet, decouple"):
        beliefs(run, drawn(run, few, seed).images[0])


def test_views_of_another_size_are_refused(tiny_run):
    with pytest.raises(CodialError, match=r"looks at views of 32 pixels, \[N, 3, 32, 32\]; choose size 32"):
        beliefs(tiny_run, torch.rand(2, 3, 40, 40))


def test_a_run_without_a_checkpoint_is_told(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(CodialError, match="has no 'last' checkpoint yet"):
        beliefs(open_run(tmp_path / "run"), torch.rand(2, 3, 32, 32))


def test_the_same_question_gets_the_same_answer_and_leaves_no_trace(tiny_run):
    images, state = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.get_rng_state()
    first, again = beliefs(tiny_run, images), beliefs(tiny_run, images)
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.places, again.places)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_verdict_is_right_wrong_or_none():
    belief = Belief(("turn0", "turn90"), torch.tensor([[0.4, 0.6]]), torch.zeros(1, 8, 8))
    assert belief.said(0) == "turn90"
    assert [belief.verdict(0, name) for name in ("turn90", "turn0", "warp")] == ["right", "wrong", ""]
