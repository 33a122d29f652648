"""What is known of a column, an axis and a table."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["growth", "factor", "gradient", "share", "accuracy", "correlation", "loss", "step", "level"]
Role = Literal[
    "axis",
    "rule",
    "row",
    "measured",
    "predicted",
    "gradient",
    "rounding",
    "singular value",
    "learnt",
    "fixed point",
    "derived",
]
Need = Literal[
    "training", "jacobian", "gradients", "singular_values", "predictions", "samples", "units", "phi", "positions",
    "attention", "sites", "formats", "lsuv", "inner weights", "stem_scale",
    "readout_scale",
]  # fmt: skip

# What kind of number a column holds: it decides the color map, the norm and the scale of figures.
KINDS: dict[Kind, str] = {
    "growth": "log10 of a size beside what it was; 0 is unchanged",
    "factor": "a factor beside 1, which is unchanged",
    "gradient": "log10 of the size of a gradient: the loss sets its scale, so it is read against another layer",
    "share": "from 0 to 1",
    "accuracy": "from 0 to 1, beside guessing",
    "correlation": "at most 1, where all are alike",
    "loss": "read beside that of guessing",
    "step": "a step that a network may never come to",
    "level": "read from the least to the greatest",
}
# What a sweep must have so that one of its networks fills a column, as docs/definitions.md says it.
NEEDS: dict[Need, str] = {
    "training": "with a `[train]` table",
    "jacobian": "unless `measure.jacobian = false`",
    "gradients": "with `measure.gradients`",
    "singular_values": "with `measure.singular_values`, where a normalization other than `batch` is in the grid",
    "predictions": "where the grid has an init of independent weights and a normalization other than `batch`",
    "samples": "for more than one sample",
    "units": "where a width is more than 1",
    "phi": "for a block other than `attention`",
    "positions": "for inputs of more than one position",
    "attention": "for a block with attention",
    "sites": "for a `transformer`",
    "stem_scale": "where the grid gives it",
    "readout_scale": "where the grid gives it",
    "lsuv": "with the init `lsuv`",
    "inner weights": "for a block of several weights a row: `mlp(r)`, `gated(r)`, `attention(h)` or a `transformer`",
    "formats": "where `dtype` has a value other than `float32`",
}


@dataclass(frozen=True)
class Column:
    """One column, in the tables where it means the same.

    definition: what it is, in full sentences, with the formula where there is one; Markdown. tables: where it stands,
    in the order of `COLUMNS`. holds: str for names, int for whole numbers, float. nullable: whether a row may be
    without it (floats are NaN instead). label: words for figures, the name in words unless given. unit: what the
    label does not say of the unit. needs: what a sweep must have to fill it, all of them.
    """

    name: str
    definition: str
    tables: tuple[str, ...] = ()
    role: Role = "measured"
    kind: Kind = "level"
    holds: type = float
    nullable: bool = False
    label: str = ""
    unit: str = ""
    needs: tuple[Need, ...] = ()

    @property
    def words(self) -> str:
        """What figures call it: its label, and its unit in brackets."""
        label = self.label or self.name.replace("_", " ")
        return f"{label} ({self.unit})" if self.unit else label


@dataclass(frozen=True)
class Axis(Column):
    """A key of [grid], which is a column in the tables whose rows it tells apart.

    changes: what another value changes. `draw`: the random numbers. `weights`: their scale alone; a sweep gives one
    such axis at most. `scale`: another scale beside the same draw. `function`: what is computed of the draw. `depth`:
    how many of the layers are seen.
    default: the value of a grid that does not give the axis; None where it must be given, or may be left out.
    low, high: bounds of a number, both allowed. names: all that an axis of names takes, where it is not the numerics
    that say. infinite: whether "inf" is a value too. given_with: what a sweep needs so that the axis may be given.
    aliases: other names of the axis. before: the value of networks of tables that were written before the axis was
    there, which figures need not say; None of an axis that every table has.
    """

    role: Role = "axis"
    changes: Literal["draw", "weights", "scale", "function", "depth"] = "scale"
    default: Any = None
    low: float = 0
    high: float = math.inf
    names: tuple[str, ...] = ()
    infinite: bool = False
    given_with: Literal["", "training", "normalization", "attention", "biases"] = ""
    aliases: tuple[str, ...] = ()
    before: Any = None


@dataclass(frozen=True)
class Table:
    """One table of a run folder. row: what a row of it is; Markdown.

    of_the_deepest: whether it speaks of the deepest network of each family alone. of_theory: whether it is of theory
    alone, made anew whole at each run; the others are written in parts.
    """

    name: str
    row: str
    of_the_deepest: bool = False
    of_theory: bool = False
