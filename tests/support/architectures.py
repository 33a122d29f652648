"""Every block as a plain float64 network of JAX, written from its definition and sharing only phi and the draws."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from support.plain import normalized
from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import BLOCKS

POSITIONS, SIDE = 4, 2


class Setting(NamedTuple):
    """What a network stands in beside its block."""

    activation: str = "tanh"
    normalization: str = "none"
    position: str = "pre"
    skip: float = 1.0
    branch: float = 1.0
    gain: float = 1.0


def positions_of(block):
    return POSITIONS if BLOCKS.find(block).needs_positions else 1


def _convolved(h, weights, taps, dimensions):
    """Circular convolution of [samples, positions, n]; weights [taps, n, n], the centre first, then in order."""
    sides = (POSITIONS,) if dimensions == 1 else (SIDE, SIDE)
    along = [step - taps // 2 for step in range(taps)]
    offsets = list(itertools.product(along, repeat=dimensions))
    offsets = [offset for offset in offsets if not any(offset)] + [offset for offset in offsets if any(offset)]
    laid = h.reshape(len(h), *sides, -1)
    read = 0.0
    for offset, tap in zip(offsets, weights, strict=True):
        for place in range(dimensions):
            assert sides[place] > 0
        read = read + jnp.roll(laid, [-step for step in offset], tuple(range(1, 1 + dimensions))) @ tap
    return read.reshape(h.shape)


def _attended(u, query, key, value, out, heads, gain, causal):
    _, positions, width = u.shape
    size = width // heads
    mixed = []
    for head in range(heads):
        units = slice(head * size, (head + 1) * size)
        q, k, v = (u @ weights[:, units] for weights in (query, key, value))
        logits = gain * jnp.einsum("spd,sqd->spq", q, k) / np.sqrt(size)
        if causal:
            logits = jnp.where(np.tri(positions, dtype=bool), logits, -jnp.inf)
        mixed.append(jnp.einsum("spq,sqd->spd", jax.nn.softmax(logits, axis=-1), v))
    return jnp.concatenate(mixed, axis=-1) @ out


def updates_of(block, setting):
    """[(weights, biases, u) -> what is added], of each update of the block; u is [rows, n] and not phi of it."""
    phi = ACTIVATIONS[setting.activation]
    name, _, arguments = block.rstrip(")").partition("(")
    words = [word.strip() for word in arguments.split(",")] if arguments else []
    numbers, causal = [int(word) for word in words if word != "causal"], "causal" in words

    def affine(weights, biases, u):
        return phi(u) @ weights[0] + biases[0]

    def convolution(weights, biases, u):
        dimensions = 2 if "2d" in name else 1
        width, samples = u.shape[1], len(u) // POSITIONS
        taps = weights[0].reshape(-1, width, width)
        read = _convolved(phi(u).reshape(samples, POSITIONS, width), taps, numbers[0], dimensions)
        return read.reshape(u.shape) + biases[0]

    def perceptron(weights, biases, u):
        return phi(u @ weights[0] + biases[0]) @ weights[1] + biases[1]

    def gate(weights, biases, u):
        return (phi(u @ weights[0]) * (u @ weights[1])) @ weights[2]

    def attend(weights, biases, u):
        laid = u.reshape(-1, POSITIONS, u.shape[1])
        return _attended(laid, *weights, numbers[0], setting.gain, causal).reshape(u.shape)

    of_name = {"mlp": [perceptron], "gated": [gate], "attention": [attend], "transformer": [attend, perceptron]}
    if "conv" in name:
        return [convolution]
    return of_name.get(name, [affine])


def responds(block):
    return block in ("dense", "residual") or "conv" in block


def network(block, setting):
    """(x, first, hidden, nudges of each row's stream) -> (the stream of every row, what the loss reads)."""
    phi, updates = ACTIVATIONS[setting.activation], updates_of(block, setting)

    def pre(a):
        return normalized(a, setting.normalization) if setting.position == "pre" else a

    def run(x, first, hidden, nudges):
        nudge = iter(nudges)
        a = x @ first[0] + first[1] + next(nudge)
        streams = [a]
        for layer in hidden:
            for update, (weights, biases) in zip(updates, layer, strict=True):
                a = setting.skip * a + setting.branch * update(weights, biases, pre(a))
                a = (normalized(a, setting.normalization) if setting.position == "post" else a) + next(nudge)
                streams.append(a)
        return streams, (phi(pre(a)) if responds(block) else pre(a))

    return run


def scaled(family, at, features, layers):
    """(The stem's weights and biases, those of each update of each layer behind it), in float64, of one network.

    family: with scales that are those of every layer, or of each its own.
    """
    first = family.first_layer(features)
    stem = (
        family.first_std[at] * np.asarray(first.weights, float),
        family.layer(1).bias_std[at] * np.asarray(first.biases, float),
    )
    stack = family.hidden_layers(layers)
    hidden = []
    for layer in range(layers - 1):
        scales = family.layer(2 + layer)
        stds, bias_stds, of_layer = iter(scales.place_stds[:, at]), iter(scales.place_bias_stds[:, at]), []
        for of_update in stack:
            weights = [next(stds) * np.asarray(place.weights[layer], float) for place in of_update]
            biases = [next(bias_stds) * np.asarray(place.biases[layer], float) for place in of_update]
            of_layer.append((weights, biases))
        hidden.append(of_layer)
    return stem, hidden


def log10_jacobian(family, at, x, layers, setting):
    """By jvp of the whole network, along the directions that the sweep uses: [rows]."""
    stem, hidden = scaled(family, at, x.shape[1], layers)
    directions = np.asarray(shared.directions(family.seed, "tangents", len(x), family.width), float)
    run, rows = network(family.block.name, setting), 1 + len(family.block.updates) * (layers - 1)
    with jax.enable_x64(True):

        def streams(nudge):
            return run(x, stem, hidden, [nudge] + [0.0] * (rows - 1))[0]

        changes = jax.jit(lambda at_zero: jax.jvp(streams, (at_zero,), (directions,))[1])(jnp.zeros(directions.shape))
        return np.array([0.5 * np.log10(np.mean(change**2) / np.mean(directions**2)) for change in changes])


def gradients(family, at, x, layers, setting, labels=None):
    """(log10 RMS of dLoss/da of every row, of dLoss/dW over all weights of each row's update)."""
    stem, hidden = scaled(family, at, x.shape[1], layers)
    positions = positions_of(family.block.name)
    cotangents = np.asarray(shared.directions(family.seed, "cotangents", len(x), family.width), float)
    run, rows = network(family.block.name, setting), 1 + len(family.block.updates) * (layers - 1)
    samples = len(x) // positions
    with jax.enable_x64(True):

        def loss(weights, nudges):
            _, h = run(x, weights[0], weights[1], nudges)
            if labels is None:
                return jnp.sum(cotangents / np.sqrt(family.width) * h) / samples
            readout = np.asarray(shared.readout(family.seed, family.width, labels.max() + 1), float)
            answers = jax.nn.log_softmax(h @ readout)[jnp.arange(len(x)), labels]
            return -jnp.sum(answers) / samples

        nudges = [jnp.zeros((len(x), family.width))] * rows
        of_weights, of_streams = jax.jit(jax.grad(loss, argnums=(0, 1)))((stem, hidden), nudges)
    flat = [[of_weights[0][0]]] + [weights for layer in of_weights[1] for weights, _ in layer]
    of_rows = [np.concatenate([np.ravel(part) for part in parts]) for parts in flat]
    return tuple(0.5 * np.log10([np.mean(np.square(part)) for part in parts]) for parts in (of_streams, of_rows))
