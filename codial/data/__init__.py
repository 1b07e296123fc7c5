"""Images in memory or on disk: `load_images(name_or_folder, split)` returns an `ImageSet` or `ImageFiles`.

`register` adds a data set of one's own.

Names are imported when they are first used (see `__init__.pyi`), so that listing data sets needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
