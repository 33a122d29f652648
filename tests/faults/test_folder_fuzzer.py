"""Whatever becomes of a run folder, every command answers with an exit code of its own and a sentence."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import finished, python

pytestmark = pytest.mark.slow
GARBAGE = [
    b"",
    b"\x00" * 64,
    b"PAR1",
    b"[" * 20_000,
    b"{}",
    b"[1, 2]",
    b"null",
    b"\xff\xfe\xfd",
    b'{"state": 3, "failures": {"a": 1}}',
    b'{"host": "a", "pid": "x", "started": 1e400}',
    b"[grid]\nactivation = 'tanh'\n",
    b"title = 7\ngrid = 3\n",
]
EDITS = [(b"tanh", b"relu"), (b"0.5", b"nan"), (b"20", b"21"), (b'"', b"'"), (b"1", b"-1"), (b"true", b"false")]
EDITS += [(b"[", b"[["), (b"done", b"\xf0\x9f\x92\xa5"), (b":", b""), (b"2", b"1e999"), (b"jobs", b"jobz")]
CHANGES = ["delete", "truncate", "flip", "swap", "copy", "folder", "link", "garbage", "edit", "extend", "rename"]
STEPS = st.tuples(st.sampled_from(CHANGES), st.integers(0, 10**6), st.integers(0, 10**6))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A process that hands out recorded parts, and runs commands on folders that are named to it."""
    folder = tmp_path_factory.mktemp("fuzzed")
    finished(python("record.py", folder / "tables", folder, "gradients"))
    process = python("commands.py", folder / "tables", stdin=subprocess.PIPE)
    yield process, folder / "gradients"
    process.stdin.close()
    process.wait()


def change(folder, how, which, what):
    """One thing that may happen to a file of a folder."""
    paths = sorted(path for path in folder.rglob("*"))
    if not paths:
        return
    path = paths[which % len(paths)]
    other = paths[what % len(paths)]
    is_file = path.is_file() and not path.is_symlink()
    data = path.read_bytes() if is_file else b""
    if how in ("delete", "folder", "link"):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if how == "folder":
            path.mkdir()
        elif how == "link":
            path.symlink_to("nowhere")
    elif how in ("copy", "rename"):
        target = path.with_name(f"other-{what}{path.suffix}")
        if how == "rename":
            os.rename(path, target)
        elif is_file:
            shutil.copy2(path, target)
    elif not is_file:
        return
    elif how == "truncate":
        path.write_bytes(data[: what % (len(data) + 1)])
    elif how == "flip" and data:
        at = what % len(data)
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 + what % 255)]) + data[at + 1 :])
    elif how == "swap" and other.is_file():
        path.write_bytes(other.read_bytes())
    elif how == "garbage":
        path.write_bytes(GARBAGE[what % len(GARBAGE)])
    elif how == "edit":
        path.write_bytes(data.replace(*EDITS[what % len(EDITS)]))
    elif how == "extend":
        path.write_bytes(data + GARBAGE[what % len(GARBAGE)] + b"\n")


def test_any_folder_gets_an_answer(worker):
    process, finished = worker

    @settings(max_examples=75, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=1, max_size=4))
    def answers(steps):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            shutil.copytree(finished, folder)
            for step in steps:
                change(folder, *step)
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, process.stderr.read()
            assert json.loads(line) == []

    answers()
