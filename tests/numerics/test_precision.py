"""How matrices are multiplied: roundoffs of algorithms in pieces, and what is not there on a platform."""

from typing import get_args

import ml_dtypes
import numpy as np
import pytest

from winit_jax.api import Asked
from winit_jax.engine.computing import devices
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.work import read_work
from winit_jax.numerics.rounding import NARROW_ROUNDOFF, UNIT_ROUNDOFF, product_roundoff
from winit_jax.spec.sweep import MatmulPrecision


def tf32(x):
    """Nearest numbers of 11 bits."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.round(fraction * 2**11) / 2**11, exponent)


def bfloat16(x):
    return x.astype(ml_dtypes.bfloat16).astype(np.float64)


def pieces(x, near, count):
    """x as a sum of so many numbers of fewer bits, largest first."""
    found = []
    for _ in range(count):
        found.append(near(x))
        x = x - found[-1]
    return found


def terms(x, y, near, count):
    """x y from its pieces, without the products of small ones."""
    pairs = [(i, j) for i in range(count) for j in range(count) if i + j < count]
    xs, ys = pieces(x, near, count), pieces(y, near, count)
    return np.sum([xs[i] * ys[j] for i, j in pairs], axis=0)


@pytest.mark.parametrize(
    ("name", "near", "count"),
    [
        ("BF16_BF16_F32_X3", bfloat16, 2),
        ("BF16_BF16_F32_X6", bfloat16, 3),
        ("TF32_TF32_F32", tf32, 1),
        ("TF32_TF32_F32_X3", tf32, 2),
    ],
)
def test_a_term_of_a_product_in_pieces_is_off_by_twice_its_roundoff_at_most(name, near, count):
    x, y = np.random.default_rng(0).uniform(1, 2, (2, 100_000)).astype(np.float32).astype(np.float64)
    off = np.abs(terms(x, y, near, count) - x * y) / (x * y)
    allowed = 2 * NARROW_ROUNDOFF[name]
    assert allowed / 8 < off.max() <= allowed


def test_every_word_for_a_precision_has_a_roundoff_and_a_cpu_has_one_for_all():
    words = set(get_args(MatmulPrecision))
    assert set(NARROW_ROUNDOFF) == words - {"highest", "float32", "F32_F32_F32"}
    assert {product_roundoff(word, "cpu") for word in words} == {UNIT_ROUNDOFF}
    assert product_roundoff("F32_F32_F32", "gpu") == UNIT_ROUNDOFF


def test_an_algorithm_that_a_platform_does_not_have_is_said_and_is_float32_there():
    said = (
        "compute.matmul_precision is TF32_TF32_F32, which JAX does not have on cpu: "
        "matrices are multiplied in float32, as with highest"
    )
    assert devices.multiplying("TF32_TF32_F32") == ("highest", said)
    assert devices.multiplying("BF16_BF16_F32_X3") == ("BF16_BF16_F32_X3", None)
    words = ("activation=tanh", "gain=1", "width=8", "depth=2", "compute.matmul_precision=TF32_TF32_F32_X3")
    executor = Executor(read_work(Asked(None, words).sweep()))
    assert executor.measuring.precision == executor.training.precision == "highest"
    assert len(executor.notes) == 1


def test_float32_is_another_word_for_the_highest_precision():
    words = ("activation=tanh", "gain=1", "compute.matmul_precision=float32")
    assert Asked(None, words).sweep().compute.matmul_precision == "highest"
