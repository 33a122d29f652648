"""Paths, words and files that mean what a user would take them to mean."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from support.runs import winit
from winit_jax.analysis.figures.style import held
from winit_jax.analysis.selection import named
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.info import Info


def test_a_ready_sweep_is_found_beside_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phase").mkdir()
    assert "38,400" in winit("plan", "phase")[0]


def test_the_path_of_a_sweep_file_may_hold_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gain=2").mkdir()
    (tmp_path / "gain=2" / "sweep.toml").write_text("[grid]\nactivation = 'tanh'\ngain = 2\nwidth = 3\ndepth = 2\n")
    assert "networks      1" in winit("plan", "gain=2/sweep.toml")[0]


def test_other_names_of_an_axis_are_one_condition():
    assert named({"sigma_w": ["1"], "gain": ["2"], "width": ["3"]}) == {"gain": ["1", "2"], "width": ["3"]}


def test_a_checkpoint_of_an_unknown_compression_is_left_aside(tmp_path):
    said = []
    kept = Checkpoint(tmp_path / "one.npz", note=said.append)
    kept.save({"step": np.array(3), "w": np.zeros(4)}, "x")
    raw = bytearray(kept.path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 10] = 99  # the method of the first entry in the archive's directory
    kept.path.write_bytes(raw)
    with pytest.raises(NotImplementedError), zipfile.ZipFile(kept.path) as file:
        file.read(file.namelist()[0])
    assert kept.load("x") is None
    assert "is damaged" in said[0]


def test_a_folder_in_place_of_a_checkpoint_stops_nothing(tmp_path):
    (tmp_path / "one.npz").mkdir()
    Checkpoint(tmp_path / "one.npz").discard()
    assert (tmp_path / "one.npz").is_dir()


def test_classes_of_a_run_are_a_number():
    with pytest.raises(ValidationError):
        Info.model_validate({"train": {"source": "digits", "sha256": "0", "classes": "ten"}})


def test_a_sweep_without_infinite_width_keeps_the_predictions_that_are_there(tmp_path):
    words = ["activation=tanh", "gain=1", "depth=2", "inputs.samples=5", "--out", tmp_path / "run", "--no-figures"]
    winit("run", "width=inf,4", *words)
    before = (tmp_path / "run" / "sweep.toml").read_text()
    winit("run", "width=4", *words)
    assert (tmp_path / "run" / "sweep.toml").read_text() == before
    assert list((tmp_path / "run" / "theory").iterdir())


def test_a_figure_says_which_epsilon_it_is_of():
    rows = pd.DataFrame({"normalization": ["batch"] * 2, "norm_epsilon": [1e-6] * 2, "gain": [1.0, 2.0]})
    assert "norm epsilon 10⁻⁶" in held(rows, ("gain",))
    assert "epsilon" not in held(rows.assign(normalization="none"), ("gain",))
    assert "epsilon" not in held(rows.assign(norm_epsilon=1e-5), ("gain",))
