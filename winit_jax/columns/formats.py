"""Floating-point formats of fewer bits than float32: what is asked of them before anything is rounded."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Its numbers are 0, +-1.f 2^e with e from least_exponent to that of `largest`, and below it the subnormal
    +-0.f 2^least_exponent, where f has fraction_bits bits. has_infinity: whether what lies beyond the largest number
    becomes infinite; else it becomes the largest number.
    """

    name: str
    fraction_bits: int
    least_exponent: int
    largest: float
    has_infinity: bool = True

    @property
    def least_normal(self) -> float:
        return 2.0**self.least_exponent

    @property
    def least_subnormal(self) -> float:
        return 2.0 ** (self.least_exponent - self.fraction_bits)

    @property
    def overflow(self) -> float:
        """What lies above this is beyond the largest number when it is rounded: half a place above that."""
        step = 2.0 ** (math.frexp(self.largest)[1] - 1 - self.fraction_bits)
        return self.largest + step / 2


# float8_e4m3fn has no infinity (fn: finite, NaN alone), so that its largest fraction is 110: Micikevicius et al. 2022,
# arXiv:2209.05433.
FORMATS = {
    each.name: each
    for each in (
        Format("bfloat16", 7, -126, (2 - 2**-7) * 2.0**127),
        Format("float16", 10, -14, 65504.0),
        Format("float8_e4m3fn", 3, -6, 448.0, has_infinity=False),
        Format("float8_e5m2", 2, -14, 57344.0),
    )
}
FLOAT32 = "float32"
