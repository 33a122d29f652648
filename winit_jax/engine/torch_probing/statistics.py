"""What a tap measures of one tensor: the sums of `numerics.tapping.statistics`, from which its columns are made."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from winit_jax.numerics.tapping.statistics import GRADIENT_EXPONENTS, GRAM_ROWS

Sums = dict[str, torch.Tensor]
Phi = Callable[[torch.Tensor], torch.Tensor]
# The powers of two of float32 end at 2^-126 and 2^127.
LEAST_EXPONENT, MOST_EXPONENT = -125, 126


def as_matrix(x: torch.Tensor, units: Sequence[int]) -> torch.Tensor:
    """A tensor of any shape as [rows, units], float32; the rows in their order, the first axis the slowest."""
    axes = [axis % x.ndim for axis in units]
    rows = [axis for axis in range(x.ndim) if axis not in axes]
    whole = x.permute(*rows, *axes)
    return whole.reshape(math.prod(x.shape[axis] for axis in rows), -1).float()


def sums_of(x: torch.Tensor, units: Sequence[int] = (), samples: int = 0) -> Sums:
    """The sums from which `columns_of` makes the columns of one signal, as `statistics.sums_of` of JAX has them.

    x: of any shape. units: its axes of units, all others are rows. samples: along the first axis, 0 if it has none.
    """
    matrix = as_matrix(x, units)
    rows, n_units = matrix.shape
    greatest = matrix.abs().max()
    usable = torch.isfinite(greatest) & (greatest > 0)
    exponent = torch.where(usable, torch.frexp(greatest).exponent, LEAST_EXPONENT)
    exponent = exponent.clamp(LEAST_EXPONENT, MOST_EXPONENT)
    # One power of two: ldexp of every entry would take longer than all that follows.
    y = matrix * torch.ldexp(torch.ones_like(greatest), -exponent)
    pivot = y.mean()
    centred = y - pivot
    squares = centred.square()
    sums = {
        "exponent": exponent,
        "pivot": pivot,
        "firsts": centred.sum(1),
        "squares": squares.sum(1),
        "thirds": (centred * squares).sum(1),
        "fourths": squares.square().sum(1),
        "zeros": (matrix == 0).sum(1),
        "nonfinites": (~torch.isfinite(matrix)).sum(1) if not torch.isfinite(greatest) else torch.zeros(rows),
    }
    if samples > 1 and rows % samples == 0:
        sums["of_samples"] = centred.reshape(samples, -1).sum(0)
    if rows > 1 and n_units > 1:
        few = y[:: -(-rows // GRAM_ROWS)]
        sums["gram"] = few @ few.T
    return sums


def slopes_of(phi: Phi, a: torch.Tensor) -> torch.Tensor:
    """phi'(a) of an elementwise function, in the shape of a."""
    # With hooks of its own, for those of a checkpoint around it count what is saved.
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        given = a.detach().clone().requires_grad_()
        (slopes,) = torch.autograd.grad(phi(given).sum(), given)
    return slopes


def sums_of_phi(u: torch.Tensor, phi: Phi, max_slope: float, units: Sequence[int], threshold: float) -> Sums:
    """In how many rows each unit is saturated, as of a sweep: abs(phi'(u)) < threshold max abs(phi'). `flat`, [units].

    u: the argument of phi.
    """
    return {"flat": (as_matrix(slopes_of(phi, u), units).abs() < threshold * max_slope).sum(0)}


def attention_entropy(weights: torch.Tensor) -> Sums:
    """The mean entropy of softmax's weights along the last axis over the logarithm of how many are not 0.

    Rows with one such weight have no choice and are left out; NaN where all are such.
    """
    given = weights.float()
    seen = (given > 0).sum(-1)
    terms = torch.special.entr(given).sum(-1)
    chooses = seen > 1
    share = terms / torch.where(chooses, seen, 2).float().log()
    return {"attention_entropy": torch.where(chooses, share, 0).sum() / chooses.sum()}


def squares_of_gradient(gradient: torch.Tensor) -> torch.Tensor:
    """Mean squares of a gradient in units of 2^GRADIENT_EXPONENTS: [3], and a 1 behind them for one that was."""
    flat = gradient.detach().float()
    means = [(flat * scale).square().mean() for scale in (2.0**-GRADIENT_EXPONENTS).tolist()]
    return torch.stack([*means, torch.ones_like(means[0])])


def no_gradient() -> torch.Tensor:
    """What `squares_of_gradient` says of zeros."""
    return torch.tensor([0.0, 0.0, 0.0, 1.0])


def as_arrays(sums: Sums) -> dict[str, np.ndarray]:
    """Sums as NumPy arrays on the host."""
    return {name: value.detach().cpu().double().numpy() for name, value in sums.items()}
