"""The code that `winit recommend --code` prints, run in each framework; skipped where it is not installed.

Its weights have the standard deviation that was recommended, within standard errors, and the network is, as a function,
what NumPy makes of the same weights by the definitions.
"""

import os
from dataclasses import replace

import numpy as np
import pytest

from support.marks import slow_but
from support.references import PHI
from winit_jax.engine.advising.pasting import FRAMEWORKS, code_of
from winit_jax.engine.advising.plans import Plan
from winit_jax.engine.advising.templates import FRAMEWORKS as TEMPLATES
from winit_jax.errors import Refused
from winit_jax.numerics.activations import ACTIVATIONS

os.environ.setdefault("KERAS_BACKEND", "jax")
NEEDS = {"torch": "torch", "flax": "flax.linen", "nnx": "flax.nnx", "equinox": "equinox", "keras": "keras"}
NEEDS |= {"haiku": "haiku"}
PLAN = Plan("gelu", "dense", "none", 4, 96, 40, 1.4668, 0.0, 1.0, 0.0)
CASES = {
    "plain": PLAN,
    "biases": replace(PLAN, activation="tanh", gain=1.2, bias_std=0.3, normalization="rms"),
    "residual": replace(PLAN, block="residual", normalization="layer", branch=0.5, skip=1.0, activation="relu"),
}
# Of a sample standard deviation of N normal numbers, in units of its standard error, std / sqrt(2 N).
WITHIN = 5


def installed(framework):
    if framework == "torch":
        pytest.importorskip("torch").manual_seed(0)
    else:
        pytest.importorskip(NEEDS[framework])


def pasted(framework, plan):
    """What the code makes, by name."""
    made = {"__name__": "pasted"}
    exec(compile(code_of(framework, plan, ["A sentence."]), framework, "exec"), made)
    return made


def of_torch(made, x):
    import torch

    layers = [*made["model"].layers, made["model"].readout]
    weights = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
    return weights, made["model"](torch.tensor(x)).detach().numpy()


def of_flax(made, x):
    params = made["params"]["params"]
    layers = [params[f"Dense_{at}"] for at in range(len(params))]
    return [(layer["kernel"], layer["bias"]) for layer in layers], made["model"].apply(made["params"], x)


def of_nnx(made, x):
    layers = [*made["model"].layers, made["model"].readout]
    return [(layer.kernel[...], layer.bias[...]) for layer in layers], made["model"](x)


def of_equinox(made, x):
    import jax

    layers = [*made["model"].layers, made["model"].readout]
    return [(layer.weight.T, layer.bias) for layer in layers], jax.vmap(made["model"])(x)


def of_keras(made, x):
    layers = [layer for layer in made["model"].layers if hasattr(layer, "kernel")]
    weights = [(np.asarray(layer.kernel), np.asarray(layer.bias)) for layer in layers]
    return weights, np.asarray(made["model"](x))


def of_haiku(made, x):
    names = sorted(made["params"], key=lambda name: int(name.rpartition("_")[2]) if "_" in name else 0)
    layers = [made["params"][name] for name in names]
    return [(layer["w"], layer["b"]) for layer in layers], made["model"].apply(made["params"], x)


OF = {"torch": of_torch, "flax": of_flax, "nnx": of_nnx, "equinox": of_equinox, "keras": of_keras, "haiku": of_haiku}


