"""The columns of a probe's two tables, one record each: `sites` and `parameters`."""

from winit_jax.columns.formats import FLOAT32
from winit_jax.columns.records import Column

DTYPE = "dtype"
_OF_FORMATS = {
    "underflow": "becomes 0",
    "subnormal": "becomes a number below the least normal one, of fewer digits",
    "overflow": "lies beyond the largest number of the format, infinite ones among them",
}


def _dtype(what: str) -> Column:
    return Column(
        DTYPE,
        f"The format of numbers that {what} rounded to; `{FLOAT32}` is the function as it is, in its own types. The "
        "column is there where a row has another one.",
        holds=str,
        needs=("formats",),
    )


def _lost(prefix: str, of: str) -> tuple[Column, ...]:
    """What is counted as numbers are rounded. of: which numbers."""
    return tuple(
        Column(
            f"{prefix}{name}",
            f"Measured, in rows of a `{DTYPE}` other than `{FLOAT32}`: of {of} that are not 0 before they are rounded, "
            f"the share that {becomes}; NaN where all are 0.",
            kind="share",
            label=f"share of {'gradients' if prefix else 'values'} with {name}",
            needs=("formats",),
        )
        for name, becomes in _OF_FORMATS.items()
    )


SITES = (
    Column("site", "Where it is: the names that the function gave the place, or the path of its weights.", holds=str),
    Column(
        "op",
        "What stands there: `dot_general` or `conv_general_dilated` with its biases added, the name of an elementwise "
        "function, `softmax`, `lookup` of an embedding, `sum` of a stream and a branch.",
        holds=str,
    ),
    Column("kind", "`contraction`, `nonlinearity`, `softmax`, `lookup` or `sum`.", holds=str),
    Column("order", "Its number in the order of the computation, 0 for the first.", holds=int),
    Column("seed", "The seed of the parameters.", holds=int),
    _dtype("parameters, inputs, values and gradients are"),
    Column("parameter", "The path of its weights, empty where it has none.", holds=str),
    Column("shape", "Of its value, as `8x16x64`.", holds=str),
    Column("fan_in", "Inputs of a unit, 0 where there are no weights.", holds=int),
    Column("fan_out", "Units that an input goes to, likewise.", holds=int),
    Column("follows", "The contraction that it is a function of, or that ends the branch of a sum.", holds=str),
    Column("mean", "The mean of all entries."),
    Column("std", "Their standard deviation."),
    Column("log10_rms", "log10 of the root mean square, -inf where all are 0.", kind="growth", label="log₁₀ RMS"),
    Column(
        "log10_grad_rms",
        "log10 of the RMS of the gradient of the loss; -inf where it is 0, NaN where none is taken: inside custom "
        "derivatives and loops of unknown length.",
        kind="gradient",
        label="log₁₀ RMS gradient",
    ),
    Column("kurtosis", "The fourth central moment over the squared variance; 3 of a normal."),
    Column("zero", "The share of entries that are exactly 0.", kind="share"),
    Column("nonfinite", "The share that is NaN or infinite; above 0 the others are NaN.", kind="share"),
    Column("saturated", "The share of (row, unit) pairs with abs(phi'(u)) < t max abs(phi').", kind="share"),
    Column("dead", "The share of units that are saturated in every row.", kind="share"),
    Column("unit_similarity", "The mean product of two distinct units over the mean square.", kind="correlation"),
    Column("input_correlation", "The mean product of two distinct inputs over the mean square.", kind="correlation"),
    Column(
        "effective_rank",
        "(sum s^2)^2 / sum s^4 of the singular values s of at most 128 rows, between 1 and the lesser side.",
    ),
    Column("attention_entropy", "Of softmax's weights, from 0 to 1, which is uniform.", kind="share"),
    *_lost("", "the values"),
    *_lost("grad_", "the entries of the gradient of the loss"),
)
PARAMETERS = (
    Column("path", "The path of the parameter.", holds=str),
    Column("shape", "As `64x256`.", holds=str),
    Column("seed", "The seed that it was drawn with.", holds=int),
    _dtype("it and its gradient are"),
    Column(
        "fan_in", "Inputs of a unit as the parameter is used, 0 where it is no weights of a contraction.", holds=int
    ),
    Column("fan_out", "Units that an input goes to, likewise.", holds=int),
    Column("used", "How often contractions use it.", holds=int),
    Column("read", "1 where anything that is computed reads it.", holds=int),
    Column("mean", "The mean of its entries."),
    Column("std", "Their standard deviation."),
    Column("min", "The least entry."),
    Column("max", "The greatest entry."),
    Column("gain", "std * sqrt(fan_in), NaN without a fan."),
    Column("log10_rms", "log10 of the root mean square, -inf where all are 0.", kind="growth"),
    Column("kurtosis", "The fourth central moment over the squared variance; 3 of a normal, 1.8 of a uniform one."),
    Column("max_over_std", "The largest distance from the mean in standard deviations."),
    Column("zero", "The share of entries that are exactly 0.", kind="share"),
    Column("nonfinite", "The share that is NaN or infinite.", kind="share"),
    Column("repeated", "1 where all slices along the first axis are equal, of three axes or more."),
    Column("log10_grad_rms", "log10 of the RMS of the gradient of the loss; -inf where it is 0.", kind="gradient"),
    Column("law", "The init that it looks like, several with ` or ` between them; empty where it is none.", holds=str),
    *_lost("", "its entries"),
    *_lost("grad_", "the entries of the gradient of the loss"),
)
PROBED = {"sites": SITES, "parameters": PARAMETERS}
