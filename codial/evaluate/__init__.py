"""What a frozen trunk is worth: features, linear probes, retrieval, maps."""

from codial.evaluate.features import features, taps
from codial.evaluate.looks import looks
from codial.evaluate.probe import ProbeConfig, ProbeReport, probe
from codial.evaluate.projection import LayerMap, agreement, map_layers, project, trustworthiness
from codial.evaluate.retrieval import Found, nearest, retrieve

__all__ = [
    "Found",
    "LayerMap",
    "ProbeConfig",
    "ProbeReport",
    "agreement",
    "features",
    "looks",
    "map_layers",
    "nearest",
    "probe",
    "project",
    "retrieve",
    "taps",
    "trustworthiness",
]
