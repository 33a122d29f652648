"""Tables of networks with two rows a layer, and the figures that a run draws of them."""

import numpy as np
import pytest

from support.runs import run, table, winit

WORDS = [
    "block=transformer(2, 1)", "activation=gelu", "gain=0.5,1", "width=4", "depth=1,3", "inputs.samples=5",
    "inputs.positions=3", "measure.gradients=true", "measure.histogram.bins=4",
]  # fmt: skip
SITES = ["", "attention", "mlp", "attention", "mlp"]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites") / "run"
    run(folder, *WORDS)
    return folder


def rows_of(made, name, **where):
    frame = table(made, name)
    frame = frame[frame["gain"] == 1]
    for key, value in where.items():
        frame = frame[frame[key] == value]
    return (
        frame.assign(site=frame["site"].astype(object).where(frame["site"].notna(), "")) if "site" in frame else frame
    )


def test_each_update_of_a_layer_has_a_row_of_its_own(made):
    for name in ("layers", "gradients"):
        found = rows_of(made, name, depth=3).sort_values(["layer", "site"])
        assert list(found["site"]) == SITES
        assert list(found["layer"]) == [1, 2, 2, 3, 3]
    bins = rows_of(made, "histograms").groupby(["layer", "site"])["count"].agg(["size", "sum"])
    assert len(bins) == len(SITES)
    assert (bins["size"] == 7).all()
    speaks = np.array([site == "mlp" for _, site in bins.index])
    np.testing.assert_array_equal(bins["sum"][speaks], 5 * 3 * 4)


def test_networks_speak_of_the_last_row_and_of_the_last_attention(made):
    last = rows_of(made, "layers", layer=3).set_index("site")
    (network,) = rows_of(made, "networks", depth=3).to_dict("records")
    for column in ("preact_std", "log10_act_rms", "log10_jacobian", "position_similarity", "theory_log10_preact_rms"):
        assert network[column] == last.loc["mlp", column], column
    assert network["attention_entropy"] == last.loc["attention", "attention_entropy"]
    assert np.isnan(last.loc["mlp", "attention_entropy"])
    assert np.isnan(last.loc["attention", "log10_act_rms"])
    (stem,) = rows_of(made, "networks", depth=1).to_dict("records")
    assert np.isnan([stem["attention_entropy"], stem["log10_act_rms"]]).all()


def test_every_figure_of_such_a_run_is_drawn(made, tmp_path):
    said, told = winit("plot", made, "--out", tmp_path)
    names = {line.rpartition("/")[2].partition(".")[0] for line in said.splitlines()}
    assert {"vanishing-exploding", "saturation", "jacobian", "gradients"} <= names
    assert any(name.startswith("profiles-gradients") for name in names)
    assert any(name.startswith("gradient-histograms-gelu") for name in names)
    assert "No figure" not in told
    assert winit("plot", made, "profiles", "--col", "site", "--out", tmp_path)[0]
