"""Figures and the tables they are made from, on synthetic runs: no jax, no sweep."""

import itertools
import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from support.drawn import legend, meshes, panels, said
from support.folders import commit
from winit_jax.analysis import (
    PlotError,
    RunFolderError,
    heatmap,
    histogram_figures,
    load,
    plot,
    profiles,
    standard_figures,
)
from winit_jax.analysis.axes import cell_edges, is_log_spaced
from winit_jax.analysis.figures.places import Places, on_a_map
from winit_jax.analysis.tables import varying

GAINS = list(np.geomspace(0.1, 10, 9))


def networks(
    activations=("tanh", "relu"), gains=GAINS, depths=(1, 2, 3, 4), seeds=(0, 1, 2), inits=("normal",), width=100
):
    rows = list(itertools.product(activations, inits, gains, depths, seeds))
    frame = pd.DataFrame(rows, columns=["activation", "init", "gain", "depth", "seed"])
    for name, values in (("activation", activations), ("init", inits)):
        frame[name] = pd.Categorical(frame[name], categories=list(values))
    frame["normalization"] = pd.Categorical(["none"] * len(frame))
    frame = frame.assign(std=frame["gain"] / np.sqrt(width), bias_std=0.0, norm_epsilon=1e-5, width=width)
    frame["log10_act_rms"] = frame["depth"] * np.log10(frame["gain"]) + 0.01 * frame["seed"]
    frame["saturated"] = np.clip(frame["gain"] / 10, 0, 1)
    return frame.assign(nonfinite=0.0, dead=0.0, log10_jacobian=np.nan, unit_similarity=0.1, act_std=0.3)


def layers(**options):
    frame = networks(**options).rename(columns={"depth": "layer"})
    return frame.assign(depth=frame["layer"].max())


def bins(activations=("tanh", "relu")):
    edges = np.linspace(-1, 1, 9)
    low, high = [-np.inf, *edges, np.nan], [*edges, np.inf, np.nan]
    base = layers(activations=activations, gains=[0.1, 1.0, 3.0])
    one = pd.DataFrame({"bin_low": low, "bin_high": high, "count": [3, *range(1, 9), 5, 0]})
    return base.drop(columns=["log10_act_rms", "saturated"]).merge(one, how="cross")


def folder(path, frame, layer_frame=None, bin_frame=None, sweep="title = 'Test'\n[grid]\ngain = 1\n"):
    for name, part in (("networks", frame), ("layers", layer_frame), ("histograms", bin_frame)):
        (path / name).mkdir(parents=True)
        if part is not None:
            part.to_parquet(path / name / "part-1.parquet", index=False)
    (path / "sweep.toml").write_text(sweep)
    (path / "run.json").write_text(json.dumps({"state": "done"}))
    return commit(path)


def test_the_room_is_closed_to_jax():
    script = (
        "import sys\nfrom winit_jax import analysis\nfor name in analysis.__all__: getattr(analysis, name)\n"
        "print(sorted({'jax', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "['pandas']\n"


def test_cell_edges_are_midpoints_and_geometric_on_a_log_axis():
    np.testing.assert_allclose(cell_edges(np.array([1.0, 2.0, 4.0]), log=False), [0.5, 1.5, 3.0, 5.0])
    np.testing.assert_allclose(cell_edges(np.array([1.0, 4.0, 16.0]), log=True), [0.5, 2.0, 8.0, 32.0])
    np.testing.assert_allclose(cell_edges(np.array([7.0]), log=False), [6.5, 7.5])


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([0.1, 1, 10], True),
        ([1, 2, 3, 4], False),
        ([0, 1, 10], False),
        ([1, 2], False),
        ([0.01, 1], True),
        ([5], False),
    ],
)
def test_axes_are_logarithmic_where_values_are(values, log):
    assert is_log_spaced(np.array(values, float)) is log


