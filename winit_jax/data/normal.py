"""Normal inputs, of samples and positions that are correlated as asked for."""

import hashlib
import math

import numpy as np

from winit_jax.data.bounded import InputError, refuse_beyond_memory
from winit_jax.spec.sweep import Inputs


def draw(inputs: Inputs, width: int) -> tuple[np.ndarray, str]:
    """(x: float32 [samples, features], or [samples, positions, features]; SHA-256 of the draw).

    Each feature is normal, and for samples i, j and positions s, t

        E[x_is x_jt] = C_ij R_st,    C_ii = 1, C_ij = correlation,    R_ss = 1, R_st = position_correlation:

    x = C^(1/2) z R^(1/2) of independent z ~ N(0, 1), which are the same whatever the correlations are, so that inputs
    of different correlations are compared in pairs. Without any, x is z.
    With exact_correlation the z are made orthonormal first (`orthonormal`), and the sum over features of x_is x_jt is
    features times C_ij R_st in float64.
    Errors: InputError for more than fits in memory, and for fewer features than exact correlations take.
    """
    features, positions = inputs.features or width, inputs.positions_known
    rows = inputs.samples * positions
    refuse_beyond_memory((4 + 3 * 8) * rows * features, f"inputs: {rows:,} x {features:,} normal numbers")
    z = np.random.default_rng([inputs.seed, features]).standard_normal((rows, features), dtype=np.float32)
    # Of z and not of x: the keys say what is made of it, and matrix factors are not the same bits on every machine.
    sha256 = hashlib.sha256(z.tobytes()).hexdigest()
    shape = (inputs.samples, positions, features) if inputs.positions else (inputs.samples, features)
    if not (inputs.correlation or inputs.position_correlation or inputs.exact_correlation):
        return z.reshape(shape), sha256
    x = correlated(inputs, orthonormal(z) if inputs.exact_correlation else z.astype(np.float64))
    return np.ascontiguousarray(x.reshape(shape), np.float32), sha256


def correlated(inputs: Inputs, z: np.ndarray) -> np.ndarray:
    """C^(1/2) z R^(1/2): float64 [samples, positions, features], of uncorrelated z [samples * positions, features]."""
    x = z.reshape(inputs.samples, inputs.positions_known, -1)
    return mixed(mixed(x, inputs.correlation, axis=0), inputs.position_correlation, axis=1)


def mixed(z: np.ndarray, correlation: float, axis: int) -> np.ndarray:
    """M^(1/2) z along an axis of n entries, for the matrix M of ones on the diagonal and `correlation` beside it.

    M has the eigenvalue 1 + (n - 1) c for the mean and 1 - c for what deviates from it, and so

        M^(1/2) z = sqrt(1 - c) z + (sqrt(1 + (n - 1) c) - sqrt(1 - c)) mean(z).

    c may be from -1 / (n - 1) to 1 (unchecked beyond rounding).
    """
    apart, together = (math.sqrt(max(0.0, value)) for value in (1 - correlation, 1 + (z.shape[axis] - 1) * correlation))
    x: np.ndarray = apart * z + (together - apart) * z.mean(axis=axis, keepdims=True)
    return x


def orthonormal(z: np.ndarray) -> np.ndarray:
    """Rows of the same span, orthogonal, each of squared length `features`: uniform among such, as z is normal.

    z: [rows, features]. Gram-Schmidt in the order of the rows, by Householder's way. Errors: InputError where there are
    more rows than features.
    """
    rows, features = z.shape
    if features < rows:
        raise InputError(f"inputs.exact_correlation: {rows:,} rows need at least that many features, not {features:,}.")
    q, r = np.linalg.qr(z.astype(np.float64).T)
    # Signs such that the diagonal of r is positive, with which the factors are unique.
    return np.asarray((math.sqrt(features) * np.where(np.diag(r) < 0, -1.0, 1.0) * q).T)
