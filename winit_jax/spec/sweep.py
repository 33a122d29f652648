"""The resolved sweep: its tables, limits and defaults, and what may change in a run folder.

`reading.load_sweep` makes one from a file and the words of a command line.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from winit_jax.columns import AXES, MAX_SEED, WEIGHT_SCALES
from winit_jax.columns.formats import FLOAT32
from winit_jax.spec.problems import Problem
from winit_jax.spec.sources import (
    A_PATH,
    BYTES,
    TEXT_POSITIONS,
    TEXT_WINDOWS,
    Encoding,
    Positions,
    is_text,
)

MAX_NETWORKS = 100_000_000  # of a run
MAX_PLANNED = 10_000_000_000  # of a sweep that is counted only
MAX_PREDICTIONS = 1_000_000
MAX_EVALUATIONS = 10_000  # of one network in training
# Activations of one layer of one network: counts are int32 on the device.
MAX_PAIRS = 2**30


@dataclass(frozen=True)
class BlockKind:
    """What is asked of a block before anything is computed.

    name: as tables have it. positions: how many dimensions of positions inputs must have: 0, 1 or 2. heads: of its
    attention, 0 without. sites: of its updates where a layer has several. taps: whether its weights are taps of a
    convolution, or a matrix by themselves. has_phi: whether an activation changes it. places: how many weights an
    update of it has at most.
    """

    name: str
    positions: int
    heads: int
    sites: tuple[str, ...]
    taps: bool
    has_phi: bool
    places: int


@dataclass(frozen=True)
class InitKind:
    """What is asked of an init before anything is computed.

    name: as tables have it. is_scheme: whether it fixes its own std. is_predicted: whether mean field makes a statement
    of it. has_biases: whether it has biases other than 0 of its own. is_scaled_by_inputs: whether what weights are
    multiplied by follows from what they are fed.
    """

    name: str
    is_scheme: bool
    is_predicted: bool
    has_biases: bool
    is_scaled_by_inputs: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """The names that the numerics know.

    check_activation: a sentence if a name is neither in `activations` nor otherwise usable, else None.
    check_threshold: a sentence if slopes of an activation cannot be held against a saturation threshold, else None.
    check_block: what a block of the sweep is, a sentence if its name is none.
    check_init: what an init of the sweep is, a sentence if its name is none.
    gradient_mib: what the way back through one network holds, from (layers, rows of
    its inputs, width, normalization, block).
    check_options: the options that an optimizer of `optimizers` does not have, each with those that it has.
    sources: names of data sets. check_data: what can be said of inputs and training without reading their data.
    """

    activations: tuple[str, ...]
    check_activation: Callable[[str], str | None]
    check_threshold: Callable[[str, float], str | None]
    inits: tuple[str, ...]
    check_init: Callable[[str], str | InitKind]
    blocks: tuple[str, ...]
    check_block: "Callable[[str], str | BlockKind]"
    gradient_mib: Callable[[int, int, int, str, str], float]
    optimizers: tuple[str, ...]
    check_options: Callable[[str, Mapping[str, Any]], list[tuple[str, Sequence[str]]]]
    sources: tuple[str, ...]
    check_data: "Callable[[Inputs, Train | None], list[Problem]]"


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Histogram(Table):
    """Bins of the activations: `bins` equal ones from low to high."""

    bins: int = Field(30, ge=1, le=10_000)
    low: float = Field(0.0, allow_inf_nan=False)
    high: float = Field(1.0, allow_inf_nan=False)


class Inputs(Table):
    """What is fed to the networks."""

    source: str = Field("normal", description=f"normal, digits, mnist5k, mnist, fashion_mnist, or {A_PATH}")
    samples: int = Field(1000, ge=1, le=10_000_000, description="default: 1000, or all of a source that has fewer")
    features: int | None = Field(
        None, ge=1, le=1_000_000, description="for source = normal, or a text in random encoding; default: the width"
    )
    seed: int = Field(0, ge=0, le=MAX_SEED)
    standardize: bool = False
    positions: Positions = Field(
        None,
        description="of a normal sample, how many (default: none); of a text, the bytes of a window (default: "
        f"{TEXT_POSITIONS}); of images, rows or pixels (default: flat)",
    )
    correlation: float = Field(
        0.0, ge=-1, le=1, allow_inf_nan=False, description="of distinct normal samples, at the same position"
    )
    position_correlation: float = Field(
        0.0, ge=-1, le=1, allow_inf_nan=False, description="of distinct positions of the same normal sample"
    )
    exact_correlation: bool = Field(
        False, description="normal samples whose products are what is expected of them, and not only on average"
    )
    encoding: Encoding | None = Field(
        None, description="of a text's bytes: one_hot (default), or random, N(0, 1) numbers for each value of a byte"
    )

    @property
    def takes_what_is_there(self) -> bool:
        """Whether a source of fewer samples is used as it is, since the sweep does not say how many there should be."""
        return "samples" not in self.model_fields_set and self.source != "normal"

    @property
    def is_text(self) -> bool:
        return is_text(self.source)

    @property
    def positions_known(self) -> int:
        """Positions of a sample, 1 where it has none, as far as the sweep says: images alone know their own."""
        if isinstance(self.positions, int):
            return self.positions
        return TEXT_POSITIONS if self.is_text else 1

    @property
    def has_positions(self) -> bool:
        """Whether samples have more than one position; images that are cut have."""
        return isinstance(self.positions, str) or self.positions_known > 1

    @property
    def follows_width(self) -> bool:
        """Whether there are as many features as the width of the network."""
        drawn = self.source == "normal" or (self.is_text and self.encoding == "random")
        return drawn and self.features is None


class Measure(Table):
    """What is written beside the networks table."""

    layers: bool = True
    jacobian: bool = Field(True, description="log10_jacobian, by a tangent pass")
    gradients: bool = Field(False, description="of a loss, at every layer and for every depth")
    singular_values: bool = Field(False, description="of d a_L / d a_1, for a few inputs")
    saturation_threshold: float = Field(0.05, gt=0, lt=1)
    histogram: Histogram | None = None


class Train(Table):
    """What the networks learn, and how."""

    source: str = Field("digits", description=f"digits, mnist5k, mnist, fashion_mnist, or {A_PATH}")
    optimizer: str = "sgd"
    optimizer_options: dict[str, bool | int | float] = Field(default_factory=dict)
    steps: int = Field(1000, ge=1, le=100_000_000)
    batch_size: int = Field(128, ge=1, le=1_000_000)
    eval_every: int = Field(50, ge=1)
    positions: Positions = Field(
        None,
        description=f"of a text, the bytes of a window (default: {TEXT_POSITIONS}), each of which is to be followed by "
        "the right one; of images, rows or pixels (default: flat)",
    )
    encoding: Encoding | None = Field(None, description="of a text's bytes, as of the inputs; default: one_hot")
    features: int | None = Field(None, ge=1, le=1_000_000, description=f"of a random encoding; default: {BYTES}")
    train_samples: int | None = Field(
        None,
        ge=1,
        description="default: four fifths of the data, or all of a source with its own test set; of a text as many "
        f"windows as lie side by side, up to {TEXT_WINDOWS[0]:,}",
    )
    test_samples: int | None = Field(
        None, ge=1, description=f"default: all the rest; of a text likewise, up to {TEXT_WINDOWS[1]:,}"
    )
    standardize: bool = False
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of the split and of the minibatches")
    target_accuracy: float = Field(0.9, gt=0, le=1)

    @property
    def has_positions(self) -> bool:
        """Whether samples have more than one position; images that are cut have."""
        return isinstance(self.positions, str) or self.is_text or (self.positions or 1) > 1

    @property
    def is_text(self) -> bool:
        return is_text(self.source)

    @property
    def evaluated(self) -> list[int]:
        """The steps at which networks are evaluated: before training, every eval_every steps, and at the end."""
        return [*range(0, self.steps, self.eval_every), self.steps]


# How products of matrices are computed where the hardware has several ways (`numerics.rounding`).
MatmulPrecision = Literal[
    "default",
    "high",
    "highest",
    "float32",
    "BF16_BF16_F32_X3",
    "BF16_BF16_F32_X6",
    "TF32_TF32_F32",
    "TF32_TF32_F32_X3",
    "F32_F32_F32",
]


def _of_one_word(precision: str) -> str:
    """One word for what has two."""
    return "highest" if precision == "float32" else precision


class Compute(Table):
    """How it is computed. batch_mib bounds the memory of a batch, part_seconds its time; neither changes a result.

    matmul_precision: JAX's words, of which `float32` is another one for `highest`, and its names of algorithms.
    kernel: what computes dense layers on the way forward on GPUs.
    """

    matmul_precision: Annotated[MatmulPrecision, AfterValidator(_of_one_word)] = "highest"
    kernel: Literal["xla", "pallas"] = Field(
        "xla", description="pallas: of dense layers on GPUs, where it is right and faster as the run begins"
    )
    batch_mib: int = Field(512, ge=16, le=1_000_000)
    part_seconds: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="a part that takes longer is given up; default: none is"
    )


# A number, or a formula of the network (`formulas`).
Scale = float | str


class Grid(Table):
    """The resolved axes, every value spelled out; a formula as it is written."""

    activation: list[str]
    init: list[str]
    std: list[Scale] | None = None
    gain: list[Scale] | None = None
    bias_std: list[Scale] | None = None  # None is each init's own, and so is bias_init
    bias_init: list[str] | None = None
    normalization: list[str]
    norm_epsilon: list[Scale]
    block: list[str]
    norm_position: list[str]
    skip_scale: list[Scale] | None = None  # None is each block's own
    branch_scale: list[Scale]
    attention_gain: list[Scale]
    dtype: list[str] = Field(default_factory=lambda: [FLOAT32])
    stem_scale: list[Scale] | None = None  # None is 1, and so is readout_scale
    width: list[int]
    infinite: bool = False  # whether "inf" is among the widths
    depth: list[int]
    seed: list[int]
    learning_rate: list[Scale] | None = None
    readout_scale: list[Scale] | None = None


TABLES: dict[str, type[Table]] = {"inputs": Inputs, "measure": Measure, "train": Train, "compute": Compute}
# What may differ between a folder's sweep and the one run into it.
FREE = {("title",), ("compute", "batch_mib"), ("compute", "part_seconds")}


@dataclass(frozen=True)
class Sweep:
    """A resolved sweep. `written` keeps each axis as it was written, for sweep.toml.

    inits, blocks: what is known of those of the grid, in its order.
    """

    name: str
    title: str
    grid: Grid
    inputs: Inputs
    measure: Measure
    train: Train | None
    compute: Compute
    inits: tuple[InitKind, ...]
    blocks: tuple[BlockKind, ...]
    written: dict[str, Any]

    @property
    def schemes(self) -> tuple[str, ...]:
        """The inits of the grid that fix their own std."""
        return tuple(kind.name for kind in self.inits if kind.is_scheme)

    @property
    def scale_axis(self) -> str | None:
        """`std`, `gain`, or None where every init is a scheme."""
        return next((axis for axis in WEIGHT_SCALES if getattr(self.grid, axis) is not None), None)

    @cached_property
    def formula_axes(self) -> tuple[str, ...]:
        """The axes with a formula among their values."""
        return tuple(
            name
            for name, axis in AXES.items()
            if axis.holds is float and any(isinstance(value, str) for value in getattr(self.grid, name) or ())
        )

    def init_points(self) -> list[tuple[str, Scale | None]]:
        """(init, value on the scale axis): shapes are crossed with it, schemes are one point each."""
        points: list[tuple[str, Scale | None]] = []
        for init in self.grid.init:
            if init in self.schemes:
                points.append((init, None))
            else:
                points.extend((init, scale) for scale in getattr(self.grid, str(self.scale_axis)))
        return points

    @property
    def n_networks(self) -> int:
        """Rows of the networks table, by multiplication."""
        return count_networks(self.grid, self.schemes)

    @property
    def n_predictions(self) -> int:
        """Rows of the theory table: points at infinite width."""
        return count_predictions(self.grid, self.schemes)

    def to_toml(self) -> str:
        """The sweep as a file, with defaults spelled out; reading it gives an equal sweep."""
        lines = [f"title = {toml_value(self.title)}", "", "[grid]"]
        lines += [f"{axis} = {toml_value(value)}" for axis, value in self.written.items()]
        for name in TABLES:
            if (table := getattr(self, name)) is None:
                continue
            lines += ["", f"[{name}]"]
            settings = table.model_dump()
            if table is self.inputs and self.inputs.takes_what_is_there:
                lines.append(f"# samples: {settings.pop('samples'):,}, or all of a source that has fewer")
            lines += [f"{key} = {toml_value(value)}" for key, value in settings.items() if value is not None]
        return "\n".join(lines) + "\n"


def count_networks(grid: Grid, schemes: Sequence[str]) -> int:
    """Networks of a grid."""
    return _count(grid, schemes, "networks")


def count_predictions(grid: Grid, schemes: Sequence[str]) -> int:
    """Points of a grid at infinite width, each at every depth."""
    return _count(grid, schemes, "theory") if grid.infinite else 0


def _count(grid: Grid, schemes: Sequence[str], table: str) -> int:
    """Rows of a table by multiplication of its axes: shapes are crossed with the scale axis, schemes are one point."""
    shapes = sum(init not in schemes for init in grid.init)
    scales = sum(len(getattr(grid, axis) or []) for axis in WEIGHT_SCALES)
    others = (axis.name for axis in AXES.values() if table in axis.tables and axis.name not in ("init", *WEIGHT_SCALES))
    values = [getattr(grid, axis) for axis in others]
    return (shapes * scales + len(grid.init) - shapes) * math.prod(len(each) for each in values if each is not None)


def toml_value(value: Any) -> str:
    """A TOML value that reads back as the same value."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if any(mark in text for mark in ".en") else text + ".0"
    if isinstance(value, int):
        return str(value)
    # A JSON string is a TOML basic string once DEL, which JSON leaves bare, is escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
