"""What a frozen backbone is worth: features, linear probes, retrieval, maps."""

from codial.evaluate.embeddings import (
    LayerMap,
    agreement,
    map_aligned,
    map_features,
    map_layers,
    trustworthiness,
)
from codial.evaluate.features import features, layer_features
from codial.evaluate.method_inputs import method_inputs
from codial.evaluate.metrics.average_precision import average_precision, mean_average_precision
from codial.evaluate.pretext_saliency import Prediction, predictions
from codial.evaluate.probes.cached import ProbeConfig
from codial.evaluate.probes.probe import PROTOCOLS, ProbeReport, probe
from codial.evaluate.probes.zhang_globstat import GlobStatProbe, ZhangProbe
from codial.evaluate.retrieval import RetrievalResult, max_k, nearest, queries_to_show, retrieve
from codial.evaluate.umap_layout import project
from codial.evaluate.view_retrieval import retrieve_views

__all__ = [
    "PROTOCOLS",
    "GlobStatProbe",
    "LayerMap",
    "Prediction",
    "ProbeConfig",
    "ProbeReport",
    "RetrievalResult",
    "ZhangProbe",
    "agreement",
    "average_precision",
    "features",
    "layer_features",
    "map_aligned",
    "map_features",
    "map_layers",
    "max_k",
    "mean_average_precision",
    "method_inputs",
    "nearest",
    "predictions",
    "probe",
    "project",
    "queries_to_show",
    "retrieve",
    "retrieve_views",
    "trustworthiness",
]
