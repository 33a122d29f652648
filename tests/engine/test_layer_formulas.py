"""Formulas of the layer: each layer has scales of its own, on the way forth and back, and theory follows them."""

import numpy as np
import pytest

import winit_jax as winit
from support.runs import table
from winit_jax.spec.problems import SpecError

AXES = {"activation": "tanh", "depth": [1, 4], "width": 24, "seed": [0, 1]}
BESIDE = {"inputs": {"samples": 12, "positions": 4}, "measure": {"gradients": True}, "progress": False}


@pytest.mark.slow
@pytest.mark.parametrize("block", ["residual", "transformer(2, 2)"])
def test_a_formula_that_is_the_same_in_every_layer_is_the_network_of_its_number(block, tmp_path):
    numbers = {"gain": 0.9, "bias_std": 0.2, "skip_scale": 0.5, "branch_scale": 0.7}
    formulas = {axis: f"{value} + 0*layer" for axis, value in numbers.items()}
    plain = winit.run({**AXES, **numbers}, tmp_path / "plain", block=block, **BESIDE)
    layered = winit.run({**AXES, **formulas}, tmp_path / "layered", block=block, **BESIDE)
    columns = [name for name in plain.networks if plain.networks[name].dtype == float]
    one, other = (table(run.path)[columns].to_numpy() for run in (plain, layered))
    # Another program, whose sums are rounded otherwise.
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)
    one, other = (table(run.path, "gradients")["log10_weight_grad_rms"].to_numpy() for run in (plain, layered))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_scales_of_a_layer_are_checked_against_float64_and_followed_by_theory(tmp_path):
    axes = {**AXES, "gain": "1.5/sqrt(layer)", "branch_scale": "1/layer", "skip_scale": "1 - layer/(2*depth)"}
    run = winit.run(axes, tmp_path / "run", width=256, block="residual", seed="int:0:7", **BESIDE)
    deep = run.networks[run.networks["depth"] == 4]
    assert set(deep["gain"]) == {0.75}
    assert set(deep["branch_scale"]) == {0.25}
    assert set(deep["skip_scale"]) == {0.5}
    for name in ("log10_preact_rms", "log10_jacobian"):
        error = deep[name].std() / np.sqrt(len(deep))
        assert abs(deep[name].mean() - deep[f"theory_{name}"].mean()) < 4 * error + 2 / 256


def test_a_formula_of_the_layer_is_refused_where_it_is_not_followed():
    with pytest.raises(SpecError, match="same scales in every layer"):
        winit.plan(AXES, gain="1/layer", train={"steps": 2})
    with pytest.raises(SpecError, match="finite widths"):
        winit.plan(AXES, gain="1/layer", width="inf")
