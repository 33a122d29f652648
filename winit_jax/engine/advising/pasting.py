"""The recommended init as Python to paste: a whole network of dense layers, else its weights.

Frameworks differ in how they keep and scale weights: PyTorch and Equinox store [fan_out, fan_in], the others [fan_in,
fan_out]; `variance_scaling` takes a variance, PyTorch's `nn.init` a standard deviation; Keras calls a truncated normal
`normal`, and Haiku's own default is truncated without a correction. Here all are normal, of std gain / sqrt(fan_in).
"""

import textwrap
from collections.abc import Sequence
from string import Template

from winit_jax.engine.advising import templates
from winit_jax.engine.advising.plans import Plan
from winit_jax.errors import Refused
from winit_jax.spec.problems import did_you_mean
from winit_jax.user_code import is_import_path

FRAMEWORKS = tuple(templates.FRAMEWORKS)
COLUMNS = 100
WHOLE = ("dense", "residual")


# Other names of them.
ALSO = {"pytorch": "torch", "linen": "flax", "flax.linen": "flax", "flax.nnx": "nnx", "eqx": "equinox", "hk": "haiku"}


def wrong_framework(framework: str, activation: str) -> str:
    """Why there is no code of an activation in a framework, a sentence; "" if there is."""
    if (named := _named(framework)) not in FRAMEWORKS:
        return f"{framework!r} is not a framework.{did_you_mean(framework, FRAMEWORKS)}"
    if is_import_path(activation) and named in ("torch", "keras"):
        return f"{activation} is a JAX function, which {named} cannot call; flax, nnx, equinox and haiku can."
    return ""


def _named(framework: str) -> str:
    return ALSO.get(framework.lower(), framework.lower())


def code_of(framework: str, plan: Plan, notes: Sequence[str]) -> str:
    """Complete Python. notes: sentences for the comment at its beginning. Errors: Refused."""
    if wrong := wrong_framework(framework, plan.activation):
        raise Refused(wrong)
    framework = _named(framework)
    known = templates.FRAMEWORKS[framework]
    is_whole = plan.block in WHOLE and plan.normalization in known.normalized
    values: dict[str, object] = {
        "numbers": _numbers(framework, plan),
        "depth": plan.depth,
        "width": plan.width,
        "features": plan.features,
        "bias": known.biases[bool(plan.bias_std)],
    }
    if is_whole:
        values |= {
            "phi": _phi(framework, plan),
            "imports": _imports(plan),
            "normalized": known.normalized[plan.normalization],
            "of_a": "normalized(a)" if plan.normalization != "none" else "a",
            "beside": "a + BRANCH * " if plan.skip else "",
        }
        values["sizes"] = Template(templates.SIZES).substitute(values)
        values["kernel"] = Template(templates.KERNEL).substitute(values)
    body = Template(known.network if is_whole else known.weights).substitute(values)
    head = [f"{plan.activation}, {plan.block}: {plan.depth} layers of {plan.width} units.", *notes]
    head += [] if is_whole else [_of_weights(plan)]
    return "\n".join([*map(_commented, head), body.strip()]) + "\n"


def _numbers(framework: str, plan: Plan) -> str:
    """Those that the code has as constants."""
    used = {"GAIN": plan.gain}
    if plan.bias_std or framework == "equinox":
        used["BIAS_STD"] = plan.bias_std
    if plan.skip and plan.block in WHOLE:
        used["BRANCH"] = plan.branch
    return f"{', '.join(used)} = {', '.join(map(repr, used.values()))}"


def _of_weights(plan: Plan) -> str:
    with_norm = "" if plan.normalization == "none" else f" with {plan.normalization} normalization"
    said = f"This code is of the weights only: the layers of {plan.block}{with_norm} are yours to write."
    if plan.skip:
        said += f" Multiply what each block adds to the stream by {plan.branch:.6g}."
    return said


def _commented(text: str) -> str:
    return "\n".join(textwrap.wrap(text, COLUMNS, initial_indent="# ", subsequent_indent="# "))


def _phi(framework: str, plan: Plan) -> str:
    name = plan.activation
    if is_import_path(name):
        return name.partition(":")[2]
    known = templates.FRAMEWORKS[framework].functions
    stem, _, slope = name.partition("(")
    if stem not in known:
        raise Refused(
            f"{name} has no function in {framework} that is known here: take the code of gelu, and put it in."
        )
    return known[stem].replace("SLOPE", slope.removesuffix(")") or "0.01")


def _imports(plan: Plan) -> str:
    if not is_import_path(plan.activation):
        return ""
    module, _, function = plan.activation.partition(":")
    return f"from {module} import {function.partition('.')[0]}\n"
