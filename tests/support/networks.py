"""Small networks through the fast pass and through the references, from the same draws."""

import numpy as np

from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import DENSE, Scales
from winit_jax.numerics.measure import families
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.networks import Networks, Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.scaled import as_scaled


def inputs(samples=60, features=12, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((samples, features))


def stack_of(shape, width, first, count, seed=0, block=DENSE):
    """Unit draws of layers first .. first + count - 1 of a block, by default of dense layers; None of no layers."""
    places = tuple(update.places(width) for update in block.updates)
    return shared.layer_stack(seed, shape, first, count, places) if count else None


def dense_scales(first_stds, stds, biases):
    """Scales of dense networks, [N] each."""
    hidden, of_biases = as_scaled(stds), as_scaled(biases)
    return Networks(as_scaled(first_stds), of_biases, (Scales((hidden,), (of_biases,)),))


def draws(shape, width, features, depth, seed=0):
    """(unit weights, unit biases) of each layer, float64."""
    first = shared.first_layer(seed, shape, width, features)
    layers = [(np.asarray(first.weights, float), np.asarray(first.biases, float))]
    if depth > 1:
        ((hidden,),) = stack_of(shape, width, 2, depth - 1, seed)
        layers += [
            (np.asarray(w, float), np.asarray(b, float)) for w, b in zip(hidden.weights, hidden.biases, strict=True)
        ]
    return layers


def fast(
    x,
    name,
    stds,
    biases=None,
    *,
    width,
    depth,
    first_stds=None,
    shape="normal",
    seed=0,
    stack=None,
    block=2,
    edges=None,
    jacobian=False,
    normalization="none",
    **settings,
):
    """Columns of [depth, networks] from the batched pass; `stack` layers of draws at a time."""
    stds = np.atleast_1d(np.asarray(stds, float))
    first_stds = stds if first_stds is None else np.atleast_1d(first_stds)
    biases = np.zeros(len(stds)) if biases is None else np.atleast_1d(biases)
    act = activation(name) if isinstance(name, str) else name
    networks = dense_scales(first_stds, stds, biases)
    stack = stack or max(1, depth - 1)
    hidden = [
        stack_of(shape, width, start, min(stack, depth + 1 - start), seed) for start in range(2, depth + 1, stack)
    ]
    chosen = families.of_draws(Settings(act, NORMALIZATIONS[normalization], **settings), shape)
    measured = forward_pass.forward(
        as_inputs(x),
        networks,
        shared.first_layer(seed, shape, width, x.shape[1]),
        hidden,
        shared.directions(seed, "tangents", x.shape[0], width) if jacobian else None,
        chosen,
        block=block,
        edges=edges,
    )
    columns = forward_pass.to_columns(measured, chosen, samples=x.shape[0], width=width)
    if measured.histogram is not None:
        columns["histogram"] = np.asarray(measured.histogram)
    return columns
