"""What every kind of figure in the catalog holds to: a new record is tested by being there."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from support.drawn import legend, outside, said
from support.folders import commit
from support.meanfield import mean_field, with_theory
from support.tables import as_table as table_of
from support.tables import bin_rows, gradient_rows, keys, network_rows, write_run
from winit_jax.analysis import PlotError, Run, load, plot
from winit_jax.analysis.figures import KINDS, files, style
from winit_jax.analysis.figures import catalog as records
from winit_jax.analysis.figures.catalog import PLACES, kind_of
from winit_jax.analysis.figures.places import RULES
from winit_jax.analysis.statistics.regimes import REGIMES

GAINS = (0.5, 1.0, 2.0)


def write(path, **tables):
    for name, table in tables.items():
        (path / name).mkdir(exist_ok=True)
        table.to_parquet(path / name / "part-0.parquet", index=False)
    return commit(path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run with everything measured, of which one network overflowed and one point is missing."""
    options = {"activations": ("tanh", "relu"), "gains": GAINS, "seeds": (0, 1)}
    frame = with_theory(network_rows(**options)).assign(sv_min=0.5, sv_median=1.0, sv_max=2.0)
    frame.loc[(frame["gain"] == 2) & (frame["depth"] == 4) & (frame["seed"] == 0), "nonfinite"] = 1.0
    frame = frame[~((frame["gain"] == 1) & (frame["depth"] == 2))]
    gradients = gradient_rows(**options)
    path = tmp_path_factory.mktemp("measured") / "run"
    deepest = gradients[gradients["depth"] == 4].assign(log10_act_rms=0.0, log10_preact_rms=0.0)
    write_run(path, frame, deepest, bin_rows(network_rows(**options)), gain=list(GAINS), depth="int:1:4")
    small = bin_rows(network_rows(**options)).assign(log10_preact_grad_rms=-3.0)
    fixed = mean_field(("tanh", "relu"), GAINS)
    return load(write(path, gradients=gradients, gradient_histograms=small, mean_field=fixed))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose networks were trained, of which some diverged."""
    rows, steps = [], []
    for init, std in (("normal", 0.01), ("he_normal", 0.14)):
        for depth in (2, 4):
            for rate in (0.1, 1.0):
                for seed in (0, 1):
                    gone = rate == 1.0 and depth == 4
                    point = keys(init=init, std=std, gain=10 * std, depth=depth, seed=seed, learning_rate=rate)
                    numbers = {"test_accuracy": None if gone else 0.5, "diverged_at": 10 if gone else None}
                    rows.append(point | {"log10_act_rms": 0.1, "saturated": 0.2, "nonfinite": 0.0} | numbers)
                    for step in (0, 10, 20):
                        loss = None if gone and step else 2.3 - step / 20
                        accuracies = dict.fromkeys(("train_accuracy", "test_accuracy"), 0.5)
                        steps.append(point | {"step": step, "train_loss": loss, "test_loss": loss} | accuracies)
    path = tmp_path_factory.mktemp("trained") / "run"
    write_run(path, table_of(rows), std=[0.01, 0.14], depth=[2, 4], init=["normal", "he_normal"])
    return load(write(path, training=table_of(steps)))


@pytest.fixture(params=KINDS)
def kind(request):
    return kind_of(request.param)


@pytest.fixture(scope="module")
def made():
    """Figures by kind, each drawn once."""
    return {}


@pytest.fixture
def run(kind, measured, trained):
    """A run that has what a kind of figure needs."""
    return trained if kind.learnt else measured


@pytest.fixture
def figure(kind, run, made):
    """The figure of a kind, of one activation or kind of init where it makes several."""
    if kind.name not in made:
        where = {"activation": "tanh"} if kind.named_by else {"init": "normal"}
        made[kind.name] = run.plot(kind.name, where=where)
    return made[kind.name]


def test_a_kind_is_drawn_and_nothing_reaches_beyond_its_page(figure):
    assert isinstance(figure, Figure)
    assert outside(figure) == []


def test_a_kind_has_a_title_and_says_what_its_axes_are(figure):
    title = figure.get_suptitle()
    assert title
    assert "\n" not in title
    assert figure.caption.startswith(f"{title.partition(' · ')[0]}")
    assert "Sweep: A sweep." in figure.caption.split("\n")
    of_panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert any(axes.get_xlabel() for axes in of_panels)
    first = [axes for axes in of_panels if axes.get_subplotspec().is_first_col()]
    assert figure.get_supylabel() or all(axes.get_ylabel() for axes in first)
    assert all(axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>")


def test_every_hatch_and_only_those_is_in_the_legend(figure):
    colors = {name: (look["hatch"], to_rgba(look["facecolor"])) for name, look in style.HATCHES.items()}
    drawn = {
        (patch.get_hatch(), tuple(patch.get_facecolor()))
        for axes in figure.axes
        for patch in axes.patches
        if patch.get_hatch()
    }
    words = {style.HATCH_WORDS[name] for name, color in colors.items() if color in drawn}
    assert words == set(legend(figure)) & set(style.HATCH_WORDS.values())
    assert len(words) == len(drawn)


def test_a_kind_says_what_is_missing(kind, tmp_path):
    path = write_run(tmp_path / "run", network_rows(("tanh",)), gain=[0.1, 1.0, 10.0])
    if kind.table == "networks" and not (kind.needs or kind.values):
        assert isinstance(load(path).plot(kind.name), Figure)
        return
    with pytest.raises(PlotError) as caught:
        load(path).plot(kind.name)
    if kind.table != "networks":
        assert f"has no {kind.table} table: its sweep does not measure it. {kind.missing}" in str(caught.value)
        assert kind.missing
    elif kind.needs:
        assert str(caught.value) == kind.needs[0].sentence
    else:
        assert "This table lacks theory_log10_act_rms" in str(caught.value)


def test_a_kind_refuses_what_it_has_no_use_for(kind, run):
    for place in set(PLACES) - set(kind.places):
        with pytest.raises(PlotError, match=f"{kind.name} take no {place}"):
            run.plot(kind.name, **{place: "gain"})
    if kind.value is None:
        with pytest.raises(PlotError, match=f"{kind.name} take no value"):
            run.plot(kind.name, "saturated")
    if kind.pools:
        with pytest.raises(PlotError, match="so seeds = 'max' has no place in them"):
            run.plot(kind.name, seeds="max")


def test_a_wrong_column_or_kind_gets_the_nearest_right_word(kind, run):
    if kind.value:
        with pytest.raises(PlotError, match=f"Did you mean '{kind.value}'"):
            run.plot(kind.name, kind.value[:-1])
    with pytest.raises(PlotError, match=f"Did you mean .*'{kind.name}'"):
        run.plot(f"{kind.name[:-2]}{kind.name[-1]}{kind.name[-2]}")


def test_a_record_is_whole(kind):
    assert callable(resolve_name(kind.draw))
    assert kind.arrangement in RULES
    assert set(kind.places) <= set(PLACES)
    assert kind.shows.endswith(".")
    assert not (kind.prepare and not callable(resolve_name(kind.prepare)))
    assert callable(getattr(Run, kind.method))
    assert kind.shows in getattr(Run, kind.method).__doc__


def test_the_method_of_a_run_is_the_kind(kind, run, figure):
    where = {"activation": "tanh"} if kind.named_by else {"init": "normal"}
    method = getattr(run, kind.method)(where=where)
    assert said(method) == said(figure)
    assert legend(method) == legend(figure)
    assert [axes.get_ylabel() for axes in method.axes] == [axes.get_ylabel() for axes in figure.axes]


def test_a_standard_figure_is_drawn_of_a_run_that_has_all(measured, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "save", lambda figure, folder, name, fmt: folder / name)
    for run, learnt in ((measured, False), (trained, True)):
        names = {path.name for path in run.standard_figures(out=tmp_path, report=pytest.fail)}
        for kind in records.KINDS:
            for each in kind.standard:
                if kind.learnt == learnt and not each.of_theory:
                    assert any(name.startswith(each.file) for name in names), (each.file, names)


def test_the_catalog_is_listed_without_anything_heavy():
    script = (
        "import sys\nfrom winit_jax.analysis.figures.catalog import listing\nprint(listing())\n"
        "print(sorted({'jax', 'pandas', 'seaborn', 'matplotlib', 'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.splitlines()
    assert lines[-1] == "[]"
    assert [line.split()[0] for line in lines[:-1]] == list(KINDS)


def test_an_unknown_kind_gets_the_nearest_right_word_wherever_it_is_typed(measured):
    sentence = r"kind: 'heatmaps' is not known\. Did you mean 'heatmap'\? Known: heatmap, gradients"
    with pytest.raises(PlotError, match=sentence):
        measured.plot("heatmaps")
    with pytest.raises(PlotError, match=sentence):
        plot(measured.path, "heatmaps")


def test_the_legend_of_regimes_names_each_that_is_there(measured):
    assert set(legend(measured.regime_map())) & set(REGIMES) == {*measured.regimes()["regime"]}
