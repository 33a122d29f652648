"""Weight initializations by name: the rules that scale unit draws, from the fans of a place of weights.

A *shape* is scaled by the sweep; a *scheme* draws a shape and fixes its standard deviation, and may have biases of its
own.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from winit_jax.numerics.initializers import BIAS_LAWS, SHAPES, TRUNCATED_STD, UNIT_VARIANCE, shape_named
from winit_jax.numerics.own_inits import OWN_INITS
from winit_jax.registry import Registry
from winit_jax.user_code import is_import_path

Fan = int | Fraction
Variance = Callable[[Fan, Fan], float | Fraction]


class Biases(NamedTuple):
    """Biases that an init has of its own. law: how they are drawn, one of `BIAS_LAWS`. variance: of their entries."""

    law: str
    variance: Variance


class Scheme(NamedTuple):
    """An init that fixes its own scale. shape: what it draws. variance: of the entries, from fan_in and fan_out.

    factor: what the standard deviation is multiplied by at a place, from its role (`draws.Place`) and the depth of the
    network; None where it is 1 everywhere. stem: the variance of the first layer's entries, None where it is by the
    same rule. biases: its own, None where they are 0.
    name: as tables have it, of one that is made from arguments.
    """

    shape: str
    variance: Variance
    factor: Callable[[str, int], float] | None = None
    stem: Variance | None = None
    biases: Biases | None = None
    name: str = ""


def _gpt2(role: str, depth: int) -> float:
    """What is added to the stream is 1 / sqrt(2 depth) as large: two updates a layer."""
    return 1 / math.sqrt(2 * depth) if role == "out" else 1.0


def _fixup(role: str, depth: int) -> float:
    """The last weights of a branch begin as 0, and those before, one in a row, are 1 / sqrt(depth) as large."""
    return {"out": 0.0, "readout": 0.0, "stem": 1.0}.get(role, 1 / math.sqrt(depth))


def _deepnorm(role: str, depth: int) -> float:
    """Values, outputs and perceptrons are (8 depth)^(-1/4) as large, queries and keys are not."""
    return math.sqrt(1 / math.sqrt(8 * depth)) if role in ("inner", "out") else 1.0


def _lecun(fan_in: Fan, fan_out: Fan) -> float | Fraction:
    return 1 / fan_in


def _xavier(fan_in: Fan, fan_out: Fan) -> float | Fraction:
    return 2 / (fan_in + fan_out)


def _he(fan_in: Fan, fan_out: Fan) -> float | Fraction:
    return 2 / fan_in


def _within_root(fan_in: Fan, fan_out: Fan) -> float | Fraction:
    """Of U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    return 1 / (3 * fan_in)


def _uncorrected(fan_in: Fan, fan_out: Fan) -> float | Fraction:
    """Of a normal of std 1/sqrt(fan_in) that is then cut at two of them."""
    return Fraction(TRUNCATED_STD) ** 2 / fan_in


# What layers of libraries begin with unless they are told otherwise; the rules of dense layers and convolutions are the
# same, of the fans that the library counts.
_TORCH = Scheme("uniform", _within_root, biases=Biases("uniform", _within_root))
_KERAS = Scheme("uniform", _xavier)
_FLAX = Scheme("truncated_normal", _lecun)
_HAIKU = Scheme("truncated_normal", _uncorrected)

_SCHEMES = {
    "zeros": Scheme("constant", lambda fan_in, fan_out: 0.0),
    "identity": Scheme("identity", lambda fan_in, fan_out: 1 / max(fan_in, fan_out)),
    # Orthonormal, before each matrix has the factor that follows from the inputs.
    UNIT_VARIANCE: Scheme(UNIT_VARIANCE, lambda fan_in, fan_out: 1 / max(fan_in, fan_out)),
    "lecun_normal": Scheme("normal", _lecun),
    "lecun_uniform": Scheme("uniform", _lecun),
    "lecun_truncated": Scheme("truncated_normal", _lecun),
    "xavier_normal": Scheme("normal", _xavier),
    "xavier_uniform": Scheme("uniform", _xavier),
    "xavier_truncated": Scheme("truncated_normal", _xavier),
    "he_normal": Scheme("normal", _he),
    "he_uniform": Scheme("uniform", _he),
    "he_truncated": Scheme("truncated_normal", _he),
    "torch_linear": _TORCH,
    "torch_conv": _TORCH,
    "equinox_linear": _TORCH,
    "equinox_conv": _TORCH,
    "keras_dense": _KERAS,
    "keras_conv": _KERAS,
    "flax_dense": _FLAX,
    "flax_conv": _FLAX,
    "haiku_linear": _HAIKU,
    "haiku_conv": _HAIKU,
    "gpt2": Scheme("normal", lambda fan_in, fan_out: 0.02**2, _gpt2),
    "fixup": Scheme("normal", _he, _fixup),
    "deepnorm": Scheme("normal", _xavier, _deepnorm),
}


def _short(number: float) -> str:
    """A number with all its digits, and no more."""
    return repr(float(number)).removesuffix(".0")


def _positive(number: float, of: str, what: str) -> Fraction:
    """An argument as it is written. Errors: ValueError."""
    if number <= 0:
        raise ValueError(f"{of}: the {what} must be greater than 0, not {number:g}.")
    return Fraction(number)


def _he_of_slope(name: str, shape: str) -> Callable[[float], Scheme]:
    def of_slope(slope: float) -> Scheme:
        size = 2 / (1 + Fraction(slope) ** 2)
        return Scheme(shape, lambda fan_in, fan_out: size / fan_in, name=f"{name}({_short(slope)})")

    return of_slope


