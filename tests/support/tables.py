"""Tables of runs made by hand, whose numbers follow simple rules, and folders of them: no jax, no sweep."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from support.folders import commit

KEYS = [
    "activation", "init", "std", "gain", "bias_std", "bias_init", "normalization", "norm_epsilon", "block",
    "norm_position", "skip_scale", "branch_scale", "attention_gain", "width", "depth", "seed",
]  # fmt: skip
SCHEMES = {"he_normal": math.sqrt(2), "xavier_normal": 1.0, "zeros": 0.0}


def network_rows(
    activations=("tanh", "relu"),
    inits=("normal",),
    gains=(0.1, 1.0, 10.0),
    biases=(0.0,),
    widths=(100,),
    depths=(1, 2, 3, 4),
    seeds=(0, 1, 2),
):
    """A networks table whose log10_act_rms is depth * log10(gain) + seed / 100; schemes have their own gain."""
    rows = [
        (activation, init, gain, bias, width, depth, seed)
        for activation, init, bias, width, depth, seed in itertools.product(
            activations, inits, biases, widths, depths, seeds
        )
        for gain in ([SCHEMES[init]] if init in SCHEMES else gains)
    ]
    frame = pd.DataFrame(rows, columns=["activation", "init", "gain", "bias_std", "width", "depth", "seed"])
    for name, values in (("activation", activations), ("init", inits)):
        frame[name] = pd.Categorical(frame[name], categories=list(values))
    frame["bias_init"], frame["normalization"] = (pd.Categorical([name] * len(frame)) for name in ("normal", "none"))
    frame["norm_epsilon"] = 1e-5
    frame["block"], frame["norm_position"] = (
        pd.Categorical(["dense"] * len(frame)),
        pd.Categorical(["pre"] * len(frame)),
    )
    frame["skip_scale"], frame["branch_scale"], frame["attention_gain"] = 0.0, 1.0, 1.0
    frame["std"] = frame["gain"] / np.sqrt(frame["width"])
    with np.errstate(divide="ignore"):
        frame["log10_act_rms"] = frame["depth"] * np.log10(frame["gain"]) + frame["seed"] / 100
    frame["saturated"] = np.clip(frame["gain"] / 10, 0, 1)
    frame["nonfinite"] = 0.0
    frame["input_correlation"] = np.where(frame["gain"] > 0, 0.5, np.nan)
    frame["chi"] = np.nan
    return frame[[*KEYS, *(name for name in frame if name not in KEYS)]]


def layer_rows(frame):
    """The layers table that goes with a networks table: the layers of the deepest."""
    return frame.rename(columns={"depth": "layer"}).assign(depth=frame["depth"].max())


def bin_rows(frame, counts=(1, 2, 3, 4), below=0, above=0, lost=0):
    """A histograms table with bins of [-1, 1] and the same counts in every layer."""
    edges = np.linspace(-1, 1, len(counts) + 1)
    bins = pd.DataFrame(
        {
            "bin_low": [-np.inf, *edges, np.nan],
            "bin_high": [*edges, np.inf, np.nan],
            "count": [below, *counts, above, lost],
        }
    )
    return layer_rows(frame)[[*KEYS, "layer"]].merge(bins, how="cross")


def write_run(path, networks=None, layers=None, histograms=None, **grid):
    """A run folder as the sweeps write it: two parts a table, names as dictionaries."""
    for name, frame in (("networks", networks), ("layers", layers), ("histograms", histograms)):
        (path / name).mkdir(parents=True)
        for part, rows in enumerate(np.array_split(np.arange(len(frame)), 2) if frame is not None else []):
            table = pa.Table.from_pandas(frame.iloc[rows], preserve_index=False)
            pq.write_table(table, path / name / f"part-{part}.parquet")
    lines = [f"{key} = {json.dumps(value)}" for key, value in (grid or {"gain": 1.0}).items()]
    (path / "sweep.toml").write_text("\n".join(['title = "A sweep"', "[grid]", *lines]) + "\n", encoding="utf-8")
    (path / "run.json").write_text(json.dumps({"state": "done"}))
    return commit(path)


def gradient_rows(**options):
    """A gradients table: log10 RMS -4 at the last layer, and one more for each layer back times log10(gain)."""
    frame = network_rows(**options)[KEYS]
    parts = [frame[frame["depth"] >= layer].assign(layer=layer) for layer in range(1, frame["depth"].max() + 1)]
    rows = pd.concat(parts, ignore_index=True)
    growth = (rows["depth"] - rows["layer"]) * np.log10(rows["gain"])
    return rows.assign(log10_preact_grad_rms=-4 + growth, log10_weight_grad_rms=-5 + growth)


STEPS = [0, 10, 20, 30]


def keys(**changes):
    usual = {
        "activation": "relu", "init": "normal", "std": 0.1, "gain": 1.0, "bias_std": 0.0, "bias_init": "normal",
        "normalization": "none", "norm_epsilon": 1e-5, "block": "dense", "norm_position": "pre", "skip_scale": 0.0,
        "branch_scale": 1.0, "attention_gain": 1.0, "width": 100, "depth": 4, "seed": 0, "learning_rate": 0.1,
    }  # fmt: skip
    return usual | changes


def as_table(rows, scale_axis="std", classes=10):
    frame = pd.DataFrame(rows)
    for name in ("activation", "init", "bias_init", "normalization", "block", "norm_position"):
        frame[name] = pd.Categorical(frame[name], categories=list(dict.fromkeys(frame[name])))
    frame.attrs = {"scale_axis": scale_axis, "classes": classes}
    return frame


def history(losses, **changes):
    """A network's rows; a loss of None is a network that has diverged."""
    return [
        keys(**changes, step=step)
        | {
            "train_loss": np.nan if loss is None else loss,
            "train_accuracy": np.nan if loss is None else 1 - loss / 4,
            "test_loss": np.nan if loss is None else loss,
            "test_accuracy": np.nan if loss is None else 1 - loss / 4,
        }
        for step, loss in zip(STEPS, losses, strict=True)
    ]


def trained_networks(scores, **changes):
    """Rows of trained networks from {(seed, learning rate): accuracy, None if diverged}."""
    return [
        keys(seed=seed, learning_rate=rate, **changes)
        | {"test_accuracy": np.nan if score is None else score, "diverged_at": 3.0 if score is None else np.nan}
        for (seed, rate), score in scores.items()
    ]
