"""Figures as files: which are drawn for a run, how they are named, and sentences for what cannot be drawn."""

import matplotlib.pyplot as plt
import pytest

from support.drawn import legend
from support.folders import commit
from support.meanfield import mean_field, with_theory
from support.tables import bin_rows, gradient_rows, layer_rows, network_rows, write_run
from winit_jax.analysis import PlotError, plot, standard_figures
from winit_jax.analysis.figures import files as figures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run with all tables. Figures of the tests go elsewhere."""
    frame = network_rows(seeds=(0, 1), depths=(1, 2, 3))
    grid = {"gain": [0.1, 1.0, 10.0], "activation": ["tanh", "relu"], "depth": "int:1:3"}
    return write_run(tmp_path_factory.mktemp("run") / "run", frame, layer_rows(frame), bin_rows(frame), **grid)


def heatmap_of(monkeypatch, run, tmp_path, **options):
    """The heatmaps that plot makes, by file name, with what they were asked for."""
    made = {}

    def keep(figure, folder, name, fmt, file_name=None):
        made[name] = figure
        return folder / name

    monkeypatch.setattr(figures, "save", keep)
    plot(run, "heatmap", out=tmp_path, **options)
    return made


def test_points_that_a_sweep_still_lacks_are_hatched_in_its_figures(monkeypatch, tmp_path):
    path = write_run(tmp_path / "part", network_rows(depths=(1, 2)), gain=[0.1, 1.0, 10.0], depth="int:1:4")
    (figure,) = heatmap_of(monkeypatch, path, tmp_path).values()
    assert legend(figure) == ["not run"]
    (kept,) = heatmap_of(monkeypatch, path, tmp_path, where={"depth": ["1", "2"]}).values()
    assert legend(kept) == []


def test_schemes_have_their_own_figure_without_cells_that_nobody_asked_for(monkeypatch, tmp_path):
    frame = network_rows(inits=("normal", "he_normal"))
    path = write_run(tmp_path / "mixed", frame, gain=[0.1, 1.0, 10.0], init=["normal", "he_normal"], depth="int:1:4")
    made = heatmap_of(monkeypatch, path, tmp_path)
    assert list(made) == ["heatmap-log10_act_rms", "heatmap-log10_act_rms-schemes"]
    assert [legend(figure) for figure in made.values()] == [[], ["one seed", "median of seeds"]]


def test_standard_figures_are_capped_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "MAX_STANDARD", 1)
    frame = network_rows(activations=("tanh",), widths=(10, 20), biases=(0.0, 0.1), inits=("normal", "orthogonal"))
    with pytest.warns(UserWarning, match="choose others") as said:
        paths = standard_figures(write_run(tmp_path / "run", frame))
    assert [path.name for path in paths] == ["vanishing-exploding-width-10.png", "saturation-width-10.png"]
    assert str(said[0].message) == (
        "Drew 1 of 2 figures vanishing-exploding-width-10, vanishing-exploding-width-20, ...; "
        "choose others with `winit plot` and --where."
    )


def test_a_column_that_cannot_be_drawn_leaves_the_other_figures(tmp_path):
    said = []
    run = write_run(tmp_path / "run", network_rows(activations=("tanh",)).assign(saturated=float("nan")))
    assert [path.name for path in standard_figures(run, report=said.append)] == ["vanishing-exploding.png"]
    assert said == ["No figure saturation: saturated is empty in this table: the run did not measure it."]


@pytest.mark.parametrize(("fmt", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_each_format_is_written_whole_and_the_same_twice(run, tmp_path, fmt, magic):
    first, second = (plot(run, "heatmap", out=tmp_path / f"{name}.{fmt}")[0] for name in "ab")
    assert first.read_bytes().startswith(magic)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"a.{fmt}", "a.txt", f"b.{fmt}", "b.txt"])
    assert not plt.get_fignums()


def test_a_folder_as_out_takes_every_figure(run, tmp_path):
    names = [path.name for path in plot(run, "histograms", out=tmp_path)]
    assert names == ["histograms-tanh.png", "histograms-relu.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*names, "histograms-tanh.txt", "histograms-relu.txt"]
    )


def test_profiles_take_panels_and_a_value(run, tmp_path):
    assert plot(run, "profiles", value="saturated", out=tmp_path / "p.png") == [tmp_path / "p.png"]
    names = [path.name for path in plot(run, "profiles", col="gain", out=tmp_path)]
    assert names == ["profiles-log10_act_rms.png"]  # activations are lines, as nothing else varies


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("saturated", "heatmap-saturated"),
        ("log10_weight_grad_rms", "profiles-log10_weight_grad_rms"),
        ("log10_preact_grad_growth", "gradients-log10_preact_grad_growth"),
    ],
)
def test_a_column_without_a_kind_is_drawn_by_the_kind_that_shows_it(measured, tmp_path, value, name):
    assert plot(measured, value=value, out=tmp_path) == [tmp_path / f"{name}.png"]


def test_places_without_a_kind_make_a_heatmap_and_an_unknown_column_a_sentence(run, tmp_path):
    assert plot(run, col="activation", out=tmp_path) == [tmp_path / "heatmap-log10_act_rms.png"]
    assert plot(run, value="saturated", out=tmp_path / "d.svg") == [tmp_path / "d.svg"]
    with pytest.raises(PlotError, match=r"value: 'saturatd' is not known\. Did you mean 'saturated'\?"):
        plot(run, value="saturatd")


def test_figures_of_some_rows_have_names_of_their_own(run, tmp_path):
    paths = plot(run, "heatmap", where={"activation": ["tanh"], "gain": ["1e-1", "10"]}, out=tmp_path)
    assert [path.name for path in paths] == ["heatmap-log10_act_rms-activation-tanh-gain-0.1+10.png"]
    whole = plot(run, "heatmap", out=tmp_path)
    assert [path.name for path in whole] == ["heatmap-log10_act_rms.png"]
    assert plot(run, "heatmap", where={"activation": ["tanh"]}, out=tmp_path / "a.png") == [tmp_path / "a.png"]


def test_the_name_of_a_figure_of_many_values_is_cut(tmp_path):
    gains = tuple(1.0 + i / 7 for i in range(60))
    frame = network_rows(("tanh",), gains=gains, depths=(1, 2), seeds=(0,))
    path = write_run(tmp_path / "run", frame)
    names = {
        plot(path, "heatmap", where={"gain": [str(gain) for gain in some]}, out=tmp_path)[0].name
        for some in (gains[:50], gains[:51])
    }
    assert len(names) == 2
    assert all(len(name) < 120 for name in names)


def test_standard_figures_show_what_was_kept_where_they_were_asked_for(run, tmp_path):
    paths = plot(run, where={"activation": ["tanh"], "depth": ["1", "2"]}, out=tmp_path / "new", fmt="svg")
    suffix = "-activation-tanh-depth-1+2.svg"
    assert [path.name for path in paths][:2] == [f"vanishing-exploding{suffix}", f"saturation{suffix}"]
    assert {path.parent for path in paths} == {tmp_path / "new"}
    with pytest.raises(PlotError, match="where: 'gian' is not known"):
        plot(run, where={"gian": ["1"]})


def test_standard_figures_of_some_rows_have_panels_for_these_alone(monkeypatch, run):
    made = {}
    monkeypatch.setattr(figures, "save", lambda figure, folder, name, fmt: made.setdefault(name, figure) and folder)
    plot(run, where={"activation": ["tanh"], "depth": ["1", "2"]})
    figure = made["vanishing-exploding-activation-tanh-depth-1+2"]
    assert len(figure.axes) == 2  # a panel and the colour bar
    assert legend(figure) == []  # nothing of what was asked for is missing


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"out": "x.jpeg"}, "--out x.jpeg: a figure is written as png, svg, pdf, not .jpeg."),
        ({"out": "x.pdf", "fmt": "svg"}, "--out x.pdf asks for pdf and --format for svg: give one of them."),
        ({"out": "x.pdf", "fmt": "jpg"}, "format: 'jpg' is not known."),
        ({"out": "x.pdf", "kind": None}, "--out names one file, and the standard figures are several: name a kind,"),
    ],
)
def test_where_a_figure_goes_decides_its_format_or_gets_a_sentence(run, monkeypatch, tmp_path, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlotError) as caught:
        plot(run, **{"kind": "heatmap"} | options)
    assert sentence in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_name_without_an_ending_is_a_folder(run, tmp_path):
    assert plot(run, "heatmap", out=tmp_path / "new") == [tmp_path / "new" / "heatmap-log10_act_rms.png"]
    assert plot(run, "heatmap", out=tmp_path / "A.PDF")[0].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "histogram"}, "kind: 'histogram' is not known. Did you mean 'histograms'? Known: heatmap,"),
        ({"kind": "heatmap", "value": "saturatd"}, "Did you mean 'saturated'?"),
        ({"kind": "heatmap", "value": "chi"}, "chi is empty in this table: the run did not measure it."),
        ({"kind": "histograms", "x": "gain"}, "histograms take no x; keep values with --where."),
        ({"kind": "profiles", "row": "init", "y": "gain"}, "profiles take no y, row"),
        ({"kind": "profiles", "seeds": "max"}, "so seeds = 'max' has no place in them"),
        ({"kind": "profiles", "value": "layer"}, "value: 'layer' is not known."),
        ({"kind": "heatmap", "where": {"gian": ["1"]}}, "where: 'gian' is not known. Did you mean 'gain'?"),
        ({"kind": "heatmap", "where": {"gain": ["nan"]}}, "nan is not there"),
        ({"kind": "heatmap", "where": {"gain": []}}, "no network has all of these"),
    ],
)
def test_what_cannot_be_drawn_gets_a_sentence(run, options, sentence):
    with pytest.raises(PlotError) as caught:
        plot(run, **options)
    assert sentence in str(caught.value)


def test_a_place_that_cannot_be_written_gets_a_sentence(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlotError, match="cannot be written"):
        plot(run, "heatmap", out=tmp_path / "file" / "figure.png")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with everything measured and predicted."""
    options = {"activations": ("tanh",), "gains": (0.5, 1.0, 2.0), "seeds": (0, 1)}
    frame = with_theory(network_rows(**options))
    frame = frame.assign(sv_min=0.5, sv_median=1.0, sv_max=2.0)
    gradients = gradient_rows(**options)
    grid = {"gain": [0.5, 1.0, 2.0], "depth": "int:1:4"}
    deepest = gradients[gradients["depth"] == 4]
    path = write_run(tmp_path_factory.mktemp("measured") / "run", frame, deepest.assign(log10_act_rms=0.0), **grid)
    tables = {
        "gradients": gradients,
        "gradient_histograms": bin_rows(network_rows(**options)).assign(log10_preact_grad_rms=-3.0),
        "mean_field": mean_field(("tanh",), (0.5, 1.0, 2.0)),
    }
    for name, table in tables.items():
        (path / name).mkdir()
        table.to_parquet(path / name / "part-0.parquet", index=False)
    return commit(path)


