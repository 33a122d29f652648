"""What a call of PyTorch's says by itself: its word, its kind, the fans of its weights, and what it is made of."""

import math
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

# Words of one meaning: of operators, of their forms from the right and in place.
ALIASES = {
    "truediv": "div", "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub", "negative": "neg",
    "absolute": "abs", "clip": "clamp", "greater": "gt", "less": "lt", "concatenate": "cat", "special_expit": "sigmoid",
    "expit": "sigmoid", "special_erf": "erf", "special_softmax": "softmax", "sum_to_size": "sum",
}  # fmt: skip
OPERATORS = ("add", "sub", "mul", "div", "truediv", "matmul", "pow")
ELEMENTWISE = frozenset((
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "bfloat16", "ceil", "celu", "clamp", "clamp_max",
    "clamp_min", "clone", "cos", "cosh", "div", "double", "elu", "eq", "erf", "erfc", "exp", "exp2", "expm1",
    "float", "floor", "ge", "gelu", "gt", "half", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "le",
    "leaky_relu", "lgamma", "log", "log1p", "logical_not", "logsigmoid", "lt", "masked_fill", "maximum", "minimum",
    "mish", "mul", "ne", "neg", "pow", "prelu", "reciprocal", "relu", "relu6", "round", "rsqrt", "rsub", "selu",
    "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "softshrink", "softsign", "sqrt", "square", "sub", "tan",
    "tanh", "tanhshrink", "threshold", "to", "type", "where",
))  # fmt: skip
# What changes the form of a value and none of its numbers, and what leaves out some of them.
FORMS = frozenset((
    "H", "T", "bfloat16", "chunk", "clone", "contiguous", "detach", "double", "expand", "expand_as", "flatten", "flip",
    "float", "getitem", "half", "mH", "mT", "movedim", "narrow", "permute", "ravel", "repeat", "reshape", "roll",
    "select", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "tensor_split", "to", "transpose", "type",
    "unbind", "unflatten", "unsqueeze", "view", "view_as", "unfold", "repeat_interleave", "type_as", "broadcast_to",
))  # fmt: skip
SCALING = frozenset(["mul", "div", "neg", "add", "sub", "rsub", "where", "masked_fill", "dropout"])
REDUCED = frozenset((
    "sum", "mean", "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "norm", "vector_norm", "prod",
    "logsumexp", "argmax", "argmin", "all", "any", "count_nonzero", "median", "nanmean", "nansum",
))  # fmt: skip
# Calls whose value has the units of what they are given, if it has as many axes.
SAME_UNITS = ELEMENTWISE | {
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "layer_norm",
    "batch_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize", "contiguous", "pad",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "interpolate", "cat",
}  # fmt: skip
# Layers that are one call, whose contractions nobody sees.
FUSED = frozenset((
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "bilinear",
    "embedding_bag", "native_multi_head_attention", "transformer_encoder_layer_fwd", "flex_attention",
))  # fmt: skip
PRODUCTS = frozenset(["matmul", "mm", "bmm", "mv", "dot", "inner", "rmatmul"])
PRODUCTS_ADDED = frozenset(["addmm", "addbmm", "addmv"])
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}
# Words of tables, those of JAX.
DOT, CONVOLUTION = "dot_general", "conv_general_dilated"


