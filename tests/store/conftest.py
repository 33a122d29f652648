"""A run of six parts, for tests of run folders."""

import shutil
from pathlib import Path

import pytest

from support.runs import in_tiny_parts
from support.stored import FEW
from winit_jax.engine.planning import planner as plan


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Six parts, of one family each."""
    return in_tiny_parts(tmp_path_factory.mktemp("folder") / "made", *FEW)


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """The same, to be damaged."""
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    return Path(shutil.copytree(made, tmp_path / "run"))
