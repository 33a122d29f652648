"""Measured streams of wide networks against the recursions and values that the field knows, over seeds.

Tolerances are standard errors over seeds, and what a width of 512 or 1,024 leaves of corrections of order 1 / width.
"""

import math

import numpy as np
import pytest

from winit_jax.numerics import schemes
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import BLOCKS, Context, Layout, Scales
from winit_jax.numerics.measure import families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.scaled import Scaled, as_scaled
from winit_jax.numerics.signals import Signal
from winit_jax.spec.formulas import value_of

SEEDS, WIDTH = 8, 512
pytestmark = pytest.mark.slow


def rows_of(samples, positions=1, position_correlation=0.0, seed=0):
    """Rows of mean square 1 whose products are exactly those asked for: [samples x positions, WIDTH]."""
    count = samples * positions
    normal = np.random.default_rng(seed).standard_normal((WIDTH, count))
    alike = np.full((positions, positions), position_correlation) + (1 - position_correlation) * np.eye(positions)
    mixed = np.kron(np.eye(samples), np.linalg.cholesky(alike))
    return mixed @ np.linalg.qr(normal)[0].T * math.sqrt(WIDTH)


def measured(block, activation, depth, x, *, gain=1.0, skip=None, branch=1.0, sharpness=1.0, init="normal", **more):
    """Columns of a stem that keeps lengths and of `depth` layers: [seeds, rows] each."""
    kind, columns = BLOCKS.find(block), []
    positions, normalization = more.get("positions", 1), NORMALIZATIONS[more.get("normalization", "none")]
    layout = Layout(positions, more.get("grid"))
    settings = Settings(ACTIVATIONS[activation], normalization, layout=layout, block=kind)
    for seed in range(SEEDS):
        places = [place for update in kind.updates for place in update.places(WIDTH)]
        stds = np.array([[gain / math.sqrt(place.fan_in)] for place in places])
        hidden = stds[0] if len(stds) == 1 else stds
        of_stream = (np.array([scale]) for scale in (kind.skip if skip is None else skip, branch, sharpness))
        family = Family(
            seed,
            init,
            WIDTH,
            np.array([WIDTH**-0.5]),
            hidden,
            np.zeros(1),
            np.full(1, 1e-12),
            kind,
            *of_stream,
        )
        found, _ = families.forward(family, as_inputs(x), depth, settings, budget_mib=256, platform="cpu")
        columns.append({name: values[:, 0] for name, values in found.items()})
    return {name: np.array([of_seed[name] for of_seed in columns]) for name in columns[0]}


def assert_mean(values, expected, relative=2 / WIDTH, layers=1):
    """Over seeds, within four standard errors and finite width's corrections, which grow with the layers."""
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    np.testing.assert_array_less(
        np.abs(values.mean(axis=0) - expected), 4 * error + layers * relative * np.abs(expected)
    )


def squares(columns, name="log10_preact_rms"):
    return 10.0 ** (2 * columns[name])


def test_a_residual_tanh_stream_grows_as_its_recursion_says():
    columns = measured("residual", "tanh", 11, rows_of(40))
    for blocks, p, log_jacobian in (
        (1, 1.3942944904, 0.3814475843),
        (2, 1.8492747821, 0.7228733533),
        (10, 6.7767983596, 2.6432063527),
    ):
        assert_mean(squares(columns)[:, blocks], p, layers=blocks)
        assert_mean(math.log(100) * columns["log10_jacobian"][:, blocks], log_jacobian, layers=blocks)


@pytest.mark.parametrize(("branch", "correlation"), [(1.0, 0.7075574803), (10**-0.5, 0.2392526101)])
def test_a_residual_relu_stream_is_geometric_and_aligns_its_inputs(branch, correlation):
    columns = measured("residual", "relu", 11, rows_of(40), gain=math.sqrt(2), branch=branch)
    assert_mean(np.log(squares(columns)[:, 10]), 10 * math.log(1 + branch**2), layers=10)
    assert_mean(math.log(100) * columns["log10_jacobian"][:, 10], 10 * math.log(1 + branch**2), layers=10)
    assert_mean(columns["input_correlation"][:, 10], correlation, layers=10)


def test_before_a_norm_homogeneous_branches_add_the_same_each_layer():
    columns = measured("residual", "relu", 11, rows_of(40), gain=math.sqrt(2), normalization="rms")
    p = 1 + np.arange(11)
    assert_mean(squares(columns), p, layers=10)
    assert_mean(squares(columns, "log10_jacobian"), p, layers=10)  # the product of 1 + 1 / p telescopes


def test_a_perceptron_multiplies_by_both_of_its_gains():
    columns = measured("mlp(2)", "relu", 5, rows_of(40), gain=math.sqrt(2))
    assert_mean(np.log(squares(columns)[:, 4]), 4 * math.log(3), layers=4)
    assert_mean(math.log(100) * columns["log10_jacobian"][:, 4], 4 * math.log(3), layers=4)


@pytest.mark.parametrize(
    ("activation", "length", "jacobian"),
    [("silu", 0.355775519817, 0.735257871450), ("relu", 0.5, 1.0), ("identity", 1.0, 2.0)],
)
def test_gates_multiply_what_two_weights_make_of_the_stream(activation, length, jacobian):
    columns = measured("gated(2)", activation, 2, rows_of(40), skip=0.0)
    assert_mean(squares(columns)[:, 1], length)
    assert_mean(squares(columns, "log10_jacobian")[:, 1], jacobian)