def test_a_heatmap_shows_the_median_of_seeds_in_its_place():
    frame = networks(seeds=(0, 1, 7))
    figure = heatmap(frame)
    assert [axes.get_title() for axes in panels(figure)] == ["tanh", "relu"]
    tanh = meshes(figure)[0].get_array().reshape(4, len(GAINS))
    np.testing.assert_allclose(tanh[2], 3 * np.log10(GAINS) + 0.01)
    assert "median of 3 seeds" in said(figure)
    assert "width 100" in said(figure)
    worst = meshes(heatmap(frame, seeds="max"))[0].get_array().reshape(4, len(GAINS))
    np.testing.assert_allclose(worst[0], np.log10(GAINS) + 0.07)


def test_panels_share_one_norm_centred_on_unchanged():
    one, other = meshes(heatmap(networks()))[:2]
    assert one.norm is other.norm
    assert one.norm.vmin == -one.norm.vmax
    share = meshes(heatmap(networks(), "saturated"))[0].norm
    assert (share.vmin, share.vmax) == (0, 1)


def test_overflow_zero_and_missing_cells_are_hatched_and_in_the_legend():
    frame = networks()
    assert legend(heatmap(frame)) == []
    broken = (frame["gain"] > 9) & (frame["seed"] == 0) & (frame["activation"] == "relu")
    frame.loc[broken, "nonfinite"] = 1.0
    frame.loc[broken, "log10_act_rms"] = np.nan
    frame.loc[(frame["gain"] < 0.2) & (frame["depth"] == 4), "log10_act_rms"] = -np.inf
    frame = frame[~((frame["depth"] == 2) & (frame["gain"] == 1.0))]
    figure = heatmap(frame)
    assert legend(figure) == ["overflow", "exactly zero", "not run"]
    relu = meshes(figure)[1].get_array().reshape(4, len(GAINS))
    assert relu.mask[:, -1].all()
    assert relu.mask[1, 4]
    assert relu.mask[3, 0]
    assert relu.mask.sum() == 4 + 1 + 2


def test_the_limits_of_float32_are_drawn_where_signals_pass_them():
    frame = networks(depths=tuple(range(1, 60)))
    assert "limits of float32" in legend(heatmap(frame))[0]


def test_axes_are_chosen_from_what_varies():
    assert on_a_map(networks(), {}) == Places(x="gain", y="depth", col="activation")
    schemes = networks(inits=("he_normal", "xavier_normal"), gains=[1.0])
    schemes["gain"] = schemes["init"].map({"he_normal": 1.4, "xavier_normal": 1.0}).astype(float)
    schemes["std"] = schemes["gain"] / 10
    assert on_a_map(schemes, {}).x == "init"
    assert on_a_map(networks(gains=[1.0], activations=("tanh",), depths=(3,)), {}).y == "seed"
    frame = networks()
    frame.attrs["scale_axis"] = "std"
    assert "std" in varying(frame)
    assert "gain" not in varying(frame)


@pytest.mark.parametrize(
    "options",
    [{"gains": [1.0]}, {"depths": (3,)}, {"gains": [1.0], "depths": (3,)}, {"seeds": (0,), "activations": ("tanh",)}],
)
def test_degenerate_grids_are_drawn_too(options, tmp_path):
    paths = standard_figures(folder(tmp_path / "run", networks(**options), layers(**options)))
    assert len(paths) >= 2
    assert all(path.stat().st_size > 5000 for path in paths)


def test_a_key_without_a_place_is_named():
    frame = pd.concat([networks(width=50), networks(width=100)]).assign(bias_std=0.0)
    frame = pd.concat([frame, frame.assign(bias_std=0.1)])
    with pytest.raises(ValueError, match="bias_std takes more than one value: make it an axis"):
        heatmap(frame, x="gain", y="depth", col="activation", row="width")


def test_a_column_that_was_not_measured_gets_a_sentence():
    with pytest.raises(ValueError, match="log10_jacobian is empty in this table: the run did not measure it"):
        heatmap(networks(), "log10_jacobian")


