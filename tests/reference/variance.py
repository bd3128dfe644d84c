"""Local variance, window by window, and the Kolmogorov-Smirnov distance, value by value."""

import numpy as np


def local_variance(image, window):
    """Variance of the zero-padded (H, W) image in the window around each pixel."""
    half = window // 2
    padded = np.pad(np.asarray(image, dtype=np.float64), half)
    height, width = image.shape
    result = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            values = padded[y : y + window, x : x + window]
            result[y, x] = np.mean((values - values.mean()) ** 2)
    return result


def ks_distance(first, second):
    """Largest difference between the two shares of values at or below any value."""
    largest = 0.0
    for value in [*first, *second]:
        below = [sum(v <= value for v in sample) / len(sample) for sample in (first, second)]
        largest = max(largest, abs(below[0] - below[1]))
    return largest


def sign_flip_pvalue(differences):
    """Exact two-sided p-value of the mean over all ``2**N`` signs."""
    n = len(differences)
    observed = sum(differences)
    sums = [
        sum(d if bits >> i & 1 else -d for i, d in enumerate(differences)) for bits in range(2**n)
    ]
    tolerance = 1e-12
    upper = sum(s >= observed - tolerance for s in sums) / len(sums)
    lower = sum(s <= observed + tolerance for s in sums) / len(sums)
    return min(1.0, 2 * min(upper, lower))
