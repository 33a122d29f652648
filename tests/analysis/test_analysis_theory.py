"""Mean field beside what was measured: deviations, and lines over heatmaps."""

import numpy as np
import pandas as pd
import pytest

from support.drawn import legend, meshes, said, wide_lines
from support.meanfield import mean_field, with_theory
from support.tables import network_rows
from winit_jax.analysis import deviation_map, deviations, heatmap, profiles
from winit_jax.analysis.figures.lines import darker
from winit_jax.analysis.statistics.intervals import student_quantile

GAINS = tuple(np.geomspace(0.25, 4, 17))


def told(offset=0.0, seeds=(0, 1, 2, 3), **options):
    """Networks whose signal is predicted as 1, measured offset + (0, 0.1, 0.2, ...) by seed more."""
    frame = network_rows(("tanh",), gains=(0.5, 2.0), seeds=seeds, **options)
    return frame.assign(theory_log10_act_rms=1.0, log10_act_rms=1.0 + offset + frame["seed"] / 10)


def test_a_deviation_is_the_mean_less_the_prediction_in_standard_errors():
    table = deviations(told(offset=0.5))
    assert len(table) == 2 * 4
    assert list(table.columns[-6:]) == ["measured", "predicted", "difference", "standard_error", "z", "n_seeds"]
    assert "seed" not in table
    error = np.std([0, 0.1, 0.2, 0.3], ddof=1) / 2
    np.testing.assert_allclose(table["difference"], 0.65)
    np.testing.assert_allclose(table["standard_error"], error)
    np.testing.assert_allclose(table["z"], 0.65 / error)
    assert set(table["n_seeds"]) == {4}


def test_noise_alone_has_z_of_about_one():
    frame = told(seeds=tuple(range(40)), depths=tuple(range(1, 51)))
    noise = np.random.default_rng(1).normal(size=len(frame))
    z = deviations(frame.assign(log10_act_rms=1 + noise))["z"]
    # The variance of Student's t with 39 degrees of freedom, of 100 points.
    expected = 39 / 37
    assert abs(np.mean(z**2) - expected) < 5 * expected * np.sqrt(2 / len(z))


def test_one_seed_has_no_error_and_equal_seeds_only_that_of_rounding():
    table = deviations(told(offset=0.5, seeds=(0,)))
    assert table[["standard_error", "z"]].isna().all(axis=None)
    np.testing.assert_allclose(table["difference"], 0.5)
    equal = deviations(told().assign(log10_act_rms=1.0 + 2e-7))
    np.testing.assert_allclose(equal["z"], 0.2, rtol=1e-6)


def test_points_without_a_prediction_have_no_row_and_lost_networks_do_not_count():
    frame = told()
    frame.loc[frame["gain"] > 1, "theory_log10_act_rms"] = np.nan
    frame.loc[(frame["depth"] == 1) & (frame["seed"] == 0), "log10_act_rms"] = np.inf
    table = deviations(frame)
    assert set(table["gain"]) == {0.5}
    assert table.set_index("depth")["n_seeds"].to_dict() == {1: 3, 2: 4, 3: 4, 4: 4}


@pytest.mark.parametrize(
    ("column", "changes", "sentence"),
    [
        ("saturated", {}, "'saturated' has no prediction. Columns with one: log10_act_rms, input_correlation"),
        ("log10_jacobian", {}, "This table lacks log10_jacobian and theory_log10_jacobian."),
        ("log10_act_rms", {"theory_log10_act_rms": np.nan}, "mean field makes no prediction for these networks"),
        ("log10_act_rms", {"log10_act_rms": np.nan}, "log10_act_rms is empty in this table: the run did not measure"),
    ],
)
def test_tables_that_cannot_be_compared_get_a_sentence(column, changes, sentence):
    with pytest.raises(ValueError, match=r"lacks|prediction|empty") as caught:
        deviations(told().assign(**changes), column)
    assert sentence in str(caught.value)


def test_a_map_of_deviations_is_diverging_about_zero():
    frame = told(offset=-0.5)
    frame.loc[frame["depth"] == 4, "theory_log10_act_rms"] = np.nan
    figure = deviation_map(frame, x="gain", y="depth")
    (mesh,) = meshes(figure)
    assert mesh.norm.vmin == -mesh.norm.vmax == pytest.approx(-0.35)
    np.testing.assert_allclose(mesh.get_array().reshape(4, 2)[:3], -0.35)
    assert legend(figure) == ["not defined"]
    assert "mean of 4 seeds" in said(figure)
    assert figure.axes[-1].get_ylabel() == "measured − mean field"


def test_a_map_of_z_reaches_as_far_as_chance_so_that_noise_is_pale():
    frame = told().assign(log10_act_rms=lambda rows: 1 + (rows["seed"] - 1.4) / 10)
    figure = deviation_map(frame, show="z")
    assert meshes(figure)[0].norm.vmax == pytest.approx(student_quantile(0.975, 3))
    assert "few seeds" not in said(figure)
    with pytest.raises(ValueError, match="show = 'z' needs two seeds or more"):
        deviation_map(told(seeds=(0,)), show="z")
    with pytest.raises(ValueError, match="show = 'ratio' is not one of difference, z"):
        deviation_map(frame, show="ratio")


