"""The probes of all five layers against scikit-learn's logistic regression, on the same features."""

from dataclasses import replace

import torch
from torch import Tensor

import codial
from benchmarks.clock import Measured, times
from codial.config import ModelConfig
from codial.data import Pictures
from codial.evaluate.cached import fit, standardise
from codial.evaluate.features import taps
from codial.evaluate.task import Labels
from codial.models import CONV_TAPS, AlexNet

TRAIN, TEST, TRUNKS = 2000, 1000, 3
PROTOCOL = replace(codial.ProbeConfig(), seeds=(0,), mirror=False)


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return how often a second each could probe five layers once; the notes hold the accuracies.

    Both begin with the same pooled features of random trunks, and standardise them; the whole probe begins with the
    pictures.
    """
    sets = [codial.load_images("photos", split, limit=n) for split, n in (("train", TRAIN), ("test", TEST))]
    trunks = [_trunk(seed).to(device) for seed in range(TRUNKS)]
    features = [[taps(t, s, CONV_TAPS, dims=PROTOCOL.dims, progress=False) for s in sets] for t in trunks]
    scores: dict[str, list[list[float]]] = {"codial": [], "scikit-learn": [], "codial, pictures included": []}

    def ours() -> None:
        for known, asked in features:
            pairs = ((known[layer].clone(), asked[layer].clone()) for layer in CONV_TAPS)
            scores["codial"].append([_probe(*pair, sets) for pair in pairs])

    def theirs() -> None:
        for known, asked in features:
            pairs = ((known[layer], asked[layer]) for layer in CONV_TAPS)
            scores["scikit-learn"].append([_logistic(*pair, sets) for pair in pairs])

    def whole() -> None:
        for trunk in trunks:
            report = codial.probe(trunk, *sets, PROTOCOL, progress=False)
            scores["codial, pictures included"].append([report.mean(layer) for layer in CONV_TAPS])

    rates = {"codial": times(ours), "scikit-learn": times(theirs, repeats=1), "codial, pictures included": times(whole)}
    case = f"conv1 to conv5 of {TRUNKS} random trunks, {TRAIN} pictures, from the features"
    return {case: {who: _noted(r, scores[who]) for who, r in rates.items()}}


def _trunk(seed: int) -> AlexNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlexNet(ModelConfig(width=0.25), 64).eval()


def _noted(measured: Measured, scores: list[list[float]]) -> Measured:
    """Write the layers' accuracies in percent, means over the trunks, into the note; rates are of five layers."""
    rate, low, high, memory, _ = measured
    means = torch.tensor(scores).mean(0).tolist()
    return Measured(rate * TRUNKS, low * TRUNKS, high * TRUNKS, memory, " ".join(f"{score:.1f}" for score in means))


def _probe(known: Tensor, asked: Tensor, sets: list[Pictures]) -> float:
    """Return the accuracy in percent of our classifier."""
    labels, answers = (images.labels.to(asked.device) for images in sets)
    vectors, queries = standardise(known, asked, precision=PROTOCOL.precision)
    weight, bias = fit([vectors], Labels(labels, len(sets[0].classes)), PROTOCOL, seed=0)
    return 100 * float((torch.addmm(bias, queries, weight.T).argmax(1) == answers).float().mean())


def _logistic(known: Tensor, asked: Tensor, sets: list[Pictures]) -> float:
    """Return the accuracy in percent of the recipe in scikit-learn's guide: standardise, then fit."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(known.flatten(1).cpu().numpy(), sets[0].labels.numpy())
    return 100 * model.score(asked.flatten(1).cpu().numpy(), sets[1].labels.numpy())
