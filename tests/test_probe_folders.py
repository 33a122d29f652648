"""The folder of a probe: what is kept, damage, two processes at once, and its figures."""

import shutil
import sys
from dataclasses import replace

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import winit_jax as winit
from support import nets
from support.runs import winit as command
from winit_jax.analysis.figures import of_probes
from winit_jax.store.probe_folder import ProbeFolder, ProbeInfo

MODULE = """
import jax
from support import nets
def sound(): return nets.stack(nets.he, jax.nn.relu, depth=3)
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder of three factors and two seeds."""
    path = tmp_path_factory.mktemp("probe") / "kept"
    sys.path.insert(0, str(path.parent))
    (path.parent / "kept_nets.py").write_text(MODULE)
    winit.probe("kept_nets:sound", seed=[0, 1], scale={"layer1": [0.5, 1, 2]}, out=path)
    yield path
    sys.path.remove(str(path.parent))
    sys.modules.pop("kept_nets", None)


@pytest.fixture
def copied(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "copied")


@pytest.mark.slow
def test_a_folder_is_read_back_as_it_was_measured(kept):
    found = winit.load_probe(kept)
    assert (len(found.sites), len(found.parameters)) == (5 * 6, 3 * 6)
    assert list(found.sites["scale.layer1"].unique()) == [0.5, 1, 2]
    assert found.audit() == winit.probe("kept_nets:sound", seed=[0, 1], scale={"layer1": [0.5, 1, 2]}).audit()
    with pytest.raises(winit.RunFolderError, match=r"is the folder of a probe: read it with winit\.load_probe"):
        winit.load(kept)


def test_status_and_verify_say_what_is_whole(kept):
    status = winit.status(kept)
    assert (status.state, status.done, status.missing, status.go_on) == ("done", 6, 0, "")
    assert str(winit.verify(kept)) == "6 networks with 30 rows of sites, 18 rows of parameters: all as written"
    out, _ = command("status", kept)
    assert "Probe of kept_nets:sound" in out


def test_damage_is_named_and_made_anew(copied):
    bytes_before = {file.name: file.read_bytes() for file in copied.glob("sites/*.parquet")}
    file = sorted(copied.glob("sites/*.parquet"))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    sentence = f"sites/{file.name} has other bytes than were written (SHA-256)"
    verdict = winit.verify(copied)
    assert not verdict.is_whole
    assert str(verdict).splitlines()[0] == sentence
    status = winit.status(copied)
    assert (status.state, status.missing, status.damaged) == ("damaged", 1, (sentence,))
    assert status.go_on == (f"winit probe kept_nets:sound seed=0,1 scale.layer1=0.5,1,2 --out {copied}")
    with pytest.raises(winit.RunFolderError, match=r"is damaged: .* makes it anew"):
        winit.load_probe(copied)
    command("verify", copied, code=1)
    _, said = command("verify", copied, "--repair", code=2)
    assert "is the folder of a probe: the command that made it makes what is damaged anew." in said
    command(*status.go_on.split()[1:], "--no-figures")
    assert winit.status(copied).state == "done"
    assert {file.name: file.read_bytes() for file in copied.glob("sites/*.parquet")} == bytes_before


def test_what_was_not_committed_is_made_anew(copied):
    """As of a process that was killed between the files of a network."""
    next(copied.glob("parts/*.json")).unlink()
    assert (winit.status(copied).done, winit.status(copied).missing) == (5, 1)
    winit.probe("kept_nets:sound", seed=[0, 1], scale={"layer1": [0.5, 1, 2]}, out=copied)
    assert winit.verify(copied).is_whole
    assert winit.status(copied).done == 6


@pytest.mark.parametrize("network", ["kept_nets:sound", "made by hand"])
def test_what_goes_on_is_a_command_that_does(kept, tmp_path, network):
    """Asked for without gradients it says so, and of a function that no command can name it says nothing."""
    folder = ProbeFolder(tmp_path)
    with folder.lock():
        folder.begin(ProbeInfo(kind="probe", network=network, seeds=[0], gradients=False))
    command_line = f"winit probe {network} seed=0 --out {tmp_path} --no-gradients"
    assert winit.status(tmp_path).go_on == (command_line if ":" in network else "")


def test_two_processes_do_not_write_into_one_folder(copied):
    with ProbeFolder(copied).lock(), pytest.raises(winit.FolderError, match="is in use by another winit run"):
        winit.probe("kept_nets:sound", out=copied)
    assert winit.verify(copied).is_whole


def test_figures_are_drawn_into_the_folder(copied):
    out, _ = command("plot", copied)
    assert [line.rsplit("/", 1)[1] for line in out.splitlines()] == [
        "profile.png", "heatmap.png", "heatmap-gradient.png",
    ]  # fmt: skip
    command(
        "plot", copied, "profile", "--value", "saturated", "--where", "kind=nonlinearity", "--out", copied / "a.svg"
    )
    assert (copied / "a.svg").stat().st_size > 5_000
    for words, sentence in (
        (["profiles"], "kind: 'profiles' is not known. Did you mean 'profile'?"),
        (["profile", "--value", "saturatd"], "Did you mean 'saturated'?"),
        (["profile", "--value", "attention_entropy"], "attention_entropy is empty in this table"),
        (["profile", "--x", "depth"], "Figures of a probe have sites along x"),
        (["--where", "sitee=a"], "where: 'sitee' is not known. Did you mean 'site'?"),
        (["--where", "site=nowhere"], "where: no site has all of these."),
    ):
        _, said = command("plot", copied, *words, code=2)
        assert sentence in said


def test_a_profile_shows_each_site_at_its_place(kept):
    found = winit.load_probe(kept)
    figure = found.profile("log10_rms")
    (axes,) = [axes for axes in figure.axes if axes.get_ylabel()]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layer0", "relu", "layer1", "relu", "layer2"]
    table = found.sites.groupby(["scale.layer1", "order"])["log10_rms"].median()
    lines = [line for line in axes.lines if len(line.get_xdata()) == 5]
    for line, factor in zip(lines, (0.5, 1, 2), strict=True):
        np.testing.assert_allclose(line.get_ydata(), table[factor])


def test_a_heatmap_shows_each_factor_at_its_row(kept):
    found = winit.load_probe(kept)
    (mesh,) = found.heatmap().axes[0].collections[:1]
    table = found.sites.groupby(["scale.layer1", "order"])["log10_rms"].median()
    np.testing.assert_allclose(np.asarray(mesh.get_array()), table.to_numpy().reshape(3, 5))


def test_sites_of_many_layers_are_named_by_layer():
    make = lambda: nets.stack(nets.lecun, jnp.tanh, depth=30, width=8, x=np.ones((4, 8)))  # noqa: E731
    found = winit.probe(make, gradients=False)
    ticks = of_probes.sites_of(found.sites).ticks
    assert len(of_probes.sites_of(found.sites).names) == 59
    assert list(ticks.values()) == [f"layer{number}" for number in range(30)]
    assert found.sites["site"].iloc[list(ticks)[3]] == "layer3"


def test_several_factors_need_one_value_of_the_others(kept):
    found = winit.load_probe(kept)
    found = replace(found, sites=found.sites.assign(**{"scale.layer0": found.sites["seed"] + 1.0}))
    with pytest.raises(winit.PlotError, match="vary, and a figure shows one: keep one value of the others with where"):
        found.profile()
    assert found.profile(where={"scale.layer0": 1}).axes


def test_a_figure_is_not_cut_off(kept, tmp_path):
    """No ink touches the edges of the picture."""
    winit.load_probe(kept).profile().savefig(tmp_path / "a.png")
    picture = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 1).all()
