"""A folder grows by added points, answers for part of what it holds, and refuses what was edited."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from support.runs import assert_same_bits, run, table, winit
from support.stored import FEW, ROWS, files, status
from winit_jax.analysis import load
from winit_jax.columns import NAMES
from winit_jax.engine.running import launch


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("1.5", "2.5"), "was edited: the folder holds 6 networks that it does not ask for."),
        (("samples = 20", "samples = 30"), "was edited: parts in the folder were made with other inputs"),
    ],
)
def test_a_sweep_edited_by_hand_is_told_and_refused(folder, edit, sentence):
    path = folder / "sweep.toml"
    path.write_text(path.read_text().replace(*edit))
    assert sentence in status(folder)["edited"]
    assert sentence in run(folder, path, code=2)
    if "2.5" in edit:
        assert status(folder)["done"] == f"{ROWS // 2} of {ROWS} networks"


def test_the_smaller_sweep_in_a_folder_that_has_grown_is_done_already(folder):
    run(folder, *FEW, "seed=0,1,2,3")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    assert "0 networks in " in run(folder, *FEW, "depth=1")
    assert {path: path.read_bytes() for path in before} == before
    assert status(folder)["state"] == "done"


def test_a_part_of_the_grown_sweep_can_be_asked_for_and_the_rest_later(made, folder, tmp_path):
    """What is missing of the smaller sweep is made with the categories and depths of the folder's."""
    for path in files(folder):
        path.unlink()
    said = run(folder, *FEW, "gain=1.5", "depth=1")
    assert "3 networks in " in said
    assert "(3 of 3 in " in said
    told = status(folder)
    assert told["done"] == f"6 of {ROWS} networks"
    assert told["state"] == "unfinished"
    assert set(table(folder)["depth"]) == {1, 2}
    run(folder, *FEW)
    assert_same_bits(made, folder)


def test_two_supersets_do_not_overwrite_each_other(folder, monkeypatch):
    """The second launcher has looked at the folder before the first one grows it."""
    whole = launch._executor

    def grown_meanwhile(sweep, *rest, **options):
        monkeypatch.setattr(launch, "_executor", whole)
        run(folder, *FEW, "gain=0.5,1.5,2")
        return whole(sweep, *rest, **options)

    monkeypatch.setattr(launch, "_executor", grown_meanwhile)
    said = run(folder, *FEW, "seed=0,1,2,3", code=2)
    assert "grid.gain: 1 of 3 values of the folder are not in the new sweep: 2" in said
    assert "gain = " in (folder / "sweep.toml").read_text()
    told = status(folder)
    assert (told["done"], told["state"]) == (f"{ROWS // 2 * 3} of {ROWS // 2 * 3} networks", "done")


def test_rows_come_in_grid_order_and_added_points_after_them(folder, tmp_path):
    def order(path):
        frame = pd.read_parquet(path / "networks")
        return list(frame[["seed", "gain", "depth"]].itertuples(index=False, name=None))

    first = [(seed, gain, depth) for seed in (0, 1, 2) for gain in (0.5, 1.5) for depth in (1, 2)]
    assert order(folder) == first
    run(folder, *FEW, "seed=3,0,1,2")
    assert order(folder) == [*first, *((3, gain, depth) for gain in (0.5, 1.5) for depth in (1, 2))]
    assert list(load(folder).networks["seed"]) == [seed for seed, *_ in order(folder)]


def test_columns_that_only_added_points_can_fill_come_with_them(tmp_path):
    words = ["activation=tanh", "gain=1", "width=8", "depth=2", "inputs.samples=20", "measure.jacobian=false"]
    run(tmp_path, *words, "init=constant")
    first = pd.read_parquet(tmp_path / "networks")
    never = ["chi", "theory_log10_act_rms", "log10_jacobian", "learning_rate", "test_loss", "sv_min"]
    assert not set(never) & set(first.columns)
    assert first.drop(columns="dead").notna().all(axis=None)
    run(tmp_path, *words, "init=constant,normal")
    for path in (tmp_path / "networks").iterdir():
        assert "chi" in pq.read_schema(path).names
    both = pd.read_parquet(tmp_path / "networks")
    assert both["chi"].isna().tolist() == [True, False]
    measured = [name for name in first if name not in NAMES]
    pd.testing.assert_frame_equal(both.iloc[:1][measured], first[measured], check_exact=True)
    assert winit("verify", tmp_path)[0].endswith("2 of 2 networks: all as written\n")
