"""Classifiers that learn: their parameters, what they answer and what they lose; pure functions of N at once.

A network of the sweep with a linear readout on top, trained on the softmax cross-entropy of minibatches that
all networks share. Weights of the first layer are kept as [features, N, width], so that a minibatch meets those
of every network in one matrix product; the others lead with their layer or with N.

Inputs with positions are [samples, positions, features]. Their last stream is read at every position where each has
a label of its own (`Architecture.pools` is false), else its mean over positions is.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations.record import Activation, Function
from winit_jax.numerics.blocks import DENSE, Block, Context, Layout
from winit_jax.numerics.blocks.protocol import ROWS
from winit_jax.numerics.initializers import stream_key
from winit_jax.numerics.normalization import NONE, NORM_EPSILON, Normalization

# Of the running statistics that batch normalization is evaluated with.
NORM_MOMENTUM = 0.9
# Scanning over layers compiles in the same time at any depth; so few run faster written out.
WRITTEN_OUT_LAYERS = 8
# Samples of one step of an evaluation, which bounds its memory.
EVALUATED_SAMPLES = 500

# `first`, `readout` and `readout_bias`; `hidden` and `bias` of every layer, and of blocks with weights at several
# places `hidden.NAME` and `bias.NAME` of each, with `bias` of the stem; `scale` and `shift` of every normalization.
# What is added to a stream that batch normalization stands before every reading of has no bias, which would cancel.
Parameters = dict[str, jax.Array]


# Of one update: weights, and biases or None, at each of its places.
Weights = tuple[list[jax.Array], list[jax.Array | None]]


def network_axis(parameter: str) -> int:
    """The axis of the networks in a parameter."""
    return 0 if parameter.startswith("readout") else 1


@dataclass(frozen=True)
class Architecture:
    """What a classifier computes, beside its shapes. norm_position: `pre`, before updates, or `post`, behind them.

    pools: whether the readout reads the mean over positions.
    """

    activation: Activation
    normalization: Normalization = NONE
    block: Block = DENSE
    norm_position: str = "pre"
    precision: str = "highest"
    layout: Layout = ROWS
    pools: bool = True

    @property
    def context(self) -> Context:
        return Context(self.activation, self.activation, self.precision, self.layout)

    def rows(self, depth: int) -> int:
        """Normalizations of a network: of the stem, and of every update of the layers behind it."""
        return 1 + len(self.block.updates) * (depth - 1)

    @property
    def before(self) -> Normalization:
        return self.normalization if self.norm_position == "pre" else NONE

    @property
    def behind(self) -> Normalization:
        return self.normalization if self.norm_position == "post" else NONE


class Scales(NamedTuple):
    """What is not learnt, [N] each.

    epsilon: of the normalization. skip: of the stream beside each update, None where no network has one. branch: of
    what the update makes, None where it is 1 for all. sharpness: attention_gain, None where nothing attends.
    """

    epsilon: jax.Array | float = NORM_EPSILON
    skip: jax.Array | None = None
    branch: jax.Array | None = None
    sharpness: jax.Array | None = None


class Data(NamedTuple):
    """x_*: float32 [samples, features] or [samples, positions, features]. y_*: int32 classes from 0, [samples], or
    [samples, positions] where each position has one."""

    x_train: jax.Array
    y_train: jax.Array
    x_test: jax.Array
    y_test: jax.Array


class Moments(NamedTuple):
    """Mean and variance of the pre-activations over a minibatch, [rows, N, width] each; rows as of `Architecture`."""

    mean: jax.Array
    variance: jax.Array


class Evaluation(NamedTuple):
    """Of N networks, [N] each: mean losses, int32 counts of right answers, log10 of the L2 norm of all gradients of the
    minibatch to come, and the similarity of units in the last hidden layer (see statistics.columns)."""

    train_loss: jax.Array
    train_right: jax.Array
    test_loss: jax.Array
    test_right: jax.Array
    log10_grad_norm: jax.Array
    unit_similarity: jax.Array


@lru_cache
def differentiable(activation: Activation) -> Function:
    """phi with the slope of its own table entry, also at kinks, from the response where that is cheaper."""

    @jax.custom_vjp
    def phi(a: jax.Array) -> jax.Array:
        return activation(a)

    def forth(a: jax.Array) -> tuple[jax.Array, jax.Array]:
        response = activation.response(a)
        return response + activation.at_zero, response if activation.slope_of_response else a

    def back(kept: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        return (cotangent * (activation.slope_of_response or activation.slope)(kept),)

    phi.defvjp(forth, back)
    return phi


def minibatch(data_seed: int, step: int | jax.Array, samples: int, batch_size: int) -> jax.Array:
    """Indices of a step's minibatch, drawn with replacement: int32 [batch_size]; the same for every network."""
    key = jax.random.fold_in(stream_key(data_seed, "minibatches"), step)
    return jax.random.randint(key, (batch_size,), 0, samples)


