"""Pictures in memory: `load_images(name_or_folder, split)` returns an `ImageSet`."""

from codial.data.images import ImageSet
from codial.data.registry import SETS, data_root, describe, load_images

__all__ = ["SETS", "ImageSet", "data_root", "describe", "load_images"]
