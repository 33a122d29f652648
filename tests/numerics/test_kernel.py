"""The Pallas kernel of dense layers, interpreted on a CPU: against float64 NumPy, against XLA, and made for a GPU."""

import subprocess
import sys
from contextlib import nullcontext
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support.marks import slow_but
from support.networks import fast, inputs, stack_of
from winit_jax.numerics import draws as shared
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.record import Activation
from winit_jax.numerics.blocks import BLOCKS, Layout
from winit_jax.numerics.draws import Layer
from winit_jax.numerics.measure import comparison, fused, kernel
from winit_jax.numerics.measure.networks import INTERPRETED, PALLAS, XLA, Settings
from winit_jax.numerics.normalization import NORMALIZATIONS

DEPTH, BINS = 3, np.linspace(-1, 1, 4)
# Ordinary scales; small and large ones, at which numbers leave float32; a layer that is saturated throughout.
STDS, BIASES = [0.4, 1.2, 1e-6, 1e-30, 1e12, 0.1], [0.3, 0.1, 1e-7, 0.0, 0.1, 60.0]
ORDINARY, HUGE, SATURATED = 2, 4, 5
# Units that are no power of two, and rows that no tile divides.
SHAPES = {"narrow": (70, 5), "wide": (70, 100)}
CASES = [("tanh", "narrow")]
# Pallas' Triton backend has no operations for these.
NOT_ON_GPUS = ("erf", "gelu")
# Overflows where float32 does.
EXP = Activation("exp", response=jnp.expm1, slope=jnp.exp, max_slope=1.0, at_zero=1.0, degree_at_infinity=None)


@cache
def columns(name, shape, by):
    samples, width = SHAPES[shape]
    act = EXP if name == "exp" else name
    settings = {"kernel": by, "width": width, "depth": DEPTH, "jacobian": True, "edges": BINS, "block": 3}
    return fast(inputs(samples), act, STDS, BIASES, **settings)


def compared(name, shape, measured, network):
    """What float64 NumPy says of the columns of a network."""
    samples, width = SHAPES[shape]
    x = inputs(samples)
    first, ((hidden,),) = shared.first_layer(0, "normal", width, x.shape[1]), stack_of("normal", width, 2, DEPTH - 1)
    layers = [first, *(Layer(*parts) for parts in zip(*map(np.asarray, hidden), strict=True))]
    unit = [((layer,),) for layer in layers]
    scales = comparison.Network(STDS[network], BIASES[network], [STDS[network]])
    directions = np.asarray(shared.directions(0, "tangents", samples, width), float)
    own = {column: values[:, network] for column, values in measured.items() if column != "histogram"}
    return comparison.compare(own, x, scales, unit, directions, activation(name), 0.05, "none")


@pytest.mark.parametrize(
    ("name", "shape"), slow_but(CASES, [(name, shape) for name in sorted(ACTIVATIONS) for shape in SHAPES])
)
def test_every_column_of_the_kernel_is_what_float64_says(name, shape):
    measured = columns(name, shape, INTERPRETED)
    for network in range(len(STDS)):
        found = compared(name, shape, measured, network)
        assert found.wrong == []
        assert found.layers or network >= ORDINARY


@pytest.mark.parametrize(
    ("name", "shape"),
    slow_but(CASES, [*CASES, ("softplus", "wide"), ("relu", "wide"), ("sigmoid", "wide"), ("elu", "narrow")]),
)
def test_the_kernel_gives_the_columns_that_xla_gives(name, shape):
    by_xla, by_kernel = columns(name, shape, XLA), columns(name, shape, INTERPRETED)
    assert by_xla.keys() == by_kernel.keys()
    pairs = np.prod(SHAPES[shape])
    for column, values in by_xla.items():
        # A sum of thousands of terms in another order, and a pair that rounding moves over a threshold.
        counted = column in ("saturated", "dead", "zero")
        np.testing.assert_allclose(
            by_kernel[column], values, rtol=1e-5, atol=2 / pairs if counted else 1e-5, err_msg=column
        )


def test_a_layer_that_is_saturated_throughout_keeps_its_jacobian():
    by_xla, by_kernel = columns("tanh", "narrow", XLA), columns("tanh", "narrow", INTERPRETED)
    assert by_kernel["saturated"][1, SATURATED] == 1
    jacobians = [of["log10_jacobian"][:, SATURATED] for of in (by_xla, by_kernel)]
    assert jacobians[0][2] < -10
    np.testing.assert_allclose(jacobians[1], jacobians[0], rtol=1e-5)


