"""Expected gradients as a double sum: over every background, and over the midpoints of a fine grid on the way."""

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
