"""Every block on its way forth and back, against float64 networks that share only phi and the draws with it."""

import jax
import numpy as np
import pytest

from support import architectures
from support.architectures import SIDE, Setting, positions_of
from support.networks import inputs
from winit_jax.numerics import draws
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import BLOCKS, Layout
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.training import classifier, trainer

WIDTH, DEPTH, SAMPLES, FEATURES = 16, 4, 12, 6
FIRST, HIDDEN, BIASES = np.array([0.4, 0.8]), np.array([0.2, 0.4]), np.array([0.0, 0.3])
BLOCK_NAMES = (
    "mlp(2)", "gated(2)", "conv(3)", "conv2d(2)", "residual_conv(2)", "residual_conv2d(1)", "attention(2)",
    "attention(4, causal)", "transformer(2, 2)", "transformer(4, 1, causal)",
)  # fmt: skip
SETTINGS = (
    Setting("tanh", branch=0.7, gain=1.5),
    Setting("sigmoid", "layer", skip=0.5),
    Setting("gelu", "rms", "post"),
    Setting("relu", "batch", gain=0.5),
)
# One setting a block; `test_any_architecture` draws the others.
QUICK = ()
CASES = [
    pytest.param(name, SETTINGS[at % len(SETTINGS)], marks=[] if name in QUICK else [pytest.mark.slow])
    for at, name in enumerate(BLOCK_NAMES)
]
EACH = pytest.mark.parametrize(("name", "setting"), CASES)


def family(name, setting, seed=0):
    scales = (np.full(2, 1e-5), BLOCKS.find(name), *(np.full(2, x) for x in setting[3:]))
    return Family(seed, "normal", WIDTH, FIRST, HIDDEN, BIASES, *scales)


def settings(name, setting):
    positions = positions_of(name)
    return Settings(
        ACTIVATIONS[setting.activation],
        NORMALIZATIONS[setting.normalization],
        norm_position=setting.position,
        layout=Layout(positions, (SIDE, SIDE) if positions > 1 else None),
        block=BLOCKS.find(name),
    )


def fed(name):
    return inputs(SAMPLES * positions_of(name), FEATURES)


@EACH
def test_every_column_is_that_of_the_float64_reference_and_the_jacobian_that_of_autodiff(name, setting):
    x, of_family, of_settings = fed(name), family(name, setting), settings(name, setting)
    columns, _ = families.forward(of_family, as_inputs(x), DEPTH, of_settings, budget_mib=64, platform="cpu")
    layers = of_family.first_layers(FEATURES, DEPTH, 64, DEPTH)
    tangents = np.asarray(draws.directions(0, "tangents", len(x), WIDTH), float)
    rows = of_settings.rows(DEPTH)
    for at in range(2):
        scales = (FIRST[at], BIASES[at], of_family.place_stds[:, at], 1e-5, *setting[3:])
        found = comparison.compare(
            {column: values[:, at] for column, values in columns.items()},
            x,
            comparison.Network(*scales),
            layers,
            tangents,
            ACTIVATIONS[setting.activation],
            0.05,
            setting.normalization,
            block=BLOCKS.find(name),
            norm_position=setting.position,
            positions=positions_of(name),
            grid=(SIDE, SIDE),
        )
        assert found.layers == rows
        assert found.wrong == []
        expected = architectures.log10_jacobian(of_family, at, x, DEPTH, setting)
        # Layers of float32 products: a few 1e-6 of the size, 4e-7 of log10 each.
        np.testing.assert_allclose(columns["log10_jacobian"][:, at], expected, atol=3e-5)


@EACH
def test_gradients_are_those_of_autodiff_at_every_row_of_every_depth(name, setting):
    """Under both losses, of inputs with labels and of inputs without, in turn along the list of blocks."""
    x, of_family = fed(name), family(name, setting)
    labels = np.repeat(np.arange(SAMPLES) % 3, positions_of(name)) if BLOCK_NAMES.index(name) % 2 else None
    columns, _ = families.gradients(
        of_family, as_inputs(x), labels, (1, 2, DEPTH), settings(name, setting), budget_mib=64, platform="cpu"
    )
    for at in range(2):
        for place, depth in enumerate((1, 2, DEPTH)):
            expected = architectures.gradients(of_family, at, x, depth, setting, labels)
            for column, values in zip(("log10_preact_grad_rms", "log10_weight_grad_rms"), expected, strict=True):
                found = columns[column][at, place]
                # As above, and sums over samples that normalization makes cancel: ten times that.
                np.testing.assert_allclose(found[: len(values)], values, atol=2e-4, err_msg=f"{column} {depth}")
                assert np.isnan(found[len(values) :]).all()


