"""Blocks rounded at every step, forth and back, against loops in float64 NumPy that round with ml_dtypes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.formats import cast, rms, shares
from winit_jax.columns.formats import FORMATS
from winit_jax.numerics import draws, narrow
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.blocks.attention import Attention
from winit_jax.numerics.blocks.protocol import Context, Layout, Scales
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import backward, families
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.scaled import Scaled, power_of_two

SAMPLES, POSITIONS, WIDTH, DEPTH = 6, 4, 8, 3
ROWS = SAMPLES * POSITIONS


class Kind(NamedTuple):
    """Of a network. gain: std times the root of the width."""

    skip: float
    branch: float
    gain: float
    sharpness: float


# The second one, of normalized signals alone, saturates float8_e4m3fn on the way, and brings large queries back to
# logits near 1.
KINDS = (Kind(0.8, 0.7, 1.5, 2.0), Kind(0.5, 1e-2, 60.0, 2e-4))
# Blocks and normalizations.
CASES = [
    ("transformer(2, 2, causal)", "layer"),
    ("attention(2)", "none"),
    ("gated(2)", "none"),
    ("attention(4, causal)", "layer"),
    ("mlp(2)", "layer"),
    ("conv(3)", "layer"),
]


class Taken(NamedTuple):
    """An update at its signal: what it gives before that is rounded, and the same of changes of the signal.

    pull: from the gradient at what it gives, to that at the signal, before it is rounded, and of the weights.
    """

    product: np.ndarray
    push: object
    pull: object


class Steps:
    """Each kind of update, rounded after every step as docs/definitions.md has them."""

    def __init__(self, to, kind, causal, heads):
        self.near = lambda values: cast(values, to)
        self.kind, self.causal, self.heads = kind, causal, heads

    def phi(self, u):
        return np.asarray(ACTIVATIONS["tanh"](jnp.asarray(u, jnp.float32)), np.float64)

    def slope(self, u):
        return np.asarray(ACTIVATIONS["tanh"].slope(jnp.asarray(u, jnp.float32)), np.float64)

    def mlp(self, u, up, down):
        (w, b), (v, c), near = up, down, self.near
        z = near(u @ w + b)
        y, slopes = near(self.phi(z)), self.slope(z)

        def pull(g):
            at_z = near(slopes * near(g @ v.T))
            return at_z @ w.T, [near(u.T @ at_z), near(y.T @ g)]

        return Taken(y @ v + c, lambda t: near(slopes * near(t @ w)) @ v, pull)

    def gated(self, u, gate, value, out):
        (w, _), (v, _), (o, _), near = gate, value, out, self.near
        z, x = near(u @ w), near(u @ v)
        y, slopes = near(self.phi(z)), self.slope(z)

        def push(t):
            return near(slopes * near(t @ w) * x + y * near(t @ v)) @ o

        def pull(g):
            at_product = near(g @ o.T)
            at_z, at_x = near(slopes * x * at_product), near(y * at_product)
            below = near(at_z @ w.T) + near(at_x @ v.T)
            return below, [near(u.T @ at_z), near(u.T @ at_x), near(near(y * x).T @ g)]

        return Taken(near(y * x) @ o, push, pull)

    def conv(self, h, place):
        ((w, b),) = (place,)
        taps = w.reshape(3, WIDTH, WIDTH)

        def reads(row):
            """What the three taps of a row read: itself, the one before and the one behind, circular."""
            sample, position = divmod(row, POSITIONS)
            return [sample * POSITIONS + (position + step) % POSITIONS for step in (0, -1, 1)]

        def product(h):
            return np.array([sum(h[at] @ tap for at, tap in zip(reads(row), taps, strict=True)) for row in range(ROWS)])

        def pull(g):
            below, of_taps = np.zeros_like(h), np.zeros_like(taps)
            for row in range(ROWS):
                for tap, at in enumerate(reads(row)):
                    below[at] += g[row] @ taps[tap].T
                    of_taps[tap] += np.outer(h[at], g[row])
            return below, [self.near(of_taps)]

        return Taken(product(h) + b, product, pull)

    def attention(self, u, *places):
        near, (query, key, value, out) = self.near, [w for w, _ in places]
        size = WIDTH // self.heads
        scale = self.kind.sharpness / np.sqrt(size)
        q, k, v = near(u @ query), near(u @ key), near(u @ value)
        heads = [
            (slice(sample * POSITIONS, (sample + 1) * POSITIONS), slice(head * size, (head + 1) * size))
            for sample in range(SAMPLES)
            for head in range(self.heads)
        ]
        seen = np.tri(POSITIONS, dtype=bool) if self.causal else np.ones((POSITIONS, POSITIONS), bool)
        softmaxes = []
        for at in heads:
            logits = np.where(seen, near(scale * q[at] @ k[at].T), -np.inf)
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            softmaxes.append(powers / powers.sum(axis=1, keepdims=True))
        self.entropies = [
            -sum(p * np.log(p) for p in row if p) / np.log(count)
            for softmax in softmaxes
            for row, count in zip(softmax, seen.sum(axis=1), strict=True)
            if count > 1
        ]

        def through(softmax, moved):
            return softmax * (moved - np.sum(softmax * moved, axis=1, keepdims=True))

        mixed = np.empty_like(u)
        for at, softmax in zip(heads, softmaxes, strict=True):
            mixed[at] = near(near(softmax) @ v[at])

        def push(t):
            dq, dk, dv, changed = near(t @ query), near(t @ key), near(t @ value), np.empty_like(u)
            for at, softmax in zip(heads, softmaxes, strict=True):
                of_logits = near(scale * (dq[at] @ k[at].T + q[at] @ dk[at].T))
                of_weights = near(through(softmax, of_logits))
                changed[at] = near(of_weights @ v[at] + near(softmax) @ dv[at])
            return changed @ out

        def pull(g):
            above, gq, gk, gv = near(g @ out.T), *(np.empty_like(u) for _ in range(3))
            for at, softmax in zip(heads, softmaxes, strict=True):
                of_product = near(scale * through(softmax, near(above[at] @ v[at].T)))
                gq[at], gk[at] = near(of_product @ k[at]), near(of_product.T @ q[at])
                gv[at] = near(near(softmax).T @ above[at])
            below = sum(near(of @ w.T) for of, w in ((gq, query), (gk, key), (gv, value)))
            return below, [*(near(u.T @ of) for of in (gq, gk, gv)), near(mixed.T @ g)]

        return Taken(mixed @ out, push, pull)


class Loop:
    """A network in NumPy, rounded after every step: its rows, the stem and every update of a layer."""

    def __init__(self, x, to, kind, block, normalization):
        name, _, arguments = block.rstrip(")").partition("(")
        steps = Steps(to, kind, "causal" in arguments, int(arguments.split(",")[0]))
        kinds = {"transformer": [steps.attention, steps.mlp]}.get(name) or [getattr(steps, name)]
        self.near, self.to, self.kind, self.x = steps.near, to, kind, x
        self.responds, self.norm = name == "conv", normalization
        of = family(to, kind, block)
        std = of.first_std[0]

        def of_place(w, b, is_biased):
            return self.near(std * np.asarray(w, float)), self.near(0.3 * std * is_biased * np.asarray(b, float))

        first = of.first_layer(WIDTH)
        self.stem = of_place(first.weights, first.biases, True)
        product = x @ self.stem[0] + self.stem[1]
        self.a, self.exact, self.taken, self.entropies, self.read = [self.near(product)], [product], [], [np.nan], []
        stack = of.stack(2, DEPTH - 1)
        for layer in range(DEPTH - 1):
            for update, places in zip(kinds, stack, strict=True):
                biased = update.__name__ in ("mlp", "conv")
                given = [of_place(place.weights[layer], place.biases[layer], biased) for place in places]
                self.read.append(self.response(self.a[-1], steps))
                taken = update(self.read[-1][0], *given)
                multiple = self.near(kind.branch * self.near(taken.product))
                self.exact.append(kind.branch * taken.product + kind.skip * self.a[-1])
                self.a.append(self.near(kind.skip * self.a[-1] + multiple))
                self.taken.append(taken)
                self.entropies.append(np.mean(steps.entropies) if update.__name__ == "attention" else np.nan)
        self.read.append(self.response(self.a[-1], steps))

    def response(self, a, steps):
        """(What updates read of a stream, the map of a change of the stream to that of it, before it is rounded)."""
        if self.norm == "none":
            u, spread = a, 1.0
        else:
            spread = np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
            u = self.near((a - a.mean(axis=1, keepdims=True)) / spread)
        slopes = steps.slope(u) if self.responds else 1.0
        h = self.near(steps.phi(u)) if self.responds else u

        def normalized(t):
            if self.norm == "none":
                return t
            return (t - t.mean(axis=1, keepdims=True) - u * np.mean(u * t, axis=1, keepdims=True)) / spread

        return h, lambda t: slopes * normalized(t), lambda g: normalized(slopes * g)

    def changes(self, t):
        """The RMS of the change at each row, over that of the first."""
        stream, sizes = self.near(t), []
        for (_, forth, _), taken in zip(self.read, [*self.taken, None], strict=True):
            sizes.append(rms(stream))
            if taken is not None:
                pushed = self.near(self.kind.branch * self.near(taken.push(self.near(forth(stream)))))
                stream = self.near(self.kind.skip * stream + pushed)
        return np.array(sizes) / sizes[0]

    def gradients(self, c):
        """(dLoss/da, [dLoss/dW at each place], what rounding dLoss/da lost) of each row."""
        g, above, found = self.near(c / (SAMPLES * np.sqrt(WIDTH))), np.zeros_like(c), []
        for row in reversed(range(len(self.a))):
            exact = self.read[row][2](g)
            at_stream = self.near(self.near(exact) + self.kind.skip * above)
            lost = shares(exact + self.kind.skip * above, self.to)
            if row:
                below, of_weights = self.taken[row - 1].pull(self.near(self.kind.branch * at_stream))
                g, above = self.near(below), at_stream
            else:
                of_weights = [self.near(self.x.T @ at_stream)]
            found.append((at_stream, of_weights, lost))
        return found[::-1]


def family(to, kind, block):
    skip, branch, gain, sharpness = (np.array([value]) for value in kind)
    stds = gain / np.sqrt(WIDTH)
    of_scales = {"skip": skip, "branch": branch, "sharpness": sharpness}
    return Family(3, "normal", WIDTH, stds, stds, 0.3 * stds, block=BLOCKS.find(block), **of_scales, format=to)


def all_networks(block, kinds, settings):
    """Networks of every format and kind, which one program computes."""
    groups = (
        group.networks
        for to in FORMATS.values()
        for kind in kinds
        for group in families.groups(family(to, kind, block), WIDTH, settings, shared=False)
    )
    return jax.tree.map(lambda *parts: np.concatenate(parts), *groups)


def inputs():
    """Numbers that every format has."""
    x = np.random.default_rng(5).standard_normal((ROWS, WIDTH))
    return cast(np.where(np.abs(x) < 2**-5, 0.5, x), FORMATS["float8_e5m2"])


@jax.jit
def attended(signal, change, weights, sharpness, to):
    """What attention in two heads adds, and its change: [rows, width] each, at their true scale."""
    zeros, ones = jnp.zeros(WIDTH), Scaled(jnp.ones(4), jnp.zeros(4, jnp.int32))
    of_places = tuple(Scaled(*each) for each in zip(*ones, strict=True))
    layers = tuple(Layer(weight, jnp.sum(weight, axis=0), zeros) for weight in weights)
    none = tuple(Scaled(jnp.float32(0.0), jnp.int32(0)) for _ in weights)
    context = Context(activation("tanh"), ACTIVATIONS["identity"], layout=Layout(POSITIONS), format=to)
    tangent = Tangent(*change, jnp.float32(1.0))
    found = Attention(2).forward(narrow.signal(signal), tangent, layers, Scales(of_places, none, sharpness), context)
    a, moved = found.preactivation, found.change
    return a.value * power_of_two(a.exponent), moved.factor * moved.value * power_of_two(moved.exponent), found.entropy


def attend(to, sharpness, exponent=0):
    """The same of inputs carried beside 2^exponent, with what the loop says of it."""
    rng = np.random.default_rng(8)
    x, t = inputs(), cast(rng.standard_normal((ROWS, WIDTH)), to)
    weights = [cast(rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH), to) for _ in range(4)]
    carried = tuple(Scaled(jnp.float32(np.ldexp(part, -exponent)), jnp.int32(exponent)) for part in (x, t))
    limits = jax.tree.map(lambda number: number[0], narrow.limits(to, 1))
    found = attended(*carried, jnp.float32(weights), Scaled(jnp.float32(sharpness), jnp.int32(0)), limits)
    steps = Steps(to, Kind(0.0, 1.0, 1.0, sharpness), False, 2)
    with np.errstate(invalid="ignore"):
        taken = steps.attention(x, *((weight, 0.0) for weight in weights))
        return found, (taken.product, taken.push(t), np.mean(steps.entropies))


@pytest.mark.parametrize("to", FORMATS.values(), ids=list(FORMATS))
def test_attention_rounds_as_the_loop_does_at_any_carried_exponent(to):
    plain, (product, changed, entropy) = attend(to, 2.0)
    # Sums of a few rounded numbers; one that falls to the other side of a tie would be off by a place.
    np.testing.assert_allclose(plain[0], product, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain[1], changed, rtol=1e-5, atol=1e-6)
    assert plain[2] == pytest.approx(entropy, abs=1e-6)
    for one, other in zip(plain, attend(to, 2.0, 37)[0], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("to", FORMATS.values(), ids=list(FORMATS))
def test_a_logit_beyond_the_largest_number_leaves_nan_unless_there_is_no_infinity(to):
    (found, *_), (expected, *_) = attend(to, 1e6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(expected).any() == (to.name in ("float16", "float8_e5m2"))


# A number that float32 rounds to the other side of a tie moves an RMS by less than its own last place over the root of
# how many there are; few do, for softmax and sums are good to 1e-6 of themselves and a place of float8 is 2^-3.
CLOSE = 2e-3
# A pair or two of a share.
PAIRS = 2 / (ROWS * WIDTH)


@pytest.mark.slow
@pytest.mark.parametrize(("block", "norm"), CASES)
def test_a_rounded_block_is_the_loop_that_rounds_after_every_step(block, norm):
    x, layout = inputs(), Layout(POSITIONS)
    settings = Settings(activation("tanh"), NORMALIZATIONS[norm], block=BLOCKS.find(block), layout=layout, rounds=True)
    kinds = KINDS[:1] if norm == "none" else KINDS
    networks, of = all_networks(block, kinds, settings), family(None, KINDS[0], block)
    given, stack, count = (as_inputs(x), networks, of.first_layer(WIDTH)), of.stack(2, DEPTH - 1), networks.size
    tangents, cotangents = (draws.directions(3, name, ROWS, WIDTH) for name in ("tangents", "cotangents"))
    measured = forward_pass.forward(*given, [stack], tangents, settings, block=count)
    columns = forward_pass.to_columns(measured, settings, samples=ROWS, width=WIDTH)
    preact, weight, _, lost = backward.gradients(*given, stack, cotangents, (DEPTH,), settings, block=count)
    for at, (to, kind) in enumerate((to, kind) for to in FORMATS.values() for kind in kinds):
        loop = Loop(x, to, kind, block, norm)
        changes = loop.changes(np.asarray(tangents, float))
        gradients = loop.gradients(np.asarray(cotangents, float))
        for row, (a, (gradient, of_weights, grad_lost)) in enumerate(zip(loop.a, gradients, strict=True)):
            where = (to.name, kind, row)
            found = {name: values[row, at] for name, values in columns.items()}
            with np.errstate(divide="ignore"):
                expected = {
                    "log10_preact_rms": np.log10(rms(a)),
                    "log10_jacobian": np.log10(changes[row]),
                }
                of_gradients = np.log10([rms(gradient), *map(rms, of_weights)])
            for name, value in expected.items():
                assert found[name] == pytest.approx(value, abs=CLOSE), (name, *where)
            if "attention_entropy" in found:
                entropy = pytest.approx(loop.entropies[row], abs=CLOSE, nan_ok=True)
                assert found["attention_entropy"] == entropy, where
            np.testing.assert_allclose(
                [found[name] for name in ("underflow", "subnormal", "overflow")],
                shares(loop.exact[row], to),
                atol=PAIRS,
                err_msg=str(where),
            )
            found_gradients = [preact[at, 0, row], *weight[at, 0, row, : len(of_weights)]]
            np.testing.assert_allclose(found_gradients, of_gradients, atol=CLOSE, err_msg=str(where))
            of_row = [values[at, 0, row] for values in lost.values()]
            np.testing.assert_allclose(of_row, grad_lost, atol=PAIRS, err_msg=str(where))
