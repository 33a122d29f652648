"""A run as an object: columns read alone, conditions as values, what it keeps alive, and what it says of itself."""

import gc
import tempfile
import weakref
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from support.drawn import meshes, said
from support.tables import KEYS, bin_rows, layer_rows, network_rows, write_run
from winit_jax.analysis import PlotError, RunFolderError, load


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    frame = network_rows(seeds=(0, 1), depths=(1, 2, 3))
    grid = {"gain": [0.1, 1.0, 10.0], "activation": ["tanh", "relu"], "depth": "int:1:3"}
    return load(write_run(tmp_path_factory.mktemp("run") / "run", frame, layer_rows(frame), bin_rows(frame), **grid))


def test_some_columns_of_a_table_are_read_without_the_rest(run):
    frame = run.read("networks", columns=["saturated"])
    assert list(frame) == [*KEYS, "saturated"]
    assert len(frame) == len(run.networks)
    assert frame.attrs == run.networks.attrs
    assert list(run.read("histograms", columns=[])) == [*KEYS, "layer", "bin_low", "bin_high", "count"]
    assert "log10_act_rms" in run.read("layers")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("network",), "'network' is not a table. Did you mean 'networks'?"),
        (("training",), "has no training table."),
        (("networks", ["saturatd"]), "networks has no column saturatd. Did you mean 'saturated'?"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(run, words, sentence):
    with pytest.raises(RunFolderError) as caught:
        run.read(*words)
    assert sentence in str(caught.value)


def test_a_table_is_kept_once_it_was_asked_for(run):
    assert run.networks is run.networks
    assert run.read("networks") is not run.networks


def test_conditions_are_values_or_lists_of_them(run):
    one = run.heatmap("saturated", where={"gain": [0.1, 10], "activation": "tanh"})
    assert meshes(one)[0].get_array().shape == (3, 2)
    assert "activation tanh" in said(one)
    assert len(meshes(run.heatmap("saturated", where={"depth": 2}, y="seed"))) == 2


def test_a_figure_is_returned_and_nothing_is_written(run):
    before = sorted(run.path.rglob("*"))
    assert run.heatmap().axes
    assert run.activation_histograms(where={"activation": "relu"}).axes
    assert sorted(run.path.rglob("*")) == before
    assert not plt.get_fignums()


def test_keys_that_would_make_several_figures_are_named(run):
    with pytest.raises(PlotError, match="This makes 2 figures: histograms-tanh, histograms-relu"):
        run.activation_histograms()


def test_an_option_that_a_figure_has_no_use_for_is_no_argument_of_its_method(run):
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        run.profiles(x="gain")


def test_regimes_and_deviations_are_tables(run):
    table = run.regimes(where={"activation": "tanh"})
    assert list(table) == [*KEYS, "regime"]
    assert set(table["activation"]) == {"tanh"}
    with pytest.raises(ValueError, match="This table lacks theory_log10_act_rms"):
        run.deviations()


def test_an_owner_lives_as_long_as_the_run():
    owner = tempfile.TemporaryDirectory()
    path = write_run(Path(owner.name) / "run", network_rows(("tanh",)))
    run, gone = load(path, owner=owner), weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is not None
    assert len(run.networks) == len(network_rows(("tanh",)))
    del run
    gc.collect()
    assert gone() is None
    assert not path.exists()


def test_a_run_says_where_it_is_and_how_many_networks_it_has(run, tmp_path):
    assert repr(run) == f"<Run {run.path}: A sweep, 36 networks>"
    assert "<td>layers</td><td>36 rows</td>" in run._repr_html_()
    bare = load(write_run(tmp_path / "bare"))
    assert repr(bare).endswith("0 networks>")
    (run_path := write_run(tmp_path / "lost", network_rows(("tanh",))))
    lost = load(run_path)
    for file in (run_path / "networks").iterdir():
        file.unlink()
    assert repr(lost).startswith("<Run ")
