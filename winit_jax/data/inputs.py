"""What the networks are fed: N(0, 1), or samples of a data set."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winit_jax.data.sources import InputError, largest_pixel, pixels, read, samples_known, samples_of
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import Inputs


@dataclass(frozen=True)
class InputData:
    """x: float32 [samples, features]. labels: int64 [samples] or None. sha256: of the source's bytes.

    files: the (name, SHA-256) of each of its files.
    """

    x: np.ndarray
    labels: np.ndarray | None
    source: str
    sha256: str
    files: tuple[tuple[str, str], ...] = ()

    def describe(self) -> dict[str, Any]:
        """For run.json."""
        description = {"source": self.source, "sha256": self.sha256, "shape": list(self.x.shape)}
        return description | ({"files": dict(self.files)} if self.files else {})


def load_all_inputs(inputs: Inputs, widths: Sequence[int], infinite: bool) -> dict[int | str, InputData]:
    """The inputs of a sweep by width, and of `inf` where they start the theory of infinite width.

    Errors: InputError.
    """
    if inputs.source == "normal":
        return {width: load_inputs(inputs, width) for width in widths}
    data = load_inputs(inputs, 1)  # data are the same for every width
    return dict.fromkeys([*widths, *(["inf"] if infinite else [])], data)


def load_inputs(inputs: Inputs, width: int) -> InputData:
    """The inputs of a sweep for networks of that width.

    Whole-number pixels are divided by the largest of the data set, floats are taken as they are. Fewer
    samples than there are is a draw without replacement by inputs.seed; all of them keep their order. Where the sweep
    does not say how many, those of a source that has fewer than the default are all taken.
    Errors: InputError.
    """
    if inputs.source == "normal":
        return _normal(inputs, width)
    source = read(inputs.source)
    count = samples_of(source, inputs.source)
    if inputs.samples > count and not inputs.takes_what_is_there:
        raise InputError(f"inputs.samples: {inputs.samples:,} asked for, {inputs.source} has {count:,}.")
    images, labels = source.images, source.labels
    if labels is not None and labels.dtype.kind == "U":
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    if inputs.samples < count:
        chosen = np.random.default_rng(inputs.seed).permutation(count)[: inputs.samples]
        images, labels = images[chosen], None if labels is None else labels[chosen]
    x = pixels(images, largest_pixel(source), inputs.source)
    if inputs.standardize:
        if (spread := x.std()) == 0:
            raise InputError(f"{inputs.source}: all values are equal, so they cannot be standardized.")
        x = (x - x.mean()) / spread
    return InputData(np.ascontiguousarray(x, np.float32), labels, inputs.source, source.sha256, source.files)


def check_inputs(inputs: Inputs) -> list[Problem]:
    """What can be said without reading the data."""
    count = samples_known(inputs.source)
    if count is not None and inputs.samples > count and not inputs.takes_what_is_there:
        return [Problem("inputs.samples", f"{inputs.samples:,} asked for, {inputs.source} has {count:,}.")]
    return []


def _normal(inputs: Inputs, width: int) -> InputData:
    features = inputs.features or width
    rng = np.random.default_rng([inputs.seed, features])
    x = rng.standard_normal((inputs.samples, features), dtype=np.float32)
    return InputData(x, None, "normal", hashlib.sha256(x.tobytes()).hexdigest())