def by_definition(plan, weights, x):
    """The network in float64 NumPy."""

    def response(a):
        if plan.normalization == "layer":
            a = a - a.mean(-1, keepdims=True)
        if plan.normalization != "none":
            a = a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5)
        return PHI[plan.activation](a)

    (first, bias), *hidden, (last, of_last) = [tuple(np.asarray(part, np.float64) for part in pair) for pair in weights]
    a = x @ first + bias
    for weight, bias in hidden:
        a = plan.skip * a + plan.branch * (response(a) @ weight + bias)
    return response(a) @ last + of_last


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_code_runs_and_its_weights_have_the_recommended_std(framework, case):
    installed(framework)
    plan = CASES[case]
    x = np.random.default_rng(1).normal(size=(8, plan.features)).astype(np.float32)
    weights, out = OF[framework](pasted(framework, plan), x)
    assert len(weights) == plan.depth + 1
    for at, (weight, bias) in enumerate(weights):
        is_last = at == plan.depth
        fan_in = plan.features if at == 0 else plan.width
        assert weight.shape == (fan_in, 10 if is_last else plan.width)
        std = (1.0 if is_last else plan.gain) / fan_in**0.5
        assert abs(np.sqrt(np.mean(np.square(weight))) - std) < WITHIN * std / np.sqrt(2 * weight.size)
        expected = 0.0 if is_last else plan.bias_std
        assert abs(np.sqrt(np.mean(np.square(bias))) - expected) <= WITHIN * expected / np.sqrt(2 * bias.size)
    drawn = {np.asarray(weight).tobytes() for weight, _ in weights}
    assert len(drawn) == len(weights)  # each layer has weights of its own
    # Float32 products of so many terms, over a few layers.
    wanted = by_definition(plan, weights, x)
    np.testing.assert_allclose(out, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("activation", slow_but(("silu",), tuple(ACTIVATIONS)))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_activation_is_the_same_function_in_each_framework(framework, activation):
    installed(framework)
    plan = replace(PLAN, activation=activation, depth=2, width=24, features=6)
    x = np.random.default_rng(2).normal(size=(8, plan.features)).astype(np.float32)
    weights, out = OF[framework](pasted(framework, plan), x)
    wanted = by_definition(plan, weights, x)
    np.testing.assert_allclose(out, wanted, atol=1e-4 * np.abs(wanted).max())


def test_every_activation_of_the_table_has_its_function_in_every_framework():
    for framework, known in TEMPLATES.items():
        assert set(ACTIVATIONS) <= set(known.functions), framework


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_code_of_other_blocks_says_that_it_is_of_the_weights_only(framework):
    plan = replace(PLAN, block="transformer(4, 4)", normalization="layer", branch=0.1, skip=1.0)
    text = code_of(framework, plan, ["A sentence."])
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    assert "This code is of the weights only: the layers of transformer(4, 4) with layer normalization are" in comment
    assert "Multiply what each block adds to the stream by 0.1." in comment
    compile(text, framework, "exec")


def test_the_weights_only_of_torch_and_equinox_know_convolutions():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    plan = replace(PLAN, block="conv(3)", bias_std=0.1)
    layer = torch.nn.Conv1d(40, 60, 3)
    layer.apply(pasted("torch", plan)["init_weights"])
    std = plan.gain / 120**0.5
    assert abs(layer.weight.detach().std().item() - std) < WITHIN * std / np.sqrt(2 * layer.weight.numel())
    assert abs(layer.bias.detach().std().item() - 0.1) < WITHIN * 0.1 / np.sqrt(2 * 60)


def test_the_weights_only_of_equinox_draw_all_layers_anew():
    equinox = pytest.importorskip("equinox")
    import jax

    plan = replace(PLAN, block="conv(3)", bias_std=0.1)
    keys = jax.random.split(jax.random.key(0))
    model = [equinox.nn.Conv1d(40, 60, 3, key=keys[0]), jax.nn.relu, equinox.nn.Linear(60, 70, key=keys[1])]
    drawn = pasted("equinox", plan)["init_weights"](model, jax.random.key(1))
    for layer, fan_in in ((drawn[0], 120), (drawn[2], 60)):
        std = plan.gain / fan_in**0.5
        assert abs(layer.weight.std() - std) < WITHIN * std / np.sqrt(2 * layer.weight.size)
        assert abs(layer.bias.std() - 0.1) < WITHIN * 0.1 / np.sqrt(2 * layer.bias.size)
    assert drawn[1] is jax.nn.relu


@pytest.mark.parametrize("framework", ["flax", "nnx", "keras", "haiku"])
def test_the_weights_only_of_the_others_are_an_initializer(framework):
    installed(framework)
    made = pasted(framework, replace(PLAN, block="conv(3)"))
    shape, std = (3, 40, 60), PLAN.gain / 120**0.5
    if framework == "keras":
        drawn = np.asarray(made["kernel"](shape))
    elif framework == "haiku":
        import haiku
        import jax

        conv = haiku.transform(lambda x: haiku.Conv1D(60, 3, w_init=made["w_init"], b_init=made["b_init"])(x))
        drawn = conv.init(jax.random.key(0), np.zeros((1, 9, 40), np.float32))["conv1_d"]["w"]
    else:
        import jax

        drawn = made["kernel_init"](jax.random.key(0), shape)
    assert drawn.shape == shape
    assert abs(np.std(drawn) - std) < WITHIN * std / np.sqrt(2 * drawn.size)


def test_functions_of_ones_own_are_for_the_frameworks_of_jax():
    plan = replace(PLAN, activation="jax.nn:celu")
    assert "from jax.nn import celu\n" in code_of("haiku", plan, [])
    assert "phi = celu\n" in code_of("haiku", plan, [])
    with pytest.raises(Refused, match=r"jax\.nn:celu is a JAX function, which keras cannot call; flax, nnx"):
        code_of("keras", plan, [])
    with pytest.raises(Refused, match=r"^'flix' is not a framework\. Did you mean 'flax'\? Known: equinox, flax"):
        code_of("flix", PLAN, [])
    assert code_of("PyTorch", PLAN, []) == code_of("torch", PLAN, [])
