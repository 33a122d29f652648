"""Which figures a table makes: by file name, drawn when called."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from winit_jax.analysis.cells import defaults
from winit_jax.analysis.curves import curves
from winit_jax.analysis.curves import places as curve_places
from winit_jax.analysis.gradients import gradient_growth, gradient_histograms
from winit_jax.analysis.heatmaps import heatmap
from winit_jax.analysis.histograms import histogram_parts, histograms
from winit_jax.analysis.isometry import SINGULAR_VALUES, isometry, places
from winit_jax.analysis.load import Expected, Run, follows_init, tidy, untrained, varying
from winit_jax.analysis.profiles import profiles
from winit_jax.analysis.ranking import ranking
from winit_jax.analysis.selection import beyond_profiles, by_kind_of_init, cut

STANDARD_LINES = 16
# Curves that would take more figures than this are not drawn unless asked for.
MAX_CURVES = 4

STANDARD = {"vanishing-exploding": "log10_act_rms", "saturation": "saturated"}
# Drawn where the column has numbers; the rest of STANDARD is missed aloud.
IF_MEASURED = {"jacobian": "log10_jacobian"}
PREDICTED = {
    "theory-vanishing-exploding": "theory_log10_act_rms",
    "theory-jacobian": "theory_log10_jacobian",
    "theory-correlation": "theory_input_correlation",
}
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

# Figures by file name: a figure that is not wanted costs nothing.
Drawings = dict[str, Callable[[], Figure]]


def standard(run: Run) -> list[Drawings]:
    """The standard figures of a run, kind by kind, for the tables and columns that it has.

    Errors: RunFolderError.
    """
    if run.is_theory and run.theory is not None:
        theory = tidy(run.theory)
        return [heatmaps(run, theory, run.expected, value, file) for file, value in PREDICTED.items()]
    kinds = training_drawings(run) if run.training is not None else []
    networks = tidy(untrained(run.networks))
    if kinds and not _has_axes(networks):
        return kinds
    wanted = STANDARD | {file: value for file, value in IF_MEASURED.items() if _measured(networks, value)}
    asked = {key: values for key, values in run.expected.items() if key != "learning_rate"}
    kinds += [heatmaps(run, networks, asked, value, file) for file, value in wanted.items()]
    if run.gradients is not None:
        growth = tidy(gradient_growth(run.gradients))
        kinds.append(heatmaps(run, growth, asked, "log10_preact_grad_growth", "gradients"))
    if run.histograms is not None:
        kinds.append(histogram_drawings(run.histograms))
    if run.gradient_histograms is not None:
        kinds.append(gradient_drawings(run, run.gradient_histograms))
    if run.layers is not None and run.layers["layer"].nunique() > 1:
        layers = tidy(run.layers)
        kinds.append(profile_drawings(run, layers, "log10_act_rms", "profiles"))
        if _measured(layers, "log10_preact_grad_rms"):
            kinds.append(profile_drawings(run, layers, "log10_preact_grad_rms", "profiles-gradients"))
    if all(_measured(networks, name) for name in SINGULAR_VALUES):
        kinds.append(isometry_drawings(run, networks))
    return kinds


def _has_axes(networks: pd.DataFrame) -> bool:
    """Whether a heatmap of networks would have two axes."""
    keys = {key for key in varying(networks) if key != "seed"}
    return len(keys - ({"std", "gain"} if "init" in keys and follows_init(networks) else set())) > 1


def training_drawings(run: Run) -> list[Drawings]:
    """Curves of losses and accuracies where they fit a few figures, and maps of the accuracy over two keys."""
    assert run.training is not None
    training, networks = tidy(run.training), tidy(run.networks)
    kinds = [curve_drawings(run, training, value) for value in ("train_loss", "train_accuracy", "test_accuracy")]
    kinds = [kind for kind in kinds if len(kind) <= MAX_CURVES]
    if _has_axes(networks):
        kinds.append(heatmaps(run, networks, run.expected, "test_accuracy", "trainability", seeds="mean"))
    if "learning_rate" in networks and networks["learning_rate"].nunique() > 1 and networks["init"].nunique() > 1:
        kinds.append(ranking_drawings(run, networks, "test_accuracy"))
    return kinds


def curve_drawings(
    run: Run, frame: pd.DataFrame, value: str, hue: str | None = None, col: str | None = None, row: str | None = None
) -> Drawings:
    beyond = curve_places(frame, hue, col, row)[2]
    options: dict[str, Any] = {"hue": hue, "col": col, "row": row, "below": run.title}
    name = f"training-{value}"
    return {name + suffix: partial(curves, part, value, **options) for suffix, part in cut(frame, beyond).items()}


def ranking_drawings(run: Run, frame: pd.DataFrame, value: str) -> Drawings:
    beyond = [
        key
        for key in ("normalization", "norm_epsilon", "bias_std", "width")
        if key in frame and frame[key].nunique() > 1
    ]
    name = f"ranking-{value}"
    return {
        name + suffix: partial(ranking, part, value, below=run.title) for suffix, part in cut(frame, beyond).items()
    }


def _measured(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and bool(frame[column].notna().any())


def histogram_drawings(frame: pd.DataFrame) -> Drawings:
    return {f"histograms-{name}": partial(histograms, part) for name, part in histogram_parts(frame).items()}


def profile_drawings(run: Run, frame: pd.DataFrame, value: str, file: str, col: str | None = None) -> Drawings:
    # A key asked for as panels needs no figure for each of its values; activations then do.
    keys = [key for key in beyond_profiles(frame) if key != col]
    if col not in (None, "activation") and "activation" in varying(frame):
        keys.append("activation")
    options: dict[str, Any] = {"col": col, "most": STANDARD_LINES, "below": run.title}
    return {file + suffix: partial(profiles, part, value, **options) for suffix, part in cut(frame, keys).items()}


def gradient_drawings(run: Run, frame: pd.DataFrame) -> Drawings:
    parts = histogram_parts(frame)
    return {
        f"gradient-histograms-{name}": partial(gradient_histograms, part, below=run.title)
        for name, part in parts.items()
    }


def isometry_drawings(run: Run, frame: pd.DataFrame, row: str | None = None, col: str | None = None) -> Drawings:
    free = sum(key is None for key in (row, col))
    beyond = places(frame, "init", row, col)[free:]
    options: dict[str, Any] = {"row": row, "col": col, "below": run.title}
    return {"isometry" + suffix: partial(isometry, part, **options) for suffix, part in cut(frame, beyond).items()}


def heatmaps(
    run: Run,
    frame: pd.DataFrame,
    expected: Expected,
    value: str,
    file: str,
    *,
    seeds: str = "median",
    given: Mapping[str, str | None] | None = None,
) -> Drawings:
    """Heatmaps of a column, under the critical lines of mean field where the run has them."""
    title = TITLES.get(value) if seeds != "std" else None
    draw = partial(heatmap, value=value, seeds=seeds, title=title, mean_field=run.mean_field)
    return maps(run, frame, expected, draw, file, given)


def maps(
    run: Run,
    frame: pd.DataFrame,
    expected: Expected,
    draw: Callable[..., Figure],
    file: str,
    given: Mapping[str, str | None] | None = None,
) -> Drawings:
    """Panels of cells by file name: schemes apart from shapes, and a figure for each value of what has no place.

    draw: takes rows, x, y, row, col, expected and below. given: keys at their places (x, y, row, col).
    """
    drawings: Drawings = {}
    for suffix, (part, asked) in by_kind_of_init(frame, expected).items():
        chosen: dict[str, Any] = {place: key for place, key in (given or {}).items() if key}
        automatic = {p: key for p, key in defaults(part, asked).items() if key and key not in chosen.values()}
        placed = {*(automatic | chosen).values()}
        same = {"std", "gain"}
        covered = bool(placed & same) or ("init" in placed and follows_init(part))
        beyond = [key for key in varying(part) if key not in placed and key != "seed" and not (key in same and covered)]
        for fixed, rest in cut(part, beyond).items():
            # Keys that are fixed here do not vary, whatever the sweep asks for.
            here = {key: values for key, values in asked.items() if key not in beyond}
            drawings[file + suffix + fixed] = partial(draw, rest, expected=here, below=run.title, **chosen)
    return drawings