@pytest.mark.slow
def test_what_overflows_is_counted_and_nothing_else_is_said_of_it():
    by_xla, by_kernel = columns("exp", "narrow", XLA), columns("exp", "narrow", INTERPRETED)
    assert by_kernel["nonfinite"].max() > 0
    for column in ("nonfinite", "act_mean", "saturated", "preact_mean"):
        # At a std of 1e12 sums of finite terms overflow on the way or not, as their order has it.
        pair = (np.delete(of[column], HUGE, axis=1) for of in (by_kernel, by_xla))
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5, err_msg=column)


# What each array of the kernel decides, and an activation whose columns show it.
SHOWN = {
    "response": "tanh",
    "sums": "tanh",
    "within": "tanh",
    "stream_within": "tanh",
    "least": "tanh",
    "most": "tanh",
    "least_argument": "softplus",
    "rows": "tanh",
    "saturated": "tanh",
    "zero": "relu",
    "nonfinite": "tanh",
    "change": "tanh",
    "change_square": "tanh",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", kernel.OfTiles._fields)
def test_the_self_check_sees_each_array_of_the_kernel(name, monkeypatch):
    def wrongly(*given, **settings):
        tiles = kernel.through_layer(*given, **settings)
        value = getattr(tiles, name)
        return tiles._replace(**{name: value + 7 if value.dtype == jnp.int32 else value * 1.5})

    monkeypatch.setattr(fused, "through_layer", wrongly)
    samples, width = SHAPES["narrow"]
    phi = SHOWN[name]
    settings = {"kernel": INTERPRETED, "width": width, "depth": DEPTH, "jacobian": True, "block": 2}
    jax.clear_caches()
    measured = fast(inputs(samples), phi, STDS[:ORDINARY], BIASES[:ORDINARY], **settings)
    jax.clear_caches()
    assert compared(phi, "narrow", measured, 0).wrong


@pytest.mark.parametrize(
    "other",
    [
        {"block": "residual"},
        {"block": "conv(3)"},
        {"block": "mlp(4)"},
        {"normalization": "layer"},
        {"layout": Layout(4)},
        {"rounds": True},
        {"unit_variance": True},
    ],
    ids=str,
)
def test_other_layers_are_left_to_xla(other):
    block = BLOCKS.find(other.get("block", "dense"))
    normalization = NORMALIZATIONS[other.get("normalization", "none")]
    rest = {name: value for name, value in other.items() if name not in ("block", "normalization")}
    assert fused.covers(Settings(activation("tanh"), kernel=PALLAS))
    assert not fused.covers(Settings(activation("tanh"), normalization, block=block, kernel=PALLAS, **rest))


def for_a_gpu(name, rows=1000, width=100, precision="highest"):
    """The program of a layer as it would be handed to a GPU's driver; JAX makes it without one."""
    array = jax.ShapeDtypeStruct
    signal, numbers = array((3, rows, width), jnp.float32), array((3,), jnp.float32)
    units = array((3, width), jnp.float32)

    def layer(h, change, draw, scalars, mean, offset):
        given = (h, change, draw, kernel.Scalars(*scalars), mean, offset, activation(name), 0.05, precision)
        return kernel.through_layer(*given, interpret=False)

    known = nullcontext()
    if hasattr(jax.sharding, "AbstractDevice"):  # newer JAX wants to know which GPU
        device = jax.sharding.AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
        known = jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("d",), abstract_device=device))
    with known:
        traced = jax.jit(layer).trace(signal, signal, array((width, width), jnp.float32), (numbers,) * 4, units, units)
        return traced.lower(lowering_platforms=("cuda",)).as_text()


# Triton in Pallas is deprecated, which JAX says.
@pytest.mark.filterwarnings("ignore:.*Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_kernel_can_be_made_for_a_gpu(name):
    if name in NOT_ON_GPUS:
        with pytest.raises(NotImplementedError, match="erf"):
            for_a_gpu(name)
    else:
        assert "__gpu$xla.gpu.triton" in for_a_gpu(name)


@pytest.mark.filterwarnings("ignore:.*Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("rows", "width"), [(7, 1), (1000, 5), (64, 128), (100, 1000)])
def test_tiles_of_every_shape_can_be_made_for_a_gpu(rows, width):
    assert "__gpu$xla.gpu.triton" in for_a_gpu("tanh", rows, width)


@pytest.mark.filterwarnings("ignore:.*Triton backend is deprecated:DeprecationWarning")
def test_the_highest_precision_is_float32_in_the_kernel_too():
    by_word = {
        word: for_a_gpu("tanh", precision=word) for word in ("highest", "F32_F32_F32", "default", "TF32_TF32_F32")
    }
    assert by_word["highest"] == by_word["F32_F32_F32"]
    assert by_word["default"] == by_word["TF32_TF32_F32"]
    assert by_word["highest"] != by_word["default"]


def test_nobody_pays_for_pallas_who_does_not_ask_for_it():
    code = "import sys, winit_jax.engine.computing.executor; print('jax.experimental.pallas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
