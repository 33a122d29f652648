"""Streams at infinite width: what a network has at a layer, and the sum of a skip and a branch.

A stream has a mean square q in a unit and normalized correlations: c between distinct samples at one position, r
between distinct positions of one sample, x between what differs in both. Mean squares are carried as logarithms, and
1 - correlation beside each correlation, so that what becomes alike keeps its digits.
"""

from typing import NamedTuple

import numpy as np

from winit_jax.numerics.scaled import log10_sum


class Stream(NamedTuple):
    """A stream of n networks at one layer; D displacements between positions stand for all (1 where all are alike).

    log10_q: of the mean square of a unit, [n].
    c, apart: correlations and 1 - correlation, [1 + 2 D, n]: between samples, then r of each displacement, then x.
    change: correlation between positions of a change of the first layer, [D, n].
    grams: [3, T, T, n], where positions are not alike (else None): covariances, in units of q, within one sample,
        between two samples, and of the change, in units of its mean square.
    """

    log10_q: np.ndarray
    c: np.ndarray
    apart: np.ndarray
    change: np.ndarray
    grams: np.ndarray | None = None

    @property
    def displacements(self) -> int:
        return int(self.change.shape[0])


class Scales(NamedTuple):
    """What n networks multiply by in one update, as log10 of variances.

    log10_weight: [places, n], of weights times fan_in; log10_bias: the same for biases. Both without the branch's.
    log10_skip, log10_branch: of the squares of skip_scale and branch_scale, [n].
    attention_gain: [n].
    """

    log10_weight: np.ndarray
    log10_bias: np.ndarray
    log10_skip: np.ndarray
    log10_branch: np.ndarray
    attention_gain: np.ndarray


class Added(NamedTuple):
    """What an update makes of a stream, before any normalization behind it.

    stream: one update on. log10_jacobian: half the log10 of what the change's mean square is multiplied by, [n].
    log10_act_rms: log10 sqrt(E[phi^2]) of phi within the update, [n]; NaN where there is none.
    """

    stream: Stream
    log10_jacobian: np.ndarray
    log10_act_rms: np.ndarray


def as_grams(stream: Stream, size: int) -> np.ndarray:
    """The covariances of a stream whose positions are all alike, [3, T, T, n]."""
    one = np.eye(size)[:, :, None]
    between = stream.c[1], stream.c[2], stream.change[0]
    at_one = np.ones_like(stream.c[0]), stream.c[0], np.ones_like(stream.c[0])
    return np.stack([one * same + (1 - one) * other for same, other in zip(at_one, between, strict=True)])


def as_stream(log10_q: np.ndarray, grams: np.ndarray, displacements: int) -> Stream:
    """Averages over positions of covariances, as the measured columns take them."""
    size = grams.shape[1]
    at_one = np.einsum("gtt...->g...", grams) / size
    others = (grams.sum(axis=(1, 2)) - size * at_one) / (size * max(size - 1, 1))
    c = np.stack([at_one[1], others[0], others[1]])
    return Stream(log10_q, c, 1 - c, others[2:], grams)


def normalized_grams(stream: Stream) -> tuple[Stream, np.ndarray]:
    """Each position divided by its own length; and log10 of what that makes of the change's mean square, [n]."""
    assert stream.grams is not None
    own = np.einsum("tt...->t...", stream.grams[0])
    grams = stream.grams / np.sqrt(own[:, None] * own[None, :])
    changed = np.einsum("tt...->...", grams[2]) / grams.shape[1]
    grams[2] /= changed
    return as_stream(stream.log10_q, grams, stream.displacements), np.log10(changed)


# --- The sum of a skip and a branch


class Parts(NamedTuple):
    """What a stream consists of after an update, [n] each.

    share, kept: shares of its mean square through weights and from the skip; the rest is biases. changed, stays: the
    same for the mean square of a change.
    """

    log10_q: np.ndarray
    share: np.ndarray
    kept: np.ndarray
    log10_jacobian: np.ndarray
    changed: np.ndarray
    stays: np.ndarray


def skipped(log10_skip: np.ndarray, log10_q: np.ndarray) -> np.ndarray:
    return np.where(log10_skip == -np.inf, -np.inf, log10_skip + log10_q)


def parts_of(
    stream: Stream, scales: Scales, log10_added: np.ndarray, log10_bias: np.ndarray, log10_chi: np.ndarray
) -> Parts:
    """log10_added: of the branch's mean square without biases. log10_chi: of what it multiplies changes by."""
    following = log10_sum(log10_added, log10_bias + scales.log10_branch)
    beside = skipped(scales.log10_skip, stream.log10_q)
    following = log10_sum(following, beside)
    log_jacobian = log10_sum(log10_chi, scales.log10_skip)
    return Parts(
        following,
        10.0 ** (log10_added - following),
        10.0 ** (beside - following),
        0.5 * log_jacobian,
        10.0 ** (log10_chi - log_jacobian),
        10.0 ** (scales.log10_skip - log_jacobian),
    )


def mix(stream: Stream, parts: Parts, c: np.ndarray, apart: np.ndarray, change: np.ndarray) -> Stream:
    """A stream beside a branch of correlations c [1 + 2 D, n] and a change of [D, n], both without biases."""
    mixed = 1 - parts.share * (1 - c) - parts.kept * (1 - stream.c)
    mixed = np.clip(np.where((stream.c == 1) & (c == 1), 1.0, mixed), -1, 1)
    away = parts.share * apart + parts.kept * stream.apart
    return Stream(parts.log10_q, mixed, away, parts.changed * change + parts.stays * stream.change)


def through_affine(
    stream: Stream, log10_divisor: np.ndarray, log10_weight: np.ndarray, log10_bias: np.ndarray
) -> Stream:
    """u W + b for a stream's u."""
    of_weights = log10_weight + stream.log10_q - log10_divisor
    log10_q = log10_sum(of_weights, log10_bias)
    share = 10.0 ** (of_weights - log10_q)
    apart = share * stream.apart
    return stream._replace(log10_q=log10_q, c=np.where(log10_bias == -np.inf, stream.c, 1 - apart), apart=apart)


def nothing_known(stream: Stream) -> Added:
    """A stream of which nothing is known."""
    log10_q, c, apart, change = (np.full_like(values, np.nan) for values in stream[:4])
    lost = Stream(log10_q, c, apart, change, stream.grams)
    nothing = np.full_like(stream.log10_q, np.nan)
    return Added(lost, nothing, nothing)
