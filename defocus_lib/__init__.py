"""Defocus blur as evidence of image manipulation: the library behind the book.

Names are loaded when first used: importing the package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"maps.estimate": ["DefocusMaps", "defocus_maps", "normalize_per_sample"]},
)
