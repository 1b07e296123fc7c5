from .base import Dataset
from .convert import from_arrays, from_pairs
from .in_memory import ImageSet
from .on_disk import ImageFiles
from .registered import register
from .registry import SETS, data_root, data_sets, describe, load_images, name_of

__all__ = [
    "SETS",
    "Dataset",
    "ImageFiles",
    "ImageSet",
    "data_root",
    "data_sets",
    "describe",
    "from_arrays",
    "from_pairs",
    "load_images",
    "name_of",
    "register",
]
