"""The axes of a grid, in the order in which they are keys of the tables."""

from winit_jax.columns.formats import FLOAT32, FORMATS
from winit_jax.columns.records import Axis, Column

MAX_SEED = 2**32 - 1
# Inits that std or gain scales; every other one is a scheme, which fixes its own std.
SHAPES = ("normal", "uniform", "truncated_normal", "orthogonal", "delta_orthogonal", "constant")

# Blocks, by their names without numbers, that have no skip unless `skip_scale` says so; the others multiply it by 1.
WITHOUT_SKIP = ("dense", "conv", "conv2d")

PARTS = ("networks", "layers", "gradients", "histograms", "gradient_histograms", "training")

_AXES = (
    Axis(
        "activation",
        "The function phi, by name or by import path.",
        tables=(*PARTS, "theory", "mean_field"),
        holds=str,
        changes="function",
        aliases=("activations", "activation_function", "nonlinearity", "act", "phi"),
    ),
    Axis(
        "init",
        "How weights are drawn: a shape, which `std` or `gain` scales, or a scheme, which fixes its own std. "
        "Inits of one shape share its draw: `he_normal` is `normal` of another std.",
        tables=(*PARTS, "theory"),
        holds=str,
        changes="draw",
        default="normal",
        aliases=("inits", "initializer", "initialiser", "initialization", "initialisation"),
    ),
    Axis(
        "std",
        "The standard deviation of the entries of a hidden layer's W.",
        tables=PARTS,
        changes="weights",
        label="std of weights",
        aliases=("weight_std",),
    ),
    Axis(
        "gain",
        "`std * sqrt(width)`, sigma_w in the mean-field literature.",
        tables=(*PARTS, "theory", "mean_field"),
        changes="weights",
        label="gain, std × √fan-in",
        aliases=("sigma_w", "weight_gain"),
    ),
    Axis(
        "bias_std",
        "The standard deviation of the biases, sigma_b in the mean-field literature; that of each init's own biases "
        "unless it is given: 0 but for `torch_linear` and its like.",
        tables=(*PARTS, "theory", "mean_field"),
        label="std of biases",
        aliases=("sigma_b",),
    ),
    Axis(
        "bias_init",
        "How biases are drawn, with the standard deviation `bias_std`, which a sweep then gives: `normal`, `uniform` "
        "or `constant`, which are all `bias_std` itself. Biases of an init's own are drawn as it says.",
        tables=(*PARTS, "theory"),
        holds=str,
        changes="draw",
        names=("normal", "uniform", "constant"),
        before="normal",
        given_with="biases",
        label="draw of biases",
        aliases=("bias_draw", "bias_initializer", "bias_distribution"),
    ),
    Axis(
        "normalization",
        "What is done to the stream: nothing, or batch, layer or RMS normalization, which divides by the root mean "
        "square alone. None of them has a trainable scale or shift before training.",
        tables=(*PARTS, "theory"),
        holds=str,
        changes="function",
        default="none",
        names=("none", "batch", "layer", "rms"),
        aliases=("norm", "normalisation"),
    ),
    Axis(
        "norm_epsilon",
        "What normalization adds to the variance; tables give it for networks without a normalization too.",
        tables=(*PARTS, "theory"),
        default=1e-5,
        given_with="normalization",
        label="epsilon of normalization",
        aliases=("epsilon", "eps"),
    ),
    Axis(
        "block",
        "What stands between one stream of pre-activations and the next: `a_l = skip_scale a_{l-1} + branch_scale "
        "block(a_{l-1})`. `dense`, `residual`, `mlp(r)`, `gated(r)`, and for inputs with positions `conv(k)`, "
        "`conv2d(k)`, `residual_conv(k)`, `residual_conv2d(k)`, `attention(h)` and `transformer(h, r)`.",
        tables=(*PARTS, "theory"),
        holds=str,
        changes="function",
        default="dense",
        before="dense",
        aliases=("blocks", "architecture", "arch", "network"),
    ),
    Axis(
        "norm_position",
        "Where the normalization stands: `pre`, between the stream and phi, or `post`, on the stream behind each block "
        "and its skip. The first layer is the stem, which nothing stands behind.",
        tables=(*PARTS, "theory"),
        holds=str,
        changes="function",
        default="pre",
        names=("pre", "post"),
        before="pre",
        given_with="normalization",
        label="position of normalization",
    ),
    Axis(
        "skip_scale",
        "What the stream is multiplied by beside each block; the block's own unless it is given: 0 for `dense` and "
        "convolutions, 1 for the others. `deepnorm` is `(2*depth)**0.25`.",
        tables=(*PARTS, "theory"),
        before=0.0,
        label="scale of skips",
        aliases=("skip", "skip_gain"),
    ),
    Axis(
        "branch_scale",
        "What the output of each block is multiplied by, beside the skip. `skipinit` is 0.",
        tables=(*PARTS, "theory"),
        default=1.0,
        before=1.0,
        label="scale of branches",
        aliases=("branch", "residual_scale", "branch_gain"),
    ),
    Axis(
        "attention_gain",
        "What the logits of attention are multiplied by, beside `1/sqrt(width / heads)`; 0 is uniform attention. "
        "Tables give it for networks without attention too.",
        tables=(*PARTS, "theory"),
        default=1.0,
        given_with="attention",
        before=1.0,
        label="gain of attention",
        aliases=("qk_gain", "logit_scale"),
    ),
    Axis(
        "dtype",
        "The format of numbers that weights, biases, signals and gradients are rounded to at each step, with sums in "
        "float32; the column is there where the axis has another value than `float32`.",
        tables=tuple(table for table in PARTS if table != "training"),
        holds=str,
        changes="function",
        default=FLOAT32,
        names=(FLOAT32, *FORMATS),
        before=FLOAT32,
        needs=("formats",),
        label="format of numbers",
        aliases=("format", "precision", "number_format", "float_format"),
    ),
    Axis(
        "stem_scale",
        "What the standard deviation of the first layer's weights is multiplied by, beside what the init or the scale "
        "axis says; biases are not. The column is there where a sweep gives the axis, and it is 1 elsewhere.",
        tables=(*PARTS, "theory"),
        needs=("stem_scale",),
        label="scale of the stem",
        aliases=("input_scale", "first_scale", "embedding_scale"),
    ),
    Axis(
        "width",
        "Units a layer; `inf` asks for mean-field theory alone.",
        tables=PARTS,
        holds=int,
        changes="draw",
        default=100,
        low=1,
        high=65_536,
        infinite=True,
        unit="units",
        aliases=("widths", "units", "hidden_size"),
    ),
    Axis(
        "depth",
        "Layers of the network.",
        tables=(*PARTS, "theory"),
        holds=int,
        changes="depth",
        default=5,
        low=1,
        high=100_000,
        unit="layers",
        aliases=("depths", "n_layers", "num_layers"),
    ),
    Axis(
        "seed",
        "The seed of the draws.",
        tables=PARTS,
        holds=int,
        changes="draw",
        default=0,
        high=MAX_SEED,
        aliases=("seeds", "random_state"),
    ),
    Axis(
        "learning_rate",
        "The constant step size of networks that are trained; only a sweep with a `[train]` table has it.",
        tables=("networks", "training"),
        default=0.01,
        given_with="training",
        needs=("training",),
        aliases=("lr",),
    ),
    Axis(
        "readout_scale",
        "What the standard deviation of the weights of the readout is multiplied by, the layer of networks that are "
        "trained which makes logits of the last one; biases are not. The column is there where a sweep with a "
        "`[train]` table gives the axis, and it is 1 elsewhere. `1/sqrt(width)` is muP's beside a variance "
        "of 1/fan_in.",
        tables=("networks", "training"),
        given_with="training",
        needs=("readout_scale",),
        label="scale of the readout",
        aliases=("output_scale", "head_scale", "last_scale"),
    ),
)
AXES: dict[str, Axis] = {axis.name: axis for axis in _AXES}
# The axes that give another scale beside the same draw, of networks before training.
SCALES = tuple(axis.name for axis in _AXES if axis.changes == "scale" and axis.given_with != "training")
# The axes of networks that are trained, which before training are the same at all of their values.
OF_TRAINING = tuple(axis.name for axis in _AXES if axis.given_with == "training")
# The axes of which a grid gives one at most, since both scale the same weights.
WEIGHT_SCALES = tuple(axis.name for axis in _AXES if axis.changes == "weights")
# The schemes whose standard deviations follow from the depth.
DEPTH_SCHEMES = ("gpt2", "fixup", "deepnorm")


def own_skip(block: str) -> float:
    """The `skip_scale` that a block has unless a sweep gives it."""
    return 0.0 if block.partition("(")[0] in WITHOUT_SKIP else 1.0


# Beside each axis of numbers, the formula as it was written; null for a number.
RULES = tuple(
    Column(
        f"{axis.name}_rule",
        f"The formula that gave `{axis.name}`, as it is written in the sweep; null for a number. It is there where a "
        "value of the axis is a formula.",
        tuple(table for table in axis.tables if table != "mean_field"),
        role="rule",
        holds=str,
        nullable=True,
        label=f"{axis.words}, rule",
    )
    for axis in _AXES
    if axis.holds is float
)
