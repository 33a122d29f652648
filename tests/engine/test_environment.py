"""Numbers come from the sweep, not from the JAX variables of somebody's shell."""

from contextlib import ExitStack

import jax
import pytest

from winit_jax.engine.computing.executor import compute
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep

WORDS = ["activation=tanh", "gain=1.5", "width=6", "depth=2", "inputs.samples=7", "measure.gradients=true"]


def tables():
    sweep = load_sweep(None, WORDS, vocabulary())
    (part,) = planner(1).parts(sweep)
    return compute(read_work(sweep), part, tuple(sweep.grid.depth))


@pytest.mark.slow
def test_a_run_gives_the_same_bits_whatever_jax_is_told_by_the_environment():
    plain = tables()
    with ExitStack() as stack:
        # What JAX_ENABLE_X64, JAX_NUMPY_DTYPE_PROMOTION, JAX_DEBUG_NANS and JAX_DEFAULT_MATMUL_PRECISION set.
        stack.enter_context(jax.enable_x64(True))
        stack.enter_context(jax.numpy_dtype_promotion("strict"))
        stack.enter_context(jax.debug_nans(True))
        stack.enter_context(jax.default_matmul_precision("bfloat16"))
        other = tables()
    assert plain.keys() == other.keys()
    assert all(other[name].to_pandas().equals(table.to_pandas()) for name, table in plain.items())  # NaN included


@pytest.mark.parametrize(
    ("threshold", "sentence"),
    [
        ("1e-40", "1e-40 is less than 1e-30, beyond which float32 cannot tell the slopes of tanh apart."),
        ("0.9999999", "0.9999999 is more than 0.999878, beyond which float32 cannot tell the slopes of tanh apart."),
    ],
)
def test_a_threshold_that_slopes_cannot_be_held_against_is_refused(threshold, sentence):
    with pytest.raises(SpecError) as caught:
        load_sweep(None, [*WORDS, f"measure.saturation_threshold={threshold}"], vocabulary())
    assert sentence in str(caught.value)
