from .base import Dataset
from .in_memory import ImageSet
from .on_disk import ImageFiles
from .registry import SETS, data_root, describe, load_images

__all__ = ["SETS", "Dataset", "ImageFiles", "ImageSet", "data_root", "describe", "load_images"]
