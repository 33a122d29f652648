"""Compiled programs take memory maps, of which a process has so many and no more."""

import sys

import jax
import jax.numpy as jnp
import pytest

from support.runs import assert_same_bits, run
from winit_jax.engine.computing import programs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_forgotten_gives_its_maps_back(monkeypatch):
    monkeypatch.setattr(programs, "_looked", -programs.SECONDS)
    before = programs.share_taken()
    for number in range(20):
        jax.jit(lambda x, number=number: jnp.sort(jnp.tanh(x @ x) + number).sum())(jnp.ones((3, 3)))
    taken = programs.share_taken()
    assert 0 < before < taken < 1
    monkeypatch.setattr(programs, "SHARE", taken / 2)
    programs.make_room()
    assert programs.share_taken() < taken


@pytest.mark.slow
def test_a_run_whose_programs_are_forgotten_again_and_again_has_the_same_bits(tmp_path, monkeypatch):
    words = ["activation=tanh,relu", "gain=1", "width=3,4", "depth=2", "seed=0,1", "inputs.samples=5"]
    run(tmp_path / "usual", *words)
    monkeypatch.setattr(programs, "SECONDS", 0.0)
    monkeypatch.setattr(programs, "SHARE", 0.0)
    run(tmp_path / "forgetful", *words)
    assert_same_bits(tmp_path / "usual", tmp_path / "forgetful")


def test_a_system_that_does_not_say_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MAPS", tmp_path / "maps")
    assert programs.share_taken() == 0.0
