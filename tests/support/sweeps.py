"""Sweeps read from words, and what is wrong with them."""

import pytest

from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep

VOCABULARY = vocabulary()
GOOD = ["activation=tanh", "gain=1"]


def sweep(*words, source=None):
    return load_sweep(source, words, VOCABULARY)


def problems(*words, source=None):
    """A line for each problem of the request."""
    with pytest.raises(SpecError) as caught:
        sweep(*words, source=source)
    return [str(problem) for problem in caught.value.problems]
