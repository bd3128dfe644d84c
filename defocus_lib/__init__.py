"""Defocus blur as evidence of image manipulation: the library behind the book.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "data.images": ["read_image"],
        "maps.estimate": ["DefocusMaps", "defocus_maps", "normalize_per_sample"],
        "detect.model": ["Detector", "load_detector"],
        "detect.checkpoints": ["read_weights"],
        "explain.expected_gradients": ["Attributions", "Compute", "shapley_values"],
        "explain.attribution_set": ["AttributionSet", "StoredSet", "open_set", "open_sets"],
        "analysis.mask": ["active_mask"],
        "analysis.variance": ["local_variance"],
        "analysis.contrast": ["Contrast", "contrast"],
        "analysis.blur_statistics": ["blur_statistics"],
        "analysis.embedding": ["separation_table", "tsne", "umap"],
        "analysis.attribution": ["region_share"],
        "analysis.alignment": ["alignment_table", "pair_histograms"],
        "stats.bootstrap": ["Estimate", "bootstrap"],
        "stats.claims": ["Claim"],
    },
)
