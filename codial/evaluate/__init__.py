"""What a frozen trunk is worth: features, linear probes, retrieval, maps."""

from codial.evaluate.beliefs import Belief, beliefs
from codial.evaluate.cached import ProbeConfig
from codial.evaluate.features import features, taps
from codial.evaluate.looks import looks
from codial.evaluate.older import GlobStatProbe, ZhangProbe
from codial.evaluate.precision import average_precision, mean_average_precision
from codial.evaluate.probe import PROTOCOLS, ProbeReport, probe
from codial.evaluate.projection import (
    LayerMap,
    agreement,
    map_aligned,
    map_features,
    map_layers,
    project,
    trustworthiness,
)
from codial.evaluate.retrieval import Found, nearest, retrieve

__all__ = [
    "PROTOCOLS",
    "Belief",
    "Found",
    "GlobStatProbe",
    "LayerMap",
    "ProbeConfig",
    "ProbeReport",
    "ZhangProbe",
    "agreement",
    "average_precision",
    "beliefs",
    "features",
    "looks",
    "map_aligned",
    "map_features",
    "map_layers",
    "mean_average_precision",
    "nearest",
    "probe",
    "project",
    "retrieve",
    "taps",
    "trustworthiness",
]
