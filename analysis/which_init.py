"""The tables and figures of analysis/which-init.md, from the sweep which-init.

    python analysis/which_init.py

Runs the sweep into runs/which-init, or goes on with it, draws analysis/figures/which-init*.png and writes the tables
into the page between its markers.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns

import winit_jax as winit
from winit_jax.analysis import best_learning_rate, gradient_growth, ranking
from winit_jax.analysis.figures import save, style
from winit_jax.analysis.figures.lines import REFERENCE
from winit_jax.analysis.figures.page import write_title
from winit_jax.analysis.figures.words import plain
from winit_jax.analysis.tables import chance, init_words, tidy, untrained

HERE = Path(__file__).parent
RUN = HERE.parent / "runs" / "which-init"
PAGE = HERE / "which-init.md"
MARKER = "<!-- {} of `python analysis/which_init.py` -->"
REASON = "log10_preact_grad_growth"


def main() -> None:
    run = winit.run("which-init", RUN)
    networks = tidy(run.networks)
    best = best_learning_rate(networks)
    best = best.assign(name=init_words(best)).sort_values(["activation", "init", "std"])
    save(ranking(networks, below=run.title), HERE / "figures", "which-init", "png")
    reasons = with_reasons(best, networks, tidy(gradient_growth(run.gradients)))
    save(reasons_figure(reasons, chance(networks)), HERE / "figures", "which-init-reasons", "png")
    text = "\n\n".join([accuracies(best), winners(best), before_training(reasons), associations(reasons)])
    write(text + f"\n\n{len(networks):,} networks, {run.info['seconds']:,.0f} s.")


def accuracies(best: pd.DataFrame) -> str:
    """Mean test accuracies in percent with the ends of their 95% intervals: a table for each depth."""
    parts = []
    for depth, part in best.groupby("depth"):
        ends = zip(part["mean"], part["low"], part["high"], strict=True)
        cells = [f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})" for mean, low, high in ends]
        table = part.assign(cell=cells).pivot(index="name", columns="activation", values="cell")
        parts.append(f"**Depth {depth}**, test accuracy in percent\n\n{markdown(table)}")
    return "\n\n".join(parts)


def winners(best: pd.DataFrame) -> str:
    """For each activation and depth the best mean, and all whose interval reaches it."""
    rows = []
    for (activation, depth), part in best.groupby(["activation", "depth"], observed=True):
        top = part.loc[part["mean"].idxmax()]
        level = part[part["high"] >= top["mean"]].sort_values("mean", ascending=False)
        others = [name for name in level["name"] if name != top["name"]]
        rate = f"{top['learning_rate']:g}"
        rows.append((activation, depth, top["name"], f"{100 * top['mean']:.1f}", rate, len(others), "; ".join(others)))
    columns = ["activation", "depth", "best", "accuracy", "learning rate", "not told apart", "which"]
    table = pd.DataFrame(rows, columns=columns)
    return (
        f"**The best of each, and those whose interval reaches its mean**\n\n{markdown(table.set_index('activation'))}"
    )


def with_reasons(best: pd.DataFrame, networks: pd.DataFrame, growth: pd.DataFrame) -> pd.DataFrame:
    """What was measured before training (medians over seeds) beside the accuracies."""
    keys = ["activation", "depth", "init", "std"]
    medians = untrained(networks).groupby(keys, observed=True)[["log10_act_rms", "saturated", "input_correlation"]]
    growths = growth.groupby(keys, observed=True)[REASON]
    return best.merge(medians.median().reset_index(), on=keys).merge(growths.median().reset_index(), on=keys)


def before_training(reasons: pd.DataFrame) -> str:
    """Before training, in the deepest networks."""
    deepest = reasons[reasons["depth"] == reasons["depth"].max()]
    shown = deepest[
        deepest["name"].isin(["normal, std 0.01", "lecun_normal", "xavier_uniform", "he_normal", "he_uniform"])
    ]
    table = pd.DataFrame(
        {
            "activation": shown["activation"],
            "init": shown["name"],
            "log10 RMS activation": shown["log10_act_rms"].map("{:.2f}".format),
            "log10 gradient, first over last layer": shown[REASON].map("{:.2f}".format),
            "saturated": shown["saturated"].map("{:.0%}".format),
            "correlation of inputs": shown["input_correlation"].map("{:.3f}".format),
            "accuracy": shown["mean"].map("{:.3f}".format),
        }
    )
    return f"**Before training, depth {reasons['depth'].max()}**\n\n{markdown(table.set_index('activation'))}"


def associations(reasons: pd.DataFrame) -> str:
    """Rank correlations between what is measured before training and the accuracy after it."""
    measured = {
        "abs log10 gradient, first over last layer": reasons[REASON].replace([np.inf, -np.inf], np.nan).abs(),
        "abs log10 RMS activation": reasons["log10_act_rms"].replace([np.inf, -np.inf], np.nan).abs(),
        "saturated share": reasons["saturated"],
        "correlation of inputs": reasons["input_correlation"],
    }
    table = pd.DataFrame(
        {
            f"depth {depth}": {
                name: f"{column[part.index].corr(part['mean'], method='spearman'):.2f}"
                for name, column in measured.items()
            }
            for depth, part in reasons.groupby("depth")
        }
    )
    return f"**Spearman correlation with the accuracy, over activations and inits**\n\n{markdown(table)}"


def reasons_figure(reasons: pd.DataFrame, guess: float):
    """Accuracy against how gradients change from the last layer to the first, before training."""
    with style.themed():
        figure = style.NotebookFigure(figsize=(8.6, 3.2), layout="constrained")
        depths = sorted(reasons["depth"].unique())
        axes = figure.subplots(1, len(depths), sharey=True)
        for panel, depth in zip(axes, depths, strict=True):
            part = reasons[reasons["depth"] == depth]
            legend = "full" if depth == depths[-1] else False
            sns.scatterplot(
                part, x=REASON, y="mean", hue="activation", style="activation", palette="colorblind", s=28, ax=panel,
                legend=legend,
            )  # fmt: skip
            panel.axhline(guess, zorder=0, **REFERENCE)
            panel.axvline(0, color="#999999", lw=0.6, zorder=0)
            panel.set_xscale("symlog", linthresh=1)
            low, high = panel.get_xlim()
            panel.set_xlim(1.3 * low, high + 0.1)  # marks stay clear of the frame
            low = 1.3 * low
            ticks = [tick for tick in (-20, -5, -2, -1, 0, 1, 2) if low <= tick <= high]
            panel.set_xticks(ticks, [plain(tick) for tick in ticks])
            panel.minorticks_off()
            panel.set_title(f"depth {depth}")
            panel.set_xlabel("log₁₀ gradient, first over last layer")
            panel.set_ylabel("test accuracy at the best learning rate")
            panel.set_ylim(0, 1.03)
            sns.despine(ax=panel)
        handles, labels = axes[-1].get_legend_handles_labels()
        axes[-1].get_legend().remove()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        write_title(figure, "Gradients before training, and accuracies after it")
        figure.caption = "A mark an initialization; the grey line is guessing.\nThe axis of x is symmetric logarithmic."
    return figure


def markdown(table: pd.DataFrame) -> str:
    name = " / ".join(str(part) for part in (table.index.name, table.columns.name) if part)
    lines = [[name, *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    lines += [[str(index), *map(str, row)] for index, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(text: str) -> None:
    begin, end = (MARKER.format(word) for word in ("output", "end"))
    page = PAGE.read_text(encoding="utf-8")
    opening, rest = page.split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(f"{opening}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
