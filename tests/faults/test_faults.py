"""No fault of the disk, and no kill, at any call that changes it: every row once, to the bit, and no half part seen."""

import json
import os

import pytest
from processes import finished, python
from replay import SCENARIOS

pytestmark = pytest.mark.slow
# Calls of the run that is disturbed, at the least: each is disturbed in three ways.
LEAST_CALLS = {
    "forward": 60,
    "gradients": 70,
    "growing": 60,
    "training": 80,
    "shards": 50,
    "compacting": 25,
    "growing-training": 60,
}
# One call in so many is disturbed, by each of two processes: `WINIT_FAULTS=2` disturbs every one.
SHARES = int(os.environ.get("WINIT_FAULTS", "5"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The tables of every scenario, computed once."""
    folder = tmp_path_factory.mktemp("recorded")
    finished(python("record.py", folder / "tables", folder))
    return folder / "tables"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_loses_nothing_and_shows_no_half_part(recording, tmp_path, scenario):
    """Two in five of all writes, fsyncs, renames, mkdirs and unlinks fail (EIO), fill the disk, or are the last."""
    shares, processes = SHARES, 2
    runs = [
        python("inject.py", recording, tmp_path / str(share), scenario, share, shares) for share in range(processes)
    ]
    found = [json.loads(finished(run)) for run in runs]
    calls = found[0]["calls"]
    assert calls >= LEAST_CALLS[scenario]
    done = sum(len(range(1 + share, calls + 1, shares)) for share in range(processes))
    assert sum(sum(one["injections"].values()) for one in found) == 3 * done
    assert [sentence for one in found for sentence in one["wrong"]] == []
