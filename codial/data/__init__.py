"""Pictures in memory or on disk: `load_images(name_or_folder, split)` returns an `ImageSet` or `PictureFiles`."""

from codial.data.files import PictureFiles
from codial.data.images import ImageSet
from codial.data.pictures import Pictures
from codial.data.registry import SETS, data_root, describe, load_images

__all__ = ["SETS", "ImageSet", "PictureFiles", "Pictures", "data_root", "describe", "load_images"]
