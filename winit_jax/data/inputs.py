"""What the networks are fed: N(0, 1), windows of a text, or samples of a data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winit_jax.data import normal
from winit_jax.data.positions import cut
from winit_jax.data.sources import InputError, largest_pixel, pixels, read, samples_known, samples_of, shape_of
from winit_jax.data.text import input_windows
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import MAX_PAIRS, Inputs


@dataclass(frozen=True)
class InputData:
    """x: float32 [samples, features], or [samples, positions, features]. labels: int64 [samples] or None.

    sha256: of the source's bytes, or of the normal draw that x is made of. files: the (name, SHA-256) of each of its
    files. grid: the (height, width) that positions lie in, row by row; None where they do not.
    """

    x: np.ndarray
    labels: np.ndarray | None
    source: str
    sha256: str
    files: tuple[tuple[str, str], ...] = ()
    grid: tuple[int, int] | None = None

    @property
    def samples(self) -> int:
        return len(self.x)

    @property
    def positions(self) -> int:
        """Of a sample; 1 where inputs have none."""
        return self.x.shape[1] if self.x.ndim == 3 else 1

    @property
    def features(self) -> int:
        return int(self.x.shape[-1])

    @property
    def rows(self) -> np.ndarray:
        """x as [samples * positions, features], the positions of a sample together."""
        return self.x.reshape(-1, self.features)

    @property
    def row_labels(self) -> np.ndarray | None:
        """The label of the sample that each row is of."""
        return self.labels if self.labels is None or self.positions == 1 else np.repeat(self.labels, self.positions)

    def describe(self) -> dict[str, Any]:
        """For run.json."""
        description = {"source": self.source, "sha256": self.sha256, "shape": list(self.x.shape)}
        return description | ({"files": dict(self.files)} if self.files else {})


def load_all_inputs(inputs: Inputs, widths: Sequence[int], infinite: bool) -> dict[int | str, InputData]:
    """The inputs of a sweep by width, and of `inf` where they start the theory of infinite width.

    Errors: InputError.
    """
    if inputs.source == "normal" or inputs.follows_width:
        return {width: load_inputs(inputs, width) for width in widths}
    data = load_inputs(inputs, 1)  # data are the same for every width
    _refuse_uncountable(data, max(widths, default=1))
    return dict.fromkeys([*widths, *(["inf"] if infinite else [])], data)


def load_inputs(inputs: Inputs, width: int) -> InputData:
    """The inputs of a sweep for networks of that width.

    Whole-number pixels are divided by the largest of the data set, floats are taken as they are. Fewer
    samples than there are is a draw without replacement by inputs.seed; all of them keep their order. Where the sweep
    does not say how many, those of a source that has fewer than the default are all taken.
    Errors: InputError.
    """
    if inputs.source == "normal":
        x, sha256 = normal.draw(inputs, width)
        return InputData(x, None, "normal", sha256, grid=_square(inputs.positions))
    if inputs.is_text:
        x, text = input_windows(inputs, width)
        return InputData(x, None, inputs.source, text.sha256, text.files)
    return _of_arrays(inputs)


def _of_arrays(inputs: Inputs) -> InputData:
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
    grid = None
    if isinstance(inputs.positions, str):
        x, grid = cut(x, shape_of(source, inputs.source), inputs.positions, "inputs.positions", inputs.source)
    return InputData(np.ascontiguousarray(x, np.float32), labels, inputs.source, source.sha256, source.files, grid)


def check_inputs(inputs: Inputs) -> list[Problem]:
    """What can be said without reading the data."""
    count = samples_known(inputs.source)
    if count is not None and inputs.samples > count and not inputs.takes_what_is_there:
        return [Problem("inputs.samples", f"{inputs.samples:,} asked for, {inputs.source} has {count:,}.")]
    return []


def _square(positions: int | str | None) -> tuple[int, int] | None:
    """The grid of a square number of normal positions."""
    if not isinstance(positions, int) or (root := math.isqrt(positions)) ** 2 != positions:
        return None
    return root, root


def _refuse_uncountable(data: InputData, widest: int) -> None:
    """Images know their positions when they are read, and then how many activations a layer has. Errors: InputError."""
    if (pairs := data.samples * data.positions * widest) > MAX_PAIRS:
        raise InputError(
            f"inputs.samples: {data.samples:,} samples of {data.positions:,} positions through {widest:,} units are "
            f"{pairs:,} activations a layer; {MAX_PAIRS:,} can be counted."
        )
