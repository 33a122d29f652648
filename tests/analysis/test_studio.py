"""Figures drawn by processes of their own are those that one process draws."""

import subprocess
import sys

import pytest

from support.tables import layer_rows, network_rows, write_run
from winit_jax.analysis import standard_figures
from winit_jax.analysis.figures import files
from winit_jax.analysis.figures.studio import Studio
from winit_jax.analysis.reading import Tables, read_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    frame = network_rows(seeds=(0, 1), depths=(1, 2, 3))
    frame["saturated"] = float("nan")  # of which there is no figure, and a sentence
    grid = {"gain": [0.1, 1.0, 10.0], "activation": ["tanh", "relu"], "depth": "int:1:3"}
    return write_run(tmp_path_factory.mktemp("run") / "run", frame, layer_rows(frame), **grid)


def test_several_processes_draw_what_one_draws_and_tell_of_it(run, tmp_path):
    alone = []
    names = sorted(path.name for path in standard_figures(run, report=alone.append, out=tmp_path))
    said = []
    with Studio() as studio:
        assert studio.draw(run, said.append)
    assert len(names) > 1
    drawn = [line.removeprefix("drew ") for line in said if line.startswith("drew ")]
    assert sorted(drawn) == [str(run / "figures" / name) for name in names]
    assert [line for line in said if not line.startswith("drew ")] == alone
    for name in names:
        assert (run / "figures" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_folder_without_tables_is_a_sentence(tmp_path):
    said = []
    with Studio() as studio:
        assert studio.draw(tmp_path, said.append)
    (sentence,) = said
    assert sentence.startswith("no figures: ")


def test_a_studio_that_died_leaves_the_drawing_to_its_owner(run):
    with Studio() as studio:
        studio._process.kill()
        assert not studio.draw(run, pytest.fail)


def test_whoever_is_free_draws_the_next_figure(run, tmp_path):
    tables = read_folder(run, Tables)
    all_of_them = files.draw_standard(tables, report=lambda text: None, out=tmp_path)
    dealt = ((0,), (1, 2))  # 1 cannot be drawn
    drawn = [files.draw_standard(tables, report=lambda text: None, out=tmp_path, turns=iter(mine)) for mine in dealt]
    assert drawn == [all_of_them[:1], all_of_them[1:2]]


def test_what_seaborn_does_without_is_not_imported_to_draw():
    code = """
import sys
from winit_jax.system.imports import OF_SEABORN, hidden
with hidden(*OF_SEABORN):
    import winit_jax.analysis.figures.files
assert "seaborn" in sys.modules and not set(OF_SEABORN) & set(sys.modules)
import scipy.stats
"""
    subprocess.run([sys.executable, "-c", code], check=True)