def test_uniform_attention_averages_positions_and_keeps_what_tells_them_apart():
    positions = 128
    x = np.concatenate([rows_of(1, positions, seed=seed) for seed in range(2)])
    columns = measured("attention(4)", "identity", 13, x, sharpness=0.0, positions=positions)
    p, r = 32.9921875, 31.9921875
    assert_mean(np.log(squares(columns)[:, 12]), math.log(p), layers=12)
    assert_mean(columns["position_similarity"][:, 12], r / p, layers=12)
    np.testing.assert_allclose(columns["attention_entropy"][:, 1:], 1, atol=1e-5)


@pytest.mark.parametrize(("positions", "share"), [(2, 0.6368381540), (16, 0.1324522172)])
def test_random_attention_is_as_sharp_as_the_softmax_of_normal_logits(positions, share):
    x = rows_of(16, positions)
    columns = measured("attention(1)", "identity", 2, x, skip=0.0, positions=positions)
    assert_mean(squares(columns)[:, 1], share, relative=8 / WIDTH)


def test_causal_uniform_attention_has_the_root_of_a_harmonic_mean():
    positions = 128
    columns = measured(
        "attention(4, causal)", "identity", 2, rows_of(2, positions), skip=0.0, sharpness=0.0, positions=positions
    )
    assert_mean(10.0 ** columns["log10_preact_rms"][:, 1], 0.2060253908)


def test_without_a_skip_positions_come_together_as_their_distance_cubed():
    apart, following = np.array([1e-2, 1e-3]), []
    for distance in apart:
        x = rows_of(4, 16, 1 - distance)
        columns = measured("attention(1)", "identity", 2, x, skip=0.0, positions=16)
        following.append(np.mean(1 - columns["position_similarity"][:, 1]))
    slope = np.diff(np.log(following)) / np.diff(np.log(apart))
    assert slope[0] == pytest.approx(3, abs=0.1)


def test_delta_orthogonal_convolutions_keep_every_length():
    positions = 8
    columns = measured("conv(3)", "identity", 21, rows_of(6, positions), init="delta_orthogonal", positions=positions)
    np.testing.assert_allclose(columns["log10_preact_rms"][:, 1:] - columns["log10_preact_rms"][:, :1], 0, atol=1e-5)
    np.testing.assert_allclose(columns["log10_jacobian"], 0, atol=1e-5)


def test_a_convolution_damps_each_wave_over_positions_by_its_mean_over_taps():
    positions, taps = 8, 3
    block = BLOCKS.find(f"conv({taps})")
    (update,) = block.updates
    for wave, damping in enumerate((1.0, 0.8047378541, 1 / 3, -0.1380711875, -1 / 3)):
        lengths = 1 + 0.5 * np.cos(2 * np.pi * wave * np.arange(positions) / positions)
        found = []
        for seed in range(SEEDS):
            rows = np.random.default_rng(seed).standard_normal((16, positions, WIDTH)) * np.sqrt(lengths)[:, None]
            rows = rows.reshape(-1, WIDTH).astype(np.float32)
            signal = Signal(Scaled(rows, np.int32(0)), rows.mean(axis=0), np.int32(1))
            family = Family(seed, "normal", WIDTH, *[np.ones(1)] * 3, block=block)
            draws = tuple(
                layer._replace(**{k: v[0] for k, v in layer._asdict().items()}) for layer in family.stack(2, 1)[0]
            )
            one, nothing = (Scaled(*(part[0] for part in as_scaled([x]))) for x in ((taps * WIDTH) ** -0.5, 0.0))
            identity = ACTIVATIONS["identity"]
            context = Context(identity, identity, layout=Layout(positions))
            branch = update.forward(signal, None, draws, Scales((one,), (nothing,)), context)
            a = np.asarray(branch.preactivation.value) * 2.0 ** int(branch.preactivation.exponent)
            by_position = np.mean(np.square(a.reshape(16, positions, WIDTH)), axis=(0, 2))
            pattern = np.cos(2 * np.pi * wave * np.arange(positions) / positions)
            found.append(np.sum(by_position * pattern) / np.sum(lengths * pattern))
        assert_mean(np.array(found), damping, relative=0.03)


def test_inits_and_scales_by_name_are_those_of_their_sources():
    for layers, skip, inner in ((6, 1.8612097182, 0.3799178428), (12, 2.2133638394, 0.3194715521)):
        assert value_of("deepnorm", depth=layers) == pytest.approx(skip, rel=1e-9)
        plain = schemes.scheme_std("xavier_normal", 64, 64)
        assert schemes.scheme_std("deepnorm", 64, 64, "inner", layers) == pytest.approx(inner * plain, rel=1e-9)
        assert schemes.scheme_std("deepnorm", 64, 64, "logits", layers) == plain
    for layers, std in ((12, 0.00408248290), (24, 0.00288675135)):
        assert schemes.scheme_std("gpt2", 64, 64, "out", layers) == pytest.approx(std, rel=1e-8)
        assert schemes.scheme_std("gpt2", 64, 64, "inner", layers) == 0.02
    assert schemes.scheme_std("fixup", 64, 64, "out", 16) == 0
    assert schemes.scheme_std("fixup", 64, 64, "inner", 16) == pytest.approx(math.sqrt(2 / 64) / 4)
    assert value_of("skipinit") == 0
