"""What the weights of every named init vary by, as papers and libraries give it: written down once more."""

import numpy as np

from winit_jax.numerics.initializers import TRUNCATED_STD


def fourth_moment(shape):
    """E[z^4] of a unit draw, for the standard error of its variance."""
    return {"normal": 3.0, "uniform": 9 / 5}.get(shape, 3.0)


# Init -> the variance of its weights from the fans, as its paper or its library gives it.
RULES = {
    "zeros": lambda fan_in, fan_out: 0.0,
    "identity": lambda fan_in, fan_out: min(fan_in, fan_out) / (fan_in * fan_out),
    # Orthonormal, before the factors that follow from the inputs.
    "lsuv": lambda fan_in, fan_out: 1 / max(fan_in, fan_out),
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
    "lecun_uniform": lambda fan_in, fan_out: 1 / fan_in,
    "lecun_truncated": lambda fan_in, fan_out: 1 / fan_in,
    "xavier_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "xavier_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "xavier_truncated": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "he_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "he_truncated": lambda fan_in, fan_out: 2 / fan_in,
    # U(-b, b) has variance b^2 / 3.
    **dict.fromkeys(
        ("torch_linear", "torch_conv", "equinox_linear", "equinox_conv"),
        lambda fan_in, fan_out: (1 / np.sqrt(fan_in)) ** 2 / 3,
    ),
    **dict.fromkeys(("keras_dense", "keras_conv"), lambda fan_in, fan_out: np.sqrt(6 / (fan_in + fan_out)) ** 2 / 3),
    **dict.fromkeys(("flax_dense", "flax_conv"), lambda fan_in, fan_out: 1 / fan_in),
    **dict.fromkeys(("haiku_linear", "haiku_conv"), lambda fan_in, fan_out: TRUNCATED_STD**2 / fan_in),
}
MADE = {
    "identity(0.5)": lambda fan_in, fan_out: 0.25 * min(fan_in, fan_out) / (fan_in * fan_out),
    "he_normal(0.2)": lambda fan_in, fan_out: 2 / (1.04 * fan_in),
    "he_uniform(1)": lambda fan_in, fan_out: 1 / fan_in,
    "he_truncated(-0.5)": lambda fan_in, fan_out: 1.6 / fan_in,
    "variance_scaling(2, fan_in, normal)": lambda fan_in, fan_out: 2 / fan_in,
    "variance_scaling(0.5, fan_out, truncated_normal)": lambda fan_in, fan_out: 0.5 / fan_out,
    "variance_scaling(3, fan_avg, uniform)": lambda fan_in, fan_out: 6 / (fan_in + fan_out),
    "siren(30)": lambda fan_in, fan_out: 6 / fan_in / 30**2 / 3,
}

# Place -> what gpt2, fixup and deepnorm multiply its std by, in a network of DEPTH layers. Radford et al. 2019: weights
# that are added to the stream, two a layer, are 1 / sqrt(2 depth) as large. Zhang et al. 2019, arXiv:1901.09321: the
# last weights of a branch and the readout begin as 0, the m - 1 = 1 others of a branch are depth^(-1 / (2 m - 2)) as
# large. Wang et al. 2022, arXiv:2203.00555: all but queries and keys are (8 depth)^(-1/4) as large.
DEPTH = 8
FACTORS = {
    "gpt2": {"stem": 1, "inner": 1, "logits": 1, "out": 0.25, "readout": 1},
    "fixup": {"stem": 1, "inner": 8**-0.5, "logits": 8**-0.5, "out": 0, "readout": 0},
    "deepnorm": {"stem": 1, "inner": 64**-0.25, "logits": 1, "out": 64**-0.25, "readout": 1},
}
# The variance that this multiplies the root of, from the fans.
VARIANCES = {
    "gpt2": lambda fan_in, fan_out: 0.02**2,
    "fixup": lambda fan_in, fan_out: 2 / fan_in,
    "deepnorm": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
