"""Silhouette and grouped nearest-neighbour vote, image by image."""

import math


def silhouette(points, labels):
    """Mean over the points of (b - a) / max(a, b): a to the own kind, b to the other one."""
    total = 0.0
    for i, point in enumerate(points):
        own = [math.dist(point, q) for j, q in enumerate(points) if j != i and labels[j] == labels[i]]
        other = [math.dist(point, q) for j, q in enumerate(points) if labels[j] != labels[i]]
        a, b = sum(own) / len(own), sum(other) / len(other)
        total += (b - a) / max(a, b)
    return total / len(points)


def vote_accuracy(points, labels, groups, neighbors):
    """Share of points for which the nearest points of *other* groups vote for the right label."""
    right = 0
    for point, label, group in zip(points, labels, groups, strict=True):
        others = [(math.dist(point, q), k) for q, k, g in zip(points, labels, groups, strict=True) if g != group]
        votes = [k for _, k in sorted(others)[:neighbors]]
        right += (2 * sum(votes) > neighbors) == label
    return right / len(points)