def _variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["normal", "truncated_normal", "uniform"],
) -> Scheme:
    """As `jax.nn.initializers.variance_scaling`: of variance scale / fan."""
    name = f"variance_scaling({_short(scale)}, {mode}, {distribution})"
    size = _positive(scale, name, "scale")

    def variance(fan_in: Fan, fan_out: Fan) -> float | Fraction:
        fans: dict[str, Fan] = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": Fraction(fan_in + fan_out) / 2}
        return size / fans[mode]

    return Scheme(distribution, variance, name=name)


def _siren(omega: float) -> Scheme:
    """W in sin(omega (W x + b)): U(-1/n, 1/n) in the first layer, U(-sqrt(6/n)/omega, sqrt(6/n)/omega) behind it."""
    name = f"siren({_short(omega)})"
    size = 2 / _positive(omega, name, "omega") ** 2
    return Scheme(
        "uniform",
        lambda fan_in, fan_out: size / fan_in,
        stem=lambda fan_in, fan_out: Fraction(1, 3) / (fan_in * fan_in),
        name=name,
    )


def _scaled_identity(gain: float) -> Scheme:
    name = f"identity({_short(gain)})"
    size = _positive(gain, name, "gain") ** 2
    return Scheme("identity", lambda fan_in, fan_out: size / max(fan_in, fan_out), name=name)


_MAKERS: dict[str, Callable[..., Scheme]] = {
    "he_normal": _he_of_slope("he_normal", "normal"),
    "he_uniform": _he_of_slope("he_uniform", "uniform"),
    "he_truncated": _he_of_slope("he_truncated", "truncated_normal"),
    "variance_scaling": _variance_scaling,
    "siren": _siren,
    "identity": _scaled_identity,
}


def _adopt(function: Callable[..., Any], path: str) -> Scheme:
    """An init by import path, whose scale is what it draws. Errors: ValueError with one sentence."""
    own = OWN_INITS.find(path)
    return Scheme(path, lambda fan_in, fan_out: own.mean_square(int(fan_in), int(fan_out)), name=path)


SCHEMES: Registry[Scheme] = Registry("an init", _SCHEMES, _MAKERS, _adopt)


def shape_of(init: str) -> str:
    """The shape that an init draws from: its own name, or its scheme's; of an import path, which is not imported, it.

    Errors: ValueError with one sentence for what is no init.
    """
    return init if init in SHAPES or is_import_path(init) else SCHEMES.find(init).shape


def is_predicted(init: str) -> bool:
    """Whether mean field speaks of an init's weights: not of those by import path, which are not imported."""
    return not is_import_path(init) and shape_named(shape_of(init)).is_predicted


def has_own_stem(init: str) -> bool:
    """Whether the first layer of a scheme is by a rule of its own."""
    return not (init in SHAPES or is_import_path(init)) and SCHEMES.find(init).stem is not None


def name_of(init: str) -> str:
    """An init as tables have it. Errors: ValueError with one sentence."""
    return init if init in SHAPES else SCHEMES.find(init).name or init


def own_biases(init: str) -> Biases | None:
    """The biases that an init has unless a sweep gives their scale; None where they are 0, as by import path."""
    return None if init in SHAPES or is_import_path(init) else SCHEMES.find(init).biases


def own_bias_law(init: str) -> str:
    """How the biases are drawn that an init has of its own, `normal` where they are 0."""
    own = own_biases(init)
    return BIAS_LAWS[0] if own is None else own.law


def scheme_std(init: str, fan_in: int, fan_out: int, role: str = "out", depth: int | None = None) -> float:
    """Standard deviation of the weights under a scheme.

    fan_in, fan_out: as libraries count them, all taps of a convolution in both (`draws.Place.fans`). role: of their
    place. depth: of the network, if it matters.

    Source: LeCun et al. 1998; Glorot and Bengio 2010; He et al. 2015 (arXiv:1502.01852); Radford et al. 2019 (gpt2);
    Zhang et al. 2019 (fixup, arXiv:1901.09321); Wang et al. 2022 (deepnorm, arXiv:2203.00555); Sitzmann et al. 2020
    (siren, arXiv:2006.09661); Mishkin and Matas 2015 (lsuv, arXiv:1511.06422); the documentation of the libraries for
    those that are named after one.
    Errors: ValueError for a shape, which has no standard deviation of its own.
    """
    scheme = SCHEMES.find(init)
    return math.sqrt(_variance(scheme, role)(fan_in, fan_out)) * _factor(scheme, role, depth)


def scheme_gain(init: str, fan_in: int, fan_out: int, role: str = "out", depth: int | None = None) -> float:
    """std * sqrt(fan_in) of a scheme; exactly the same at every width for schemes without one. As of `scheme_std`."""
    scheme = SCHEMES.find(init)
    variance = _variance(scheme, role)(Fraction(fan_in), Fraction(fan_out))
    return math.sqrt(variance * fan_in) * _factor(scheme, role, depth)


def own_bias_std(init: str, fan_in: int, fan_out: int) -> float:
    """Standard deviation of the biases that an init has unless a sweep gives it."""
    biases = own_biases(init)
    return 0.0 if biases is None else math.sqrt(biases.variance(fan_in, fan_out))


def _variance(scheme: Scheme, role: str) -> Variance:
    return scheme.stem if role == "stem" and scheme.stem is not None else scheme.variance


def _factor(scheme: Scheme, role: str, depth: int | None) -> float:
    if scheme.factor is None:
        return 1.0
    assert depth is not None
    return scheme.factor(role, depth)