@pytest.mark.parametrize(("seeds", "chance"), [(2, 12.7), (3, 4.3)])
def test_z_of_fewer_than_four_seeds_says_how_large_it_is_by_chance(seeds, chance):
    frame = told(seeds=tuple(range(seeds)))
    words = said(deviation_map(frame, show="z"))
    assert f"few seeds: of {seeds} seeds one |z| in twenty is above {chance} by chance" in words
    assert "few seeds" not in said(deviation_map(frame))


@pytest.fixture(scope="module")
def critical():
    return mean_field(("tanh", "relu"), GAINS, (0.0,))


@pytest.fixture(scope="module")
def networks():
    frame = network_rows(("tanh", "relu", "selu"), gains=GAINS, depths=tuple(range(1, 21)), seeds=(0,))
    return frame.assign(log10_jacobian=frame["log10_act_rms"])


def test_the_critical_gain_is_a_line_in_every_panel_that_the_theory_knows(networks, critical):
    figure = heatmap(networks, "saturated", mean_field=critical)
    at = [[line.get_xdata()[0] for line in wide_lines(axes, 1.6)] for axes in figure.axes[:3]]
    assert at[0] == pytest.approx([1.0], rel=0.03)
    assert at[1] == pytest.approx([np.sqrt(2)], rel=1e-6)
    assert at[2] == []
    assert legend(figure) == ["mean field: χ₁ = 1"]
    assert legend(heatmap(networks, "saturated")) == []


def test_against_depth_gradients_have_contours_of_their_depth_scale(networks, critical):
    figure = heatmap(networks, "log10_jacobian", mean_field=critical)
    assert legend(figure) == ["mean field: χ₁ = 1", "depth = ξ = 1 / |ln χ₁|", "3 ξ", "6 ξ"]
    relu = wide_lines(figure.axes[1], 0.8)
    assert len(relu) == 3
    for factor, line in zip((1, 3, 6), relu, strict=True):
        gain, depth = line.get_data()
        inside = (depth < 20) & (np.abs(np.log(gain**2 / 2)) > 0.01)
        np.testing.assert_allclose(depth[inside], factor / np.abs(np.log(gain[inside] ** 2 / 2)), rtol=0.01)
    assert figure.axes[1].get_ylim() == (0.5, 20.5)


def test_correlations_have_the_scale_of_the_correlation_and_signals_none(networks, critical):
    assert legend(heatmap(networks, "input_correlation", mean_field=critical))[1] == "depth = ξ of the correlation"
    assert legend(heatmap(networks, "log10_act_rms", mean_field=critical)) == ["mean field: χ₁ = 1"]


def test_over_std_the_line_stands_at_the_std_of_the_critical_gain(networks, critical):
    figure = heatmap(networks, "saturated", x="std", mean_field=critical)
    assert wide_lines(figure.axes[1], 1.6)[0].get_xdata()[0] == pytest.approx(np.sqrt(2 / 100))


def test_over_gain_and_bias_the_line_is_a_curve_and_the_axes_may_be_swapped():
    biases = (0.0, 0.3, 0.6)
    frame = network_rows(("tanh",), gains=GAINS, biases=biases, depths=(5,), seeds=(0,))
    table = mean_field(("tanh",), GAINS, biases)
    (curve,) = wide_lines(heatmap(frame, "saturated", x="gain", y="bias_std", mean_field=table).axes[0], 1.6)
    assert (np.diff(curve.get_xdata()) > 0).all()
    np.testing.assert_allclose(curve.get_ydata(), [-0.15, *biases, 0.75])  # as far as the frame
    (swapped,) = wide_lines(heatmap(frame, "saturated", x="bias_std", y="gain", mean_field=table).axes[0], 1.6)
    np.testing.assert_allclose(swapped.get_ydata(), curve.get_xdata())
    none = table.assign(critical_gain=np.nan)
    contour = heatmap(frame, "saturated", x="gain", y="bias_std", mean_field=none)
    assert legend(contour) == ["mean field: χ₁ = 1"]


def test_panels_of_bias_have_their_own_critical_gain():
    frame = network_rows(("tanh",), gains=GAINS, biases=(0.0, 0.5), depths=(1, 5, 9), seeds=(0,))
    figure = heatmap(frame, "saturated", col="bias_std", mean_field=mean_field(("tanh",), GAINS, (0.0, 0.5)))
    zero, half = (wide_lines(axes, 1.6)[0].get_xdata()[0] for axes in figure.axes[:2])
    assert zero < 1.05 < 1.4 < half


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization": "batch"},
        {"init": "constant"},
        {"init": "zeros"},
        {"block": "residual", "skip_scale": 1.0},
        {"block": "mlp(4)"},
        {"branch_scale": 0.5},
    ],
)
def test_networks_that_the_theory_does_not_speak_of_have_no_lines(networks, critical, changes):
    assert legend(heatmap(networks.assign(**changes), "saturated", mean_field=critical)) == []


