"""The probes of all five layers against scikit-learn's logistic regression, on the same features."""

from dataclasses import replace

import torch
from torch import Tensor

import codial
from benchmarks.clock import Measured, times
from codial.config import ModelConfig
from codial.evaluate.features import taps
from codial.models import CONV_TAPS, AlexNet

TRAIN, TEST = 2000, 1000


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return how often a second each could probe five layers once; the notes hold the accuracies.

    Ours is measured with all it does, from pictures on; scikit-learn is given the features.
    """
    trunk = AlexNet(ModelConfig(width=0.25), 64).to(device).eval()
    sets = [codial.load_images("photos", split, limit=n) for split, n in (("train", TRAIN), ("test", TEST))]
    protocol = replace(codial.ProbeConfig(), seeds=(0,), mirror=False)
    features = [taps(trunk, s, CONV_TAPS, dims=protocol.dims, pool=protocol.pool, progress=False) for s in sets]
    scores: dict[str, list[float]] = {}

    def ours() -> None:
        report = codial.probe(trunk, *sets, protocol, progress=False, device=device.type)
        scores["codial"] = [report.mean(layer) for layer in CONV_TAPS]

    def theirs() -> None:
        known, asked = features
        both = [(known[layer], sets[0].labels, asked[layer], sets[1].labels) for layer in CONV_TAPS]
        scores["scikit-learn"] = [_logistic(*each) for each in both]

    rates = {"codial": times(ours), "scikit-learn": times(theirs, repeats=1)}
    noted = {who: r._replace(note=" ".join(f"{s:.1f}" for s in scores[who])) for who, r in rates.items()}
    return {f"conv1 to conv5, {TRAIN} pictures": noted}


def _logistic(known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Return the accuracy in percent of the recipe in scikit-learn's guide: standardise, then fit."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(known.flatten(1).cpu().numpy(), labels.numpy())
    return 100 * model.score(asked.flatten(1).cpu().numpy(), truth.numpy())
