"""Shards that are killed and begun again at random moments, and one process for the rest: the same rows, to the bit."""

import json
import os

import pytest
from processes import finished, python

pytestmark = pytest.mark.slow
# How often three shards fill a folder, and are killed: `WINIT_KILLS=200` for a night.
ROUNDS = int(os.environ.get("WINIT_KILLS", "10"))


@pytest.mark.parametrize("scenario", ["forward", "training"])
def test_shards_killed_at_random_moments_end_with_the_rows_of_one_process(tmp_path, scenario):
    finished(python("record.py", tmp_path / "tables", tmp_path, scenario))
    found = json.loads(finished(python("shards.py", tmp_path / "tables", tmp_path / "killed", scenario, ROUNDS, 0)))
    assert found["killed"] >= ROUNDS
    assert found["wrong"] == []
