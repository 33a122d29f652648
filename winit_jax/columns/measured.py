"""Columns of networks before training: where a row stands, what is measured of signals, gradients and the Jacobian.

The NumPy definition of each of MEASURED is the function of its name in `winit_jax.numerics.measure.definitions`.
"""

from winit_jax.columns.records import Column, Need

SIGNALS = ("networks", "layers")
BINNED = ("histograms", "gradient_histograms")

ROWS = (
    Column(
        "layer",
        "The layer that the row speaks of; 1 is the first.",
        ("layers", "gradients", *BINNED),
        role="row",
        holds=int,
    ),
    Column(
        "site",
        "The update of the layer that the row speaks of, where a layer has two: `attention` or `mlp` of a "
        "`transformer`. Null elsewhere, and at the first layer, which is the stem.",
        ("layers", "gradients", *BINNED),
        role="row",
        holds=str,
        nullable=True,
        needs=("sites",),
    ),
    Column(
        "bin_low",
        "The lower edge of the bin; -inf for what lies below all bins, NaN for what is not finite. Of "
        "`gradient_histograms` in units of the layer's RMS.",
        BINNED,
        role="row",
    ),
    Column(
        "bin_high",
        "The upper edge of the bin; inf for what lies above all bins, NaN for what is not finite.",
        BINNED,
        role="row",
    ),
    Column("count", "How many (sample, unit) pairs fall into the bin.", BINNED, role="row", holds=int),
)

MEASURED = (
    Column(
        "preact_mean",
        "The mean of the pre-activations `a`, before normalization.",
        SIGNALS,
        label="mean pre-activation",
    ),
    Column(
        "preact_std",
        "The standard deviation of the pre-activations `a` over samples and units together, before normalization.",
        SIGNALS,
        label="std of pre-activations",
    ),
    Column(
        "log10_preact_rms",
        "log10 sqrt(mean a^2). It is right far outside float32, and -inf when every pre-activation is exactly 0.",
        SIGNALS,
        kind="growth",
        label="log₁₀ RMS pre-activation",
    ),
    Column("act_mean", "The mean of the activations `h`.", SIGNALS, label="mean activation", needs=("phi",)),
    Column(
        "act_std",
        "The standard deviation of the activations `h` over samples and units together.",
        SIGNALS,
        label="std of activations",
        needs=("phi",),
    ),
    Column("act_min", "The least of the activations `h`.", SIGNALS, label="least activation", needs=("phi",)),
    Column("act_max", "The greatest of the activations `h`.", SIGNALS, label="greatest activation", needs=("phi",)),
    Column(
        "log10_act_rms",
        "log10 sqrt(mean h^2). It is right far outside float32, and -inf when every activation is exactly 0.",
        SIGNALS,
        kind="growth",
        label="log₁₀ RMS activation",
        needs=("phi",),
    ),
    Column(
        "saturated",
        "The share of (sample, unit) pairs with abs(phi'(u)) < t max abs(phi'), u the argument of phi. t is "
        "`measure.saturation_threshold`, from 1e-30 to 0.9998 (of a function given by import path: as far as its own "
        "slopes in float32 resolve).",
        SIGNALS,
        kind="share",
        label="saturated share (of input-unit pairs)",
        needs=("phi",),
    ),
    Column(
        "dead",
        "The share of units that are saturated for every sample.",
        SIGNALS,
        kind="share",
        label="dead share of units",
        needs=("phi",),
    ),
    Column(
        "zero",
        "The share of activations that are exactly 0 in double precision; 0 for sigmoid and softplus, which are "
        "positive.",
        SIGNALS,
        kind="share",
        label="share of activations that are 0",
        needs=("phi",),
    ),
    Column(
        "unit_similarity",
        "The mean product of two distinct units over the mean square: (sum_i (sum_j h_ij)^2 - sum h^2) / "
        "((n - 1) sum h^2). It is 1 when all units say the same.",
        SIGNALS,
        kind="correlation",
        label="similarity of units (1: all say the same)",
        needs=("units", "phi"),
    ),
    Column(
        "input_correlation",
        "Mean field's c, the mean product of two distinct inputs over the mean square: "
        "(sum_j (sum_i a_ij)^2 - sum a^2) / ((m - 1) sum a^2).",
        SIGNALS,
        kind="correlation",
        label="correlation of inputs (1: all look the same)",
        needs=("samples",),
    ),
    Column(
        "input_decorrelation",
        "1 - c = (m / (m - 1)) sum_ij (a_ij - mean_i a_ij)^2 / sum a^2. It is taken from the centered sum and so has "
        "its own digits where c is nearly 1; the rounding of float32 signals leaves about 1e-14 of samples that are "
        "all the same.",
        SIGNALS,
        label="1 - correlation of inputs (0: all look the same)",
        needs=("samples",),
    ),
    Column(
        "position_similarity",
        "The mean product of two distinct positions of a sample over the mean square: (sum_ij (sum_p a_ipj)^2 - "
        "sum a^2) / ((T - 1) sum a^2). It is 1 where all positions look the same, which is rank collapse.",
        SIGNALS,
        kind="correlation",
        label="similarity of positions (1: all look the same)",
        needs=("positions",),
    ),
    Column(
        "attention_entropy",
        "The mean entropy of the attention weights of a query over the logarithm of how many positions it may see, and "
        "so from 0 to 1, which is uniform; a query that sees itself alone is left out.",
        SIGNALS,
        kind="share",
        label="entropy of attention (1: uniform)",
        needs=("positions", "attention"),
    ),
    Column(
        "nonfinite",
        "The share of activations that are NaN or infinite. Where it is above 0 the other activation columns are NaN.",
        SIGNALS,
        kind="share",
        label="share of activations not finite",
    ),
    Column(
        "log10_jacobian",
        "log10 of the root mean square singular value of d a_L / d a_1. It is 0 at depth 1.",
        SIGNALS,
        kind="growth",
        label="log₁₀ RMS singular value of the Jacobian",
        needs=("jacobian",),
    ),
)

