"""Independent derivatives: one plain network in float64, differentiated by JAX, sharing only phi and the draws."""

import jax
import jax.numpy as jnp
import numpy as np
from networks import draws

from winit_jax import draws as shared
from winit_jax.activations import ACTIVATIONS


def network(name, normalization):
    """(h_0, weights, biases, nudges of each pre-activation) -> (every a_l, h_L)."""
    phi = ACTIVATIONS[name]

    def run(h, weights, biases, nudges):
        preactivations = []
        for w, b, nudge in zip(weights, biases, nudges, strict=True):
            a = h @ w + b + nudge
            preactivations.append(a)
            if normalization == "batch":
                a = (a - a.mean(axis=0)) / jnp.sqrt(a.var(axis=0) + 1e-5)
            if normalization == "layer":
                a = (a - a.mean(axis=1, keepdims=True)) / jnp.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
            h = phi(a)
        return preactivations, h

    return run


def scaled_draws(std, bias, width, features, depth, shape="normal"):
    unit = draws(shape, width, features, depth)
    return [std * z for z, _ in unit], [bias * b for _, b in unit]


def log10_jacobian(x, name, std, bias, *, width, depth, normalization="none"):
    """By jvp of the whole network, along the directions that the sweep uses: [depth]."""
    weights, biases = scaled_draws(std, bias, width, x.shape[1], depth)
    directions = np.asarray(shared.directions(0, "tangents", len(x), width), float)
    with jax.enable_x64(True):
        run = network(name, normalization)

        def preactivations(nudge):
            return run(jnp.asarray(x), weights, biases, [nudge] + [0.0] * (depth - 1))[0]

        zero = jnp.zeros((len(x), width))
        changes = jax.jit(lambda v: jax.jvp(preactivations, (zero,), (v,))[1])(jnp.asarray(directions))
        return np.array([0.5 * np.log10(np.mean(change**2) / np.mean(directions**2)) for change in changes])


def gradients(x, name, std, bias, *, width, depth, normalization="none", labels=None, wrt="autodiff"):
    """(log10 RMS of dLoss/da_l, of dLoss/dW_l) for each layer, and the loss itself as a function of weights."""
    weights, biases = scaled_draws(std, bias, width, x.shape[1], depth)
    cotangents = np.asarray(shared.directions(0, "cotangents", len(x), width), float) / np.sqrt(width)
    with jax.enable_x64(True):
        run = network(name, normalization)

        def loss(weights, nudges):
            _, h = run(jnp.asarray(x), weights, biases, nudges)
            if labels is None:
                return jnp.sum(jnp.asarray(cotangents) * h) / len(x)
            readout = np.asarray(shared.readout(0, width, labels.max() + 1), float)
            return -jnp.mean(jax.nn.log_softmax(h @ readout)[jnp.arange(len(x)), labels])

        nudges = [jnp.zeros((len(x), width))] * depth
        weights = [jnp.asarray(w) for w in weights]
        of_weights, of_preactivations = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, nudges)
        rms = [np.log10(np.sqrt([np.mean(g**2) for g in found])) for found in (of_preactivations, of_weights)]
        return rms[0], rms[1], of_weights, lambda changed: float(loss(changed, nudges)), weights
