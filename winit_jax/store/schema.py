"""The tables of a run folder: columns, types and the version that part files carry."""

from collections.abc import Container, Mapping, Sequence

import numpy as np
import pyarrow as pa

VERSION = 4
METADATA_KEY = b"winit"

NAMES = ("activation", "init", "normalization")
KEYS = (
    "activation",
    "init",
    "std",
    "gain",
    "bias_std",
    "normalization",
    "norm_epsilon",
    "width",
    "depth",
    "seed",
)
LEARNER_KEYS = (*KEYS, "learning_rate")
INTEGERS = ("width", "depth", "seed", "layer", "count", "step")
# Whole numbers that a network may be without.
NULLABLE = ("diverged_at", "steps_to_accuracy")

MEASURED = (
    "preact_mean",
    "preact_std",
    "act_mean",
    "act_std",
    "act_min",
    "act_max",
    "log10_act_rms",
    "saturated",
    "dead",
    "zero",
    "unit_similarity",
    "input_correlation",
    "input_decorrelation",
    "nonfinite",
    "log10_jacobian",
)
PREDICTED = ("theory_log10_act_rms", "theory_input_correlation", "theory_log10_jacobian", "chi")

GRADIENTS = ("log10_preact_grad_rms", "log10_weight_grad_rms")
SINGULAR_VALUES = ("sv_min", "sv_median", "sv_max", "sv_mean_square", "sv_var_square")
EVALUATED = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "log10_grad_norm",
    "unit_similarity",
)
# In networks `unit_similarity` is that before training, as every column of MEASURED.
LEARNT = (*EVALUATED[:5], "diverged_at", "steps_to_accuracy")
BINS = ("bin_low", "bin_high", "count")

TABLES: dict[str, tuple[str, ...]] = {
    "networks": (*LEARNER_KEYS, *MEASURED, *PREDICTED, *SINGULAR_VALUES, *LEARNT),
    "layers": (*KEYS, "layer", *MEASURED, *PREDICTED, *GRADIENTS),
    "gradients": (*KEYS, "layer", *GRADIENTS),
    "histograms": (*KEYS, "layer", *BINS),
    "gradient_histograms": (*KEYS, "layer", *BINS, "log10_preact_grad_rms"),
    "training": (*LEARNER_KEYS, "step", *EVALUATED),
}
OF_THE_DEEPEST = ("layers", "histograms", "gradient_histograms")
# Of theory alone, made anew whole at each run; not parts.
LIMIT_KEYS = ("activation", "init", "gain", "bias_std", "normalization", "norm_epsilon", "depth")
PREDICTIONS: dict[str, tuple[str, ...]] = {
    "theory": (*LIMIT_KEYS, *PREDICTED),
    "mean_field": (
        *("activation", "gain", "bias_std", "start"),
        *("q_star", "c_star", "chi1", "xi_q", "xi_c", "critical_gain", "jump_gain"),
    ),
}


def schema(table: str, without: Container[str] = ()) -> pa.Schema:
    """The Arrow schema of a table: names are dictionaries, counts are int64, the rest float64.

    without: columns that the sweep can never fill (`columns.never_filled`), which are left out.
    """

    def column_type(name: str) -> pa.DataType:
        if name in NAMES:
            return pa.dictionary(pa.int16(), pa.string())
        return pa.int64() if name in INTEGERS or name in NULLABLE else pa.float64()

    return pa.schema([(name, column_type(name)) for name in (TABLES | PREDICTIONS)[table] if name not in without])


def make_table(
    table: str,
    columns: Mapping[str, np.ndarray],
    categories: Mapping[str, Sequence[str]],
    without: Container[str] = (),
) -> pa.Table:
    """An Arrow table from columns of equal length; columns that are absent become NaN, or null where whole numbers.

    Names come as int codes into `categories`, whose whole list goes into every part. Columns of `without` are left out.
    """
    rows = len(columns["activation"])
    arrays = []
    for field in schema(table, without):
        if field.name in NAMES:
            codes = pa.array(np.asarray(columns[field.name], np.int16), pa.int16())
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(categories[field.name], pa.string())))
        elif field.name in NULLABLE:
            values = np.asarray(columns.get(field.name, np.full(rows, np.nan)), np.float64)
            whole = np.where(np.isnan(values), 0, values).astype(np.int64)
            arrays.append(pa.array(whole, pa.int64(), mask=np.isnan(values)))
        elif field.name in columns:
            arrays.append(pa.array(np.asarray(columns[field.name]), field.type))
        else:
            arrays.append(pa.array(np.full(rows, np.nan), field.type))
    return pa.Table.from_arrays(arrays, schema=schema(table, without))


def widened(table: str, found: pa.Table, without: Container[str] = ()) -> pa.Table:
    """A table with all columns of its schema, NaN where it did not have them. Its metadata stay."""
    wanted = schema(table, without).with_metadata(found.schema.metadata)
    empty = pa.array(np.full(found.num_rows, np.nan))
    columns = [found.column(name) if name in found.column_names else empty for name in wanted.names]
    return pa.Table.from_arrays(columns, schema=wanted)
