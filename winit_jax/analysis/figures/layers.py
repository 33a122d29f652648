"""Figures with a row an initialization: which of them are drawn, of which layers, and what is said of the rest."""

from dataclasses import dataclass

import pandas as pd

from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.places import of_layers
from winit_jax.analysis.figures.words import digits, value_words
from winit_jax.analysis.tables import SHAPES, evenly, varying


@dataclass(frozen=True)
class Chosen:
    """The initializations, (init, scale), and layers that are drawn. scale: std or gain.

    known: what books call some of the initializations.
    """

    scale: str
    inits: list[tuple[str, float]]
    layers: list[int]
    left_out: list[str]
    known: dict[tuple[str, float], str]

    def name(self, init: tuple[str, float]) -> str:
        words = value_words("init", init[0]).replace(" (", "\n(")
        # An init of the literature says its scale itself.
        known = f"\n({self.known[init]})" if init in self.known else ""
        return words if "\n" in words else f"{words}\n{self.scale} {digits(init[1])}{known}"


def choose(frame: pd.DataFrame, most_inits: int, most_layers: int, usual: str) -> Chosen:
    """At most so many initializations and layers of a tidy table of bins, evenly chosen.

    usual: the scale where neither varies and the frame does not say. Errors: ValueError for keys that vary beyond.
    """
    of_layers(frame, {}).checked()
    scale = next((key for key in varying(frame) if key in ("std", "gain")), frame.attrs.get("scale_axis") or usual)
    inits = list(
        frame[["init", scale]].drop_duplicates().sort_values(["init", scale]).itertuples(index=False, name=None)
    )
    layers = sorted(frame["layer"].unique())
    drawn_inits, drawn_layers = evenly(inits, most_inits), evenly(layers, most_layers)
    left_out = []
    if len(drawn_inits) < len(inits):
        noun = "inits" if frame[scale].nunique() == 1 else f"{scale}s"
        left_out.append(f"{len(drawn_inits)} of {len(inits)} {noun}")
    if len(drawn_layers) < len(layers):
        left_out.append(f"{len(drawn_layers)} of {len(layers)} layers")
    gains = frame.groupby(["init", scale], observed=True)["gain"].median()
    known = {init: words for init in drawn_inits if (words := _known(init[0], float(gains.loc[init])))}
    return Chosen(scale, drawn_inits, drawn_layers, left_out, known)


def _known(init: str, gain: float) -> str:
    """What the books call weights drawn with this gain, std x sqrt(fan-in); nothing where they have no name."""
    drawn = init in SHAPES and init != "constant"
    names = {1.0: "Xavier, 1/fan_in", 2**0.5: "He, 2/fan_in"}
    return next((words for of, words in names.items() if drawn and abs(gain / of - 1) < 5e-3), "")


def seeds_together(frame: pd.DataFrame) -> str:
    """How many seeds were put together, in words."""
    count = frame["seed"].nunique()
    return f"{count} seeds together" if count > 1 else "one seed"


def held(frame: pd.DataFrame, *shown: str) -> str:
    """What such a figure holds fixed, in words."""
    return style.held(frame, ("init", "std", "gain", "activation", *shown))
