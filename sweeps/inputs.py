"""What the networks are fed: N(0, 1), or samples of a data set."""

import hashlib
from dataclasses import dataclass

import numpy as np

from sweeps.problems import Problem
from sweeps.sources import BUNDLED_SAMPLES, InputError, largest_pixel, pixels, read, samples_of
from sweeps.spec import Inputs


@dataclass(frozen=True)
class InputData:
    """x: float32 [samples, features]. labels: int64 [samples] or None. sha256: of the source's bytes."""

    x: np.ndarray
    labels: np.ndarray | None
    source: str
    sha256: str


def load_inputs(inputs: Inputs, width: int) -> InputData:
    """The inputs of a sweep for networks of that width.

    Whole-number pixels are divided by the largest of the data set, floats are taken as they are. Fewer
    samples than there are is a draw without replacement by inputs.seed; all of them keep their order.
    Errors: InputError.
    """
    if inputs.source == "normal":
        return _normal(inputs, width)
    found = read(inputs.source)
    count = samples_of(found, inputs.source)
    if inputs.samples > count:
        raise InputError(f"inputs.samples: {inputs.samples:,} asked for, {inputs.source} has {count:,}.")
    images, labels = found.images, found.labels
    if inputs.samples < count:
        chosen = np.random.default_rng(inputs.seed).permutation(count)[: inputs.samples]
        images, labels = images[chosen], None if labels is None else labels[chosen]
    x = pixels(images, largest_pixel(found), inputs.source)
    if inputs.standardize:
        if (spread := x.std()) == 0:
            raise InputError(f"{inputs.source}: all values are equal, so they cannot be standardized.")
        x = (x - x.mean()) / spread
    return InputData(np.ascontiguousarray(x, np.float32), labels, inputs.source, found.sha256)


def check_inputs(inputs: Inputs) -> list[Problem]:
    """What can be said without reading the data."""
    count = BUNDLED_SAMPLES.get(inputs.source)
    if count is not None and inputs.samples > count:
        return [Problem("inputs.samples", f"{inputs.samples:,} asked for, {inputs.source} has {count:,}.")]
    return []


def _normal(inputs: Inputs, width: int) -> InputData:
    features = inputs.features or width
    rng = np.random.default_rng([inputs.seed, features])
    x = rng.standard_normal((inputs.samples, features), dtype=np.float32)
    return InputData(x, None, "normal", hashlib.sha256(x.tobytes()).hexdigest())
