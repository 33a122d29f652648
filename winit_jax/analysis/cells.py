"""From the rows of a table to the cells of a heatmap: which keys go where, and one number a cell."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from winit_jax.analysis import style
from winit_jax.analysis.axes import Axis
from winit_jax.analysis.load import KEYS, SHAPES, Expected, chance, follows_init, varying

AGGREGATES = ("median", "mean", "min", "max", "std")
# What it means that a step is infinite.
INFINITE = {"steps_to_accuracy": "unreached", "diverged_at": "stable"}


@dataclass(frozen=True)
class Places:
    """The keys along x and y, and those of the rows and columns of panels."""

    x: str
    y: str
    row: str | None
    col: str | None

    @property
    def shown(self) -> list[str]:
        return [key for key in (self.row, self.col, self.y, self.x) if key]


def defaults(frame: pd.DataFrame, expected: Expected | None = None) -> dict[str, str | None]:
    """x, y, row and col for a frame: scale across, depth up, activation beside, the next key below.

    expected: key -> values that the sweep asks for, which vary a key although no row has them yet.
    Keys that vary beyond these four must be fixed first (`figures.plot` makes a figure for each value).
    """
    keys = [key for key in varying(frame, expected) if key != "seed"]
    scale = next((key for key in ("gain", "std") if key in keys), None)
    # A scale that only follows the init (schemes) is no axis of its own.
    if scale and "init" in keys and follows_init(frame):
        keys.remove(scale)
        scale = None
    order_x = [
        scale,
        "init",
        "depth",
        "learning_rate",
        "bias_std",
        "width",
        "normalization",
        "norm_epsilon",
        "activation",
    ]
    x = next((key for key in order_x if key in keys), "depth")
    order_y = ["depth", "learning_rate", "bias_std", "width", "init", "normalization", "norm_epsilon"]
    # Without seeds, as in a table of predictions, another key that does not vary makes the one row of cells.
    spare = "seed" if "seed" in frame else "bias_std" if x == "depth" else "depth"
    y = next((key for key in order_y if key in keys and key != x), spare)
    rest = [key for key in keys if key not in (x, y)]
    col = next((key for key in ("activation", *rest) if key in rest), None)
    row = next((key for key in rest if key != col), None)
    return {"x": x, "y": y, "row": row, "col": col}


def place(frame: pd.DataFrame, given: dict[str, str | None], expected: Expected | None = None) -> Places:
    """The places of keys: those given (x, y, row, col -> key), the rest from `defaults`.

    Errors: ValueError in a sentence for unknown or repeated keys, and for keys that vary but have no place.
    """
    for name, key in given.items():
        if key is not None and key not in KEYS:
            raise ValueError(f"{name} = {key!r} is not a key. Keys: {', '.join(KEYS)}.")
    chosen = [key for key in given.values() if key]
    if len(set(chosen)) < len(chosen):
        raise ValueError("x, y, row and col must be different keys.")
    automatic = {name: key for name, key in defaults(frame, expected).items() if key not in chosen}
    places = {name: given[name] or automatic.get(name) for name in given}
    spare = [key for key in (*varying(frame), "depth", "seed", "width") if key in frame and key not in places.values()]
    for name in ("x", "y"):
        places[name] = places[name] or spare.pop(0)
    same = {"std": "gain", "gain": "std"}
    covered = {*places.values(), *(same[key] for key in places.values() if key in same)}
    left = [key for key in varying(frame) if key not in covered and key != "seed"]
    if "init" in covered and follows_init(frame):
        left = [key for key in left if key not in same]
    if left:
        raise ValueError(
            f"{', '.join(left)} take{'s' if len(left) == 1 else ''} more than one value: "
            "make it an axis (x, y, row, col) or keep one value of it."
        )
    return Places(places["x"] or "", places["y"] or "", places["row"], places["col"])


def init_words(frame: pd.DataFrame) -> pd.Series:
    """What the initialisation of each row is called; a shape is told with its scale, unless all share that one."""
    scale = frame.attrs.get("scale_axis") or "std"
    shaped = frame["init"].isin(SHAPES)
    told = shaped & ((frame.groupby("init", observed=True)[scale].transform("nunique") > 1) | bool((~shaped).any()))
    words = frame["init"].astype(str)
    return words.where(~told, words + f", {scale} " + frame[scale].map(style.number))


def after_training(frame: pd.DataFrame, value: str) -> pd.Series:
    """A column of what was learnt, with a number for networks that failed: leaving them out would flatter the rest.

    A network that diverged has the accuracy of guessing, and an infinite loss and gradient; one that never reached
    the target accuracy, or never diverged, does so after infinitely many steps.
    """
    if value in style.STEPS:
        return frame[value].astype(float).fillna(np.inf)
    instead = chance(frame) if value in style.ACCURACIES else np.inf
    return frame[value].mask(frame["diverged_at"].notna(), instead)


def aggregate(frame: pd.DataFrame, value: str, keys: list[str], seeds: str) -> pd.DataFrame:
    """One row a cell: its value, whether any of its networks overflowed, and how many networks it has.

    seeds: one of AGGREGATES. Missing values are left out of it, but none of what was learnt are missing: see
    `after_training`. Of these columns a cell is called diverged, instead of overflowed, if more than half of its
    networks did.
    """
    broken = frame["nonfinite"] > 0 if "nonfinite" in frame else pd.Series(False, frame.index)
    numbers = frame[value] if value in frame.columns.drop(keys) else frame[value].astype(float)
    learnt = value in style.LEARNT and "diverged_at" in frame
    if learnt:
        broken = frame["diverged_at"].notna()
        numbers = after_training(frame, value)
    slim = frame[keys].assign(cell_value=numbers, broken=broken.astype(float))
    with np.errstate(invalid="ignore"):
        cells = slim.groupby(keys, observed=True).agg(
            value=("cell_value", seeds), share=("broken", "mean"), networks=("broken", "size")
        )
    bad = cells.pop("share") > (0.5 if learnt else 0)
    return cells.assign(overflow=bad & (value != "diverged_at")).reset_index()


def on_grid(cells: pd.DataFrame, across: Axis, up: Axis, value: str) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, kinds) of one panel, both [up, across].

    kinds: "" for a number to be coloured; overflow where any network is not finite; zero where a log10 is
    -inf; undefined where networks ran and the value is no number, as 0/0; missing where none ran. Of what was
    learnt: diverged where most networks did, infinite where some did and the value is infinite for it; unreached and
    stable where the step of reaching the target, or of diverging, is.
    """
    shape = (len(up.values), len(across.values))
    at = tuple(pd.Index(axis.values).get_indexer(cells[axis.key]) for axis in (up, across))
    numbers, kinds = np.full(shape, np.nan), np.full(shape, "missing", object)
    numbers[at] = cells["value"]
    kinds[at] = ""
    lost = (kinds == "") & ~np.isfinite(numbers)
    kinds[lost] = "undefined"
    if value in style.LEARNT:
        kinds[np.isposinf(numbers)] = INFINITE.get(value, "infinite")
    if value in (*style.GROWTHS, *style.GRADIENTS, "log10_grad_norm"):
        kinds[lost & np.isneginf(numbers)] = "zero"
    overflow = np.zeros(shape, bool)
    overflow[at] = cells["overflow"]
    kinds[overflow] = "diverged" if value in style.LEARNT else "overflow"
    return numbers, kinds


def seeds_rule(cells: pd.DataFrame, frame: pd.DataFrame, seeds: str) -> str:
    """How seeds were put together, in words: 'median of 4 seeds'."""
    if "seed" not in frame:
        return ""
    most, least = cells["networks"].max(), cells["networks"].min()
    if most == 1:
        count = frame["seed"].nunique()
        return f"seed {frame['seed'].iloc[0]}" if count == 1 else "one seed a cell"
    return f"{seeds} of {most} seeds" if most == least else f"{seeds} of {least} to {most} seeds"
