"""Expected gradients as a double sum: over backgrounds, and a fine grid of midpoints per path."""

import torch


def expected_gradients(f, x, background, nodes):
    """``(C, H, W)`` values of one input ``x``; each gradient of ``f`` is taken alone."""
    total = torch.zeros_like(x)
    for b in background:
        for node in range(nodes):
            point = (b + (node + 0.5) / nodes * (x - b)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(f(point[None]).sum(), point)
            total += (x - b) * gradient
    return total / (nodes * len(background))


def interpolated(f, x, background, rows, t, nodes):
    """The same sum, with gradients taken at ``(rows, t)`` and interpolated everywhere else."""
    pairs = zip(rows, t, strict=True)
    points = torch.stack([background[row] + step * (x - background[row]) for row, step in pairs])
    gradients = torch.stack(
        [torch.autograd.grad(f(p[None]).sum(), p)[0] for p in points.clone().requires_grad_(True)]
    )
    n = len(points)
    system = torch.ones(n + 1, n + 1, dtype=x.dtype)
    system[n, n] = 0
    system[:n, :n] = torch.tensor([[-float((p - q).norm()) for q in points] for p in points])
    data = torch.cat([gradients.flatten(1), torch.zeros(1, x.numel(), dtype=x.dtype)])
    *slopes, constant = torch.linalg.solve(system, data)
    total = torch.zeros(x.numel(), dtype=x.dtype)
    for b in background:
        for node in range(nodes):
            here = b + (node + 0.5) / nodes * (x - b)
            value = constant + sum(
                slope * -float((here - p).norm()) for slope, p in zip(slopes, points, strict=True)
            )
            total += (x - b).flatten() * value
    return (total / (nodes * len(background))).view_as(x)
