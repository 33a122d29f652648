"""A network has the same bits whatever else is in the sweep: cut, grown, reversed or by itself, in every table."""

import pandas as pd
import pytest

from support.runs import KEYS, run
from winit_jax.engine.planning import planner as plan

TABLES = ("networks", "layers", "histograms", "gradients", "gradient_histograms")
AXES = {
    "activation": ["tanh", "relu"],
    "gain": ["0.5", "1", "3", "1e30"],
    "bias_std": ["0", "0.1"],
    "normalization": ["none", "layer"],
    "depth": ["1", "2", "4"],
}
REST = ["width=16", "seed=0", "inputs.samples=30", "measure.gradients=true"]
SPECTRUM = ["measure.singular_values=true"]
HISTOGRAM = ["measure.histogram.bins=4", "measure.histogram.low=-1"]
pytestmark = pytest.mark.xdist_group("same-bits")


def words(**changed):
    return [*(f"{axis}={','.join(values)}" for axis, values in (AXES | changed).items()), *REST]


def rows(folder, name):
    frame = pd.read_parquet(folder / name)
    names = {key: frame[key].astype(str) for key in ("activation", "init", "normalization")}
    keys = [key for key in frame if key in KEYS or key in ("layer", "bin_low")]
    return frame.assign(**names).set_index(keys).sort_index()


def assert_same_rows(some, whole):
    """Every row of the first folder is in the second, to the bit."""
    for name in TABLES:
        if (some / name).is_dir() and any((some / name).iterdir()):
            own, of_all = rows(some, name), rows(whole, name)
            pd.testing.assert_frame_equal(own, of_all.loc[own.index], check_exact=True)


@pytest.fixture(scope="module", params=[SPECTRUM, HISTOGRAM], ids=["plain", "histograms"])
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bits") / "whole"
    run(folder, *words(), *request.param)
    return folder, request.param


@pytest.mark.slow
def test_the_order_of_axes_changes_no_bit(whole, tmp_path):
    folder, more = whole
    run(tmp_path / "reversed", *words(**{axis: values[::-1] for axis, values in AXES.items()}), *more)
    assert_same_rows(tmp_path / "reversed", folder)
    assert_same_rows(folder, tmp_path / "reversed")


@pytest.mark.slow
@pytest.mark.parametrize(("axis", "value"), [("gain", "1"), ("gain", "3"), ("bias_std", "0"), ("activation", "tanh")])
def test_part_of_a_sweep_has_the_bits_of_the_whole(whole, tmp_path, axis, value):
    folder, more = whole
    run(tmp_path / "some", *words(**{axis: [value]}), *more)
    assert_same_rows(tmp_path / "some", folder)


@pytest.mark.slow
def test_a_sweep_grown_one_gain_and_depth_at_a_time_has_the_bits_of_the_whole(whole, tmp_path, monkeypatch):
    folder, more = whole
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    few = {"activation": ["tanh", "relu"], "normalization": ["none"], "bias_std": ["0"]}
    for gains, depths in ((1, 2), (2, 3), (4, 3)):
        run(tmp_path / "grown", *words(**few, gain=AXES["gain"][:gains], depth=AXES["depth"][:depths]), *more)
    assert_same_rows(tmp_path / "grown", folder)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_point_alone_has_the_bits_that_it_has_among_others(tmp_path, activation):
    few = [f"activation={activation}", "width=16,40", "depth=1,2,3", *REST[1:3]]
    run(tmp_path / "many", *few, "gain=0.5,0.8,1,1.4,2,1e30")
    run(tmp_path / "alone", *few, "gain=1.4")
    assert_same_rows(tmp_path / "alone", tmp_path / "many")