def test_standard_figures_show_gradients_and_singular_values_where_they_were_measured(measured):
    assert [path.name for path in standard_figures(measured)] == [
        "vanishing-exploding.png",
        "saturation.png",
        "jacobian.png",
        "gradients.png",
        "gradient-histograms-tanh.png",
        "profiles.png",
        "profiles-gradients.png",
        "isometry.png",
    ]


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("regimes", {"x": "gain", "y": "depth"}, "regimes"),
        ("deviations", {}, "deviations-log10_act_rms"),
        ("deviations", {"value": "input_correlation", "x": "gain"}, "deviations-input_correlation"),
        ("z-scores", {"value": "log10_jacobian"}, "z-scores-log10_jacobian"),
        ("gradients", {}, "gradients-log10_preact_grad_growth"),
        ("gradients", {"value": "log10_weight_grad_rms", "seeds": "max"}, "gradients-log10_weight_grad_rms"),
        ("gradient-histograms", {"where": {"gain": ["1"]}}, "gradient-histograms-tanh-gain-1"),
        ("isometry", {"row": "gain"}, "isometry"),
        ("profiles", {"value": "log10_weight_grad_rms"}, "profiles-log10_weight_grad_rms"),
    ],
)
def test_each_kind_of_figure_is_drawn_by_name(measured, tmp_path, kind, options, name):
    assert plot(measured, kind, out=tmp_path, **options) == [tmp_path / f"{name}.png"]


