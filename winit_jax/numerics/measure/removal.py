"""Where a normalization removes all of a change but for its epsilon, told by structure rather than by digits.

Layer and RMS normalization remove changes along a itself. Where at most one unit of a sample responds, its change is a
multiple of its response, and without biases so is the change of the next a, which N then multiplies by
kappa = epsilon / (var + epsilon), 1e-5 or so. The same holds at every further layer where phi is positively
homogeneous: u kappa goes on as h kappa. Batch normalization leaves a sample n - 2 dimensions: samples that no unit
responded to have been alike ever since, they and their changes, and where no more than two different ones are left
nothing but epsilon's part remains.
Digits cannot tell this: float32 leaves 1e-7 of such a change, which later layers do not remove, and the true
value falls by 1e-5 a layer. Only tiny networks have such layers (a unit is silent half the time), so only they are
watched.
Where a change is nearly removed by chance, what is left is of few digits: its expected squared relative error is
carried along as its doubt, and a number of too much doubt is NaN.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.normalization import Normalization
from winit_jax.numerics.scaled import Scaled, power_of_two
from winit_jax.numerics.signals import Argument, Preactivation

# At more units, fewer than one sample in 10^6 has at most one that responds.
WATCHED_WIDTH = 24
# Batch normalization leaves so few samples so few dimensions that any width may lose most of a change.
WATCHED_SAMPLES = 8
# Float32 rounds a sum of products by about so much of the root of its summed squares: squared.
ROUNDING = 2.0**-46
# A mean square whose root may be off by more than this share is no number: squared; three times it is 1%.
MOST_DOUBT = 3e-3**2


class Alike(NamedTuple):
    """What is known of the samples of one network before a layer's normalization.

    classes: int32 [samples], under batch normalization: samples of one class are alike, they and all changes that
    reach them. aligned: boolean [samples], under layer normalization: every change that reaches the sample is along a.
    doubts: of the change that is carried, [samples], see `doubt`.
    """

    classes: jax.Array
    aligned: jax.Array
    doubts: jax.Array


class Watched(NamedTuple):
    """What the way back through a layer needs of `Alike`.

    removed: where P t is 0 for what comes from below. aligns: boolean [samples, 1], through which samples' responses
    nothing passes, on the way back, but what epsilon has left of it. rough: see `roughness`.
    """

    removed: jax.Array
    aligns: jax.Array
    rough: jax.Array


def is_watched(normalization: Normalization, samples: int, width: int, constant: bool = False) -> bool:
    """Whether a normalization may remove whole changes in networks of this size.

    constant: whether all entries of a draw are one number, so that a layer's units are all one.
    """
    small = width <= WATCHED_WIDTH or (normalization.joins_samples and samples <= WATCHED_SAMPLES)
    return not normalization.is_none and (small or constant)


def at_first(samples: int) -> Alike:
    """Before the first normalization every sample has a change of its own."""
    return Alike(jnp.arange(samples, dtype=jnp.int32), jnp.zeros(samples, bool), jnp.zeros(samples))


def removed(alike: Alike, normalization: Normalization, width: int) -> jax.Array:
    """Where P t is 0 for what comes through the layers below, as [samples, 1] or [1, 1]."""
    if not normalization.joins_samples:
        return alike.aligned[:, None] | (width <= normalization.removed_directions)
    representatives = alike.classes == jnp.arange(alike.classes.size)
    return (jnp.sum(representatives) <= 2)[None, None]


def nothing_left(normalization: Normalization, samples: int, width: int) -> jax.Array:
    """Whether P itself is 0, for want of a further dimension: [1, 1]."""
    dimensions = samples if normalization.joins_samples else width
    return jnp.full((1, 1), dimensions <= normalization.removed_directions)


def responding(response: jax.Array, slopes: jax.Array) -> jax.Array:
    """Which units answer or would answer a change: boolean [samples, width]."""
    return (response != 0) | (slopes != 0)


def persists(activation: Activation, normalization: Normalization) -> bool:
    """Whether what epsilon has left goes on as a change that the next normalization removes, without biases."""
    return activation.homogeneous or normalization.joins_samples


def _aligning(active: jax.Array, activation: Activation, bias: Scaled) -> jax.Array:
    """Of which samples a response of at most one unit aligns all changes with the next a: boolean [samples]."""
    if activation.at_zero:
        return jnp.zeros(active.shape[0], bool)
    aligns: jax.Array = (jnp.sum(active, axis=1) <= 1) & (bias.value == 0)
    return aligns


def after(alike: Alike, active: jax.Array, activation: Activation, bias: Scaled) -> Alike:
    """The same before the next layer's normalization. active: of this layer, see `responding`."""
    kept = alike.aligned & activation.homogeneous & (bias.value == 0)
    silent = ~jnp.any(active, axis=1)
    # If one sample of a class is silent all are; silent ones are one class from now on, named by its first.
    first = jnp.min(jnp.where(silent, alike.classes, alike.classes.size))
    return Alike(jnp.where(silent, first, alike.classes), _aligning(active, activation, bias) | kept, alike.doubts)


