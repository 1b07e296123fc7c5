"""What is seen and touched in a notebook: the only package that imports IPython and ipywidgets."""

from codial.widgets.display import LiveFigure, show
from codial.widgets.maps import EmbeddingMap
from codial.widgets.retrieval import RetrievalBrowser
from codial.widgets.training import TrainingPanel
from codial.widgets.transforms import TransformExplorer
from codial.widgets.watching import RunPanel

__all__ = [
    "EmbeddingMap",
    "LiveFigure",
    "RetrievalBrowser",
    "RunPanel",
    "TrainingPanel",
    "TransformExplorer",
    "show",
]
