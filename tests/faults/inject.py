"""Disturb a run at every write, fsync and rename, in forks of one process.

usage: python inject.py RECORDING FOLDER SCENARIO [SHARE OF SHARES]

Prints a JSON object: how many injections there were of each kind, and what went wrong, as sentences.
"""

import errno
import gc
import hashlib
import itertools
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path

import pandas as pd
from replay import SCENARIOS, replay
from typer.testing import CliRunner

from winit_jax.analysis import RunFolderError, load
from winit_jax.api import Asked
from winit_jax.cli import main as cli
from winit_jax.columns import AXES, NAMES
from winit_jax.columns import KEYS as ALL_KEYS
from winit_jax.engine.running import launch
from winit_jax.store import journal
from winit_jax.store.damage import FOLDERS

# The keys that every table has.
KEYS = tuple(key for key in ALL_KEYS if not AXES[key].needs)
# Every call that changes a disk.
CALLS = ("write", "pwrite", "fsync", "replace", "mkdir", "unlink", "rmdir", "ftruncate")
# A kill at a write leaves half of it; one after a call is one before the next.
KINDS = ("EIO", "ENOSPC", "SIGKILL")


def winit(*words):
    """The command line; (exit code, text, whether it ended with an exception of Python's)."""
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    odd = result.exception is not None and not isinstance(result.exception, SystemExit)
    text = "".join(traceback.format_exception(result.exception)) if odd else result.output
    return result.exit_code, text, odd


def run(folder, words):
    """`winit run` of a sweep, or of a shard of it; or another command on the folder."""
    if words[0] == "compact":
        return winit(words[0], folder, *words[1:])
    return winit("run", *words, "--out", folder, "--no-figures")


