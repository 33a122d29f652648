"""What every block must hold: its places and names, and that all that it says of itself is of one definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from support import architectures
from support.architectures import SIDE, Setting, positions_of
from support.networks import inputs
from winit_jax.columns import own_skip
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.numerics import draws
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.blocks import (
    BLOCKS,
    Context,
    Layout,
    entries,
    mean_field,
    measured_units,
    multiplications,
)
from winit_jax.numerics.blocks.protocol import IDENTITY
from winit_jax.numerics.changes import Tangent
from winit_jax.numerics.initializers import unit_weight_stack
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs
from winit_jax.numerics.naive import Naive, NaiveSignal, functions_of
from winit_jax.numerics.scaled import Scaled, root_exponent
from winit_jax.numerics.signals import Signal
from winit_jax.numerics.theory import correlation_map, length_map, propagate

WIDTH, SAMPLES, FEATURES = 8, 6, 5
# Block -> the places of each update: (name, fan_in, fan_out, role) at width 8, and whether they have biases.
ATTENTION = [("query", 8, 8, "logits"), ("key", 8, 8, "logits"), ("value", 8, 8, "inner"), ("out", 8, 8, "out")]
PLACES = {
    "dense": [([("", 8, 8, "out")], True)],
    "residual": [([("", 8, 8, "out")], True)],
    "conv(3)": [([("conv", 24, 8, "out")], True)],
    "conv2d(2)": [([("conv", 32, 8, "out")], True)],
    "residual_conv(2)": [([("conv", 16, 8, "out")], True)],
    "residual_conv2d(2)": [([("conv", 32, 8, "out")], True)],
    "mlp(4)": [([("up", 8, 32, "inner"), ("down", 32, 8, "out")], True)],
    "gated(3)": [([("gate", 8, 24, "inner"), ("value", 8, 24, "inner"), ("out", 24, 8, "out")], False)],
    "attention(2)": [(ATTENTION, False)],
    "attention(8, causal)": [(ATTENTION, False)],
    "transformer(2, 4)": [(ATTENTION, False), ([("up", 8, 32, "inner"), ("down", 32, 8, "out")], True)],
    "transformer(4, 1, causal)": [(ATTENTION, False), ([("up", 8, 8, "inner"), ("down", 8, 8, "out")], True)],
}
EACH = pytest.mark.parametrize("name", PLACES)
# And each block of the table that is not called with numbers.
NAMES = [*PLACES, *(name for name in BLOCKS if name not in PLACES)]
EVERY = pytest.mark.parametrize("name", NAMES)
UPDATES = [(name, at) for name in NAMES for at in range(len(BLOCKS.find(name).updates))]
EACH_UPDATE = pytest.mark.parametrize(("name", "at"), UPDATES)


def layout_of(name):
    positions = positions_of(name)
    return Layout(positions, (SIDE, SIDE) if positions > 1 else None)


def family(name, **options):
    scales = {"first_std": 0.5, "hidden_std": 0.4, "bias_std": 0.3} | options
    one = {key: np.array([value]) for key, value in scales.items()}
    return Family(0, "normal", WIDTH, block=BLOCKS.find(name), **one)


class One:
    """One update of one layer of one network, with a signal before it."""

    def __init__(self, name, at, activation="sigmoid", branch=0.7, sharpness=1.3):
        block, self.layout = BLOCKS.find(name), layout_of(name)
        self.update, self.activation = block.updates[at], ACTIVATIONS[activation]
        self.family = family(name, branch=branch, sharpness=sharpness)
        self.draws = jax.tree.map(lambda x: x[0], self.family.stack(2, 1)[at])
        self.scales = jax.tree.map(lambda x: jnp.asarray(x[0]), self.family.updates(np.array([0]))[at])
        outer = self.activation if block.responds else IDENTITY
        self.at_zero = outer.at_zero
        self.context = Context(self.activation, outer, "highest", self.layout)
        rows = SAMPLES * self.layout.positions
        generator = np.random.default_rng(7)
        self.psi, self.change, self.gradient = (
            generator.standard_normal((rows, WIDTH)).astype(np.float32) for _ in range(3)
        )

    @property
    def signal(self):
        value = jnp.asarray(self.psi)
        return Signal(Scaled(value, jnp.int32(0)), value.mean(axis=0), root_exponent(jnp.mean(value**2)))

    def forward(self):
        change = Tangent(jnp.asarray(self.change), jnp.int32(0), jnp.float32(1.0))
        return self.update.forward(self.signal, change, self.draws, self.scales, self.context)

    @property
    def places(self):
        """Weights and biases in float64 at each place, those of the last with branch_scale in them."""

        def true(scaled):
            return float(scaled.value) * 2.0 ** int(scaled.exponent)

        return [
            (true(weight) * np.asarray(layer.weights, float), true(bias) * np.asarray(layer.biases, float))
            for layer, weight, bias in zip(self.draws, self.scales.weights, self.scales.biases, strict=True)
        ]


def size_of(tangent):
    return np.asarray(tangent.value, float) * float(tangent.factor) * 2.0 ** int(tangent.exponent)


@EACH
def test_places_have_their_shapes_names_roles_and_biases(name):
    found = [update.places(WIDTH) for update in BLOCKS.find(name).updates]
    for places, (expected, has_biases) in zip(found, PLACES[name], strict=True):
        assert [(place.name, place.fan_in, place.fan_out, place.role) for place in places] == expected
        assert {place.has_bias for place in places} == {has_biases}


@EACH
def test_what_is_held_and_what_it_costs_follow_from_the_places(name):
    block, places = BLOCKS.find(name), [place for of_update, _ in PLACES[name] for place in of_update]
    held = sum(fan_in * fan_out for _, fan_in, fan_out, _ in places)
    assert entries(block, WIDTH) == held == sum(layer.weights[0].size for layer in sum(family(name).stack(2, 1), ()))
    # Each number is multiplied once a row; beside it attention multiplies all positions, twice.
    attends = any(update.attends for update in block.updates)
    for positions in (1, 4):
        assert multiplications(block, WIDTH, positions) == held + attends * 2 * positions * WIDTH
    inner = sum(of[0][2] for of, _ in PLACES[name] if of[0][0] in ("up", "gate"))
    assert measured_units(block, WIDTH) == WIDTH * len(PLACES[name]) + inner


@EACH
def test_sites_are_told_apart_where_a_layer_has_several_updates(name):
    block = BLOCKS.find(name)
    sites = [update.site for update in block.updates]
    assert sites == (["attention", "mlp"] if name.startswith("transformer") else [""])
    for update, (places, _) in zip(block.updates, PLACES[name], strict=True):
        assert update.has_phi == (places[0][0] in ("up", "gate"))
        assert update.attends == (places is ATTENTION)
    assert block.responds == (name in ("dense", "residual") or "conv" in name)
    assert block.skip == own_skip(name) == (0.0 if name == "dense" or name.startswith("conv") else 1.0)


@EVERY
def test_each_place_is_drawn_from_a_stream_of_its_own_name_whatever_the_stack(name):
    of_family = family(name)
    together, apart = of_family.stack(2, 3), of_family.stack(4, 1)
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        np.testing.assert_array_equal(one[2], other[0])
    seen = []
    for of_update, update in zip(together, BLOCKS.find(name).updates, strict=True):
        for layer, (place, fan_in, fan_out, has_bias, *_) in zip(of_update, update.places(WIDTH), strict=True):
            np.testing.assert_array_equal(layer.weights, unit_weight_stack(0, "normal", 2, 3, fan_in, fan_out, place))
            np.testing.assert_array_equal(layer.column_sums, layer.weights.sum(axis=1))
            assert bool(np.any(layer.biases)) == has_bias
            seen += [np.asarray(layer.weights).ravel()[:64], *([np.asarray(layer.biases).ravel()] * has_bias)]
    for at, one in enumerate(seen):
        for other in seen[:at]:
            assert not np.isin(one, other).any()


@pytest.mark.parametrize("name", ["dense", "residual"])
def test_the_draws_of_dense_layers_are_those_that_runs_before_blocks_had(name):
    # As `draws.layer_stack` gave them in table version 4: seed 3, width 8, layer 3.
    held = {
        "normal": (
            [1.638439655303955, 0.23960812389850616, -1.4733328819274902],
            [0.057478874921798706, 0.30382949113845825],
        ),
        "orthogonal": (
            [0.1405239999294281, 0.3382747173309326, -1.4756388664245605],
            [0.057478874921798706, 0.30382949113845825],
        ),
    }
    for shape, (weights, biases) in held.items():
        of_family = Family(3, shape, 8, *[np.ones(1)] * 3, block=BLOCKS.find(name))
        ((layer,),) = of_family.stack(2, 2)
        np.testing.assert_allclose(np.asarray(layer.weights[1]).ravel()[[0, 9, 63]], weights, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(layer.biases[1])[[0, 7]], biases, rtol=1e-6)


@EACH_UPDATE
def test_the_branch_and_its_change_are_those_of_the_definition(name, at):
    one = One(name, at)
    found = one.forward()
    naive = Naive(functions_of(one.activation), positions=one.layout.positions, grid=one.layout.grid, sharpness=1.3)
    signal = NaiveSignal(one.psi.astype(float), one.at_zero, one.change.astype(float))
    expected = one.update.naive(signal, one.places, naive)
    value = np.asarray(found.preactivation.value, float) * 2.0 ** int(found.preactivation.exponent)
    # Sums of a few dozen float32 products after one another: roundoffs of 6e-8 of numbers of order 1.
    np.testing.assert_allclose(value, expected.stream.product + expected.stream.offset, atol=1e-5)
    np.testing.assert_allclose(size_of(found.change), expected.change, atol=1e-5)
    assert (found.inner is None) == (expected.inner is None) == (not one.update.has_phi)
    assert (found.entropy is None) == (expected.entropy is None) == (not one.update.attends)
    if found.entropy is not None:
        assert float(found.entropy) == pytest.approx(expected.entropy, abs=1e-5)
        assert 0 < float(found.entropy) <= 1


@pytest.mark.slow
@EACH_UPDATE
def test_the_way_back_is_adjoint_to_the_way_forth_and_finds_the_gradients_of_autodiff(name, at):
    one = One(name, at)
    gradient = Tangent(jnp.asarray(one.gradient), jnp.int32(0), jnp.float32(1.0))
    below, squares = one.update.backward(gradient, one.signal, one.draws, one.scales, one.context)
    forth = np.vdot(one.gradient.astype(float), size_of(one.forward().change))
    # Two sums of some hundred float32 products that cancel to about their square root.
    assert np.vdot(size_of(below), one.change.astype(float)) == pytest.approx(forth, rel=1e-3, abs=1e-3)
    phi = one.activation
    biases = [jnp.asarray(bias, jnp.float32)[None] for _, bias in one.places]

    def answered(weights):
        h = jnp.asarray(one.psi + one.at_zero)[None]
        return one.update.learn(h, weights, biases, phi, jnp.array([1.3]), one.context)[0]

    weights = [jnp.asarray(weight, jnp.float32)[None] for weight, _ in one.places]
    # What is learnt is the same function, and its derivatives those of the way back.
    found = one.forward().preactivation
    value = np.asarray(found.value, float) * 2.0 ** int(found.exponent)
    np.testing.assert_allclose(answered(weights), value, atol=1e-5)
    of_weights = jax.vjp(answered, weights)[1](jnp.asarray(one.gradient))[0]
    for square, expected in zip(squares, of_weights, strict=True):
        got = float(square.value) * 2.0 ** int(square.exponent)
        assert got == pytest.approx(float(jnp.mean(expected**2)), rel=1e-4)


@pytest.mark.parametrize(("name", "at"), [case for case in UPDATES if "attention" in case[0] or "(2, 4)" in case[0]])
def test_attention_at_logits_of_any_size_is_that_of_its_definition(name, at):
    """A roundoff of a large logit is no exponent: where the largest is taken off after it was rounded, all is inf."""
    # Between these a roundoff of a logit is of order 1, and a weight whatever rounding makes of it.
    for sharpness in (1e3, 1e10, 1e15):
        one = One(name, at, sharpness=sharpness)
        if not one.update.attends:
            continue
        found = one.forward()
        layout = {"positions": one.layout.positions, "grid": one.layout.grid, "sharpness": sharpness}
        naive = Naive(functions_of(one.activation), **layout)
        expected = one.update.naive(
            NaiveSignal(one.psi.astype(float), 0.0, one.change.astype(float)), one.places, naive
        )
        value = np.asarray(found.preactivation.value, float) * 2.0 ** int(found.preactivation.exponent)
        np.testing.assert_allclose(value, expected.stream.product, atol=1e-4)
        # No two logits of these draws are so near that float32 does not tell them apart: attention is to one position.
        if sharpness >= 1e10:
            np.testing.assert_allclose(size_of(found.change), expected.change, atol=1e-4)
            assert float(found.entropy) == pytest.approx(0, abs=1e-3)


@EVERY
def test_mean_field_speaks_of_every_update_at_every_place(name):
    block = BLOCKS.find(name)
    for update, of_theory in zip(block.updates, mean_field(block, layout_of(name)), strict=True):
        assert len(of_theory.places) == len(update.places(WIDTH))
        assert of_theory.inner == update.has_phi


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "residual"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_dense_layers_are_those_of_the_reference_and_of_autodiff(name, activation):
    x, depth, setting = inputs(30, FEATURES), 3, Setting(activation, skip=BLOCKS[name].skip)
    of_family, of_settings = family(name), Settings(ACTIVATIONS[activation], block=BLOCKS[name])
    columns, _ = families.forward(of_family, as_inputs(x), depth, of_settings, budget_mib=64, platform="cpu")
    found = comparison.compare(
        {column: values[:, 0] for column, values in columns.items()},
        x,
        comparison.Network(0.5, 0.3, [0.4], skip=setting.skip),
        of_family.first_layers(FEATURES, depth, 64, depth),
        np.asarray(draws.directions(0, "tangents", len(x), WIDTH), float),
        ACTIVATIONS[activation],
        0.05,
        "none",
        block=BLOCKS[name],
    )
    assert found.layers == depth
    assert found.wrong == []
    back, _ = families.gradients(of_family, as_inputs(x), None, (depth,), of_settings, budget_mib=64, platform="cpu")
    # Float32 through a few layers: 1e-6 of a value is 4e-7 of its log10, a few times amplified.
    jacobian = architectures.log10_jacobian(of_family, 0, x, depth, setting)
    np.testing.assert_allclose(columns["log10_jacobian"][:, 0], jacobian, atol=1e-5)
    expected = architectures.gradients(of_family, 0, x, depth, setting)
    for column, values in zip(("log10_preact_grad_rms", "log10_weight_grad_rms"), expected, strict=True):
        np.testing.assert_allclose(back[column][0, 0], values, atol=1e-5, err_msg=column)


def test_one_layer_of_dense_networks_is_the_length_and_the_correlation_map():
    act, q, c, weight_var, bias_var = ACTIVATIONS["tanh"], 1.7, 0.4, 1.5, 0.2
    block = mean_field(BLOCKS["dense"], Layout())
    found = propagate(act, np.log10(weight_var), np.log10(bias_var), np.log10(q), c, 2, block)
    # One map in logarithms and one without: rounding of float64, amplified where 10 ** log10 is taken.
    assert found.input_correlation[1, 0] == pytest.approx(correlation_map(c, q, act, weight_var, bias_var), rel=1e-9)
    following = length_map(q, act, weight_var, bias_var)
    assert 10 ** (2 * found.log10_preact_rms[1, 0]) == pytest.approx(following, rel=1e-9)
    onwards = propagate(act, -np.inf, np.log10(following), 0.0, 0.0, 2)
    assert found.log10_act_rms[1, 0] == pytest.approx(onwards.log10_act_rms[1, 0], rel=1e-9)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        *((name, name) for name in PLACES),
        ("mlp( 4 )", "mlp(4)"),
        ("mlp(4.0)", "mlp(4)"),
        ("attention(8,causal)", "attention(8, causal)"),
        ("transformer(2,4,causal)", "transformer(2, 4, causal)"),
    ],
)
def test_a_block_is_called_as_tables_have_it_however_it_is_written(word, name):
    assert BLOCKS.find(word).name == name
    assert BLOCKS.find(word) is BLOCKS.find(word)
    assert BLOCKS.find(word) == BLOCKS.find(name)  # one program for both
    assert vocabulary().check_block(word).name == name


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("mlp", "'mlp' needs its numbers, as mlp(4)."),
        ("transformer", "'transformer' needs its numbers, as transformer(4, 4)."),
        ("mlp()", "'mlp()': mlp takes 1 number."),
        ("mlp(2, 3)", "'mlp(2, 3)': mlp takes 1 number."),
        ("transformer(2)", "'transformer(2)': transformer takes 2 numbers."),
        ("mlp(1.5)", "mlp(r) takes whole numbers from 1 to 64, not 1.5."),
        ("conv2d(0)", "conv2d(k) takes whole numbers from 1 to 64, not 0."),
        ("attention(65)", "attention(h) takes whole numbers from 1 to 64, not 65."),
        ("transformer(2, -1)", "transformer(h, r) takes whole numbers from 1 to 64, not -1."),
        ("attention(causal)", "'attention(causal)': attention takes 1 number."),
        ("mlp(2, causal)", "'mlp(2, causal)': 'causal' is not a number."),
        ("mlp(inf)", "'mlp(inf)': the argument must be finite."),
        ("residual(2)", "'residual(2)': residual takes no argument."),
        ("rezidual", "'rezidual' is not a block. Did you mean 'residual'?"),
    ],
)
def test_a_block_that_is_none_gets_a_sentence(word, sentence):
    found = vocabulary().check_block(word)
    assert isinstance(found, str)
    assert found.startswith(sentence), found
