"""What blocks do to a stream at infinite width: one record for each kind of addition to it, one protocol.

    a_l = post(skip a_{l-1} + branch update(pre(a_{l-1}))),  fresh zero-mean weights of variance g^2 / fan_in

What a stream is, and how a skip and a branch add up, is in `streams`.

A change of the first stream, independent in every position and unit, goes through the same layers (the Jacobian's
mean square is that of such a change). It, too, becomes alike between positions: `Stream.change`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from winit_jax.numerics.scaled import log10_sum
from winit_jax.numerics.theory.responses import Responses
from winit_jax.numerics.theory.softmax import agreements
from winit_jax.numerics.theory.streams import (
    Added,
    Scales,
    Stream,
    as_grams,
    as_stream,
    mix,
    nothing_known,
    parts_of,
    skipped,
    through_affine,
)


class Update(Protocol):
    """One addition to a stream.

    places: the weights' names, in the order in which `Scales` has them.
    inner: whether phi stands behind weights of the update, rather than at the stream itself.
    behind_phi: the place whose weights phi feeds, -1 without phi.
    """

    @property
    def places(self) -> tuple[str, ...]: ...

    @property
    def inner(self) -> bool: ...

    @property
    def behind_phi(self) -> int: ...

    def unknown(self, attention_gain: np.ndarray | float = 1.0) -> str:
        """Why mean field makes no statement from here on; "" where it does."""
        ...

    def add(self, stream: Stream, scales: Scales, log10_divisor: np.ndarray, responses: Responses) -> Added:
        """The stream one update on. log10_divisor: of what its mean square is divided by before it, [n]."""
        ...


@dataclass(frozen=True)
class Phi:
    """phi(u) W + b: dense and residual layers.

    q' = skip^2 q + branch^2 (g^2 E phi(sqrt(q) z)^2 + sb^2), Jacobian skip^2 + branch^2 g^2 E phi'^2.
    Sources: Poole et al. 2016, arXiv:1606.05340; Yang and Schoenholz 2017, arXiv:1712.08969.
    """

    @property
    def places(self) -> tuple[str, ...]:
        return ("weight",)

    @property
    def inner(self) -> bool:
        return False

    @property
    def behind_phi(self) -> int:
        return 0

    def unknown(self, attention_gain: np.ndarray | float = 1.0) -> str:
        return ""

    def add(self, stream: Stream, scales: Scales, log10_divisor: np.ndarray, responses: Responses) -> Added:
        if stream.grams is not None:
            return nothing_known(stream)
        state = responses.at(stream.log10_q - log10_divisor)
        log_weight = scales.log10_weight[0] + scales.log10_branch
        log_chi = log_weight + responses.log10_slope_second
        parts = parts_of(
            stream, scales, log_weight + responses.log10_second, scales.log10_bias[0], log_chi - log10_divisor
        )
        c, apart, change = (np.empty_like(values) for values in (stream.c, stream.apart, stream.change))
        for row, (correlation, away) in enumerate(zip(stream.c, stream.apart, strict=True)):
            of_phi = state.covary(correlation, away)
            mapped = 1 - parts.share * (1 - of_phi.value) - parts.kept * (1 - correlation)
            c[row] = np.clip(np.where(correlation == 1, 1.0, mapped), -1, 1)
            apart[row] = parts.share * of_phi.apart + parts.kept * away
            if 1 <= row <= stream.displacements:
                change[row - 1] = stream.change[row - 1] * (parts.changed * of_phi.slope + parts.stays)
        return Added(Stream(parts.log10_q, c, apart, change), parts.log10_jacobian, 0.5 * responses.log10_second)


@dataclass(frozen=True)
class Conv(Phi):
    """A circular convolution of phi(u) with k taps ((k, k) on a grid), W of variance g^2 / (k n).

    Sigma'(p, p') = g^2 mean_t V(Sigma(p + t, p' + t)) keeps the displacement p' - p: where the correlations of the
    stream depend on nothing else, each goes by the dense map on its own. What differs from place to place, mean
    squares say, decays by chi and `modes`.
    Source: Xiao et al. 2018, arXiv:1806.05393.

    taps: k of each axis; positions: how many along each; numbers on a line.
    """

    taps: int | tuple[int, ...] = 3
    positions: int | tuple[int, ...] = 1

    def modes(self) -> np.ndarray:
        """`modes` of this kernel."""
        return modes(self.taps, self.positions)


def modes(taps: int | tuple[int, ...], positions: int | tuple[int, ...]) -> np.ndarray:
    """By what a layer of a circular convolution multiplies each Fourier mode of a pattern over positions, beside chi.

    lambda_j = mean over taps t of cos(2 pi j t / positions), t around 0; on a grid the product over its axes.
    An even number of taps has one more behind than ahead: this is then the modulus of a complex number.

    taps, positions: of each axis; j runs over positions // 2 + 1 modes on a line, and over that of each axis on a grid.
    Source: Xiao et al. 2018, arXiv:1806.05393.
    """
    lines = (taps,) if isinstance(taps, int) else tuple(taps)
    sizes = (positions,) if isinstance(positions, int) else tuple(positions)
    found = np.ones(())
    for count, size in zip(lines, sizes, strict=True):
        t = np.arange(count) - (count - 1) / 2  # a shift by half a place keeps the modulus, and makes it real
        j = np.arange(size // 2 + 1)
        found = np.multiply.outer(found, np.cos(2 * math.pi * np.outer(j, t) / size).mean(axis=1))
    return found


@dataclass(frozen=True)
class Mlp:
    """phi(u W' + b') W + b, W' of [n, r n].

    q_in = g'^2 q + sb'^2, q' = skip^2 q + branch^2 (g^2 E phi(sqrt(q_in) z)^2 + sb^2),
    Jacobian skip^2 + branch^2 g^2 g'^2 E phi'(sqrt(q_in) z)^2. The ratio r changes nothing.
    Source: Yang and Schoenholz 2017, arXiv:1712.08969.
    """

    ratio: float = 1.0

    @property
    def places(self) -> tuple[str, ...]:
        return ("in", "out")

    @property
    def inner(self) -> bool:
        return True

    @property
    def behind_phi(self) -> int:
        return 1

    def unknown(self, attention_gain: np.ndarray | float = 1.0) -> str:
        return ""

    def add(self, stream: Stream, scales: Scales, log10_divisor: np.ndarray, responses: Responses) -> Added:
        if stream.grams is not None:
            return nothing_known(stream)
        within = through_affine(stream, log10_divisor, scales.log10_weight[0], scales.log10_bias[0])
        state = responses.at(within.log10_q)
        log_weight = scales.log10_weight[1] + scales.log10_branch
        log_chi = log_weight + scales.log10_weight[0] + responses.log10_slope_second
        parts = parts_of(
            stream, scales, log_weight + responses.log10_second, scales.log10_bias[1], log_chi - log10_divisor
        )
        of_phi = [state.covary(*pair) for pair in zip(within.c, within.apart, strict=True)]
        slopes = np.stack([row.slope for row in of_phi])[1 : 1 + stream.displacements]
        block = np.stack([row.value for row in of_phi]), np.stack([row.apart for row in of_phi])
        return Added(
            mix(stream, parts, *block, stream.change * slopes), parts.log10_jacobian, 0.5 * responses.log10_second
        )


@dataclass(frozen=True)
class Gated:
    """(phi(u G) * (u U)) D, with G and U of [n, r n]; no biases.

    With q_G = g_G^2 q and q_U = g_U^2 q: q' = skip^2 q + branch^2 g_D^2 E phi(sqrt(q_G) z)^2 q_U. The branch's
    correlation is the product of phi's and of the stream's, and the Jacobian
    skip^2 + branch^2 g_D^2 (E phi^2 g_U^2 + g_G^2 E phi'^2 q_U).
    Source: the product of independent Gaussian processes; Shazeer 2020, arXiv:2002.05202, for the block.
    """

    ratio: float = 1.0

    @property
    def places(self) -> tuple[str, ...]:
        return ("gate", "up", "down")

    @property
    def inner(self) -> bool:
        return True

    @property
    def behind_phi(self) -> int:
        return 2

    def unknown(self, attention_gain: np.ndarray | float = 1.0) -> str:
        return ""

    def add(self, stream: Stream, scales: Scales, log10_divisor: np.ndarray, responses: Responses) -> Added:
        if stream.grams is not None:
            return nothing_known(stream)
        gate, up, down = scales.log10_weight
        log_u = stream.log10_q - log10_divisor
        state = responses.at(gate + log_u)
        down = down + scales.log10_branch
        log_of_up = down + responses.log10_second + up  # the change through u U
        log_of_gate = down + gate + responses.log10_slope_second + up + log_u  # and through u G
        log_chi = log10_sum(log_of_up, log_of_gate)
        silent = np.full_like(log_u, -np.inf)
        parts = parts_of(stream, scales, log_of_up + log_u, silent, log_chi - log10_divisor)
        of_phi = [state.covary(*pair) for pair in zip(stream.c, stream.apart, strict=True)]
        value = np.stack([row.value for row in of_phi])
        apart = np.stack([row.apart for row in of_phi])
        positions = slice(1, 1 + stream.displacements)
        by_gate = 10.0 ** (log_of_gate - log_chi)
        slopes = np.stack([row.slope for row in of_phi])[positions]
        changed = stream.change * (by_gate * slopes * stream.c[positions] + (1 - by_gate) * value[positions])
        block = value * stream.c, apart + stream.apart * (1 - apart)
        return Added(mix(stream, parts, *block, changed), parts.log10_jacobian, 0.5 * responses.log10_second)


UNEQUAL = "behind causal attention positions have unequal lengths, which mean field does not follow through phi"
CAUSAL = "logits that are not equal make causal attention's positions differ in a way that no recursion here follows"
PROFILE = "attention with logits of its own is only followed where all positions are equally alike"


@dataclass(frozen=True)
class Attention:
    """concat_heads(softmax(attention_gain Q K^T / sqrt(n / h)) V) O over T positions; no phi, no biases.

    For many heads of many units. Logits are Gaussian, and the softmax drops what all keys of a query share: what is
    left has s^2 = (attention_gain g_Q g_K q)^2 (1 - r), and between two queries correlates by rho. With Y of
    `softmax`, a = (g_V g_O)^2 and everything in units of q:

        length       a (r + (1 - r) Y(1))
        positions    a (r + (1 - r) Y(rho)),  rho = r
        samples      a (x + (c - x) Y(rho)),  rho = c (c - x) / (1 - r) at one position, x (c - x) / (1 - r) at two
        change       a (t + (1 - t) Y(1) + (2 - r - t) Y'(1)),  t: the change's own correlation between positions
        between two  a (t + (1 - t) Y(r) + (t (1 - r) + r (1 - t)) Y'(r))

    Equal logits (attention_gain 0) have Y = 1/T and Y' = 0. With them, causal attention keeps the T x T covariances.
    Sources: Hron et al. 2020, arXiv:2006.10540 (the limit); Noci et al. 2022, arXiv:2206.03126 (uniform attention).
    """

    heads: int = 1
    causal: bool = False
    positions: int = 1

    @property
    def places(self) -> tuple[str, ...]:
        return ("query", "key", "value", "out")

    @property
    def inner(self) -> bool:
        return False

    @property
    def behind_phi(self) -> int:
        return -1

    def unknown(self, attention_gain: np.ndarray | float = 1.0) -> str:
        return CAUSAL if self.causal and np.any(np.asarray(attention_gain) != 0) else ""

    def add(self, stream: Stream, scales: Scales, log10_divisor: np.ndarray, responses: Responses) -> Added:
        query, key, value, out = scales.log10_weight
        log_branch = value + out + scales.log10_branch
        log_u = stream.log10_q - log10_divisor
        log_square = query + key + 2 * np.log10(np.abs(scales.attention_gain)) + 2 * log_u
        if self.causal or stream.grams is not None:
            return self._by_grams(stream, scales, log_branch, log10_divisor, log_square)
        rows = stream.displacements
        r, t = stream.c[1 : 1 + rows], stream.change
        apart_r, apart_x = stream.apart[1 : 1 + rows].mean(axis=0), stream.apart[1 + rows :].mean(axis=0)
        c, x, apart_c = stream.c[0], stream.c[1 + rows :].mean(axis=0), stream.apart[0]
        mean_r, mean_t = r.mean(axis=0), t.mean(axis=0)
        s = 10.0 ** (0.5 * (log_square + np.log10(apart_r)))
        s = np.where((log_square == -np.inf) | (apart_r == 0), 0.0, s)
        if rows > 1:
            s = np.where(s > 0, np.nan, s)
        # Values of distinct samples are x + (c - x) delta_jl alike, and so are keys.
        with np.errstate(all="ignore"):
            alike = np.where(apart_r > 0, (apart_x - apart_c) / apart_r, 0.0)
        at_one = agreements(self.positions, s, np.zeros_like(s))
        between = agreements(self.positions, s, apart_r)
        of_c, of_x = (agreements(self.positions, s, 1 - np.clip(rho * alike, -1, 1)) for rho in (c, x))
        picked = 1 / self.positions + agreements(self.positions, s, np.ones_like(s)).lag  # Y(1)
        length = 1 - apart_r * (1 - picked)
        same = mean_t + (1 - mean_t) * picked + (apart_r + 1 - mean_t) * at_one.slope
        parts = parts_of(
            stream,
            scales,
            log_branch + log_u + np.log10(length),
            np.full_like(log_u, -np.inf),
            log_branch + np.log10(same) - log10_divisor,
        )
        # What is left of 1 where the branch's length is 1: differences, each with its own digits.
        of_samples = (apart_x - apart_r) * (1 - picked) + apart_c * picked
        apart = np.empty_like(stream.apart)
        apart[0] = (of_samples + (apart_x - apart_c) * of_c.lag) / length
        apart[1 : 1 + rows] = apart_r * between.lag / length
        apart[1 + rows :] = (of_samples + (apart_x - apart_c) * of_x.lag) / length
        crossed = mean_t + (1 - mean_t) * (picked - between.lag)
        crossed = crossed + (mean_t * apart_r + mean_r * (1 - mean_t)) * between.slope
        change = np.broadcast_to(crossed / same, t.shape)
        nothing = np.full_like(log_u, np.nan)
        return Added(mix(stream, parts, 1 - apart, apart, change), parts.log10_jacobian, nothing)

    def _by_grams(
        self,
        stream: Stream,
        scales: Scales,
        log_branch: np.ndarray,
        log10_divisor: np.ndarray,
        log_square: np.ndarray,
    ) -> Added:
        """Equal logits, with all T x T covariances: C' = skip^2 C + branch^2 a P C P^T, P the rows of the softmax."""
        if stream.grams is None and stream.displacements > 1:
            return nothing_known(stream)
        size = self.positions
        rows = np.tril(np.ones((size, size))) if self.causal else np.ones((size, size))
        rows /= rows.sum(axis=1, keepdims=True)
        grams = as_grams(stream, size) if stream.grams is None else stream.grams
        own = np.einsum("tt...->t...", grams[0])
        normalized = np.any(log10_divisor != 0)
        # A normalization before the block divides each position by its own length (epsilon is left out).
        seen = grams / np.sqrt(own[:, None] * own[None, :]) if normalized else grams
        averaged = np.einsum("it,gtu...,ju->gij...", rows, seen, rows, optimize=True)
        log_added = log_branch + (stream.log10_q - log10_divisor if normalized else stream.log10_q)
        log_following = log10_sum(log_added, skipped(scales.log10_skip, stream.log10_q))
        kept, share = (10.0 ** (part - log_following) for part in (scales.log10_skip + stream.log10_q, log_added))
        following = kept * grams + share * averaged
        # The change's own units: those of its mean square.
        log_changed = log10_sum(log_branch - log10_divisor, scales.log10_skip)
        of_change = 10.0 ** (scales.log10_skip - log_changed) * grams[2]
        following[2] = of_change + 10.0 ** (log_branch - log10_divisor - log_changed) * averaged[2]
        following = np.where(log_square == -np.inf, following, np.nan)
        length, changed = (np.einsum("tt...->...", following[at]) / size for at in (0, 2))
        following[:2] /= length
        following[2] /= changed
        with np.errstate(invalid="ignore"):
            one = as_stream(log_following + np.log10(length), following, stream.displacements)
        return Added(one, 0.5 * (log_changed + np.log10(changed)), np.full_like(length, np.nan))
