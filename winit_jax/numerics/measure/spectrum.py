"""Singular values of d a_L / d a_1, input by input, in double precision on the host.

Row k of the Jacobian is where the k-th unit direction goes. Of dense and residual layers, J_1 = 1,
    J_{l+1} = (skip J_l + (J_l N_l diag phi'(u_l)) W_{l+1}) M_{l+1},
with N_l of the normalization before phi and M_{l+1} of that behind the block, or 1.
Draws and slopes come from the float32 pass; products and the decomposition are NumPy's in float64, since the
singular values of a deep Gaussian network spread over many decades. Every unit direction goes through the other
blocks by itself, in float64 throughout (`reference`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from winit_jax.columns import SINGULAR_VALUES
from winit_jax.numerics.blocks import Block
from winit_jax.numerics.draws import Place
from winit_jax.numerics.measure.gradients import Kept
from winit_jax.numerics.measure.networks import Networks, Settings
from winit_jax.numerics.measure.reference import NaiveDraws, NaiveScales, forward, functions_of
from winit_jax.numerics.normalization import Normalization

# Singular values below this share of the largest, times the width, are rounding: they count as 0.
RESOLUTION = 2.0**-52


class Spectrum(NamedTuple):
    """values: [depths, inputs, width], descending; the true ones are values * 2^exponent ([depths])."""

    values: np.ndarray
    exponent: np.ndarray


def spectrum(kept: Kept, draws: np.ndarray, network: Networks, depths: Sequence[int], settings: Settings) -> Spectrum:
    """The singular values of one network at each of its depths.

    kept: NumPy arrays of every layer, for a few inputs, leading axis layers. draws: Z of the hidden layers,
    [layers, width, width]. network: scalars. settings: of a normalization that does not join the samples.
    """
    slopes = np.asarray(kept.slope.value, np.float64)
    if settings.removes == "product":  # a row of J N adds up to 0, and is 0 where the units of J are all one
        slopes = slopes - slopes[:, :, :1]
        slopes[1:] = 0
    inputs, width = slopes.shape[1:]
    jacobian, exponent = np.broadcast_to(np.eye(width), (inputs, width, width)), 0
    of_depth: dict[int, tuple[np.ndarray, int]] = {1: (np.ones((inputs, width)), 0)}
    for index, draw in enumerate(draws[: max(depths) - 1]):
        of_layer = network.at_layer(index)
        (weight,), skip = of_layer.updates[0].weights, of_layer.skip
        beside, beside_exponent = jacobian, exponent
        if not settings.before.is_none:
            before = (settings.before, kept.argument, kept.watched)
            jacobian, shift = _through_layer_normalization(jacobian, *before, index)
            exponent += shift
        with np.errstate(over="ignore", invalid="ignore"):
            weights = float(weight.value) * draw.astype(np.float64)
            jacobian = (jacobian * slopes[index][:, None]) @ weights
        exponent += int(kept.slope.exponent[index]) + int(weight.exponent)
        if skip is not None and float(skip.value):
            terms = ((jacobian, exponent), (float(skip.value) * beside, beside_exponent + int(skip.exponent)))
            exponent = max(power for _, power in terms)
            jacobian = np.sum([np.ldexp(term, power - exponent) for term, power in terms], axis=0)
        if kept.behind is not None:
            jacobian, shift = _through_layer_normalization(jacobian, settings.behind, kept.behind, None, index + 1)
            exponent += shift
        largest = float(np.max(np.abs(jacobian)))
        if largest > 0 and np.isfinite(largest):
            scale = int(np.frexp(largest)[1])
            jacobian, exponent = np.ldexp(jacobian, -scale), exponent + scale
        if index + 2 in depths:
            finite = bool(np.all(np.isfinite(jacobian)))
            values = np.linalg.svd(jacobian, compute_uv=False) if finite else np.full((inputs, width), np.nan)
            of_depth[index + 2] = (values, exponent)
    return Spectrum(
        np.stack([of_depth[depth][0] for depth in depths]), np.array([of_depth[depth][1] for depth in depths])
    )


def _through_layer_normalization(
    jacobian: np.ndarray, normalization: Normalization, argument: Any, watched: Any, index: int
) -> tuple[np.ndarray, int]:
    """(J N for each input, the power of two left out), with N as in `Normalization.through`.

    watched: what is removed, or None. That u is float32's own matters not: the product of such N is as near to the
    true one as they are.
    """
    u = np.asarray(argument.value[index], np.float64)
    shrink = np.asarray(argument.shrink.value[index], np.float64)[:, None]
    epsilon = float(argument.epsilon.value[index]) * 2.0 ** max(int(argument.epsilon.exponent[index]), -1000)
    # Centred, so that it and 1 are orthogonal to all digits: each of both is then taken out by one product.
    if normalization.centers:
        u = u - u.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.sum(u**2, axis=-1, keepdims=True))
    direction = (u / np.where(norm > 0, norm, 1.0))[:, None]
    both = np.concatenate([np.full_like(direction, u.shape[-1] ** -0.5), direction], axis=1)
    both = both[:, -normalization.removed_directions :]
    shares = jacobian @ both.mT
    rest = jacobian - shares @ both
    again = rest @ both.mT  # once leaves rounding of J, twice that of what is left
    rest -= again @ both
    if watched is not None:
        rest = np.where(watched.removed[index][:, None], 0.0, rest)
    along = (shares + again)[..., -1:]
    rest += epsilon * shrink**2 * along * direction
    return shrink * rest, int(argument.shrink.exponent[index])


def is_one_product(block: Block) -> bool:
    """Whether a layer multiplies a Jacobian by slopes and one matrix, which is its draw."""
    return block.responds and [update.places(2) for update in block.updates] == [(Place("", 2, 2),)]


def spectrum_by_directions(
    x: np.ndarray,
    first: tuple[np.ndarray, np.ndarray],
    hidden: Sequence[NaiveDraws],
    depths: Sequence[int],
    settings: Settings,
    scales: Sequence[NaiveScales],
) -> Spectrum:
    """The singular values of one network of any block at each of its depths.

    x: [inputs x positions, features]. first, hidden and the scales: as of `reference.forward`. settings: of a
    normalization that does not join the samples. NaN where float64 does not hold the Jacobian.
    """
    positions, width = settings.layout.positions, first[0].shape[1]
    directions = np.eye(positions * width).reshape(-1, width)
    wanted = {settings.rows(depth) - 1: at for at, depth in enumerate(depths)}
    values = np.full((len(depths), len(x) // positions, positions * width), np.nan)
    for at, rows in enumerate(x.reshape(-1, positions, x.shape[1])):
        everywhere = np.tile(rows, (positions * width, 1))
        observed = forward(
            everywhere,
            first,
            hidden,
            functions_of(settings.activation),
            normalization=settings.normalization.name,
            scales=scales,
            tangents=directions,
            block=settings.block,
            norm_position=settings.norm_position,
            positions=positions,
            grid=settings.layout.grid,
        )
        for row, found in enumerate(observed):
            assert found.change is not None
            jacobian = found.change.reshape(positions * width, -1)
            if row in wanted and np.all(np.isfinite(jacobian)):
                values[wanted[row], at] = np.linalg.svd(jacobian, compute_uv=False)
    return Spectrum(values, np.zeros(len(depths), int))


def summary(spectrum: Spectrum) -> dict[str, np.ndarray]:
    """The columns of a network from its singular values, taken over all inputs together: arrays of [depths]."""
    values = spectrum.values
    values = np.where(values < values.shape[-1] * RESOLUTION * values.max(axis=-1, keepdims=True), 0.0, values)
    flat = values.reshape(len(values), -1)
    squares = flat**2
    moments = (
        (flat.min(axis=-1), 1),
        (np.median(flat, axis=-1), 1),
        (flat.max(axis=-1), 1),
        (squares.mean(axis=-1), 2),
        (squares.var(axis=-1), 4),
    )
    with np.errstate(over="ignore", under="ignore"):
        return {
            name: np.ldexp(x, power * spectrum.exponent)
            for name, (x, power) in zip(SINGULAR_VALUES, moments, strict=True)
        }
