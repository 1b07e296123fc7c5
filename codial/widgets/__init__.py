"""Interactive panels for notebooks; the only package that imports IPython and ipywidgets."""

from codial.widgets.display import LiveFigure, show
from codial.widgets.embedding_map import EmbeddingMap
from codial.widgets.retrieval_browser import RetrievalBrowser
from codial.widgets.run_panel import RunPanel
from codial.widgets.training_panel import TrainingPanel
from codial.widgets.transform_explorer import TransformExplorer

__all__ = [
    "EmbeddingMap",
    "LiveFigure",
    "RetrievalBrowser",
    "RunPanel",
    "TrainingPanel",
    "TransformExplorer",
    "show",
]
