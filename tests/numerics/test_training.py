"""The trainer against an independent float64 implementation, and what its networks must not do to each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from support import numpy_training as plain
from support.marks import slow_but
from winit_jax.columns import EVALUATED
from winit_jax.engine.computing.tables import Learnt
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.training import classifier as training
from winit_jax.numerics.training import trainer

FEATURES, WIDTH, DEPTH, CLASSES, SAMPLES, BATCH = 12, 16, 3, 5, 300, 32


def data(seed=0, features=FEATURES):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((SAMPLES, features)).astype(np.float32)
    y = rng.integers(0, CLASSES, SAMPLES).astype(np.int32)
    return training.Data(*map(jnp.asarray, (x[:250], y[:250], x[250:], y[250:])))


def trainees(*stds, rate=0.1, shape="normal", bias_std=0.1):
    return [trainer.Trainee(i, shape, std, std, std, bias_std, rate) for i, std in enumerate(stds)]


def settings(name="tanh", normalization="none", optimizer="sgd", **options):
    network = training.Architecture(activation(name), NORMALIZATIONS[normalization])
    return trainer.Settings(network, optimizer, tuple(sorted(options.items())), batch_size=BATCH)


def begin(networks, chosen, depth=DEPTH):
    return trainer.begin(networks, WIDTH, depth, FEATURES, CLASSES, chosen)


def train(networks, chosen, evaluated=(0, 25, 50), depth=DEPTH, given=None, padded_to=0):
    given = data() if given is None else given
    shape = {"width": WIDTH, "depth": depth, "classes": CLASSES}
    found = list(trainer.train(networks, given, **shape, evaluated=evaluated, settings=chosen, padded_to=padded_to))
    columns = {name: np.stack([getattr(one, name) for one, _ in found], axis=1) for name in training.Evaluation._fields}
    diverged_at = np.stack([at for _, at in found], axis=1)
    samples = {"train": len(given.x_train), "test": len(given.x_test)}
    learnt = Learnt.of_counts(np.array(evaluated), columns, diverged_at, samples, target_accuracy=0.9)
    return learnt.evaluated | {"diverged_at": diverged_at[:, -1]}


def one_in_numpy(state, index):
    """The parameters of one network, as the plain implementation takes them."""
    own = {
        name: np.take(np.asarray(value, np.float64), index, training.network_axis(name))
        for name, value in state.parameters.items()
    }
    hidden = list(own.get("hidden", []))
    found = {"weights": [own["first"], *hidden, own["readout"]]}
    inner = own.get("bias", np.zeros((len(hidden) + 1, WIDTH)))
    found["biases"] = [*inner, own["readout_bias"]]
    if "scale" in own:
        found |= {"scales": list(own["scale"]), "shifts": list(own["shift"])}
    return found


OPTIMIZERS = {
    "sgd": ("sgd", {}, plain.Sgd),
    "momentum": ("sgd", {"momentum": 0.9}, lambda rate: plain.Sgd(rate, 0.9)),
    "adam": ("adam", {}, plain.Adam),
}
RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 0.003}


@pytest.mark.parametrize("normalization", slow_but(["none"], ["none", "batch", "layer"]))
@pytest.mark.parametrize("optimizer", slow_but(["adam"], list(RATES)))
def test_fifty_steps_agree_with_float64_numpy(optimizer, normalization):
    name, options, make = OPTIMIZERS[optimizer]
    rate = RATES[optimizer]
    networks = trainees(0.2, 0.35, rate=rate)
    for phi in ("tanh", "relu") if optimizer == "sgd" else ("tanh",):
        chosen = settings(phi, normalization, name, **options)
        found, state, given = train(networks, chosen), begin(networks, chosen), data()
        batches = [np.asarray(training.minibatch(0, step, 250, BATCH)) for step in range(51)]
        x, y, x_test, y_test = (np.asarray(part) for part in given)
        for index in range(len(networks)):
            params = one_in_numpy(state, index)
            _, norms, running = plain.train(params, x, y, batches[:50], make(rate), phi, normalization)
            expected = plain.evaluate(params, x, y, phi, normalization, running)
            tested = plain.evaluate(params, x_test, y_test, phi, normalization, running)
            assert abs(found["train_loss"][index, 2] - expected[0]) < 1e-4
            assert abs(found["test_loss"][index, 2] - tested[0]) < 1e-4
            # An answer may change sides by rounding: one of 250, one of 50.
            assert abs(found["train_accuracy"][index, 2] - expected[1]) <= 1 / 250 + 1e-12
            assert abs(found["test_accuracy"][index, 2] - tested[1]) <= 1 / 50 + 1e-12
            assert found["log10_grad_norm"][index, 1] == pytest.approx(np.log10(norms[25]), abs=1e-4)
            assert expected[0] < found["train_loss"][index, 0] - 0.02, "nothing was learnt"


def test_the_plain_implementation_has_the_derivative_of_its_loss():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    for normalization in ("none", "batch", "layer"):
        for phi in plain.ACTIVATIONS:
            sizes = (4, 5, 6, 3)
            params = {
                "weights": [rng.standard_normal(shape) for shape in itertools.pairwise(sizes)],
                "biases": [rng.standard_normal(n) for n in sizes[1:]],
                "scales": [rng.uniform(0.5, 2, n) for n in sizes[1:-1]],
                "shifts": [rng.standard_normal(n) for n in sizes[1:-1]],
            }
            _, found, _ = plain.gradients(params, x, y, phi, normalization)
            for name, values in params.items():
                if normalization == "none" and name in ("scales", "shifts"):
                    continue
                for layer, value in enumerate(values):
                    direction = rng.standard_normal(value.shape)
                    around = []
                    for sign in (1, -1):
                        moved = [v + sign * 1e-6 * direction if i == layer else v for i, v in enumerate(values)]
                        logits, _, _ = plain.forward(params | {name: moved}, x, phi, normalization)
                        around.append(plain.cross_entropy(logits, y)[0])
                    slope = (around[0] - around[1]) / 2e-6
                    assert np.sum(found[name][layer] * direction) == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.slow
def test_before_training_batch_normalisation_has_seen_the_first_minibatch():
    networks, chosen = trainees(0.3), settings("tanh", "batch")
    found, params, given = train(networks, chosen), one_in_numpy(begin(networks, chosen), 0), data()
    first = np.asarray(training.minibatch(0, 0, 250, BATCH))
    _, _, moments = plain.forward(params, np.asarray(given.x_train)[first], "tanh", "batch")
    loss, _ = plain.evaluate(params, np.asarray(given.x_test), np.asarray(given.y_test), "tanh", "batch", moments)
    assert found["test_loss"][0, 0] == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("name", [*ACTIVATIONS])
def test_gradients_are_those_of_autodiff_away_from_kinks(name):
    act = activation(name)
    a = jnp.asarray(np.random.default_rng(0).standard_normal(200) * 2, jnp.float32)
    one = jax.vmap(jax.grad(training.differentiable(act)))(a)
    np.testing.assert_allclose(one, jax.vmap(jax.grad(lambda x: act(x)))(a), rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(training.differentiable(act)(a), act(a))


def test_at_a_kink_the_gradient_is_a_one_sided_slope():
    assert jax.grad(training.differentiable(activation("relu")))(0.0) == 0.0


@pytest.mark.parametrize("normalization", slow_but(["batch"], ["none", "batch"]))
def test_a_diverging_neighbour_changes_nothing(normalization):
    """To the bit: the same program with a network that overflows in its place, at once or after some steps."""
    chosen = settings("relu", normalization, momentum=0.9)
    calm = train(trainees(0.2, 0.3, 0.25), chosen)
    for wild in (
        trainees(0.2, 1e30, 0.25),
        [*trainees(0.2), *trainees(0.3, 0.3, rate=1e12)[1:], *trainees(1, 1, 0.25)[2:]],
    ):
        found = train(wild, chosen)
        if normalization == "none":
            assert found["diverged_at"][1] >= 0
            assert np.isnan(found["train_loss"][1, 2])
        for name in EVALUATED:
            np.testing.assert_array_equal(found[name][[0, 2]], calm[name][[0, 2]], err_msg=name)
    assert (calm["diverged_at"] == -1).all()


def test_divergence_is_recorded_where_the_loss_first_is_not_finite():
    found = train(trainees(0.3, 0.3, rate=1e10)[:1], settings("relu"), evaluated=(0, 1, 2, 3, 4, 5, 6))
    at = found["diverged_at"][0]
    assert 0 < at <= 6
    assert np.isfinite(found["train_loss"][0, :at]).all()
    assert np.isnan(found["train_loss"][0, at:]).all()
    assert np.isnan(found["train_accuracy"][0, at:]).all()


@pytest.mark.slow
def test_networks_by_themselves_and_together_learn_the_same():
    chosen = settings("tanh")
    together = train(trainees(0.1, 0.2, 0.3), chosen)
    for index, one in enumerate(trainees(0.1, 0.2, 0.3)):
        alone = train([one], chosen)
        np.testing.assert_allclose(alone["train_loss"][0], together["train_loss"][index], rtol=2e-6)
    padded = train(trainees(0.1, 0.2), chosen, padded_to=3)
    np.testing.assert_allclose(padded["train_loss"], together["train_loss"][:2], rtol=2e-6)
    assert padded["train_loss"].shape == (2, 3)


@pytest.mark.slow
def test_evaluating_more_often_changes_nothing():
    chosen = settings("tanh", "batch")
    often, seldom = (train(trainees(0.3), chosen, evaluated=steps) for steps in ((0, 10, 20, 50), (0, 50)))
    for name in EVALUATED:
        np.testing.assert_array_equal(often[name][:, [0, -1]], seldom[name])


def every_standing(chosen, steps, resumed=None):
    """(Evaluations, what `between` could copy at each chance) of a training in the shortest stretches."""
    found, given = [], data()
    shape = {"width": WIDTH, "depth": DEPTH, "classes": CLASSES}
    between = lambda step, standing: found.append(standing())  # noqa: E731
    run = trainer.train(
        trainees(0.3, 0.2), given, **shape, evaluated=steps, settings=chosen, between=between, resumed=resumed
    )
    return list(run), found


@pytest.mark.parametrize(
    ("normalization", "optimizer"), slow_but([("batch", "adam")], [("batch", "adam"), ("none", "sgd")])
)
def test_a_training_goes_on_from_wherever_it_was_cut_to_the_same_bits(normalization, optimizer, monkeypatch):
    chosen, steps = settings("tanh", normalization, optimizer), (0, 10, 17)
    whole, _ = every_standing(chosen, steps)
    monkeypatch.setattr(trainer, "STRETCH_SECONDS", 1e-9)
    cut, standings = every_standing(chosen, steps)
    assert {int(one["step"]) for one in standings} == set(range(18))
    for kept in [cut, *(every_standing(chosen, steps, resumed=standings[i])[0] for i in (0, 4, 10, 11, 15, -1))]:
        jax.tree.map(np.testing.assert_array_equal, kept, whole)
    wrong = standings[4] | {"state/0": np.zeros(3)}
    jax.tree.map(np.testing.assert_array_equal, every_standing(chosen, steps, resumed=wrong)[0], whole)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_equal_weights_stay_equal_to_the_bit(name):
    """Every unit of a layer has the same column of weights in, and the same row out, at every step."""
    networks, chosen, given = trainees(0.05, 0.05, shape="constant", bias_std=0.0), settings(name), data()
    rates = jnp.asarray([0.1, 0.5])
    state = trainer.learn(begin(networks, chosen), rates, given, 0, 200, chosen)
    first, hidden, readout = (np.asarray(state.parameters[part]) for part in ("first", "hidden", "readout"))
    assert np.ptp(first[:, 0, 0]) > 1e-4, "nothing was learnt"
    assert (first == first[:, :, :1]).all()
    assert (hidden == hidden[:, :, :1, :1]).all()
    assert (readout == readout[:, :1]).all()


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_zero_weights_never_learn_more_than_how_frequent_classes_are(name):
    networks, chosen, given = trainees(0.0, shape="constant", bias_std=0.0), settings(name), data()
    state = trainer.learn(begin(networks, chosen), jnp.asarray([0.5]), given, 0, 300, chosen)
    _, found = trainer.evaluate(state, given, 300, chosen)
    for part in ("first", "hidden", "readout"):
        assert (np.asarray(state.parameters[part]) == 0).all()
    counts = np.bincount(np.asarray(given.y_train), minlength=CLASSES)
    assert found.train_right[0] <= counts.max()
    entropy = -np.sum(counts / counts.sum() * np.log(counts / counts.sum()))
    assert found.train_loss[0] >= entropy - 1e-6


def test_minibatches_are_drawn_with_replacement_by_seed_and_step_alone():
    one, same, other = (np.asarray(training.minibatch(0, step, 10, 2000)) for step in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != np.asarray(training.minibatch(1, 3, 10, 2000))).any()
    # 2000 draws of 10: a count has standard error sqrt(2000 * 0.1 * 0.9) = 13.4.
    assert np.abs(np.bincount(one, minlength=10) - 200).max() < 5 * 13.4


def test_the_norm_of_gradients_holds_where_squares_leave_float32():
    for scale in (1e-30, 1.0, 1e30):
        g = {"first": jnp.full((3, 1, 4), scale, jnp.float32), "readout": jnp.zeros((1, 4, 2))}
        assert training.log10_norm(g)[0] == pytest.approx(np.log10(scale) + 0.5 * np.log10(12), abs=1e-5)
    assert training.log10_norm({"readout": jnp.zeros((1, 4, 2))})[0] == -np.inf


@pytest.mark.parametrize("samples", slow_but([501], [1, 499, 500, 501, 1234]))
def test_evaluation_in_chunks_is_that_of_the_whole(samples):
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.standard_normal((samples, FEATURES)), jnp.float32), jnp.asarray(rng.integers(0, 5, samples))
    state = begin(trainees(0.3, 0.5), settings("tanh"))
    network = training.Architecture(activation("tanh"))
    loss, right = training.evaluate(state.parameters, x, y, network)
    logits, _, _ = training.answer(state.parameters, x, network)
    expected = jax.vmap(optax.softmax_cross_entropy_with_integer_labels, in_axes=(0, None))(logits, y)
    np.testing.assert_allclose(loss, expected.mean(axis=1), rtol=1e-5)
    assert right.dtype == jnp.int32
    np.testing.assert_array_equal(right, (logits.argmax(axis=2) == y).sum(axis=1))


@pytest.mark.parametrize("name", trainer.OPTIMIZERS)
@pytest.mark.slow
def test_every_optimizer_learns_and_treats_each_network_by_itself(name):
    chosen = settings("tanh", "layer", name)
    networks = [*trainees(0.2, rate=0.003), *trainees(0.3, 0.3, rate=0.01)[1:]]
    together = train(networks, chosen, depth=2, evaluated=(0, 50))
    assert (together["train_loss"][:, 1] < together["train_loss"][:, 0]).all()
    alone = train(networks[1:], chosen, depth=2, evaluated=(0, 50), padded_to=2)
    np.testing.assert_allclose(alone["train_loss"][0], together["train_loss"][1], rtol=1e-4)
