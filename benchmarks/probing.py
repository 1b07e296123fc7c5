"""Linear probes of five layers against scikit-learn's logistic regression, on the same features."""

from dataclasses import replace

import torch
from torch import Tensor

import codial
from benchmarks.clock import Measurement, calls_per_second
from codial.config import ModelConfig
from codial.data import Dataset
from codial.evaluate.features import layer_features
from codial.evaluate.probes.cached import fit, standardize
from codial.evaluate.probes.targets import Labels
from codial.models import AlexNet
from codial.models.alexnet import CONV_LAYERS

TRAIN, TEST, BACKBONES = 2000, 1000, 3
PROTOCOL = replace(codial.ProbeConfig(), seeds=(0,), mirror=False)


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return how many times per second five layers could be probed; the notes hold the accuracies.

    Both classifiers begin with the same pooled features of random backbones and standardize them; "images included"
    begins with the images.
    """
    sets = [codial.load_images("photos", split, limit=n) for split, n in (("train", TRAIN), ("test", TEST))]
    backbones = [_backbone(seed).to(device) for seed in range(BACKBONES)]
    features = [
        [layer_features(backbone, images, CONV_LAYERS, dims=PROTOCOL.dims, progress=False) for images in sets]
        for backbone in backbones
    ]
    scores: dict[str, list[list[float]]] = {"codial": [], "scikit-learn": [], "codial, images included": []}

    def probe_features() -> None:
        for train, test in features:
            pairs = ((train[layer].clone(), test[layer].clone()) for layer in CONV_LAYERS)
            scores["codial"].append([_probe(*pair, sets) for pair in pairs])

    def fit_sklearn() -> None:
        for train, test in features:
            pairs = ((train[layer], test[layer]) for layer in CONV_LAYERS)
            scores["scikit-learn"].append([_logistic_regression(*pair, sets) for pair in pairs])

    def probe_images() -> None:
        for backbone in backbones:
            report = codial.probe(backbone, *sets, PROTOCOL, progress=False)
            scores["codial, images included"].append([report.mean(layer) for layer in CONV_LAYERS])

    measurements = {
        "codial": calls_per_second(probe_features),
        "scikit-learn": calls_per_second(fit_sklearn, repeats=1),
        "codial, images included": calls_per_second(probe_images),
    }
    case = f"conv1 to conv5 of {BACKBONES} random backbones, {TRAIN} images, from the features"
    return {case: {name: _with_accuracies(each, scores[name]) for name, each in measurements.items()}}


def _backbone(seed: int) -> AlexNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AlexNet(ModelConfig(width=0.25), 64).eval()


def _with_accuracies(measured: Measurement, scores: list[list[float]]) -> Measurement:
    """Return the rates for one backbone, with each layer's mean accuracy in percent as the note."""
    median, lowest, highest, memory, _ = measured
    means = torch.tensor(scores).mean(0).tolist()
    note = " ".join(f"{score:.1f}" for score in means)
    return Measurement(median * BACKBONES, lowest * BACKBONES, highest * BACKBONES, memory, note)


def _probe(train: Tensor, test: Tensor, sets: list[Dataset]) -> float:
    """Return the accuracy in percent of codial's linear probe."""
    train_labels, test_labels = (images.labels.to(test.device) for images in sets)
    train, test = standardize(train, test, precision=PROTOCOL.precision)
    weight, bias = fit([train], Labels(train_labels, len(sets[0].classes)), PROTOCOL, seed=0)
    return 100 * float((torch.addmm(bias, test, weight.T).argmax(1) == test_labels).float().mean())


def _logistic_regression(train: Tensor, test: Tensor, sets: list[Dataset]) -> float:
    """Return the accuracy in percent of scikit-learn's recommended pipeline: standardize, then fit."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train.flatten(1).cpu().numpy(), sets[0].labels.numpy())
    return 100 * model.score(test.flatten(1).cpu().numpy(), sets[1].labels.numpy())
