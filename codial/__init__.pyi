from . import data, evaluate, losses, methods, models, plots, training, transforms, widgets
from .config.schema import Config, override
from .data.in_memory import ImageSet
from .data.registry import load_images
from .errors import CodialError
from .evaluate.features import features
from .evaluate.probes.cached import ProbeConfig
from .evaluate.probes.probe import ProbeReport, probe
from .evaluate.probes.zhang_globstat import GlobStatProbe, ZhangProbe
from .evaluate.retrieval import retrieve
from .evaluate.umap_layout import project
from .methods.presets import preset
from .runs.load import load_backbone
from .runs.run import Run, list_runs, open_run
from .training.pretrain import pretrain
from .transforms.sampler import sample_views

__version__: str
__all__ = [
    "CodialError",
    "Config",
    "GlobStatProbe",
    "ImageSet",
    "ProbeConfig",
    "ProbeReport",
    "Run",
    "ZhangProbe",
    "__version__",
    "data",
    "evaluate",
    "features",
    "list_runs",
    "load_backbone",
    "load_images",
    "losses",
    "methods",
    "models",
    "open_run",
    "override",
    "plots",
    "preset",
    "pretrain",
    "probe",
    "project",
    "retrieve",
    "sample_views",
    "training",
    "transforms",
    "widgets",
]
