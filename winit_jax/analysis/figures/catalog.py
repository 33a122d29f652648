"""The kinds of figures, each as one record: what it shows, from which table, what it needs and what draws it.

From these records follow the kinds that `winit plot` knows and its help, the standard figures of a run, the methods of
`Run` and the sentences for what cannot be drawn. A new kind is a record here, a function, and its test. This module
imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from winit_jax.analysis.columns import OF_REGIMES

PLACES = ("x", "y", "hue", "row", "col")
OF_MAPS = ("x", "y", "row", "col")
FIGURES = "winit_jax.analysis.figures"


@dataclass(frozen=True)
class Need:
    """Columns that must hold a number, all of them or any, and what is said where they do not."""

    columns: tuple[str, ...]
    sentence: str
    any_of_them: bool = False


@dataclass(frozen=True)
class Standard:
    """A figure that belongs to every run that has what it needs.

    file: its name. value, seeds: as of the kind unless given. of_theory: it belongs to runs at infinite width, the
    others to runs of networks. aloud: an empty column is said aloud instead of passed over. several: columns that must
    take more than one value. two_axes: two keys beside the seed must vary. at_most: none are drawn if they were more.
    """

    file: str
    value: str | None = None
    seeds: str | None = None
    of_theory: bool = False
    aloud: bool = False
    several: tuple[str, ...] = ()
    two_axes: bool = False
    at_most: int | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    name: as it is typed. shows: a sentence. draw: module:function, which takes rows, then the column if it shows one,
    and options by name. arrangement: which of `places.RULES` says which key goes where.
    table: where its rows are. missing: said of a run without that table. prepare: module:function from the table to
    the rows that are drawn. learnt: it shows networks after training, else each network once.
    value: the column shown unless told otherwise; None shows none. of_theory: the same at infinite width, from the
    theory table. values: module:tuple of the columns that it may show; None allows all of the table.
    reads: the columns that it needs beside the keys, the one that it shows and its `needs`; `{value}` is the one that
    it shows; none says that it needs all. colored: its colors follow numbers, so that a map of colors and their
    ends can be chosen. in_points: its function takes points with the rows behind them
    (`scanning.points_of`), so that a table of any size is put together over seeds as it is read.
    places: those of x, y, hue, row and col that it takes. pools: how it puts seeds together, in words; None leaves the
    choice, and `seeds` is then the usual one.
    needs: see `Need`. fixed: options of the function that make it this kind. named_by: a key whose value every file
    name has. method: its name on `Run`. standard: the figures of it that belong to every run.
    """

    name: str
    shows: str
    draw: str
    arrangement: str
    method: str
    table: str = "networks"
    missing: str = ""
    prepare: str | None = None
    learnt: bool = False
    value: str | None = None
    of_theory: str | None = None
    reads: tuple[str, ...] = ()
    colored: bool = False
    in_points: bool = False
    values: str | None = None
    places: tuple[str, ...] = ()
    pools: str | None = None
    seeds: str = "median"
    needs: tuple[Need, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    named_by: str | None = None
    standard: tuple[Standard, ...] = ()


TRAINED = Need(("learning_rate",), "Nothing was trained in this run: its sweep has no [train].")
GROWTH = "log10_preact_grad_growth"

KINDS = (
    Kind(
        name="heatmap",
        shows="A column at the last layer over two keys, in colors.",
        draw=f"{FIGURES}.heatmap:heatmap",
        colored=True,
        arrangement="map",
        method="heatmap",
        value="log10_act_rms",
        of_theory="theory_log10_act_rms",
        reads=("nonfinite", "diverged_at"),
        in_points=True,
        places=OF_MAPS,
        standard=(
            Standard("vanishing-exploding", aloud=True),
            Standard("saturation", "saturated", aloud=True),
            Standard("jacobian", "log10_jacobian"),
            Standard("theory-vanishing-exploding", "theory_log10_act_rms", of_theory=True, aloud=True),
            Standard("theory-jacobian", "theory_log10_jacobian", of_theory=True, aloud=True),
            Standard("theory-correlation", "theory_input_correlation", of_theory=True, aloud=True),
        ),
    ),
    Kind(
        name="gradients",
        shows="How gradients grow from the last layer back to the first.",
        draw=f"{FIGURES}.heatmap:heatmap",
        colored=True,
        arrangement="map",
        method="gradient_map",
        table="gradients",
        missing="Ask for it with measure.gradients=true.",
        prepare="winit_jax.analysis.statistics.gradients:gradient_growth",
        value=GROWTH,
        reads=("log10_preact_grad_rms", "log10_weight_grad_rms"),
        places=OF_MAPS,
        needs=(
            Need(("log10_preact_grad_rms", "log10_weight_grad_rms"), "Gradients are not measured in this table.", True),
        ),
        standard=(Standard("gradients"),),
    ),
    Kind(
        name="histograms",
        shows="Activations layer by layer, as the teaching texts draw them.",
        draw=f"{FIGURES}.histograms:histograms",
        arrangement="layers",
        method="activation_histograms",
        table="histograms",
        missing="Ask for it with measure.histogram.bins=30, .low=-1 and .high=1.",
        pools="all seeds together",
        named_by="activation",
        standard=(Standard("histograms"),),
    ),
    Kind(
        name="gradient-histograms",
        shows="Gradients layer by layer, in true units and in each layer's own.",
        draw=f"{FIGURES}.gradient_histograms:gradient_histograms",
        arrangement="layers",
        method="gradient_densities",
        table="gradient_histograms",
        missing="Ask for it with measure.gradients=true and measure.histogram.",
        pools="all seeds together",
        named_by="activation",
        standard=(Standard("gradient-histograms"),),
    ),
    Kind(
        name="profiles",
        shows="A column against the layer, a line a scale.",
        draw=f"{FIGURES}.profiles:profiles",
        arrangement="profiles",
        method="profiles",
        table="layers",
        missing="Ask for it with measure.layers=true.",
        value="log10_act_rms",
        reads=("nonfinite", "theory_{value}"),
        in_points=True,
        places=("hue", "col"),
        pools="the median and the range of seeds",
        fixed={"most": 16},
        standard=(
            Standard("profiles", several=("layer",), aloud=True),
            Standard("profiles-gradients", "log10_preact_grad_rms", several=("layer",)),
        ),
    ),
    Kind(
        name="lines",
        shows="A column at the last layer against a key, as the depth, in lines.",
        draw=f"{FIGURES}.against:against",
        arrangement="lines",
        method="lines",
        prepare="winit_jax.analysis.statistics.positions:with_decorrelation",
        value="log10_act_rms",
        reads=("nonfinite", "diverged_at", "theory_{value}"),
        in_points=True,
        places=("x", "hue", "row", "col"),
        pools="the median and the range of seeds",
        fixed={"most": 16},
    ),
    Kind(
        name="isometry",
        shows="Singular values of the Jacobian against the depth.",
        draw=f"{FIGURES}.isometry:isometry",
        arrangement="isometry",
        method="isometry",
        reads=("sv_min", "sv_median", "sv_max"),
        places=("hue", "row", "col"),
        pools="medians over seeds",
        needs=(Need(("sv_min", "sv_median", "sv_max"), "Singular values are not measured in this table."),),
        standard=(Standard("isometry"),),
    ),
    Kind(
        name="regimes",
        shows="Overflowed, vanishing, exploding, saturated, collapsed or healthy.",
        draw=f"{FIGURES}.regimes:regime_map",
        arrangement="map",
        method="regime_map",
        reads=OF_REGIMES,
        in_points=True,
        places=OF_MAPS,
        pools="the regime of most seeds",
    ),
    Kind(
        name="formats",
        shows="Where formats of fewer bits lose the signal or the gradient.",
        draw=f"{FIGURES}.formats:format_map",
        arrangement="formats",
        method="formats",
        table="layers",
        missing="Ask for it with measure.layers=true.",
        prepare="winit_jax.analysis.statistics.formats:by_format",
        reads=("log10_preact_rms", "log10_preact_grad_rms"),
        places=("x", "row", "col"),
        pools="the verdict of most seeds",
        needs=(Need(("log10_preact_rms",), "The size of pre-activations is not in this table."),),
    ),
    Kind(
        name="deviations",
        shows="What was measured less what mean field predicts.",
        draw=f"{FIGURES}.deviations:deviation_map",
        colored=True,
        arrangement="map",
        method="deviation_map",
        value="log10_act_rms",
        reads=("theory_{value}",),
        in_points=True,
        values="winit_jax.analysis.statistics.deviations:PREDICTED",
        places=OF_MAPS,
        pools="the mean of seeds",
        fixed={"show": "difference"},
    ),
    Kind(
        name="z-scores",
        shows="The same in standard errors over seeds.",
        draw=f"{FIGURES}.deviations:deviation_map",
        colored=True,
        arrangement="map",
        method="z_scores",
        value="log10_act_rms",
        reads=("theory_{value}",),
        in_points=True,
        values="winit_jax.analysis.statistics.deviations:PREDICTED",
        places=OF_MAPS,
        pools="the mean of seeds",
        fixed={"show": "z"},
    ),
    Kind(
        name="training",
        shows="Losses and accuracies against the step.",
        draw=f"{FIGURES}.training:curves",
        arrangement="training",
        method="training_curves",
        table="training",
        missing="Ask for it with a [train] table in the sweep.",
        learnt=True,
        value="train_loss",
        places=("hue", "row", "col"),
        pools="the median and the range of seeds",
        standard=tuple(
            Standard(f"training-{value}", value, at_most=4, aloud=True)
            for value in ("train_loss", "train_accuracy", "test_accuracy")
        ),
    ),
    Kind(
        name="trainability",
        shows="What was learnt, over two keys.",
        draw=f"{FIGURES}.heatmap:heatmap",
        colored=True,
        arrangement="map",
        method="trainability",
        learnt=True,
        value="test_accuracy",
        reads=("nonfinite", "diverged_at"),
        in_points=True,
        places=OF_MAPS,
        needs=(TRAINED,),
        standard=(Standard("trainability", seeds="mean", two_axes=True, aloud=True),),
    ),
    Kind(
        name="ranking",
        shows="Each initialization at its best learning rate.",
        draw=f"{FIGURES}.ranking:ranking",
        arrangement="ranking",
        method="ranking",
        learnt=True,
        value="test_accuracy",
        pools="means and intervals over seeds",
        needs=(TRAINED,),
        standard=(Standard("ranking-test_accuracy", several=("learning_rate", "init"), aloud=True),),
    ),
)
NAMES = tuple(kind.name for kind in KINDS)


def kind_of(name: str) -> Kind:
    """The record of a kind. Errors: KeyError for a name that is none."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise KeyError(name)


def listing(indent: int = 2) -> str:
    """The kinds and what they show, a line each."""
    width = max(map(len, NAMES)) + 2
    return "\n".join(f"{' ' * indent}{kind.name:<{width}}{kind.shows}" for kind in KINDS)
