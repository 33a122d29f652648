"""Every column of the tables and every axis of a grid as one record each, and what follows from them.

Schemas, figures, the reader of sweeps and docs/definitions.md take names, types, units, labels, bounds and definitions
from here. Nothing here imports jax, numpy, pandas or pyarrow. `python -m winit_jax.columns docs/definitions.md`
writes the page anew.
"""

from winit_jax.columns.axes import (
    AXES,
    DEPTH_SCHEMES,
    MAX_SEED,
    OF_TRAINING,
    RULES,
    SCALES,
    SHAPES,
    WEIGHT_SCALES,
    own_skip,
)
from winit_jax.columns.records import KINDS, NEEDS, Axis, Column, Kind, Need, Role, Table
from winit_jax.columns.tables import (
    COLUMNS,
    EVALUATED,
    GRADIENTS,
    KEYS,
    LEARNER_KEYS,
    LEARNT,
    MEASURED,
    NAMES,
    OF_THE_DEEPEST,
    PREDICTED,
    PREDICTIONS,
    SINGULAR_VALUES,
    TABLES,
    columns_of,
    never_filled,
    of_kind,
    of_role,
    words_of,
)

__all__ = [
    "AXES",
    "COLUMNS",
    "DEPTH_SCHEMES",
    "EVALUATED",
    "GRADIENTS",
    "KEYS",
    "KINDS",
    "LEARNER_KEYS",
    "LEARNT",
    "MAX_SEED",
    "MEASURED",
    "NAMES",
    "NEEDS",
    "OF_THE_DEEPEST",
    "OF_TRAINING",
    "PREDICTED",
    "PREDICTIONS",
    "RULES",
    "SCALES",
    "SHAPES",
    "SINGULAR_VALUES",
    "TABLES",
    "WEIGHT_SCALES",
    "Axis",
    "Column",
    "Kind",
    "Need",
    "Role",
    "Table",
    "columns_of",
    "never_filled",
    "of_kind",
    "of_role",
    "own_skip",
    "words_of",
]
