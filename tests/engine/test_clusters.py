"""Workers of dask that fill one run folder, and the rows of one process, to the bit."""

import json
import os
import re
import threading

import pytest

import winit_jax as winit_face
from support.runs import SMALL, assert_same_bits, in_tiny_parts, run, table, winit
from winit_jax.engine.clusters import connecting, driving, likeness, working
from winit_jax.engine.planning import planner as plan
from winit_jax.errors import Refused
from winit_jax.spec.clusters import Cluster, read_address, read_cluster
from winit_jax.store.folder import RunFolder

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.xdist_group("clusters")

SHORT = ["activation=tanh", "gain=0.5,1.5", "width=8", "depth=int:1:3", "seed=0,1", "inputs.samples=20"]


def given(words):
    """Words of the command line as the arguments of `winit.run`."""
    pairs = (word.split("=", 1) for word in words)
    return {key: value for key, value in pairs if "." not in key} | {"inputs": {"samples": 20}}


@pytest.fixture(scope="module")
def client():
    """Two workers in this process."""
    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def tiny_parts(monkeypatch):
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)


@pytest.mark.usefixtures("tiny_parts")
def test_workers_have_the_bits_of_one_process(tmp_path, client):
    whole, lines = in_tiny_parts(tmp_path / "whole", *SHORT), []
    found = winit_face.run(given(SHORT), out=tmp_path / "run", cluster=client, say=lines.append, progress=False)
    assert_same_bits(whole, tmp_path / "run", ("networks", "layers", "mean_field"))
    assert len(found.networks) == 12
    assert lines[-1].startswith("12 networks in ")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["state"], info["networks_done"]) == ("done", 12)
    assert "agree with float64" in " ".join(info["self_check"]) or info["self_check"]
    assert os.listdir(tmp_path / "run" / "staging") == ["lock"]
    assert winit("verify", tmp_path / "run")[0].endswith("12 of 12 networks: all as written\n")
    assert not working._sessions
