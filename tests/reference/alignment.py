"""Alignment score of one pair, pixel by pixel and bin by bin."""

import math


def histogram(values, weights, bins):
    """L1-normalised histogram of values in [0, 1], weighted by the size of the weights."""
    sums = [0.0] * bins
    for value_row, weight_row in zip(values, weights, strict=True):
        for value, weight in zip(value_row, weight_row, strict=True):
            place = min(int(float(value) * bins), bins - 1)
            sums[place] += abs(float(weight))
    total = sum(sums) + 1e-8
    return [s / total for s in sums]


def score(values, difference, attribution, bins):
    """Overlap, and KL(attribution || difference), of the two histograms."""
    d, s = histogram(values, difference, bins), histogram(values, attribution, bins)
    overlap = sum(min(a, b) for a, b in zip(d, s, strict=True))
    kl = sum((b + 1e-8) * math.log((b + 1e-8) / (a + 1e-8)) for a, b in zip(d, s, strict=True))
    return overlap, kl
