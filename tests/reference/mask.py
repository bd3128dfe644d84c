"""Binary mask and its scores, pixel by pixel."""


def active_pixels(fake, real, threshold):
    """Number of pixels of one pair with ``|fake - real| > threshold``."""
    count = 0
    for fake_row, real_row in zip(fake, real, strict=True):
        for a, b in zip(fake_row, real_row, strict=True):
            if abs(float(a) - float(b)) > threshold:
                count += 1
    return count


def precision_recall(mask, region):
    """Precision and recall of one mask; None where there is nothing to divide by."""
    hits = active = area = 0
    for mask_row, region_row in zip(mask, region, strict=True):
        for a, b in zip(mask_row, region_row, strict=True):
            active += bool(a)
            area += bool(b)
            hits += bool(a) and bool(b)
    return (hits / active if active else None, hits / area if area else None)
