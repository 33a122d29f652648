"""Which initialisation is best: each at its best learning rate, with confidence intervals over seeds."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winit_jax.analysis import style
from winit_jax.analysis.cells import init_words
from winit_jax.analysis.intervals import at_the_best
from winit_jax.analysis.load import NAMES, chance, in_order, tidy

LEAST_WIDTH = 5.0  # of a figure, in inches: its title and labels need it
KEYS = ("activation", "normalization", "norm_epsilon", "bias_std", "width", "depth", "init", "std", "gain")


def best_learning_rate(networks: pd.DataFrame, value: str = "test_accuracy") -> pd.DataFrame:
    """Each initialisation at its best learning rate: one row for each combination of the other keys.

    For each seed the learning rate is the one with the highest mean over the *other* seeds, so that no seed is both
    chosen by and counted; with a single seed there are no others, and the best of it is taken, which flatters.
    A network that diverged has the accuracy of guessing.
    Out: KEYS, learning_rate (of the highest mean over all seeds), mean, low, high (a 95% interval over seeds of the
    mean at that rate, `intervals.at_the_best`, which allows for the choice, widened where it leaves out `mean`; NaN
    for one seed), seeds, diverged (share of the networks counted).
    Errors: ValueError if the table has no such accuracy.
    """
    if value not in style.ACCURACIES:
        raise ValueError(f"{value!r} is not one of {', '.join(style.ACCURACIES)}.")
    if value not in networks or "learning_rate" not in networks or networks["learning_rate"].isna().all():
        raise ValueError("nothing was trained in this run.")
    keys = [key for key in KEYS if key in networks]
    gone = networks["diverged_at"].notna()
    frame = networks.assign(score=networks[value].mask(gone, chance(networks)), gone=gone)
    rows = []
    for place, part in frame.groupby(keys, observed=True):
        scores = part.pivot(index="seed", columns="learning_rate", values="score").dropna()
        lost = part.pivot(index="seed", columns="learning_rate", values="gone").loc[scores.index].to_numpy(bool)
        numbers = scores.to_numpy(float)
        count = len(numbers)
        if count == 0:
            continue
        others = (numbers.sum(axis=0) - numbers) / (count - 1) if count > 1 else numbers
        chosen = others.argmax(axis=1)
        held_out = numbers[np.arange(count), chosen]
        best, low, high = at_the_best(numbers)
        rows.append(
            (
                *place,
                scores.columns[best],
                held_out.mean(),
                max(0.0, min(low, held_out.mean())),
                min(1.0, max(high, held_out.mean())),
                count,
                lost[np.arange(count), chosen].mean(),
            )
        )
    found = pd.DataFrame(rows, columns=[*keys, "learning_rate", "mean", "low", "high", "seeds", "diverged"])
    found.loc[found["seeds"] == 1, ["low", "high"]] = np.nan
    found.attrs = networks.attrs
    for name in NAMES:
        if name in found and isinstance(networks[name].dtype, pd.CategoricalDtype):
            found[name] = found[name].astype(networks[name].dtype)
    return found


def ranking(
    networks: pd.DataFrame, value: str = "test_accuracy", *, title: str | None = None, below: str = ""
) -> Figure:
    """Accuracies of initialisations at their best learning rates: a row of panels for each depth, one an activation.

    Dots are means over seeds and bars 95% intervals (see `best_learning_rate`), the highest mean of a panel in
    orange where it is well above guessing, the dotted line.
    networks: with one width, bias_std, normalization and norm_epsilon. Errors: ValueError, also for keys that vary
    beyond these.
    """
    found = best_learning_rate(tidy(networks), value)
    if left := [
        key
        for key in ("normalization", "norm_epsilon", "bias_std", "width")
        if key in found and found[key].nunique() > 1
    ]:
        raise ValueError(f"{', '.join(left)} take more than one value: keep one of each.")
    found = found.assign(name=init_words(found))
    order = list(dict.fromkeys(found.sort_values(["init", "std"])["name"]))
    rows, columns = in_order(found, "depth"), in_order(found, "activation")
    with style.themed():
        # A letter of a name is about 0.07 inches wide, a line of the titles 0.18 high; one panel alone is wider.
        beside = 0.75 + 0.07 * max(len(name) for name in order)
        each = max(1.45, 0.1 + 0.085 * max(len(str(activation)) for activation in columns))
        width = max(LEAST_WIDTH, beside + each * len(columns))
        figure = style.NotebookFigure(figsize=(width, 3.0), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        for line, depth in zip(axes, rows, strict=True):
            for panel, activation in zip(line, columns, strict=True):
                part = found[(found["depth"] == depth) & (found["activation"] == activation)]
                _dots(panel, part, order, chance(networks))
                panel.axvline(chance(networks), color="#555555", ls=(0, (1, 1.5)), lw=1.0, zorder=0)
                if panel in axes[0]:
                    style.panel_title(panel, str(activation))
            line[0].set_ylabel(f"depth {depth}")
        axes[0, 0].set_yticks(range(len(order)), order)
        axes[0, 0].set_ylim(len(order) - 0.4, -0.6)
        axes[0, 0].set_xlim(0, 1.03)
        axes[0, 0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        below_panels = f"{style.label(value)} at the best learning rate (orange: highest mean; dotted: guessing)"
        below_panels = style.wrapped(below_panels, int(width / 0.07))
        figure.supxlabel(below_panels, fontsize=9)
        seeds = int(found["seeds"].max())
        rule = f"means of {seeds} seeds with 95% intervals, learning rates chosen on the other seeds" * (seeds > 1)
        heading = title or f"Initialisations at their best learning rates: {style.label(value)}"
        style.title(figure, heading, below, ", ".join(t for t in (style.held(networks, ("init",)), rule) if t))
        lines = len(f"{figure.get_suptitle()}\n{below_panels}".split("\n"))
        figure.set_figheight(0.5 + 0.18 * lines + (0.35 + max(0.6, 0.17 * len(order))) * len(rows))
    return figure


def _dots(axes: Axes, part: pd.DataFrame, order: list[str], guess: float) -> None:
    at = np.array([order.index(name) for name in part["name"]])
    best = part["mean"] >= max(part["mean"].max() - 1e-9, 1.5 * guess)
    colours = sns.color_palette("colorblind")
    for chosen, colour in ((~best, colours[0]), (best, colours[3])):
        rows = part[chosen]
        half = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axes.errorbar(rows["mean"], at[chosen], xerr=np.nan_to_num(half), fmt="o", ms=3.2, lw=1.1, color=colour)
    axes.grid(axis="y", color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)
    axes.tick_params(axis="y", length=0)
