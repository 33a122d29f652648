"""An activation from an import path: what can be learned of an unknown function by evaluating it."""

import importlib
import math
import os
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.activations import Activation

MAX_DEGREE = 4  # steeper than this, exponents would leave int32 within a layer


def from_import_path(path: str) -> Activation:
    """The activation `package.module:function`; the working directory is searched too.

    Errors: ValueError with one sentence where it cannot be imported or is not a JAX function of one
    array that acts elementwise.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute.isidentifier():
        raise ValueError(f"{path!r} is not an import path: write 'package.module:function'.")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may fail in any way
        raise ValueError(f"{path!r}: importing {module_name} failed: {_first_line(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"{path!r}: {module_name} has no function {attribute!r}.")
    return probe(function, path)


def probe(function: Callable[[jax.Array], jax.Array], name: str) -> Activation:
    """Describe an elementwise JAX function by evaluating it, in float64.

    The slope is the function's own derivative (forward mode). Degrees come from the ratios psi(2a) /
    psi(a) at tiny and at huge a, max_slope and slope_error from a grid of 20,001 points on [-50, 50]. What
    is not found is None, and said in `notes`.
    Errors: ValueError with one sentence.
    """
    try:
        return _probe(function, name)
    except ValueError:
        raise
    except Exception as error:  # a user's function may fail in any way
        raise ValueError(f"{name!r} cannot be evaluated: {_first_line(error)}") from error


def _probe(function: Callable[[jax.Array], jax.Array], name: str) -> Activation:
    with jax.enable_x64(True):
        _check_elementwise(function, name)
        at_zero = float(function(jnp.zeros(1))[0])
        if not math.isfinite(at_zero):
            raise ValueError(f"{name!r}: phi(0) is {at_zero}; an activation must be finite at 0.")

        def slope(a: jax.Array) -> jax.Array:
            return jax.jvp(function, (a,), (jnp.ones_like(a),))[1]

        degree_at_zero = _degree_at_zero(function, slope, at_zero)
        left = _degree_at_infinity(function, -1.0)
        right = _degree_at_infinity(function, 1.0)
        slopes = np.abs(np.asarray(slope(jnp.linspace(-50.0, 50.0, 20_001))))
        max_slope = float(np.nanmax(slopes))
        slope_error = _slope_error(slope) / max_slope
        points = jnp.asarray([-2.0, -0.5, 0.5, 2.0])
        homogeneous = at_zero == 0 and bool(
            jnp.allclose(function(points * 1024), 1024 * function(points), rtol=1e-12, atol=0)
            & jnp.allclose(function(points / 1024), function(points) / 1024, rtol=1e-12, atol=0)
        )
    notes = []
    if degree_at_zero is None:
        notes.append(f"{name}: no power law found near 0; signals below 1e-38 are lost there.")
    if left is None or right is None:
        notes.append(f"{name}: no power law found far out; signals beyond 1e+38 count as overflow.")
    if max_slope > 1.01 * np.nanmax(slopes[1000:-1000]):
        notes.append(f"{name}: its slope grows on; `saturated` takes {max_slope:.4g}, on [-50, 50], as its maximum.")
    if at_zero:
        notes.append(f"{name}: phi(0) is {at_zero:.6g}; responses below 1e-7 of that are lost to rounding.")
    if not math.isfinite(max_slope) or max_slope == 0:
        raise ValueError(f"{name!r}: its slope on [-50, 50] is {max_slope}; saturation has no meaning.")
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
        notes=tuple(notes),
    )


def _check_elementwise(function: Callable[[jax.Array], jax.Array], name: str) -> None:
    points = jnp.asarray([[0.3, -1.7, 2.5], [-0.2, 0.9, -3.1]])
    try:
        together = function(points)
        apart = jnp.stack([function(points[i : i + 1, j : j + 1])[0, 0] for i in range(2) for j in range(3)])
        jax.jit(function)(points)
    except Exception as error:
        raise ValueError(f"{name!r} is not a JAX function of one array: {_first_line(error)}") from error
    if together.shape != points.shape or not bool(jnp.allclose(together.ravel(), apart, rtol=1e-6, equal_nan=True)):
        raise ValueError(f"{name!r} does not act on each element alone.")


def _slope_error(slope: Callable[[jax.Array], jax.Array]) -> float:
    """The largest rounding error of the slope in float32, on [-50, 50]."""
    points = jnp.linspace(-50.0, 50.0, 20_001).astype(jnp.float32)
    error = np.asarray(slope(points), np.float64) - np.asarray(slope(points.astype(jnp.float64)))
    return float(np.nanmax(np.abs(error), initial=0.0))


def _degree_at_zero(function, slope, at_zero: float) -> int | None:
    near, nearer = (np.asarray(slope(jnp.asarray([-x, x]))) for x in (1e-9, 1e-12))
    if np.all(np.abs(nearer) > 1e-6) and np.allclose(near, nearer, rtol=1e-3):
        return 1
    # Far enough from 0 that phi(a) - phi(0) keeps digits, near enough to be asymptotic.
    scales = 2.0 ** np.arange(-12, -8)
    return _common_degree(
        [np.abs(np.asarray(function(jnp.asarray(sign * scales))) - at_zero) for sign in (-1.0, 1.0)], 0.02
    )


def _degree_at_infinity(function, sign: float) -> int | None:
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
    found = np.concatenate(ratios)
    degree = round(float(np.mean(found)))
    near = 0 <= degree <= MAX_DEGREE and np.all(np.abs(found - degree) < tolerance)
    return degree if near else None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
