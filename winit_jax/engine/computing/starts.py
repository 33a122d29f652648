"""What starts the theory of one activation instead of a given q: inputs, by their source."""

from typing import Any

from winit_jax.data.inputs import InputData, load_inputs
from winit_jax.engine.computing.theories import similarity
from winit_jax.spec.sweep import Sweep


def request(activation: str, source: str | None) -> dict[str, Any]:
    """A sweep whose inputs are those of a source, to be read and checked like any other."""
    inputs = {"inputs.source": source} if source and source != "normal" else {}
    return {"activation": activation, "gain": 1.0, "width": "inf", "depth": 1, **inputs}


def load(sweep: Sweep) -> InputData | None:
    """The data of the sweep; None where they are N(0, 1), whose mean square is known. Errors: InputError."""
    return None if sweep.inputs.source == "normal" else load_inputs(sweep.inputs, 1)


def mean_square(data: InputData | None) -> float:
    """Of the inputs' entries: q_1 = gain^2 times this + bias_std^2."""
    return 1.0 if data is None else similarity(data.x).square / data.features
