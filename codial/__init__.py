"""codial: a workbench for self-supervised learning by concurrent discrimination and alignment (CODIAL).

Names are imported when they are first used (see `__init__.pyi`), so that `import codial` itself takes no time.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("codial")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
