"""frozenprobe: the best classifier a small labelled image set can give, on a frozen image backbone.

The public names are those of `__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