class Faults:
    """Counts the calls that change a disk; at the one of that number, does what `kind` says.

    A full disk stays full: every later call that needs room fails likewise.
    """

    def __init__(self, folder, number=-1, kind=""):
        self.folder, self.number, self.kind, self.count = str(folder), number, kind, 0
        for name in CALLS:
            setattr(os, name, self._around(name, getattr(os, name)))

    def _around(self, name, whole):
        def call(*arguments, **options):
            if not self._is_ours(arguments[0]):
                return whole(*arguments, **options)
            self.count += 1
            if self.count < self.number or self.number < 0 or (self.count > self.number and self.kind != "ENOSPC"):
                return whole(*arguments, **options)
            if self.kind == "ENOSPC" and name in ("unlink", "rmdir", "ftruncate"):
                return whole(*arguments, **options)
            if name in ("write", "pwrite") and self.count == self.number:
                half = bytes(arguments[1])[: len(arguments[1]) // 2]
                if name == "write":
                    whole(arguments[0], half)
            if self.kind == "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, self.kind)
            raise OSError(code, os.strerror(code))

        return call

    def _is_ours(self, target):
        try:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
        except OSError:
            return False
        return path.startswith(self.folder)


def in_a_fork(work, *arguments):
    """What `work` returns in a process of its own (as JSON), or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                answer = work(*arguments)
            except BaseException:
                answer = {"trouble": traceback.format_exc()}
            with open(writing, "w") as file:
                json.dump(answer, file)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"killed": os.waitstatus_to_exitcode(status)}


def fingerprint(folder):
    """Every file of every table, by the SHA-256 of its bytes."""
    return {
        f"{table}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for table in FOLDERS
        for path in sorted((folder / table).glob("*"))
    }


def seen_by_readers(folder):
    """Sentences about rows that a reader sees and should not, and about words of `status` that are not true."""
    found = journal.read(folder)
    wrong = [f"the journal: {line}" for line in found.unreadable]
    for name, digest in fingerprint(folder).items():
        table, stem = name.removesuffix(".parquet").split("/")
        if digest not in found.files.get((table, stem), ()):
            wrong.append(f"{name} is not committed")
    keys = [*KEYS, "learning_rate"]

    def networks(table):
        if not any((folder / table).glob("*")):
            return set()
        frame = pd.read_parquet(folder / table)
        own = frame[[key for key in keys if key in frame]]
        return set(own.astype({name: str for name in NAMES if name in own}).itertuples(index=False, name=None))

    tables = ("layers", "gradients", "histograms", "gradient_histograms", "training")
    there = networks("networks")
    for table in tables:
        lacking = networks(table) - {row if table == "training" else row[: len(KEYS)] for row in there}
        if lacking:
            wrong.append(f"{table} shows {len(lacking)} networks that `networks` does not")
    if not (folder / "sweep.toml").exists():
        return wrong
    committed = [record for record in found.committed() if record.stem != journal.PREDICTIONS]
    expected = sum(record.part.n_networks(set(record.depths)) for record in committed)
    try:
        seen = len(load(folder).networks)
    except RunFolderError as error:
        seen = 0 if "no finished networks" in str(error) else f"{error}"
    if seen != expected:
        wrong.append(f"the loader sees {seen} networks of {expected} that are committed")
    code, said, odd = winit("verify", folder)
    if code != 0 or odd:
        wrong.append(f"verify: {said}")
    code, said, odd = winit("status", folder)
    lines = dict(line.split(None, 1) for line in said.splitlines() if len(line.split(None, 1)) == 2)
    if code != 0 or odd or lines.get("state", "running").startswith("running"):
        wrong.append(f"status: {said}")
    if not lines.get("done", "").startswith(f"{expected} of "):
        wrong.append(f"status: {said} of {expected} committed")
    return wrong


def disturbed(folder, words, number, kind):
    faults = Faults(folder, number, kind)
    code, said, odd = run(folder, words)
    wrong = [f"it ended with an exception: {said}"] if odd else []
    if code not in (0, 1, 2):
        wrong.append(f"exit code {code}: {said}")
    return {"wrong": wrong, "count": faults.count, "code": code}


def resumed(folder, words, whole):
    code, said, odd = run(folder, words)
    wrong = [f"resumed: exit code {code}: {said}"] if code or odd else []
    if fingerprint(folder) != whole:
        wrong.append("resumed: other rows")
    left = sorted(os.listdir(folder / "staging"))
    if left != ["lock"]:
        wrong.append(f"resumed: {left} in staging")
    code, said, _ = winit("verify", folder)
    if code:
        wrong.append(f"resumed: {said}")
    return wrong


def checked(folder, words, whole):
    return seen_by_readers(folder) + resumed(folder, words, whole)


def main():
    recording, place, scenario, share = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    first, of = (int(share[0]), int(share[1])) if share else (0, 1)
    warnings.simplefilter("ignore")
    with open(recording, "rb") as file:
        replay(pickle.load(file))
    *before, words = SCENARIOS[scenario]
    sweep = [word for word in (before or [words])[0] if "=" in word]
    launch._executor(Asked(None, sweep).sweep(), print)  # reads the data once for all forks
    gc.collect()
    gc.freeze()  # so that collections copy no pages of the forks

    def begin(folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place / "begun", folder) if before else folder.parent.mkdir(parents=True, exist_ok=True)

    place.mkdir(parents=True, exist_ok=True)
    for step in before:
        in_a_fork(run, place / "begun", step)
    whole = place / "whole"
    begin(whole)
    counted = in_a_fork(disturbed, whole, words, -1, "")
    assert not counted["wrong"], counted
    assert counted["code"] == 0, counted
    expected = in_a_fork(fingerprint, whole)
    found, done = [], dict.fromkeys(KINDS, 0)
    numbers = range(1 + first, counted["count"] + 1, of)
    for number, kind in itertools.product(numbers, KINDS):
        folder = place / "disturbed"
        begin(folder)
        name = f"{kind} at call {number}"
        answer = in_a_fork(disturbed, folder, words, number, kind)
        if (kind == "SIGKILL") != (answer.get("killed") == -signal.SIGKILL):
            found.append(f"{name}: {answer}")
        found += [f"{name}: {sentence}" for sentence in answer.get("wrong", [])]
        wrong = in_a_fork(checked, folder, words, expected)
        found += [f"{name}: {sentence}" for sentence in (wrong if isinstance(wrong, list) else [str(wrong)])]
        done[kind] += 1
    print(json.dumps({"injections": done, "calls": counted["count"], "wrong": found}))


if __name__ == "__main__":
    main()
