"""A fault of the disk, or a kill, at calls that change it: every row once, to the bit, and no half part seen."""

import json

import pytest
from processes import finished, python
from replay import SCENARIOS

pytestmark = pytest.mark.slow
# Calls of the run that is disturbed, at the least: each is disturbed in three ways.
LEAST_CALLS = {"forward": 60, "gradients": 70, "growing": 60, "training": 80, "growing-training": 60}
# Of `forward` every second call is disturbed, by two processes; of the others every third.
SHARES = {"forward": 4}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The tables of every scenario, computed once."""
    folder = tmp_path_factory.mktemp("recorded")
    finished(python("record.py", folder / "tables", folder))
    return folder / "tables"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_a_call_loses_nothing_and_shows_no_half_part(recording, tmp_path, scenario):
    """A write, fsync, rename, mkdir or unlink fails (EIO), finds the disk full from there on, or is the last."""
    shares, processes = SHARES.get(scenario, 6), 2
    runs = [
        python("inject.py", recording, tmp_path / str(share), scenario, share, shares) for share in range(processes)
    ]
    found = [json.loads(finished(run)) for run in runs]
    calls = found[0]["calls"]
    assert calls >= LEAST_CALLS[scenario]
    done = sum(len(range(1 + share, calls + 1, shares)) for share in range(processes))
    assert sum(sum(one["injections"].values()) for one in found) == 3 * done
    assert [sentence for one in found for sentence in one["wrong"]] == []
