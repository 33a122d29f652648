"""The epsilon of normalisation as an axis: in tables, in the forward pass and in training."""

import jax.numpy as jnp
import numpy as np
import pytest

from support.runs import run, table
from winit_jax.numerics.activations import activation
from winit_jax.numerics.normalization import BATCH
from winit_jax.numerics.training import classifier as training
from winit_jax.store import schema

WORDS = ["activation=tanh", "gain=1e-3", "normalization=none,batch", "width=8", "depth=1,2", "inputs.samples=20"]


def test_every_table_has_the_epsilon_right_after_the_normalization():
    for name in (*schema.TABLES, "theory"):
        names = schema.schema(name).names
        assert names.index("norm_epsilon") == names.index("normalization") + 1


def test_epsilons_are_points_of_the_grid(tmp_path):
    run(tmp_path / "both", *WORDS, "norm_epsilon=1e-5,1e-8")
    networks = table(tmp_path / "both")
    assert len(networks) == 2 * 2 * 2
    run(tmp_path / "one", *WORDS)
    usual = networks[networks["norm_epsilon"] == 1e-5].reset_index(drop=True)
    # To float32 rounding: networks share a matrix product with others.
    columns = ["preact_std", "act_std", "log10_act_rms", "log10_jacobian"]
    np.testing.assert_allclose(usual[columns], table(tmp_path / "one")[columns], rtol=1e-5, atol=1e-6)
    shallow = networks[(networks["depth"] == 1) & (networks["normalization"] == "batch")].set_index("norm_epsilon")
    variance = shallow["preact_std"] ** 2
    assert np.all(shallow["act_std"] < np.sqrt(variance / (variance + shallow.index.to_numpy())) * 1.01)
    assert shallow["act_std"][1e-8] > 1.5 * shallow["act_std"][1e-5]


def test_each_network_trains_with_its_own_epsilon():
    x = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    epsilons = np.array([1e-2, 1e-6, 0.0], np.float32)
    weights = 1e-3 * np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    parameters = {
        "first": jnp.asarray(np.repeat(weights[:, None], 3, axis=1)),
        "scale": jnp.ones((1, 3, 5)),
        "shift": jnp.zeros((1, 3, 5)),
        "readout": jnp.zeros((3, 5, 2)),
        "readout_bias": jnp.zeros((3, 2)),
    }
    _, last, _ = training.answer(
        parameters, jnp.asarray(x), training.Architecture(activation("identity"), BATCH), training.Scales(epsilons)
    )
    a = x.astype(float) @ weights.astype(float)
    for found, epsilon in zip(np.asarray(last), epsilons.astype(float), strict=True):
        # a of 1e-3 and its mean in float32: 1e-7 of each, over a standard deviation of 1e-3.
        np.testing.assert_allclose(found, (a - a.mean(0)) / np.sqrt(a.var(0) + epsilon), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_unit_that_does_not_vary_trains_without_epsilon():
    parameters = {
        "first": jnp.zeros((4, 1, 5)),
        "scale": jnp.ones((1, 1, 5)),
        "shift": jnp.zeros((1, 1, 5)),
        "readout": jnp.ones((1, 5, 2)),
        "readout_bias": jnp.zeros((1, 2)),
    }
    y = jnp.zeros(6, jnp.int32)
    how = (training.Architecture(activation("tanh"), BATCH), training.Scales(np.zeros(1, np.float32)))
    _, _, found = training.gradients(parameters, jnp.ones((6, 4)), y, *how)
    assert all(np.all(np.isfinite(gradient)) for gradient in found.values())
