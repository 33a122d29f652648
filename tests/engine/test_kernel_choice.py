"""Which kernel a run takes: XLA's, unless it asks for Pallas' and that is right and faster as it begins."""

import json
from itertools import count

import pytest

from support.runs import run
from winit_jax.api import Asked
from winit_jax.engine.computing import kernels
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.engine.computing.work import read_work
from winit_jax.engine.running import held
from winit_jax.numerics.measure import fused, kernel
from winit_jax.numerics.measure.networks import INTERPRETED, XLA
from winit_jax.store.folder import RunFolder
from winit_jax.system.provenance import differences

WORDS = ("activation=tanh", "gain=1,2", "width=5", "depth=2", "inputs.samples=20", "measure.jacobian=false")
ASKED = (*WORDS, "compute.kernel=pallas")


def measuring(*words, platform="gpu"):
    """The passes of a sweep as they would be on a GPU."""
    found = Executor(read_work(Asked(None, words).sweep())).measuring
    found.platform = platform
    return found


@pytest.fixture
def on_a_gpu(monkeypatch):
    """The kernel, interpreted in its place."""
    monkeypatch.setattr(kernels, "PALLAS", INTERPRETED)


def takes(**seconds):
    """A clock by which each pass takes so many seconds: of xla and of pallas, in turn."""
    now, turns = [0.0], count()

    def clock():
        at = next(turns)
        if at % 2:
            now[0] += seconds["xla" if at % 4 == 1 else "pallas"]
        return now[0]

    return clock


def test_xla_computes_where_nothing_else_is_asked_for():
    assert kernels.choose(measuring(*WORDS), planner(1)) == (XLA, None)


def test_on_a_cpu_one_sentence_says_that_xla_computes_and_the_folder_says_so_too(tmp_path):
    said = "note: compute.kernel is pallas, which computes on GPUs and not on cpu: all layers are computed by xla"
    assert run(tmp_path / "run", *ASKED).count(said) == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["kernel"] == XLA
    assert held.kernels(RunFolder(tmp_path / "run")) == {XLA}


@pytest.mark.usefixtures("on_a_gpu")
def test_the_faster_kernel_computes_and_goes_on_in_the_folder_that_it_began():
    asked = measuring(*ASKED)
    assert kernels.choose(asked, planner(1), clock=takes(xla=2.0, pallas=1.0)) == (INTERPRETED, None)
    slower = (
        "compute.kernel is pallas, which took 2.00 times the time of xla as the run began: all layers are computed "
    )
    assert kernels.choose(asked, planner(1), clock=takes(xla=1.0, pallas=2.0)) == (XLA, f"{slower}by xla")
    assert kernels.choose(asked, planner(1), {INTERPRETED}, takes(xla=1.0, pallas=2.0)) == (INTERPRETED, None)
    began = "compute.kernel is pallas, but xla has computed what is in the folder: all layers are computed by xla"
    assert kernels.choose(asked, planner(1), {XLA}, takes(xla=2.0, pallas=1.0)) == (XLA, began)


@pytest.mark.usefixtures("on_a_gpu")
def test_a_kernel_that_is_wrong_computes_nothing(monkeypatch):
    def wrongly(*given, **settings):
        tiles = kernel.through_layer(*given, **settings)
        return tiles._replace(rows=2 * tiles.rows)

    monkeypatch.setattr(fused, "through_layer", wrongly)
    chosen, said = kernels.choose(measuring(*ASKED, "inputs.samples=21"), planner(1))
    assert chosen == XLA
    assert "which is not right here (the self-check failed for tanh at width 5: layer 2: unit_similarity is" in said


def test_a_kernel_that_the_device_does_not_take_computes_nothing():
    chosen, said = kernels.choose(measuring(*ASKED), planner(1))
    assert chosen == XLA
    assert said.startswith("compute.kernel is pallas, which does not compute tanh at width 5 here (ValueError: ")


def test_a_sweep_without_such_layers_has_no_use_for_the_kernel():
    chosen, said = kernels.choose(measuring(*ASKED, "block=residual"), planner(1))
    assert chosen == XLA
    assert "which has nothing to do here: it is for dense layers of float32, without normalization" in said


def test_another_kernel_may_change_last_digits():
    assert differences({"kernel": "xla"}, {"kernel": "pallas"}) == ["kernel xla then, pallas now"]
    assert differences({}, {"kernel": "pallas"}) == []
