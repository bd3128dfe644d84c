"""Silhouette, grouped nearest-neighbour accuracy, and trustworthiness, image by image."""

import math


def silhouette(points, labels):
    """Mean over the points of (b - a) / max(a, b): a to the own kind, b to the other one."""
    total = 0.0
    for i, point in enumerate(points):
        own = [
            math.dist(point, q) for j, q in enumerate(points) if j != i and labels[j] == labels[i]
        ]
        other = [math.dist(point, q) for j, q in enumerate(points) if labels[j] != labels[i]]
        a, b = sum(own) / len(own), sum(other) / len(other)
        total += (b - a) / max(a, b)
    return total / len(points)


def knn_accuracy(points, labels, groups, neighbors):
    """Share of points whose nearest points of *other* groups are mostly of their own label."""
    right = 0
    for point, label, group in zip(points, labels, groups, strict=True):
        others = [
            (math.dist(point, q), k)
            for q, k, g in zip(points, labels, groups, strict=True)
            if g != group
        ]
        labels_near = [k for _, k in sorted(others)[:neighbors]]
        right += (2 * sum(labels_near) > neighbors) == label
    return right / len(points)


def trustworthiness(space, picture, neighbors):
    """Venna & Kaski 2001, eq. 1, scaled so that the worst case is 0.

    Each of the k nearest in the picture that is not among them in the space costs its rank there
    beyond k.
    """
    n, k, cost = len(space), neighbors, 0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        by_space = sorted(others, key=lambda j: math.dist(space[i], space[j]))
        by_picture = sorted(others, key=lambda j: math.dist(picture[i], picture[j]))
        cost += sum(by_space.index(j) + 1 - k for j in by_picture[:k] if j not in by_space[:k])
    return 1 - 2 * cost / (n * k * (2 * n - 3 * k - 1))
