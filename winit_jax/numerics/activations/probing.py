"""An activation from an import path: what can be learned of an unknown function by evaluating it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.errors import described, says
from winit_jax.numerics.activations.record import Activation, Function
from winit_jax.user_code import as_it_was, contained, pass_on

MAX_DEGREE = 4  # steeper than this, exponents would leave int32 within a layer
# Kinks and jumps are looked for in so many cells, and so many at most are told; a function that oscillates has TURNS.
CELLS, MOST_KINKS, TURNS = 20_000, 64, 6
# Where slopes are looked at for NaN: as far as pre-activations of usual networks go.
FAR = 2.0 ** np.arange(-8, 31)
# Points at which a function is known again: near 0, where networks are, and far out; none of them a round number.
_ONE_SIDE = np.concatenate([[1.1e-4, 0.013], np.linspace(0.07, 5.9, 14), [8.3, 17.3, 57.7, 1017.3]])
PROBED = np.concatenate([-_ONE_SIDE[::-1], _ONE_SIDE])


def probe(function: Callable[[jax.Array], jax.Array], name: str) -> Activation:
    """Describe an elementwise JAX function: by tracing it first, and then by evaluating it in float64.

    Values are given only to what JAX can trace from float32 arrays to float32 arrays of the same shape, so that a
    function that does something else in the world is called with tracers alone.
    The slope is the function's own derivative (forward mode). Degrees come from the ratios psi(2a) /
    psi(a) at tiny and at huge a, max_slope and slope_error from a grid of 20,001 points on [-50, 50]. What
    is not found is None, and said in `notes`.
    Errors: ValueError with one sentence.
    """
    _trace(function, name)
    try:
        return _probe(contained(function, name), name)
    except Unusable:
        raise
    except BaseException as error:
        pass_on(error)
        raise Unusable(f"{name!r} cannot be evaluated: {described(error)}") from error


class Unusable(ValueError):
    """One sentence on why a function is no activation."""


def fingerprint(activation: Activation) -> list[float]:
    """Values and slopes of phi in float64 at PROBED, by which a function is known again when its code has changed."""
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        points = jnp.asarray(PROBED)
        probed = jnp.concatenate([activation(points), activation.slope(points)])
        return [float(value) for value in np.asarray(probed, np.float64)]


def _trace(function: Callable[[jax.Array], jax.Array], name: str) -> None:
    """Call a function, and its derivative, with tracers only. Errors: Unusable."""
    argument = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    with jax.enable_x64(False), as_it_was():
        try:
            answer = jax.eval_shape(function, argument)
        except BaseException as error:
            pass_on(error)
            # NumPy's own words are used where an array of several elements is asked for its truth.
            if isinstance(error, jax.errors.ConcretizationTypeError) or "truth value" in says(error):
                raise Unusable(
                    f"{name!r} uses Python control flow (if, while, float() and the like) on its values; "
                    "write it with jax.numpy.where."
                ) from error
            raise Unusable(f"{name!r} is not a JAX function of one array: {described(error)}") from error
        if not isinstance(answer, jax.ShapeDtypeStruct):
            raise Unusable(f"{name!r} returns {'nothing' if answer is None else type(answer).__name__}, not an array.")
        if answer.shape != argument.shape:
            raise Unusable(
                f"{name!r} does not act on each element alone: it returns shape {answer.shape} for {argument.shape}."
            )
        if answer.dtype != argument.dtype:
            raise Unusable(f"{name!r} returns {answer.dtype} for {argument.dtype}; an activation keeps the type.")
        try:
            jax.eval_shape(lambda a: jax.jvp(function, (a,), (a,))[1], argument)
        except BaseException as error:
            pass_on(error)
            raise Unusable(f"{name!r} has no derivative by jax.jvp: {described(error)}") from error


def _probe(function: Callable[[jax.Array], jax.Array], name: str) -> Activation:
    with jax.enable_x64(True):
        _check_elementwise(function, name)
        at_zero = float(function(jnp.zeros(1))[0])
        if not math.isfinite(at_zero):
            raise Unusable(f"{name!r}: phi(0) is {at_zero}; an activation must be finite at 0.")

        def slope(a: jax.Array) -> jax.Array:
            derivative: jax.Array = jax.jvp(function, (a,), (jnp.ones_like(a),))[1]
            return derivative

        degree_at_zero = _degree_at_zero(function, slope, at_zero)
        left = _degree_at_infinity(function, -1.0)
        right = _degree_at_infinity(function, 1.0)
        slopes = np.abs(np.array(slope(jnp.linspace(-50.0, 50.0, 20_001))))
        middle = len(slopes) // 2
        if np.isinf(slopes[middle]):  # as of a root at 0, where this point lies or, by a rounding, does not
            slopes[middle] = math.nan
        lost, no_slope = _first_nan(function), _first_nan(slope)
        max_slope = float(np.nanmax(slopes)) if not np.all(np.isnan(slopes)) else math.nan
        if not math.isfinite(max_slope) or max_slope == 0:
            raise Unusable(f"{name!r}: its slope on [-50, 50] is {max_slope}; saturation has no meaning.")
        slope_error = _slope_error(slope) / max_slope
        kinks, oscillates = _kinks(function, slope), _oscillates(slope, max_slope)
        points = jnp.asarray([-2.0, -0.5, 0.5, 2.0])
        homogeneous = at_zero == 0 and bool(
            jnp.allclose(function(points * 1024), 1024 * function(points), rtol=1e-12, atol=0)
            & jnp.allclose(function(points / 1024), function(points) / 1024, rtol=1e-12, atol=0)
        )
    notes = []
    if lost is not None:
        notes.append(
            f"{name}: its values are NaN at {lost:g} in float32; networks that pass there have no numbers, and where "
            "signals end cannot be told."
        )
    elif no_slope is not None:
        notes.append(
            f"{name}: its slope is NaN at {no_slope:g} in float32; Jacobians and gradients that pass there are NaN."
        )
    if degree_at_zero is None:
        notes.append(f"{name}: no power law found near 0; signals below 1e-38 are lost there.")
    if left is None or right is None:
        notes.append(f"{name}: no power law found far out; signals beyond 1e+38 count as overflow.")
    if max_slope > 1.01 * np.nanmax(slopes[1000:-1000]):
        notes.append(f"{name}: its slope grows on; `saturated` takes {max_slope:.4g}, on [-50, 50], as its maximum.")
    if at_zero:
        notes.append(f"{name}: phi(0) is {at_zero:.6g}; responses below 1e-7 of that are lost to rounding.")
    return Activation(
        name,
        response=(lambda a: function(a) - at_zero) if at_zero else function,
        slope=slope,
        max_slope=max_slope,
        slope_error=slope_error,
        at_zero=at_zero,
        degree_at_zero=degree_at_zero,
        degree_at_infinity=None if left is None or right is None else (left, right),
        homogeneous=homogeneous,
        min_exponent=-12 if at_zero else -24,
        kinks=kinks,
        oscillates=oscillates,
        notes=tuple(notes),
    )


def _check_elementwise(function: Callable[[jax.Array], jax.Array], name: str) -> None:
    points = jnp.asarray([[0.3, -1.7, 2.5], [-0.2, 0.9, -3.1]])
    try:
        together = function(points)
        apart = jnp.stack([function(points[i : i + 1, j : j + 1])[0, 0] for i in range(2) for j in range(3)])
        jax.jit(function)(points)
    except BaseException as error:
        pass_on(error)
        raise Unusable(f"{name!r} is not a JAX function of one array: {described(error)}") from error
    if together.shape != points.shape or not bool(jnp.allclose(together.ravel(), apart, rtol=1e-6, equal_nan=True)):
        raise Unusable(f"{name!r} does not act on each element alone.")


def _first_nan(function: Callable[[jax.Array], jax.Array]) -> float | None:
    """The point nearest to 0 at which a function is NaN in float32, of those looked at."""
    points = np.concatenate([[0.0], np.stack([FAR, -FAR], axis=1).ravel()]).astype(np.float32)
    with jax.enable_x64(False):
        is_nan = np.isnan(np.asarray(function(jnp.asarray(points))))
    return float(points[np.argmax(is_nan)]) if is_nan.any() else None


def _slope_error(slope: Callable[[jax.Array], jax.Array]) -> float:
    """The largest rounding error of the slope in float32, on [-50, 50]."""
    points = jnp.linspace(-50.0, 50.0, 20_001).astype(jnp.float32)
    error = np.asarray(slope(points), np.float64) - np.asarray(slope(points.astype(jnp.float64)))
    return float(np.nanmax(np.abs(error), initial=0.0))


def _kinks(function: Callable[[jax.Array], jax.Array], slope: Callable[[jax.Array], jax.Array]) -> tuple[float, ...]:
    """How far from 0 the function or its slope jumps, of [-50, 50]; by halving every cell towards its larger change."""
    edges = np.linspace(-50.0, 50.0, CELLS + 1) + 1e-3 / CELLS  # round numbers are within cells
    distances = []
    for jumping in (function, slope):

        def value(a: np.ndarray, jumping: Function = jumping) -> np.ndarray:
            return np.nan_to_num(np.asarray(jumping(jnp.asarray(a)), np.float64))

        low, high = edges[:-1], edges[1:]
        at_low, at_high = value(low), value(high)
        scale = np.maximum(np.abs(at_low), np.abs(at_high))
        least = 1e-9 * float(np.max(scale[np.isfinite(scale)], initial=0.0))
        for _ in range(40):
            middle = (low + high) / 2
            at_middle = value(middle)
            left = np.abs(at_middle - at_low) >= np.abs(at_high - at_middle)
            low, high = np.where(left, low, middle), np.where(left, middle, high)
            at_low, at_high = np.where(left, at_low, at_middle), np.where(left, at_middle, at_high)
        jumps = (np.abs(at_high - at_low) > np.maximum(1e-6 * scale, least)) & (np.abs(low + high) > 1e-9)
        distances.append(np.abs(low + high)[jumps] / 2)
    every = np.unique(np.round(np.concatenate(distances), 11))
    return tuple(every[:MOST_KINKS].tolist())


def _oscillates(slope: Callable[[jax.Array], jax.Array], max_slope: float) -> bool:
    """Whether the slope turns again and again on [25, 50], on either side of 0."""
    a = jnp.linspace(25.0, 50.0, 5001)
    for sign in (-1.0, 1.0):
        change = np.diff(np.asarray(slope(sign * a)))
        changes = change[np.abs(change) > 1e-9 * max_slope]
        if np.count_nonzero(np.sign(changes[1:]) != np.sign(changes[:-1])) >= TURNS:
            return True
    return False


def _degree_at_zero(function: Function, slope: Function, at_zero: float) -> int | None:
    near, nearer = (np.asarray(slope(jnp.asarray([-x, x]))) for x in (1e-9, 1e-12))
    if np.all(np.abs(nearer) > 1e-6) and np.allclose(near, nearer, rtol=1e-3):
        return 1
    # Far enough from 0 that phi(a) - phi(0) keeps digits, near enough to be asymptotic.
    scales = 2.0 ** np.arange(-12, -8)
    return _common_degree(
        [np.abs(np.asarray(function(jnp.asarray(sign * scales))) - at_zero) for sign in (-1.0, 1.0)], 0.02
    )


def _degree_at_infinity(function: Function, sign: float) -> int | None:
    values = np.abs(np.asarray(function(jnp.asarray(sign * 2.0 ** np.arange(24, 31)))))
    if not np.all(np.isfinite(values)):
        return None
    nearer, farther = (
        np.max(np.abs(np.asarray(function(jnp.asarray(sign * np.geomspace(start, 2**8 * start, 999))))))
        for start in (2.0**16, 2.0**24)
    )
    if farther <= 1.001 * nearer:  # bounded, perhaps oscillating
        return 0
    return _common_degree([values], 0.01)


def _common_degree(sides: list[np.ndarray], tolerance: float) -> int | None:
    """The whole n with psi(2a) / psi(a) = 2^n along every side that is not 0 throughout."""
    ratios = [np.log2(values[1:] / values[:-1]) for values in sides if np.all(values > 0)]
    if not ratios or any(np.any(values > 0) and not np.all(values > 0) for values in sides):
        return None
    degrees = np.concatenate(ratios)
    degree = round(float(np.mean(degrees)))
    near = 0 <= degree <= MAX_DEGREE and np.all(np.abs(degrees - degree) < tolerance)
    return degree if near else None
