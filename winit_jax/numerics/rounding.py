"""Random errors of the size of float32's: what a computation in float64 may be moved by (Vignes 1993)."""

import numpy as np

Array = np.ndarray

UNIT_ROUNDOFF = 2.0**-24
# Of products of lower precision where the hardware has it: TensorFloat-32 has 11 bits, bfloat16 has 8. A term of a
# product is off by twice its roundoff at most, for either factor may be.
# In pieces: x = x1 + x2 + ... of b bits each, so that |x - x1| <= 2^-b |x|, and what is left of x behind k pieces is
# 2^-kb |x|. X3 adds up x1 y1 + x1 y2 + x2 y1, of two pieces; what it leaves out is x2 y2 and two times the rest behind
# two pieces, 3 * 2^-2b in all. X6 has three pieces, which hold float32 to its last bit, and leaves out x2 y3 and x3 y2,
# 2 * 2^-3b. Sums are in float32. Source: Henry, Tang and Heinecke 2019, arXiv:1904.06376.
NARROW_ROUNDOFF = {
    "high": 2.0**-11,
    "default": 2.0**-8,
    "BF16_BF16_F32_X3": 1.5 * 2.0**-16 + UNIT_ROUNDOFF,
    "BF16_BF16_F32_X6": 2.0**-24 + UNIT_ROUNDOFF,
    "TF32_TF32_F32": 2.0**-11,
    "TF32_TF32_F32_X3": 1.5 * 2.0**-22 + UNIT_ROUNDOFF,
}
# Entries below this share of the RMS of their layer may count as 0 (docs/definitions.md).
FORGOTTEN = 1e-18
# How many times larger the errors are than float32's.
JOLT = 2.0


class Rounding:
    """Random errors of the size of float32's, or none at all.

    product_roundoff: of the terms of matrix products; the sum of n terms is given that of sqrt(n) / 8 + 1 roundings.
    """

    def __init__(self, run: int | None = None, product_roundoff: float = UNIT_ROUNDOFF) -> None:
        self.generator = None if run is None else np.random.default_rng(run)
        self.product_roundoff = product_roundoff
        self.clips = run is not None and run % 2 == 1  # every other run, for it hides errors of entries near 0

    def off(self, x: Array, size: Array | float, roundoffs: float = 1.0) -> Array:
        """x with an error in each entry of so many roundoffs of `size`."""
        if self.generator is None:
            return x
        return x + roundoffs * UNIT_ROUNDOFF * size * self._errors(x.shape)

    def _errors(self, shape: tuple[int, ...]) -> Array:
        """Between -4 and 4: of each entry, and common to a row, a column and all, since equal terms round alike."""
        assert self.generator is not None
        parts = (shape, (*shape[:-1], 1), (1,) * (len(shape) - 1) + shape[-1:], ())
        return np.asarray(sum(self.generator.uniform(-JOLT, JOLT, part) for part in parts))

    def product(self, left: Array, right: Array) -> Array:
        """left @ right, with errors relative to the norms of rows and columns."""
        exact: Array = left @ right
        if self.generator is None:
            return exact
        roundoff = self.product_roundoff * (1 + np.sqrt(right.shape[0]) / 8)
        sizes = norm(left, 1) * norm(right, 0)
        rounded: Array = exact + roundoff * sizes * self._errors(exact.shape)
        return rounded

    def forget(self, x: Array, size: float) -> Array:
        """x with 0 in place of entries that are nothing beside their layer's size, as they may be to the fast pass."""
        return np.where(np.abs(x) < FORGOTTEN * size, 0.0, x) if self.clips else x

    def flush(self, x: Array, smallest: float) -> Array:
        """x with 0 in place of what is smaller than that."""
        return x if self.generator is None else np.where(np.abs(x) < smallest, 0.0, x)


EXACT = Rounding()


def product_roundoff(precision: str, platform: str) -> float:
    """Of the terms of matrix products; a CPU multiplies float32 as such, whatever is asked for."""
    return UNIT_ROUNDOFF if platform == "cpu" else NARROW_ROUNDOFF.get(precision, UNIT_ROUNDOFF)


def norm(x: Array, axis: int) -> Array:
    """L2 norms along an axis, which is kept."""
    norms: Array = np.sqrt(np.sum(x**2, axis=axis, keepdims=True))
    return norms
