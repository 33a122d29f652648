"""Figures of networks of several blocks: what is said of them, and one site of a layer at a time."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from support.drawn import legend, named_lines, said
from support.tables import bin_rows, gradient_rows, layer_rows, network_rows
from winit_jax.analysis import gradient_growth, profiles
from winit_jax.analysis.figures import style
from winit_jax.analysis.figures.drawings import Request, requested
from winit_jax.analysis.figures.histograms import histograms
from winit_jax.analysis.figures.places import on_a_map
from winit_jax.analysis.selection import PlotError
from winit_jax.analysis.tables import at_each_site, of_last_site, sites_of, tidy

ONE = {"activations": ("tanh",), "gains": (10.0,)}


def of(frame, **same):
    """The frame with these keys at one value each."""
    return tidy(frame.assign(**same))


def with_sites(frame, steps=(1.0, 3.0), column=None):
    """A transformer's rows: two of each layer but the first; `column` is so much more at each."""
    stem = frame["layer"] == 1
    parts = [frame[stem].assign(site=None)]
    for site, step in zip(("attention", "mlp"), steps, strict=True):
        part = frame[~stem].assign(site=site)
        parts.append(part.assign(**{column: part[column] + step}) if column else part)
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(site=rows["site"].astype(pd.CategoricalDtype(["attention", "mlp"])), block="transformer(2, 2)")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ""),
        ({"block": "residual", "skip_scale": 1.0}, "block residual"),
        ({"block": "conv(3)"}, "block conv(3)"),
        ({"block": "residual", "skip_scale": 0.0}, "block residual, skip scale 0"),
        ({"skip_scale": 1.0}, "skip scale 1"),
        ({"block": "attention(2)", "skip_scale": 1.0, "attention_gain": 2.0}, "block attention(2), attention gain 2"),
        ({"branch_scale": 0.5}, "branch scale 0.5"),
        ({"normalization": "rms", "norm_position": "post"}, "normalization rms, norm position post"),
        ({"normalization": "rms"}, "normalization rms"),
        ({"norm_position": "post"}, ""),  # of networks without a normalization
    ],
)
def test_of_what_is_held_fixed_only_the_unusual_is_said(keys, words):
    shown = ("activation", "init", "gain", "std", "bias_std", "width", "depth")
    assert style.held(of(network_rows(), **keys), shown).removeprefix("held fixed: ") == words


def test_a_scale_of_attention_is_an_axis_of_maps():
    frame = pd.concat([network_rows(**ONE).assign(attention_gain=gain) for gain in (0.5, 1.0, 2.0)], ignore_index=True)
    places = on_a_map(frame, {})
    assert {places.x, places.y} == {"depth", "attention_gain"}
    assert places.left == ()


def test_profiles_show_the_last_site_of_a_layer_and_say_which():
    frame = with_sites(layer_rows(network_rows(**ONE)), column="log10_act_rms")
    figure = profiles(frame)
    (line,) = named_lines(figure.axes[0])
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), np.arange(1, 5) + 0.01 + np.array([0, 3, 3, 3]))
    assert "site mlp" in said(figure)


def test_a_column_of_the_other_site_is_shown_there():
    frame = with_sites(layer_rows(network_rows(**ONE)))
    entropy = np.where(frame["site"] == "attention", 0.5, np.nan)
    figure = profiles(frame.assign(attention_entropy=entropy), "attention_entropy")
    (line,) = named_lines(figure.axes[0])
    np.testing.assert_array_equal(line.get_xdata()[~np.isnan(line.get_ydata())], [2, 3, 4])
    assert "site attention" in said(figure)


def test_sites_are_lines_or_panels_where_asked_for():
    frame = with_sites(layer_rows(network_rows(**ONE)), column="log10_act_rms")
    figure = profiles(frame, hue="site")
    assert legend(figure)[:2] == ["attention", "mlp"]
    first, second = named_lines(figure.axes[0])
    np.testing.assert_allclose(second.get_ydata() - first.get_ydata(), [0, 2, 2, 2])
    panels = profiles(frame, col="site")
    assert [axes.get_title() for axes in panels.axes[:2]] == ["site attention", "site mlp"]
    assert "site" not in said(panels)
    with pytest.raises(ValueError, match="hue = 'site' is not a key"):
        profiles(layer_rows(network_rows(**ONE)), hue="site")


class Run:
    """A run of one table."""

    title, mean_field, expected, is_theory, path = "", None, {}, False, "run"

    def __init__(self, layers):
        self.layers = self.networks = layers

    def stored(self, table):
        return pa.Schema.from_pandas(self.layers, preserve_index=False)

    def points(self, *_, **__):
        return self.layers

    def _table(self, *_):
        return self.layers


def test_the_command_line_takes_sites_as_panels_of_profiles_alone():
    run = Run(with_sites(layer_rows(network_rows(**ONE))))
    figures, _ = requested(run, "profiles", Request(places={"col": "site"}))
    (figure,) = (draw() for draw in figures.values())
    assert [axes.get_title() for axes in figure.axes[:2]] == ["site attention", "site mlp"]
    with pytest.raises(PlotError, match="'site' is not known"):
        requested(run, "heatmap", Request(places={"col": "site"}))
    with pytest.raises(PlotError, match="value: 'site' is not known"):
        requested(run, "profiles", Request(value="site"))


def test_gradients_grow_from_the_last_site_of_the_last_layer():
    frame = with_sites(gradient_rows(**ONE), (5.0, 0.0), "log10_preact_grad_rms")
    found, expected = gradient_growth(frame), gradient_growth(gradient_rows(**ONE))
    assert len(found) == len(expected)
    np.testing.assert_allclose(found["log10_preact_grad_growth"], expected["log10_preact_grad_growth"])


def test_histograms_count_one_site_of_a_layer():
    once = bin_rows(network_rows(**ONE))
    both = with_sites(once)
    both.loc[both["site"] == "attention", "count"] = 1000 - both["count"]
    for stat in ("share", "count"):
        one, other = (
            [patch.get_data().values for axes in histograms(frame, stat=stat).axes for patch in axes.patches]
            for frame in (once, both)
        )
        np.testing.assert_array_equal(one, other)


def test_a_table_without_sites_is_as_it_is():
    frame = layer_rows(network_rows(**ONE))
    assert sites_of(frame) == []
    assert of_last_site(frame) is frame
    told = at_each_site(with_sites(frame))
    assert len(told) == 2 * len(frame)
    assert list(told["site"].cat.categories) == ["attention", "mlp"]
