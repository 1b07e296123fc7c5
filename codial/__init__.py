"""codial: a workbench for self-supervised learning by concurrent discrimination and alignment (CODIAL)."""

__version__ = "0.1.0"

from codial import information, views
from codial.config import Config, override
from codial.data import ImageSet, load_images
from codial.errors import CodialError
from codial.evaluate import GlobStatProbe, ProbeConfig, ProbeReport, ZhangProbe, features, probe, project, retrieve
from codial.presets import preset
from codial.pretrain import pretrain
from codial.runs import Run, list_runs, open_run
from codial.views import sample_views

__all__ = [
    "CodialError",
    "Config",
    "GlobStatProbe",
    "ImageSet",
    "ProbeConfig",
    "ProbeReport",
    "Run",
    "ZhangProbe",
    "features",
    "information",
    "list_runs",
    "load_images",
    "open_run",
    "override",
    "preset",
    "pretrain",
    "probe",
    "project",
    "retrieve",
    "sample_views",
    "views",
]