def answer(
    parameters: Parameters,
    x: jax.Array,
    network: Architecture,
    scales: Scales = Scales(),  # noqa: B008 - a tuple of constants
    running: Moments | None = None,
) -> tuple[jax.Array, jax.Array, Moments | None]:
    """(logits [N, samples, classes], last hidden layer [N, samples, width], moments of each layer).

    x: [samples, features], or with positions. running: what batch normalization is evaluated with; None uses the
    samples' own mean and variance, which are then the moments returned. Out: rows in place of samples where positions
    are not pooled; hidden ones always.
    """
    phi, precision, block = differentiable(network.activation), network.precision, network.block
    features, n_networks, width = parameters["first"].shape
    x = x.reshape(-1, features)
    of_rows: Parameters = {name: parameters[name] for name in ("scale", "shift") if name in parameters}
    if running is not None:
        of_rows["mean"], of_rows["variance"] = running

    def respond(a: jax.Array, norm: Parameters) -> tuple[jax.Array, Moments | None]:
        moments = None
        if not network.before.is_none:
            a, moments = _normalize(a, norm, network.before, scales.epsilon)
        return phi(a) if block.responds else a, moments

    def update(
        at: int, state: tuple[jax.Array | None, jax.Array], weights: Weights, norm: Parameters
    ) -> tuple[tuple[jax.Array | None, jax.Array], Moments | None]:
        stream, h = state
        a = block.updates[at].learn(h, *weights, phi, scales.sharpness, network.context)
        if scales.branch is not None:
            a = scales.branch[:, None, None] * a
        if stream is not None and scales.skip is not None:
            a = scales.skip[:, None, None] * stream + a
        behind = None
        if not network.behind.is_none:
            a, behind = _normalize(a, norm, network.behind, scales.epsilon)
        h, before = respond(a, norm)
        return (None if stream is None else a, h), before if behind is None else behind

    def hidden_layer(
        state: tuple[jax.Array | None, jax.Array], layer: tuple[list[Weights], Parameters]
    ) -> tuple[tuple[jax.Array | None, jax.Array], Moments | None]:
        weights, norms = layer
        moments = []
        for at, of_update in enumerate(weights):
            state, found = update(at, state, of_update, jax.tree.map(lambda p, at=at: p[at], norms))
            moments.append(found)
        return state, jax.tree.map(lambda *x: jnp.stack(x), *moments)

    product = jnp.matmul(x, parameters["first"].reshape(features, -1), precision=precision)
    a = jnp.moveaxis(product.reshape(len(x), n_networks, width), 1, 0)
    if "bias" in parameters:
        a = a + parameters["bias"][0][:, None]
    h, moments = respond(a, jax.tree.map(lambda p: p[0], of_rows))
    if network.behind.joins_samples:  # nothing stands behind the stem
        moments = Moments(jnp.zeros((n_networks, width)), jnp.ones((n_networks, width)))
    if moments is not None:
        moments = jax.tree.map(lambda moment: moment[None], moments)
    weights = hidden_weights(parameters, block, width)
    if weights is not None:
        count, per_layer = len(jax.tree.leaves(weights)[0]), len(block.updates)
        norms = jax.tree.map(lambda p: p[1:].reshape(count, per_layer, *p.shape[1:]), of_rows)
        written_out = count < WRITTEN_OUT_LAYERS
        state = (None if scales.skip is None else a, h)
        (_, h), rest = jax.lax.scan(hidden_layer, state, (weights, norms), unroll=written_out)
        if moments is not None:
            moments = jax.tree.map(
                lambda moment, more: jnp.concatenate([moment, more.reshape(-1, *more.shape[2:])]), moments, rest
            )
    read = h
    if network.pools and network.layout.positions > 1:
        read = jnp.mean(h.reshape(n_networks, -1, network.layout.positions, width), axis=2)
    logits = jnp.matmul(read, parameters["readout"], precision=precision) + parameters["readout_bias"][:, None]
    return logits, h, moments


def hidden_weights(parameters: Parameters, block: Block, width: int) -> list[Weights] | None:
    """(Weights, biases or None) at each place of each update, with a leading axis of layers; None at depth 1."""
    places = [update.places(width) for update in block.updates]
    if sum(map(len, places)) == 1:
        if "hidden" not in parameters:
            return None
        biases = parameters["bias"][1:] if "bias" in parameters else None
        return [([parameters["hidden"]], [biases])]
    if f"hidden.{places[0][0].name}" not in parameters:
        return None
    return [
        (
            [parameters[f"hidden.{place.name}"] for place in of_update],
            [parameters.get(f"bias.{place.name}") for place in of_update],
        )
        for of_update in places
    ]