def test_profiles_draw_the_prediction_dashed_in_a_darker_shade_of_its_line():
    frame = network_rows(("tanh",), gains=(0.5, 1.0, 2.0)).rename(columns={"depth": "layer"}).assign(depth=4)
    figure = profiles(with_theory(frame, layer="layer"), "log10_jacobian")
    drawn = [line for line in figure.axes[0].lines if line.get_linewidth() > 0.7]
    assert len(drawn) == 6
    assert [str(darker(line.get_color())) for line in drawn[::2]] == [str(line.get_color()) for line in drawn[1::2]]
    assert legend(figure) == ["0.5", "1", "2", "mean field"]
    empty = with_theory(frame, layer="layer").assign(theory_log10_jacobian=np.nan)
    assert legend(profiles(empty, "log10_jacobian")) == ["0.5", "1", "2"]


def test_chi_is_diverging_about_one_and_zero_is_at_the_end():
    rows = network_rows(("tanh",), gains=GAINS, seeds=(0,)).assign(chi=lambda frame: frame["gain"] ** 2)
    rows.loc[rows["gain"] < 0.3, "chi"] = 0.0
    (mesh,) = meshes(heatmap(rows, "chi"))
    assert mesh.norm.vmin * mesh.norm.vmax == pytest.approx(1)
    assert np.allclose(mesh.cmap.get_bad(), mesh.cmap(0.0))


def two_attractors(jump=1.3, start=None):
    """chi1 = 0.3 gain^2 below the jump and 0.6 gain^2 above it, as of gelu, at the gains of GAINS."""
    gains = np.array(GAINS, float)
    below = gains < jump
    table = {
        "activation": "gelu",
        "gain": gains,
        "bias_std": 0.0,
        "q_star": np.where(below, 0.0, np.inf),
        "c_star": 1.0,
        "chi1": np.where(below, 0.3, 0.6) * gains**2,
        "xi_q": np.nan,
        "xi_c": np.inf,
        "critical_gain": np.nan,
        "jump_gain": np.where(below, jump, np.nan),
    }
    return pd.DataFrame(table | ({} if start is None else {"start": start * gains**2}))


def test_a_jump_of_chi_is_a_dashed_line_and_no_contour_crosses_it():
    frame = network_rows(("gelu",), gains=GAINS, depths=tuple(range(1, 21)), seeds=(0,))
    figure = heatmap(frame.assign(log10_jacobian=0.1), "log10_jacobian", mean_field=two_attractors())
    (jump,) = wide_lines(figure.axes[0], 1.6)
    assert jump.get_xdata()[0] == pytest.approx(1.3)
    assert jump.get_linestyle() == "--"
    assert legend(figure)[0] == "mean field: χ₁ jumps past 1"
    contours = wide_lines(figure.axes[0], 0.8)
    assert contours
    for line in contours:
        gain = line.get_xdata()
        assert gain.max() <= 1.3 * (1 + 1e-12) or gain.min() >= 1.3 * (1 - 1e-12)


def test_a_critical_curve_ends_where_a_jump_begins():
    biases, gains = (0.0, 0.2, 0.4, 0.6), np.array(GAINS, float)
    parts = []
    for bias in biases:
        part = two_attractors(1.3 - bias / 10).assign(bias_std=bias)
        parts.append(part if bias < 0.3 else part.assign(critical_gain=1.25, jump_gain=np.nan))
    frame = network_rows(("gelu",), gains=tuple(gains), biases=biases, depths=(5,), seeds=(0,))
    figure = heatmap(frame, "saturated", x="gain", y="bias_std", mean_field=pd.concat(parts))
    solid, dashed = wide_lines(figure.axes[0], 1.6)
    # Both reach half way to each other, and to the frame at their other end.
    begins, ends = (at[np.isfinite(line.get_xdata())] for line in (solid, dashed) for at in [line.get_ydata()])
    np.testing.assert_allclose(begins, [0.3, 0.4, 0.6, 0.7])
    np.testing.assert_allclose(ends, [-0.1, 0.0, 0.2, 0.3])
    np.testing.assert_allclose(dashed.get_xdata()[1:3], [1.3, 1.28])
    assert legend(figure) == ["mean field: χ₁ = 1", "mean field: χ₁ jumps past 1"]


def test_a_panel_has_the_line_of_its_own_start():
    frame = network_rows(("gelu",), gains=GAINS, depths=(1, 5, 9), seeds=(0,))
    other = two_attractors(1.7, start=0.2)
    other = other.assign(gain=other["gain"] * 1.37, start=other["start"] * 1.37**2)
    table = pd.concat([two_attractors(1.3, start=1.0), other])
    (jump,) = wide_lines(heatmap(frame, "saturated", mean_field=table).axes[0], 1.6)
    assert jump.get_xdata()[0] == pytest.approx(1.3)
    unclear = pd.concat([two_attractors(1.3, start=1.0), two_attractors(1.7, start=0.2)])
    assert wide_lines(heatmap(frame, "saturated", mean_field=unclear).axes[0], 1.6) == []