def test_standard_figures_are_written_for_every_table(tmp_path):
    run = folder(tmp_path / "run", networks(), layers(), bins())
    names = [path.name for path in standard_figures(run, formats=("png", "svg"))]
    assert [name for name in names if name.endswith(".png")] == [
        "vanishing-exploding.png",
        "saturation.png",
        "histograms-tanh.png",
        "histograms-relu.png",
        "profiles.png",
    ]
    assert len(names) == 10
    assert not plt.get_fignums()
    assert not [path for path in (run / "figures").iterdir() if path.name.endswith(".part")]


def test_keys_beyond_four_make_a_figure_each(tmp_path):
    frame = pd.concat([networks(inits=("normal", "uniform")).assign(width=w) for w in (10, 20)])
    frame = pd.concat([frame.assign(bias_std=b) for b in (0.0, 0.1)], ignore_index=True)
    for name in ("activation", "init", "normalization"):
        frame[name] = frame[name].astype("category")
    paths = plot(folder(tmp_path / "run", frame), "heatmap")
    assert len(paths) == 4
    with pytest.raises(PlotError, match="--out names one file, and this makes 4"):
        plot(tmp_path / "run", "heatmap", out=tmp_path / "one.png")
    (path,) = plot(tmp_path / "run", "heatmap", where={"width": ["10"], "bias_std": ["0"]}, out=tmp_path / "one.pdf")
    assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "heatmaps"}, "kind: 'heatmaps' is not known. Did you mean 'heatmap'?"),
        ({"kind": "heatmap", "x": "gian"}, "x: 'gian' is not known. Did you mean 'gain'?"),
        ({"kind": "heatmap", "fmt": "bmp"}, "format: 'bmp' is not known."),
        ({"kind": "heatmap", "seeds": "mode"}, "seeds: 'mode' is not known."),
        ({"kind": "heatmap", "where": {"activation": ["rellu"]}}, "where activation: 'rellu' is not known."),
        ({"kind": "heatmap", "where": {"gain": ["3.3"]}}, "where gain: 3.3 is not there; the nearest is 3.16228."),
        ({"kind": "heatmap", "where": {"gain": ["x"]}}, "where gain: 'x' is not a number."),
        ({"kind": "heatmap", "x": "gain", "y": "gain"}, "x and y must be different keys."),
        ({"kind": "profiles"}, "has no layers table: its sweep does not measure it."),
    ],
)
def test_a_wrong_figure_gets_a_sentence(tmp_path, options, sentence):
    run = folder(tmp_path / "run", networks())
    with pytest.raises(PlotError) as caught:
        plot(run, **options)
    assert sentence in str(caught.value)


def test_histograms_show_shares_and_what_lies_outside():
    figure = histogram_figures(bins(activations=("tanh",)))["tanh"]
    axes = figure.axes[0]
    values = axes.patches[0].get_data().values
    assert values.sum() == pytest.approx(36 / 44)
    assert [text.get_text() for text in axes.texts] == ["7% < −1\n11% > 1"]


def test_profiles_have_a_line_a_gain_and_a_band_over_seeds():
    figure = profiles(layers())
    tanh = figure.axes[0]
    lines = [line for line in tanh.lines if len(line.get_xdata()) == 4]
    assert len(lines) == 8
    np.testing.assert_allclose(lines[0].get_ydata(), -1.0 * np.arange(1, 5) + 0.01)
    band = tanh.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-4.0)


def test_a_folder_that_is_no_run_gets_a_sentence(tmp_path):
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no sweep\.toml"):
        load(tmp_path)
    (tmp_path / "networks").mkdir()
    (tmp_path / "sweep.toml").write_text("title = 'x'")
    with pytest.raises(RunFolderError, match="has no finished networks yet"):
        _ = load(tmp_path).networks