def roughness(preactivation: Preactivation, argument: Argument, normalization: Normalization) -> jax.Array:
    """The squared relative error of kappa / spread, in units of ROUNDING: [1, width] or [samples, 1].

    kappa / spread = epsilon / (var + epsilon)^(3/2), and var that a is rounded: 3 (a - mean) da / (var + epsilon),
    which is large where var is about epsilon and a itself is not.
    """
    source = preactivation if preactivation.distinct is None else preactivation.distinct
    a = source.factor * source.product if normalization.joins_samples else source.value
    assert argument.shrink is not None
    of_spread = jnp.square(argument.shrink.in_units_of(-source.exponent))
    u = argument.value * power_of_two(argument.exponent)
    along = jnp.mean(jnp.square(u), axis=normalization.axis, keepdims=True)
    return 9 * jnp.mean(jnp.square(a)) * of_spread * along


def watch(
    alike: Alike,
    active: jax.Array,
    activation: Activation,
    bias: Scaled,
    normalization: Normalization,
    rough: jax.Array,
) -> tuple[Watched, Alike]:
    """(What a layer's way back needs, what is known before the next layer's normalization)."""
    samples, width = active.shape
    following = after(alike, active, activation, bias)
    now = removed(alike, normalization, width)
    if not normalization.joins_samples:
        aligns = _aligning(active, activation, bias)[:, None]
    else:
        # Of two kinds of samples, what N leaves of a gradient sums to 0 over each: a sample alone has nothing of it.
        first = following.classes == following.classes[0]
        alike_to_it = jnp.sum(first)
        alone = jnp.where(first, alike_to_it == 1, samples - alike_to_it == 1)[:, None]
        aligns = removed(following, normalization, width) & (~now | alone)
    return Watched(now, aligns, rough), following


def doubt(noise: jax.Array, kept: jax.Array, normalization: Normalization) -> jax.Array:
    """The squared relative error that rounding adds to a change, for each sample: [samples].

    noise: expected squares of what float32 rounds, in units of ROUNDING; kept: squares of what is left, both
    [samples, width] and at one scale. Batch normalization joins the samples, which share their doubt.
    """
    axis, samples = None if normalization.joins_samples else 1, noise.shape[:1]
    noise, kept = (jnp.sum(x, axis=axis, keepdims=True) for x in (noise, kept))
    doubts = jnp.where(noise > 0, ROUNDING * noise / kept, 0.0)
    return jnp.broadcast_to(doubts[0], samples) if normalization.joins_samples else doubts[:, 0]


def through_shared_weights(
    value: jax.Array, argument: jax.Array, slopes: jax.Array, activation: Activation
) -> tuple[jax.Array, jax.Array]:
    """A change phi'(u) N t, [samples, width], that one and the same weight adds up over units; doubts of its sums.

    N t itself adds up to 0, so where phi' is one number, nothing is left.
    """
    same = jnp.all(argument == argument[:, :1], axis=1)
    if activation.homogeneous:
        same |= jnp.all(slopes == slopes[:, :1], axis=1)
    value = jnp.where(same[:, None], 0.0, value)
    sums, squares = jnp.sum(value, axis=1), jnp.sum(jnp.square(value), axis=1)
    # A sum that rounding made 0 is not known to be 0.
    rounded = jnp.where(sums == 0, jnp.sqrt(ROUNDING * squares), 0.0)
    value = value.at[:, 0].add(rounded)
    return value, jnp.where(squares > 0, ROUNDING * squares / jnp.square(sums + rounded), 0.0)


def unless_doubtful(mean_square: jax.Array, value: jax.Array, doubts: jax.Array) -> jax.Array:
    """A mean square of value [samples, width], or NaN where the samples' doubts [samples] leave it too few digits."""
    sizes = jnp.sum(jnp.square(value), axis=1)
    doubtful = jnp.sum(jnp.where(sizes > 0, doubts * sizes, 0.0)) > MOST_DOUBT * jnp.sum(sizes)
    return jnp.where(doubtful, jnp.nan, mean_square)