# Of weights that are scaled by what they are fed.
FACTORS = (
    Column(
        "lsuv_factor",
        "Of `lsuv`, what the last weights of the row, which are added to the stream, are multiplied by: as orthonormal "
        "ones they are `std` and `gain` say, and h W then has variance 1. NaN under other inits.",
        ("layers",),
        kind="factor",
        label="factor of LSUV",
        needs=("lsuv",),
    ),
    Column(
        "lsuv_inner_factor",
        "The same of the weights before those, in the same row: `up` of `mlp(r)`, and the geometric mean of `gate` and "
        "`value`, or of `query`, `key` and `value`. NaN where there are none.",
        ("layers",),
        kind="factor",
        label="factor of LSUV, inner weights",
        needs=("lsuv", "inner weights"),
    ),
)

GRADIENTS = (
    Column(
        "log10_preact_grad_rms",
        "log10 of the RMS over samples and units of dLoss / da_l.",
        ("layers", "gradients", "gradient_histograms"),
        role="gradient",
        kind="gradient",
        label="log₁₀ RMS gradient of pre-activations",
        needs=("gradients",),
    ),
    Column(
        "log10_weight_grad_rms",
        "log10 of the RMS of the entries of dLoss / dW_l, of the weights as they are (not of a unit draw).",
        ("layers", "gradients"),
        role="gradient",
        kind="gradient",
        label="log₁₀ RMS gradient of weights",
        needs=("gradients",),
    ),
)


def _lost(name: str, tables: tuple[str, ...], of: str, label: str, needs: tuple[Need, ...]) -> tuple[Column, ...]:
    """What rounding to a format loses. name: before that of each column. of, label: what is rounded, in words."""
    about = f"Of {of} that are not 0 before they are rounded, the share"

    def column(what: str, definition: str, words: str) -> Column:
        label_of = f"share of {label} that {words}"
        return Column(
            f"{name}{what}", f"{about} {definition}", tables, "rounding", "share", label=label_of, needs=needs
        )

    return (
        column("underflow", "that becomes 0; NaN where all are 0 and in float32, as the two below.", "underflow"),
        column("subnormal", "that becomes a number below the least normal one, of fewer digits.", "are subnormal"),
        column("overflow", "that lies beyond the largest number of the format, infinite ones among them.", "overflow"),
    )


# Of networks in a format other than float32.
LOST = (
    *_lost("", SIGNALS, "the pre-activations `a`", "pre-activations", ("formats",)),
    *_lost("grad_", ("layers", "gradients"), "the entries of dLoss / da_l", "gradients", ("formats", "gradients")),
)


def _singular_values(name: str, definition: str, label: str) -> Column:
    return Column(
        name,
        definition,
        ("networks",),
        role="singular value",
        label=f"{label} of the Jacobian",
        needs=("singular_values",),
    )


SINGULAR_VALUES = (
    _singular_values("sv_min", "The least singular value of d a_L / d a_1.", "least singular value"),
    _singular_values("sv_median", "The median of the singular values of d a_L / d a_1.", "median singular value"),
    _singular_values("sv_max", "The greatest singular value of d a_L / d a_1.", "greatest singular value"),
    _singular_values(
        "sv_mean_square", "The mean of the squared singular values of d a_L / d a_1.", "mean squared singular value"
    ),
    _singular_values(
        "sv_var_square",
        "The variance of the squared singular values of d a_L / d a_1.",
        "variance of the squared singular values",
    ),
)

# Made of the tables by `analysis`, and in none of them.
DERIVED = (
    Column(
        "log10_preact_grad_growth",
        "`log10_preact_grad_rms` of layer 1 less that of the last layer; 0 is unchanged, -inf exactly zero at the "
        "first layer, NaN where the last layer's gradient is zero too (`analysis.gradient_growth`).",
        role="derived",
        kind="growth",
        label="log₁₀ RMS gradient of pre-activations, first layer over last",
        needs=("gradients",),
    ),
    Column(
        "log10_weight_grad_growth",
        "`log10_weight_grad_rms` of layer 1 less that of the last layer, likewise.",
        role="derived",
        kind="growth",
        label="log₁₀ RMS gradient of weights, first layer over last",
        needs=("gradients",),
    ),
    Column(
        "position_decorrelation",
        "`1 - position_similarity`, and `theory_position_decorrelation` likewise "
        "(`winit_jax.analysis.statistics.positions`).",
        role="derived",
        label="1 - similarity of positions (0: all look the same)",
        needs=("positions",),
    ),
    Column(
        "regime",
        "Overflowed, vanishing, exploding, saturated, collapsed or healthy (`analysis.regimes`).",
        role="derived",
        holds=str,
    ),
)
