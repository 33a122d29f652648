"""Columns of mean-field theory: beside the networks, and of the fixed points of their scales."""

from winit_jax.columns.records import Column

BESIDE = ("networks", "layers", "theory")

PREDICTED = (
    Column(
        "theory_log10_preact_rms",
        "The log10 of the RMS pre-activation in the limit of large width: 1/2 log10 q_L.",
        BESIDE,
        role="predicted",
        kind="growth",
        label="log₁₀ RMS pre-activation, mean field",
        needs=("predictions",),
    ),
    Column(
        "theory_log10_act_rms",
        "The log10 of the RMS activation in the limit of large width: 1/2 log10 E[phi(sqrt(q_L) z)^2].",
        BESIDE,
        role="predicted",
        kind="growth",
        label="log₁₀ RMS activation, mean field",
        needs=("predictions", "phi"),
    ),
    Column(
        "theory_input_correlation",
        "The correlation of two inputs in the limit of large width: c_L of the correlation map.",
        BESIDE,
        role="predicted",
        kind="correlation",
        label="correlation of inputs, mean field",
        needs=("predictions", "samples"),
    ),
    Column(
        "theory_position_similarity",
        "The similarity of two positions of an input in the limit of large width.",
        BESIDE,
        role="predicted",
        kind="correlation",
        label="similarity of positions, mean field",
        needs=("predictions", "positions"),
    ),
    Column(
        "theory_log10_jacobian",
        "The log10 of the RMS singular value of d a_L / d a_1 in the limit of large width: 1/2 sum over l < L of log10 "
        "chi(q_l).",
        BESIDE,
        role="predicted",
        kind="growth",
        label="log₁₀ RMS singular value of the Jacobian, mean field",
        needs=("predictions",),
    ),
    Column(
        "chi",
        "The factor by which the mean square of a small difference or a gradient grows at layer L: "
        "gain^2 E[phi'(sqrt(q_L) z)^2] of a dense network, with the skip and the other weights of a block of others.",
        BESIDE,
        role="predicted",
        kind="factor",
        label="χ, growth of a small difference a layer",
        needs=("predictions",),
    ),
)


def _fixed_point(name: str, definition: str) -> Column:
    return Column(name, definition, ("mean_field",), role="fixed point")


START = Column(
    "start",
    "In `mean_field`: the q_1 of the networks that the row speaks of, from which q goes on.",
    ("mean_field",),
    role="row",
)
FIXED_POINTS = (
    _fixed_point(
        "q_star",
        "Where q ends from `start`: the next fixed point of the length map in the direction of its first step; 0 where "
        "signals vanish, inf where they explode (and where q is beyond float64).",
    ),
    _fixed_point(
        "c_star", "The correlation that two inputs end with; 1 where q_star is inf and phi grows in proportion."
    ),
    _fixed_point("chi1", "The value of chi at q_star."),
    _fixed_point(
        "xi_q",
        "The depth scale of q, 1 / abs(log slope of the length map at q_star) in layers; inf where the slope is 1.",
    ),
    _fixed_point(
        "xi_c",
        "The depth scale of c, 1 / abs(log slope of the correlation map at c_star) in layers; inf where the slope is "
        "1.",
    ),
    _fixed_point(
        "critical_gain",
        "The gain at which chi1 passes through 1, for networks of this bias that start by the same rule "
        "q_1 = gain^2 s + bias_std^2; NaN if none between 0.01 and 100.",
    ),
    _fixed_point(
        "jump_gain",
        "The next gain above this row's at which q_star jumps, because two fixed points meet or the start crosses an "
        "unstable one; NaN if none.",
    ),
)
