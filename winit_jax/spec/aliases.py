"""Other names of the same things, names of other things, and the right word that is nearest to a wrong one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from winit_jax.columns import AXES

# A longer word is no slip of the keyboard.
MAX_WORD = 60


@dataclass(frozen=True)
class Alias:
    """Words that mean `name`. kind: `axis`, or the axis or key whose value it is."""

    kind: str
    name: str
    words: tuple[str, ...]


# Case, hyphens, underscores and blanks never matter, so ReLU, hard-tanh and "Leaky ReLU" need no entry.
ALIASES = (
    Alias("activation", "silu", ("swish",)),
    Alias("activation", "identity", ("linear", "purelin", "id")),
    Alias("activation", "sigmoid", ("logistic", "expit")),
    Alias("activation", "tanh", ("tansig", "hyperbolic_tangent")),
    Alias("activation", "leaky_relu", ("lrelu",)),
    Alias("activation", "sin", ("sine",)),
    Alias("init", "he_normal", ("kaiming_normal", "msra")),
    Alias("init", "he_uniform", ("kaiming_uniform",)),
    Alias("init", "xavier_normal", ("glorot_normal",)),
    Alias("init", "xavier_uniform", ("glorot_uniform",)),
    Alias("init", "he_truncated", ("he_truncated_normal", "kaiming_truncated", "kaiming_truncated_normal")),
    Alias("init", "lecun_truncated", ("lecun_truncated_normal",)),
    Alias("init", "xavier_truncated", ("xavier_truncated_normal", "glorot_truncated", "glorot_truncated_normal")),
    Alias("init", "torch_linear", ("pytorch_linear", "nn.linear")),
    Alias("init", "torch_conv", ("pytorch_conv", "nn.conv1d", "nn.conv2d")),
    Alias("init", "equinox_linear", ("eqx_linear",)),
    Alias("init", "equinox_conv", ("eqx_conv",)),
    Alias("init", "keras_dense", ("tf_dense", "tensorflow_dense")),
    Alias("init", "flax_dense", ("linen_dense", "nnx_linear", "flax_linear")),
    Alias("init", "flax_conv", ("linen_conv", "nnx_conv")),
    Alias("init", "haiku_linear", ("hk_linear",)),
    Alias("init", "haiku_conv", ("hk_conv",)),
    Alias("init", "identity", ("eye", "dirac")),
    Alias("init", "normal", ("gaussian", "random_normal")),
    Alias("init", "uniform", ("random_uniform",)),
    Alias("init", "truncated_normal", ("trunc_normal", "truncated")),
    Alias("init", "zeros", ("zero",)),
    Alias("normalization", "batch", ("batch_norm", "batch_normalization", "batch_normalisation", "bn")),
    Alias("normalization", "layer", ("layer_norm", "layer_normalization", "layer_normalisation", "ln")),
    Alias("normalization", "rms", ("rms_norm", "rms_normalization", "root_mean_square")),
    Alias("normalization", "none", ("no", "off")),
    Alias("dtype", "float32", ("fp32", "f32", "single", "float")),
    Alias("dtype", "bfloat16", ("bf16",)),
    Alias("dtype", "float16", ("fp16", "f16", "half")),
    Alias("dtype", "float8_e4m3fn", ("float8_e4m3", "fp8_e4m3", "e4m3", "e4m3fn")),
    Alias("dtype", "float8_e5m2", ("fp8_e5m2", "e5m2")),
    *(Alias("axis", axis.name, axis.aliases) for axis in AXES.values() if axis.aliases),
    Alias("source", "normal", ("gaussian", "randn")),
    Alias("source", "fashion_mnist", ("fmnist",)),
)

# Names of other things, which look like names of ours: nothing is suggested in their place.
OTHERS: dict[str, tuple[str, ...]] = {
    "activation": (
        "celu", "prelu", "rrelu", "crelu", "relu6", "relu2", "relun", "relu_squared", "squared_relu", "reglu", "glu",
        "geglu", "swiglu", "gelu_tanh", "gelu_new", "gelu_fast", "quick_gelu", "hard_sigmoid", "hard_swish",
        "hard_silu", "log_sigmoid", "logsig", "softsign", "soft_sign", "softmax", "softmin", "softshrink",
        "hard_shrink", "tanhshrink", "tan", "atan", "arctan", "cos", "sinc", "sinh", "asinh", "cosh", "erfc", "exp",
        "sign", "step", "heaviside", "snake", "squareplus", "sparse_plus", "elish", "smish", "maxout", "threshold",
    ),
    "init": ("ones", "log_normal", "sparse", "lsuv"),
    "optimizer": ("adan", "nadamw", "lars", "rprop", "sign_sgd", "noisy_sgd", "polyak_sgd", "optimistic_adam", "sm3"),
}  # fmt: skip
# Of the activations among them those that are a function of one array in jax.nn, by squashed name.
IN_JAX = {
    "celu": "celu", "relu6": "relu6", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_swish",
    "hardsilu": "hard_silu", "logsigmoid": "log_sigmoid", "logsig": "log_sigmoid", "softsign": "soft_sign",
    "squareplus": "squareplus", "gelutanh": "gelu", "gelunew": "gelu",
}  # fmt: skip
# Those that are one of ours as they begin, before anything is learnt.
AS_OURS = {"prelu": "leaky_relu(0.25)"}


def squashed(word: str) -> str:
    """A word as it is compared: without case, blanks, hyphens and underscores."""
    return re.sub(r"[\s_\-]+", "", word.casefold())


def resolve(kind: str, word: str, known: Iterable[str]) -> str:
    """The known name that a word means, with its arguments if any; the word itself where it means none of them."""
    names = tuple(known)
    if word in names or ":" in word or len(word) > MAX_WORD:
        return word
    head, bracket, arguments = word.partition("(")
    meanings = _meanings(kind, names).get(squashed(head), ())
    if len(meanings) != 1:
        return word
    return meanings[0] + (bracket + arguments if arguments.strip() not in ("", ")") else "")


def nearest(word: str, known: Iterable[str], kind: str = "") -> list[str]:
    """The names that a wrong word may stand for: at most three, none where it is the name of something else.

    A slip of the keyboard (one letter more, less, changed or swapped, two in words of eight letters; never the first
    letter, never a digit), the last part of a dotted key, or some of the words of a name.
    """
    names = tuple(known)
    key = squashed(word)
    if not key or len(key) > MAX_WORD or key in map(squashed, OTHERS.get(kind, ())):
        return []
    meanings = _meanings(kind, names)
    if key in meanings:
        return meanings[key][:3]
    last = key.rpartition(".")[2]
    tails = [name for name in names if squashed(name).rpartition(".")[2] == last]
    tails = tails or (meanings.get(last, []) if "." in key else [])
    if tails and ("." in key or any("." in name for name in tails)):
        return tails if len(tails) <= 3 else []
    most = 2 if len(key) >= 8 else 1
    distances = {spelling: distance(key, spelling, most) for spelling in meanings if _comparable(key, spelling)}
    if (least := min(distances.values(), default=most + 1)) <= most:
        closest = [spelling for spelling, far in distances.items() if far == least]
        names_meant = dict.fromkeys(name for spelling in closest for name in meanings[spelling])
        return list(names_meant) if len(names_meant) <= 3 else []
    if kind == "activation":  # leaky and hard are words of functions that are not here, too
        return []
    parts = _parts(word)
    words = [(name, name) for name in names]
    words += [
        (alternative, alias.name)
        for alias in ALIASES
        if alias.kind == kind and alias.name in names
        for alternative in alias.words
    ]
    names_meant = dict.fromkeys(name for words_of_name, name in words if parts and parts <= _parts(words_of_name))
    return list(names_meant) if len(names_meant) <= 3 else []


def in_order(word: str, known: Iterable[str]) -> list[str]:
    """Names, those most like a word first."""
    key = squashed(word)[:MAX_WORD]
    return sorted(known, key=lambda name: (distance(key, squashed(name), MAX_WORD), name))


def distance(typed: str, spelled: str, most: int) -> int:
    """Letters to insert, delete, change or swap with their neighbors to get from one word to the other.

    Source: the restricted Damerau-Levenshtein distance. A number above `most` where it is more than that.
    """
    if abs(len(typed) - len(spelled)) > most:
        return most + 1
    previous: list[int] = []
    row = list(range(len(spelled) + 1))
    for i, letter in enumerate(typed, 1):
        older, previous, row = previous, row, [i]
        for j, wanted in enumerate(spelled, 1):
            cost = min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == spelled[j - 2] and typed[i - 2] == wanted:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


@lru_cache(maxsize=64)
def _meanings(kind: str, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Squashed words and the names that they mean."""
    meanings = {squashed(name): [name] for name in names}
    for alias in ALIASES:
        if alias.kind == kind and alias.name in names:
            for word in alias.words:
                meanings.setdefault(squashed(word), [alias.name])
    return meanings


def _comparable(word: str, name: str) -> bool:
    """Whether one may be a slip for the other: the same digits, and the first letter, or the first two swapped."""
    same_start = word[0] == name[0] or (word[:2] == name[1::-1] and len(word) > 1)
    return same_start and re.findall(r"\d+", word) == re.findall(r"\d+", name)


def _parts(name: str) -> set[str]:
    return set(re.split(r"[\s_\-.]+", name.casefold())) - {""}
