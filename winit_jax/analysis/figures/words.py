"""What figures say: values of keys, titles, what is held fixed, and what hatches mean."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from winit_jax.analysis.columns import LABELS
from winit_jax.analysis.tables import NAMES, is_named, number
from winit_jax.columns import AXES, own_skip

MINUS = "\u2212"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Inits by the words of the literature: the variance that each gives, and its name in a sweep.
INITS = {
    "lecun_normal": "Xavier, 1/fan_in (lecun_normal)",
    "lecun_uniform": "Xavier, 1/fan_in (lecun_uniform)",
    "lecun_truncated": "Xavier, 1/fan_in (lecun_truncated)",
    "xavier_normal": "Glorot (xavier_normal)",
    "xavier_uniform": "Glorot (xavier_uniform)",
    "he_normal": "He (he_normal)",
    "he_uniform": "He (he_uniform)",
    "truncated_normal": "truncated normal",
}
# Titles of figures of one column.
TITLES = {
    "log10_act_rms": "Vanishing and exploding signals",
    "saturated": "Saturation",
    "log10_jacobian": "Vanishing and exploding Jacobians",
    "log10_preact_grad_growth": "Vanishing and exploding gradients",
    "test_accuracy": "Trainability: test accuracy after training",
    "train_accuracy": "Trainability: training accuracy after training",
    "train_loss": "Trainability: training loss after training",
    "test_loss": "Trainability: test loss after training",
    "theory_log10_act_rms": "Vanishing and exploding signals at infinite width",
    "theory_log10_jacobian": "Vanishing and exploding Jacobians at infinite width",
    "theory_input_correlation": "Correlation of inputs at infinite width",
}
HATCHED = {
    "overflow": "overflow",
    "zero": "exactly zero",
    "undefined": "not defined",
    "diverged": "most seeds diverged",
    "infinite": "some seeds diverged",
    "unreached": "target accuracy not reached",
    "stable": "did not diverge",
    "missing": "not run",
}
# The same in sentences, by the words that stand in a legend.
MEANINGS = {
    "overflow": "a network of the cell has activations that are not finite",
    "exactly zero": "all is 0, and its logarithm minus infinity",
    "not defined": "networks ran, and the value is no number, as 0/0",
    "most seeds diverged": "more than half of the networks of the cell diverged in training",
    "some seeds diverged": "the value is infinite, for a network diverged in training",
    "target accuracy not reached": "no number of steps led there",
    "did not diverge": "there is no step at which training diverged",
    "not run": "the sweep asks for it, and the run has no such network yet",
}


def digits(value: object) -> str:
    """A number as figures show it, with a true minus sign and powers of ten raised; words as they are."""
    if not isinstance(value, int | float) and not hasattr(value, "dtype"):
        return str(value)
    text = number(value) if not isinstance(value, int) else f"{value}"
    return minus(text)


def plain(value: float) -> str:
    """A tick of an axis: digits enough to tell it from its neighbours."""
    return minus(f"{value:g}")


def minus(text: str) -> str:
    """A written number with a true minus sign, and 1e-05 as 10⁻⁵."""
    mantissa, exponent, power = text.partition("e")
    if exponent:
        raised = "10" + str(int(power)).translate(_SUPERSCRIPTS)
        text = raised if mantissa == "1" else f"-{raised}" if mantissa == "-1" else f"{mantissa}×{raised}"
    return text.replace("-", MINUS)


def label(name: str) -> str:
    """Words for a column."""
    return LABELS.get(name, name.replace("_", " "))


def key_words(key: str) -> str:
    """A key in words: bias std, learning rate."""
    return key.replace("_", " ")


def value_words(key: str, value: object) -> str:
    """A value of a key in words, as legends and ticks have it: `Xavier, 1/fan_in (lecun_normal)`, 0.1, tanh."""
    if key == "init":
        return INITS.get(str(value), str(value))
    return str(value) if key in NAMES or isinstance(value, str) else digits(value)


def said(key: str, value: object) -> str:
    """A key with its value in words: tanh, gain 1.41, learning rate 0.1, bias std 0."""
    return value_words(key, value) if key in NAMES else f"{key_words(key)} {value_words(key, value)}"


def sentence(text: str) -> str:
    """With a capital first letter, unless it is a logarithm or a symbol; the rest as it is."""
    return text if text.startswith(("log", "χ")) else text[:1].upper() + text[1:]


def heading(what: str, frame: pd.DataFrame, shown: Iterable[str | None] = ()) -> str:
    """The title of a figure: what it shows, of what, and what the networks are fed.

    'Saturation · tanh, normal inputs': the activation where there is one and it has no place in the figure.
    """
    of = []
    if "activation" in frame and "activation" not in shown and frame["activation"].nunique() == 1:
        of.append(str(frame["activation"].iloc[0]))
    if source := frame.attrs.get("source"):
        of.append(source)
    return f"{sentence(what)} · {', '.join(of)}" if of else sentence(what)


def held(frame: pd.DataFrame, shown: Iterable[str | None]) -> str:
    """What a figure holds fixed: 'held fixed: init normal, width 100, bias std 0'; nothing of what is as usual.

    Of a layer with several sites it says which one is shown.
    """
    shown, words = list(shown), []
    scales, sizes = ("init", "gain", "std", "bias_std", "normalization", "norm_epsilon"), ("width", "depth")
    others = (axis for axis in AXES if axis != "seed")  # how seeds are put together is said beside
    for key in dict.fromkeys((*scales, *sizes, *others)):
        if key in shown or key not in frame or frame[key].nunique() != 1:
            continue
        value = frame[key].iloc[0]
        if _goes_without_saying(frame, key, value) or (key == "std" and frame["gain"].nunique() == 1):
            continue
        name = value_words(key, value) if key in NAMES or is_named(frame, key) else digits(value)
        words.append(f"{key_words(key)} {name}")
    if "site" in frame and "site" not in shown and frame["site"].nunique() == 1:
        words.append(f"site {frame['site'].dropna().iloc[0]}")
    return f"held fixed: {', '.join(words)}" if words else ""


def _goes_without_saying(frame: pd.DataFrame, key: str, value: Any) -> bool:
    """Whether the only value of a key is that which networks have unless a sweep says otherwise.

    A skip is each block's own, and what a normalization is told matters to networks that have one.
    """
    axis = AXES[key]
    if key == "normalization":
        return bool(value == "none")
    if axis.given_with == "normalization" and set(frame["normalization"]) == {"none"}:
        return True
    if key == "skip_scale" and "block" in frame:
        return {own_skip(block) for block in frame["block"].unique()} == {value}
    usual = axis.default if axis.given_with == "normalization" else axis.before
    return usual is not None and bool(value == usual)


def left_out(drawn: int, asked: int, key: str) -> str:
    """Words for the values of a key that are not drawn, if any are not."""
    return f"{drawn} of {asked} values of {key_words(key)}" if drawn < asked else ""


def caption(title: str, below: str, facts: Iterable[str], labels: Iterable[str]) -> str:
    """What stands beside a figure, a sentence a line: its title, its sweep, what was done, and what its hatches mean.

    below: the title of the sweep. facts: phrases, empty ones left out. labels: those of the legend.
    """
    hatched = [f"hatched, {words}: {MEANINGS[words]}" for words in labels if words in MEANINGS]
    phrases = [title, f"sweep: {below}" if below else "", *facts, *hatched]
    lines = [sentence(phrase.replace("\n", " ").strip()) for phrase in phrases if phrase]
    return "\n".join(line if line.endswith((".", "?", "!")) else f"{line}." for line in lines)