@EACH
def test_singular_values_are_those_of_the_jacobian(name, setting):
    if setting.normalization == "batch":
        return
    positions, of_family = positions_of(name), family(name, setting)
    x = inputs(2 * positions, FEATURES)
    found = families.singular_values(of_family, x, (1, 2, DEPTH), settings(name, setting))
    for at in range(2):
        stem, hidden = architectures.scaled(of_family, at, FEATURES, DEPTH)
        run, rows = architectures.network(name, setting), 1 + len(of_family.block.updates) * (DEPTH - 1)
        with jax.enable_x64(True):

            def last(nudge, sample, stem=stem, hidden=hidden, run=run, rows=rows):
                return run(sample, stem, hidden, [nudge] + [0.0] * (rows - 1))[0][-1]

            jacobian = jax.jit(jax.jacfwd(last))
            samples = x.reshape(2, positions, FEATURES)
            jacobians = [np.asarray(jacobian(np.zeros((positions, WIDTH)), sample)) for sample in samples]
        values = np.linalg.svd(np.reshape(jacobians, (2, positions * WIDTH, -1)), compute_uv=False)
        # Dense layers alone have slopes of float32.
        assert found["sv_max"][-1, at] == pytest.approx(values.max(), rel=1e-4)
        assert found["sv_min"][-1, at] == pytest.approx(values.min(), rel=1e-4)
        assert found["sv_mean_square"][-1, at] == pytest.approx(np.mean(values**2), rel=1e-4)
        assert found["sv_min"][0, at] == found["sv_max"][0, at] == pytest.approx(1)


@EACH
def test_a_classifier_answers_as_its_definition_says(name, setting):
    positions, of_family = positions_of(name), family(name, setting)
    network = classifier.Architecture(
        ACTIVATIONS[setting.activation],
        NORMALIZATIONS[setting.normalization],
        BLOCKS.find(name),
        setting.position,
        layout=Layout(positions, (SIDE, SIDE) if positions > 1 else None),
    )
    hidden = [tuple(of_family.place_stds[:, at]) for at in range(2)]
    scales = ((FIRST[at], hidden[at], 0.5, BIASES[at], 0.1, 1e-5, *setting[3:]) for at in range(2))
    trainees = [trainer.Trainee(0, "normal", *of_network) for of_network in scales]
    state = trainer.begin(trainees, WIDTH, DEPTH, FEATURES, 3, trainer.Settings(network))
    x = fed(name)
    samples = x.reshape(SAMPLES, positions, FEATURES) if positions > 1 else x
    logits, last, _ = classifier.answer(state.parameters, np.asarray(samples, np.float32), network, state.scales)
    assert logits.shape == (2, SAMPLES, 3)
    for at in range(2):
        stem, layers = architectures.scaled(of_family, at, FEATURES, DEPTH)
        rows = 1 + len(of_family.block.updates) * (DEPTH - 1)
        with jax.enable_x64(True):
            _, h = architectures.network(name, setting)(x, stem, layers, [0.0] * rows)
            h = np.asarray(h)
        np.testing.assert_allclose(last[at], h, rtol=1e-3, atol=1e-4 * np.abs(h).max())
        read = h.reshape(SAMPLES, positions, WIDTH).mean(axis=1)
        readout, bias = (np.asarray(state.parameters[part][at], float) for part in ("readout", "readout_bias"))
        np.testing.assert_allclose(logits[at], read @ readout + bias, rtol=1e-3, atol=1e-3 * np.abs(read).max())


@pytest.mark.slow
def test_gates_that_overflow_even_the_carried_exponent_are_recorded_as_overflow():
    setting, depth = Setting("relu"), 40
    of_family = family("gated(2)", setting)
    columns, _ = families.forward(
        of_family, as_inputs(fed("gated(2)")), depth, settings("gated(2)", setting), budget_mib=64, platform="cpu"
    )
    log10_rms, lost = columns["log10_preact_rms"][:, 1], columns["nonfinite"][:, 1]
    assert set(lost) == {0.0, 1.0}
    assert np.all(np.diff(lost) >= 0)
    np.testing.assert_array_equal(np.isnan(log10_rms), lost == 1)
    # Each layer cubes what is far above 1: all others are held, far outside float32 and float64.
    assert np.nanmax(log10_rms) > 1e4