def word_of(func: Any) -> str:
    """What a call is called, whether it is a function, a method, an operator, an attribute, or one in place."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    word = name.strip("_")
    if name.startswith("__") and word not in OPERATORS and word[1:] in OPERATORS and word[0] in "ir":
        word = {"rsub": "rsub", "rmatmul": "rmatmul", "rpow": "rpow", "rtruediv": "rdiv", "rdiv": "rdiv"}.get(
            word, word[1:]
        )
    return ALIASES.get(word, word)


class Contraction(NamedTuple):
    """op: its word in tables. operands: which of the call's tensors are multiplied. fans: (fan_in, fan_out) of each of
    these, were it the weights; 0 where unknown. units: the axes of the product that are its units, likewise."""

    op: str
    operands: tuple[int, int]
    fans: tuple[tuple[int, int], tuple[int, int]]
    units: tuple[tuple[int, ...], tuple[int, ...]]


def contraction(word: str, shapes: Sequence[Sequence[int]], ndim: int, args: Sequence[Any]) -> Contraction | None:
    """What a call multiplies; None where it is no contraction.

    shapes: of its tensors, in the order of its arguments. ndim: of its value. args: all of its arguments, for what is
    written as a text. Fans are those of `torch.nn.init`, [fan_out, fan_in, taps], where the weights lie so, and what is
    summed over and what is not where a product's operands lie otherwise.
    """
    last = (ndim - 1,)
    if word == "linear":
        (fan_in, fan_out) = (shapes[1][1], shapes[1][0]) if len(shapes[1]) == 2 else (shapes[1][0], 1)
        return Contraction(DOT, (0, 1), ((0, 0), (fan_in, fan_out)), (last, last))
    dims = CONVOLUTIONS.get(word) or TRANSPOSED.get(word)
    if dims:
        out, given, *taps = shapes[1]
        fans = (given * math.prod(taps), out * math.prod(taps))
        channels = (ndim - 1 - dims,)
        return Contraction(CONVOLUTION, (0, 1), ((0, 0), fans), (channels, channels))
    if word in PRODUCTS or word in PRODUCTS_ADDED:
        at = 1 if word in PRODUCTS_ADDED else 0
        if len(shapes) < at + 2:
            return None
        first, second = (at + 1, at) if word == "rmatmul" else (at, at + 1)
        a, b = shapes[first], shapes[second]
        of_a = (a[-1], a[-2] if len(a) > 1 else 1)
        of_b = (b[0], 1) if len(b) == 1 else (b[-2], b[-1])
        rows = (ndim - 2,) if len(b) > 1 and ndim > 1 else last
        return Contraction(DOT, (first, second), (of_a, of_b), (rows if len(a) > 1 else last, last))
    if word == "einsum" and len(shapes) == 2 and isinstance(args[0], str):
        return _of_einsum(args[0], shapes, ndim)
    if word == "tensordot" and len(shapes) == 2:
        return Contraction(DOT, (0, 1), ((0, 0), (0, 0)), (last, last))
    return None


def _of_einsum(equation: str, shapes: Sequence[Sequence[int]], ndim: int) -> Contraction:
    left, _, out = equation.replace(" ", "").partition("->")
    words = left.split(",")
    if "." in equation or not out or any(len(w) != len(shape) for w, shape in zip(words, shapes, strict=True)):
        # With an ellipsis: its axes are in front, those that are written are counted from behind.
        named = [w.rpartition(".")[2] for w in words]
        out = out.rpartition(".")[2]
    else:
        named = words
    sizes = {
        letter: shape[len(shape) - len(w) + i]
        for w, shape in zip(named, shapes, strict=True)
        for i, letter in enumerate(w)
    }
    fans, units = [], []
    for own, other in ((named[0], named[1]), (named[1], named[0])):
        summed = math.prod(sizes[letter] for letter in own if letter not in out)
        free = [letter for letter in own if letter in out and letter not in other]
        fans.append((summed, math.prod(sizes[letter] for letter in free)))
        places = tuple(ndim - len(out) + out.index(letter) for letter in free)
        units.append(places or (ndim - 1,))
    return Contraction(DOT, (0, 1), (fans[0], fans[1]), (units[0], units[1]))


def instead_of(func: Any, word: str) -> Callable[..., Any] | None:
    """What does the same in steps that can be seen; None where a call is a step."""
    if func is F.scaled_dot_product_attention:
        return attention
    if func is F.multi_head_attention_forward or func is torch.autograd.backward:
        return _seen_inside(func)
    if word == "glu":
        return _glu
    return _baddbmm if word == "baddbmm" else None


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """softmax(scale Q K^T + mask) V, as `scaled_dot_product_attention` is documented."""
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    logits = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
    if is_causal:
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).tril()
        logits = logits.masked_fill(~seen, -math.inf)
    if attn_mask is not None:
        is_bool = attn_mask.dtype == torch.bool
        logits = logits.masked_fill(~attn_mask, -math.inf) if is_bool else logits + attn_mask
    weights = F.softmax(logits, dim=-1)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def _glu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    a, b = input.chunk(2, dim)
    return a * torch.sigmoid(b)


def _baddbmm(
    input: torch.Tensor, batch1: torch.Tensor, batch2: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> torch.Tensor:
    """A product, and its mask apart: masks may be infinite."""
    product = torch.bmm(batch1, batch2) * alpha
    return product + input * beta if beta != 1 else product + input


def _seen_inside(func: Any) -> Callable[..., Any]:
    """A function of PyTorch written in Python that does not hand itself over as a whole, so that its calls are seen
    (PyTorch issue 131947)."""
    never = {name: lambda *_: False for name in func.__globals__ if name.startswith("has_torch_function")}
    again = types.FunctionType(func.__code__, {**func.__globals__, **never}, func.__name__, func.__defaults__)
    again.__kwdefaults__ = func.__kwdefaults__
    return again
