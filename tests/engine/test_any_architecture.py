"""Any combination of block, activation, init, normalization and scales is right, or refused in a sentence.

Every example is read as a sweep is, computed by the passes that a run uses, and held against float64 NumPy by the run's
own self-check, which raises where a column is wrong.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winit_jax.columns import MEASURED
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep

BLOCKS = (
    "dense", "residual", "mlp(2)", "gated(1)", "conv(3)", "conv2d(2)", "residual_conv(2)", "residual_conv2d(3)",
    "attention(2)", "attention(3, causal)", "transformer(2, 2)", "transformer(1, 3, causal)",
)  # fmt: skip
INITS = ("normal", "uniform", "truncated_normal", "orthogonal", "delta_orthogonal", "constant", "zeros", "he_normal")
INITS += ("xavier_uniform", "gpt2", "fixup", "deepnorm")
FORMULAS = st.sampled_from(["1/sqrt(depth)", "0.5", "skipinit", "2/width", "-1*depth**0.5"])


@st.composite
def requests(draw):
    """(Axes, inputs) of one small network."""
    init = draw(st.sampled_from(INITS))
    scaled = init in INITS[:6]
    axes = {
        "block": draw(st.sampled_from(BLOCKS)),
        "activation": draw(st.sampled_from(["tanh", "relu", "sigmoid", "gelu", "silu", "softplus", "identity", "sin"])),
        "init": init,
        "bias_std": draw(st.sampled_from([0.0, 0.1, "1/width"])),
        "width": draw(st.sampled_from([6, 12, 36])),
        "depth": 3,
        "seed": draw(st.integers(0, 3)),
    }
    if scaled:
        axes[draw(st.sampled_from(["std", "gain"]))] = draw(st.sampled_from([0.0, 0.3, 1.0, "sqrt(2)"]))
    for axis, values in (
        ("skip_scale", st.sampled_from([0.0, 1.0, 0.5, "deepnorm"])),
        ("branch_scale", FORMULAS),
        ("normalization", st.sampled_from(["batch", "layer", "rms"])),
        ("attention_gain", st.sampled_from([0.0, 1.0, 4.0])),
    ):
        if draw(st.booleans()):
            axes[axis] = draw(values)
    if "normalization" in axes:
        axes["norm_position"] = draw(st.sampled_from(["pre", "post"]))
    positions = draw(st.sampled_from([None, 1, 4, 5]))
    return axes, {"samples": 7, "features": 5} | ({} if positions is None else {"positions": positions})


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_a_network_is_right_or_refused(request):
    axes, inputs = request
    given_values = ({**axes, "inputs": inputs, "measure": {"gradients": True}},)
    try:
        sweep = load_sweep(None, [], vocabulary(), given_values)
    except SpecError as error:
        sentences = [problem.message for problem in error.problems]
        assert sentences
        assert all(sentence.endswith(".") and len(sentence) > 20 for sentence in sentences)
        assert not _fits(axes, inputs), sentences
        return
    assert _fits(axes, inputs)
    executor = Executor(read_work(sweep))
    (part,) = planner(1).parts(sweep)
    tables = executor.run(part, tuple(sweep.grid.depth))
    networks, layers = (tables[name].to_pandas() for name in ("networks", "layers"))
    assert len(networks) == 1
    assert len(layers) == 1 + 2 * (1 + axes["block"].startswith("transformer"))
    for name in (column for column in MEASURED if column in networks):
        of_last = layers[name].to_numpy()
        if name == "attention_entropy":  # of the last attention, which an mlp may follow
            of_last = of_last[np.isfinite(of_last)]
        np.testing.assert_array_equal(networks[name].to_numpy(), of_last[-1:], err_msg=name)


def _fits(axes, inputs):
    """Whether such a network exists, by the definitions of blocks, inits and axes."""
    block, positions = axes["block"], inputs.get("positions") or 1
    heads = {"attention(2)": 2, "attention(3, causal)": 3, "transformer(2, 2)": 2}.get(block, 1)
    attends = block.startswith(("attention", "transformer"))
    convolves = "conv" in block
    return (
        (not (attends or convolves) or positions > 1)
        and ("conv2d" not in block or positions == 4)
        and axes["width"] % heads == 0
        and ("attention_gain" not in axes or attends)
        and (axes["init"] != "delta_orthogonal" or convolves or block == "dense")
        and axes.get("branch_scale") != "-1*depth**0.5"
    )