def test_critical_lines_are_drawn_where_the_run_has_mean_field(monkeypatch, measured, tmp_path):
    (figure,) = heatmap_of(monkeypatch, measured, tmp_path).values()
    assert legend(figure) == ["mean field: χ₁ = 1"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "regimes", "value": "chi"}, "regimes take no value"),
        ({"kind": "deviations", "value": "saturated"}, "value: 'saturated' is not known."),
        ({"kind": "deviations", "seeds": "max"}, "deviations show the mean of seeds, so seeds = 'max' has no place"),
        ({"kind": "deviations"}, "This table lacks theory_log10_act_rms."),
        ({"kind": "isometry", "x": "gain"}, "isometry take no x"),
        ({"kind": "isometry"}, "Singular values are not measured in this table."),
        ({"kind": "gradients"}, "has no gradients table: its sweep does not measure it."),
        ({"kind": "gradient-histograms"}, "has no gradient_histograms table: its sweep does not measure it."),
    ],
)
def test_kinds_that_a_run_has_no_columns_for_get_a_sentence(run, options, sentence):
    with pytest.raises(PlotError) as caught:
        plot(run, **options)
    assert sentence in str(caught.value)


def theory_run(path):
    rows = with_theory(network_rows(("tanh", "relu"), gains=(0.5, 1.0, 2.0), seeds=(0,)))
    keys = ["activation", "init", "std", "gain", "bias_std", "normalization", "depth"]
    write_run(path, gain=[0.5, 1.0, 2.0], depth="int:1:4", width="inf", seed="int:0:3")
    (path / "theory").mkdir()
    columns = [*keys, *(name for name in rows if name.startswith("theory_")), "chi"]
    rows.assign(std=float("nan"))[columns].to_parquet(path / "theory" / "part-0.parquet", index=False)
    return commit(path)


def test_a_run_at_infinite_width_has_heatmaps_of_its_predictions(tmp_path, monkeypatch):
    path = theory_run(tmp_path / "run")
    names = [each.name for each in standard_figures(path)]
    assert names == ["theory-vanishing-exploding.png", "theory-jacobian.png", "theory-correlation.png"]
    made = heatmap_of(monkeypatch, path, tmp_path, value="chi", where={"activation": ["relu"]})
    assert list(made) == ["heatmap-chi-activation-relu"]
    assert made["heatmap-chi-activation-relu"].caption.split("\n")[1:3] == [
        "Sweep: A sweep.",
        "Held fixed: init normal, bias std 0, activation relu.",
    ]
    with pytest.raises(PlotError, match="where: 'seed' is not known"):
        plot(path, "heatmap", where={"seed": ["0"]})
