"""The tables of a run folder and what follows from the records: which columns each has, in which order."""

from collections.abc import Container

from winit_jax.columns import learnt, measured, predicted
from winit_jax.columns.axes import AXES, RULES
from winit_jax.columns.records import Column, Kind, Need, Role, Table

# A table has those of these that name it, in this order.
COLUMNS: tuple[Column, ...] = (
    *AXES.values(),
    *RULES,
    learnt.STEP,
    *measured.ROWS,
    *measured.MEASURED,
    *measured.FACTORS,
    *predicted.PREDICTED,
    *measured.GRADIENTS,
    *measured.LOST,
    *measured.SINGULAR_VALUES,
    *learnt.LEARNT,
    predicted.START,
    *predicted.FIXED_POINTS,
    *measured.DERIVED,
)

ALL_TABLES = (
    Table("networks", "a network, measured at its last layer"),
    Table("layers", "a layer of the deepest network of each family", of_the_deepest=True),
    Table("gradients", "a network of each depth and a layer up to it"),
    Table("histograms", "a layer of the deepest network of each family and a bin of activations", of_the_deepest=True),
    Table(
        "gradient_histograms",
        "a layer of the deepest network of each family and a bin of dLoss / da_l",
        of_the_deepest=True,
    ),
    Table("training", "a trained network and an evaluation of it"),
    Table("theory", 'a point of the grid at `width = "inf"`', of_theory=True),
    Table("mean_field", "an (activation, gain, bias_std, start) of the sweep", of_theory=True),
)


def columns_of(table: str) -> tuple[Column, ...]:
    """The columns of a table, in its order."""
    return tuple(column for column in COLUMNS if table in column.tables)


def of_role(role: Role, table: str) -> tuple[str, ...]:
    """The names of the columns of a table that have this role there."""
    return tuple(column.name for column in columns_of(table) if column.role == role)


def of_kind(kind: Kind) -> tuple[str, ...]:
    """The names of all columns of a kind, those that `analysis` makes among them."""
    return tuple(dict.fromkeys(column.name for column in COLUMNS if column.kind == kind))


def words_of() -> dict[str, str]:
    """What figures call each column, by its name."""
    return {column.name: column.words for column in reversed(COLUMNS)}


def never_filled(met: Container[Need]) -> frozenset[str]:
    """The names of columns that no network of a sweep can fill. met: which of NEEDS the sweep meets."""
    filled = {column.name for column in COLUMNS if all(need in met for need in column.needs)}
    return frozenset(column.name for column in COLUMNS) - filled


# Table -> its columns. Tables of parts, and those of theory alone.
TABLES = {
    table.name: tuple(column.name for column in columns_of(table.name)) for table in ALL_TABLES if not table.of_theory
}
PREDICTIONS = {
    table.name: tuple(column.name for column in columns_of(table.name)) for table in ALL_TABLES if table.of_theory
}
OF_THE_DEEPEST = tuple(table.name for table in ALL_TABLES if table.of_the_deepest)

# The keys that are names, and what tells networks apart before training, and after.
NAMES = tuple(axis.name for axis in AXES.values() if axis.holds is str)
KEYS = of_role("axis", "layers")
LEARNER_KEYS = of_role("axis", "networks")
MEASURED = of_role("measured", "networks")
PREDICTED = of_role("predicted", "networks")
GRADIENTS = of_role("gradient", "gradients")
SINGULAR_VALUES = of_role("singular value", "networks")
# At each evaluation; and of what became of a network, in `networks`.
EVALUATED = of_role("learnt", "training")
LEARNT = of_role("learnt", "networks")
