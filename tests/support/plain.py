"""Independent derivatives: one plain network in float64, differentiated by JAX, sharing only phi and the draws."""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from support.networks import draws
from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import ACTIVATIONS


class Stream(NamedTuple):
    """What a block stands in: skip_scale, branch_scale and norm_position."""

    skip: float = 0.0
    branch: float = 1.0
    position: str = "pre"


def normalized(a, normalization):
    if normalization == "batch":
        return (a - a.mean(axis=0)) / jnp.sqrt(a.var(axis=0) + 1e-5)
    if normalization == "layer":
        return (a - a.mean(axis=1, keepdims=True)) / jnp.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
    if normalization == "rms":
        return a / jnp.sqrt((a**2).mean(axis=1, keepdims=True) + 1e-5)
    return a


def network(name, normalization, stream=Stream()):  # noqa: B008 - a tuple of constants
    """(h_0, weights, biases, nudges of each pre-activation) -> (every a_l, h_L)."""
    phi = ACTIVATIONS[name]

    def run(h, weights, biases, nudges):
        preactivations = []
        for w, b, nudge in zip(weights, biases, nudges, strict=True):
            product = h @ w + b
            if not preactivations:
                a = product + nudge
            else:
                a = stream.skip * preactivations[-1] + stream.branch * product
                a = (normalized(a, normalization) if stream.position == "post" else a) + nudge
            preactivations.append(a)
            h = phi(normalized(a, normalization) if stream.position == "pre" else a)
        return preactivations, h

    return run


def scaled_draws(std, bias, width, features, depth, shape="normal"):
    unit = draws(shape, width, features, depth)
    return [std * z for z, _ in unit], [bias * b for _, b in unit]


@lru_cache
def _jvp(name, normalization, stream):
    run = network(name, normalization, stream)

    def changes(x, weights, biases, directions):
        def preactivations(nudge):
            return run(x, weights, biases, [nudge] + [0.0] * (len(weights) - 1))[0]

        return jax.jvp(preactivations, (jnp.zeros(directions.shape),), (directions,))[1]

    return jax.jit(changes)


def log10_jacobian(x, name, std, bias, *, width, depth, normalization="none", stream=Stream()):  # noqa: B008
    """By jvp of the whole network, along the directions that the sweep uses: [depth]."""
    weights, biases = scaled_draws(std, bias, width, x.shape[1], depth)
    directions = np.asarray(shared.directions(0, "tangents", len(x), width), float)
    with jax.enable_x64(True):
        changes = _jvp(name, normalization, stream)(x, weights, biases, directions)
        return np.array([0.5 * np.log10(np.mean(change**2) / np.mean(directions**2)) for change in changes])


@lru_cache
def loss_of(name, normalization, labelled, stream):
    """(loss, its gradients) as compiled functions of (weights, nudges, x, biases, cotangents, readout, labels)."""
    run = network(name, normalization, stream)

    def loss(weights, nudges, x, biases, cotangents, readout, labels):
        _, h = run(x, weights, biases, nudges)
        if not labelled:
            return jnp.sum(cotangents * h) / len(x)
        return -jnp.mean(jax.nn.log_softmax(h @ readout)[jnp.arange(len(x)), labels])

    return jax.jit(loss), jax.jit(jax.grad(loss, argnums=(0, 1)))


def gradients(x, name, std, bias, *, width, depth, normalization="none", labels=None, stream=Stream()):  # noqa: B008
    """(log10 RMS of dLoss/da_l, of dLoss/dW_l, dLoss/dW itself, the loss as a function of weights, the weights)."""
    weights, biases = scaled_draws(std, bias, width, x.shape[1], depth)
    cotangents = np.asarray(shared.directions(0, "cotangents", len(x), width), float) / np.sqrt(width)
    classes = 1 if labels is None else labels.max() + 1
    readout = np.asarray(shared.readout(0, width, classes), float)
    labels = np.zeros(len(x), int) if labels is None else labels
    nudges = [np.zeros((len(x), width))] * depth
    rest = (x, biases, cotangents, readout, labels)
    with jax.enable_x64(True):
        loss, derivative = loss_of(name, normalization, classes > 1, stream)
        of_weights, of_preactivations = derivative(weights, nudges, *rest)
        rms = [np.log10(np.sqrt([np.mean(g**2) for g in found])) for found in (of_preactivations, of_weights)]
        return rms[0], rms[1], of_weights, lambda changed: float(loss(changed, nudges, *rest)), weights