def _normalize(
    a: jax.Array, layer: dict[str, jax.Array], normalization: Normalization, epsilon: jax.Array | float
) -> tuple[jax.Array, Moments | None]:
    """scale (a - mean) / sqrt(var + epsilon) + shift over samples or units of a [N, samples, width].

    RMS normalization has neither mean nor shift. The variance divides by the count, here and in the running statistics;
    where var + epsilon is 0 so is the quotient.
    """
    axis = 1 if normalization.joins_samples else 2
    moments = None
    if "mean" in layer:
        centered, variance = a - layer["mean"][:, None], layer["variance"][:, None]
    else:
        mean = jnp.mean(a, axis=axis, keepdims=True) if normalization.centers else jnp.zeros(())
        centered = a - mean
        variance = jnp.mean(centered * centered, axis=axis, keepdims=True)
        if normalization.joins_samples:
            moments = Moments(mean[:, 0], variance[:, 0])
    total = variance + jnp.reshape(epsilon, (-1, 1, 1))
    # A root that is not taken needs no slope either.
    shrink = jnp.where(total > 0, jax.lax.rsqrt(jnp.where(total > 0, total, 1.0)), 0.0)
    normalized = centered * shrink
    scaled = layer["scale"][:, None] * normalized
    return scaled + layer["shift"][:, None] if "shift" in layer else scaled, moments


def losses(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Softmax cross-entropy of logits [N, answers, classes] for as many classes y: [N, answers]."""
    y = y.reshape(-1)
    right = jax.nn.one_hot(y, logits.shape[-1], dtype=logits.dtype)
    # Subtracted before the sum, so that a confident right answer keeps the digits of its small loss.
    return jax.nn.logsumexp(logits - jnp.sum(right * logits, axis=-1, keepdims=True), axis=-1)


def gradients(
    parameters: Parameters,
    x: jax.Array,
    y: jax.Array,
    network: Architecture,
    scales: Scales = Scales(),  # noqa: B008 - a tuple of constants
) -> tuple[jax.Array, Moments | None, Parameters]:
    """(Mean loss of each network on a minibatch [N], its moments, gradients of each network's own loss)."""

    def total(parameters: Parameters) -> tuple[jax.Array, tuple[jax.Array, Moments | None]]:
        logits, _, moments = answer(parameters, x, network, scales)
        means = jnp.mean(losses(logits, y), axis=1)
        return jnp.sum(means), (means, moments)

    (_, (means, moments)), of_parameters = jax.value_and_grad(total, has_aux=True)(parameters)
    return means, moments, of_parameters


def log10_norm(gradients: Parameters) -> jax.Array:
    """log10 of the L2 norm of each network's gradients, all parameters together: [N].

    In units of the largest entry, so that squares neither overflow nor vanish.
    """

    def rows(name: str, g: jax.Array) -> jax.Array:
        return jnp.moveaxis(g, network_axis(name), 0).reshape(g.shape[network_axis(name)], -1)

    flat = [rows(name, g) for name, g in gradients.items()]
    largest = jnp.stack([jnp.max(jnp.abs(g), axis=1) for g in flat]).max(axis=0)
    unit = jnp.where(largest > 0, largest, 1.0)[:, None]
    squares = jnp.stack([jnp.sum(jnp.square(g / unit), axis=1) for g in flat]).sum(axis=0)
    return jnp.log10(largest) + 0.5 * jnp.log10(jnp.where(largest > 0, squares, 1.0))


def evaluate(
    parameters: Parameters,
    x: jax.Array,
    y: jax.Array,
    network: Architecture,
    scales: Scales = Scales(),  # noqa: B008 - a tuple of constants
    running: Moments | None = None,
) -> tuple[jax.Array, jax.Array]:
    """(Mean loss, int32 count of right answers) over a data set, [N] each; ties go to the first class."""
    samples, answers = len(x), y.size // len(y)
    chunk = min(samples, max(1, EVALUATED_SAMPLES // network.layout.positions))
    chunks = -(-samples // chunk)
    padding = chunks * chunk - samples
    counts = jnp.repeat(jnp.arange(chunks * chunk) < samples, answers).reshape(chunks, -1)
    x = jnp.pad(x, ((0, padding), *((0, 0),) * (x.ndim - 1))).reshape(chunks, chunk, *x.shape[1:])
    y = jnp.pad(y, ((0, padding), *((0, 0),) * (y.ndim - 1))).reshape(chunks, -1)

    def of_chunk(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, y, counts = chunk
        logits, _, _ = answer(parameters, x, network, scales, running)
        right = jnp.argmax(logits, axis=-1) == y
        return (
            jnp.sum(jnp.where(counts, losses(logits, y), 0.0), axis=1),
            jnp.sum(jnp.where(counts, right, False), axis=1, dtype=jnp.int32),
        )

    lost, right = jax.lax.map(of_chunk, (x, y, counts))
    return jnp.sum(lost, axis=0) / (samples * answers), jnp.sum(right, axis=0, dtype=jnp.int32)


def unit_similarity(h: jax.Array) -> jax.Array:
    """(sum_i (sum_j h_ij)^2 - sum h^2) / ((width - 1) sum h^2) of h [N, samples, width]: [N]; NaN without a signal."""
    largest = jnp.max(jnp.abs(h), axis=(1, 2), keepdims=True)
    h = h / largest
    squares = jnp.sum(h * h, axis=(1, 2))
    others = h.shape[2] - 1
    similarity = (jnp.sum(jnp.square(jnp.sum(h, axis=2)), axis=1) - squares) / (others * squares)
    return jnp.clip(similarity, -1 / max(1, others), 1)  # but for rounding; NaN stays
