"""Kill shards of a run at random moments, in forks of one process.

usage: python shards.py RECORDING FOLDER SCENARIO COUNT SEED

COUNT times: three shards fill a folder, some of them are killed and begun again, and one process without a shard does
the rest. Prints a JSON object: how many were killed, and what went wrong, as sentences.
"""

import gc
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

from inject import fingerprint, in_a_fork, run, winit
from replay import SCENARIOS, replay

from winit_jax.api import Asked
from winit_jax.engine.running import launch
from winit_jax.store import journal
from winit_jax.store.folder import RunFolder

OF = 3
# Of a part that is written: so that kills come in the middle of something.
PAUSE_SECONDS = 0.004


def slowly(write):
    def slow(self, *arguments):
        write(self, *arguments)
        time.sleep(PAUSE_SECONDS)

    return slow


def begun(folder, words, number):
    """The process id of a shard that is at work."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        RunFolder.write = slowly(RunFolder.write)
        code, said, odd = winit("run", *words, "--out", folder, "--no-figures", "--shard", f"{number}/{OF}")
        if odd or code:
            (folder.parent / f"said-{number}.txt").write_text(said)
            code = code or 3
    finally:
        os._exit(code)


def killed_and_done(folder, words, moments, seconds):
    """(How many shards were killed, what is wrong). seconds: that a shard takes, about."""
    shutil.rmtree(folder, ignore_errors=True)
    killed, wrong = 0, []
    for _ in range(moments.choice([1, 2, 3])):
        pids = {
            begun(folder, words, number): number for number in moments.sample(range(1, OF + 1), moments.choice([2, 3]))
        }
        for pid in pids:
            if moments.random() < 0.7:
                time.sleep(moments.uniform(0, seconds))
                os.kill(pid, signal.SIGKILL)
        for pid, number in pids.items():
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            killed += code == -signal.SIGKILL
            if code not in (0, -signal.SIGKILL):
                wrong.append(f"shard {number}: exit code {code}: {(folder.parent / f'said-{number}.txt').read_text()}")
    return killed, wrong


def finished(folder, words, expected):
    code, said, odd = run(folder, words)
    wrong = [f"the last process: exit code {code}: {said}"] if code or odd else []
    if fingerprint(folder) != expected:
        wrong.append("other rows")
    if sorted(os.listdir(folder / "staging")) != ["lock"]:
        wrong.append(f"{sorted(os.listdir(folder / 'staging'))} in staging")
    if found := journal.read(folder).unreadable:
        wrong.append(f"the journal: {found}")
    code, said, odd = winit("verify", folder)
    if code or odd:
        wrong.append(f"verify: {said}")
    return wrong


def main():
    recording, place, scenario, count, seed = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    warnings.simplefilter("ignore")
    with open(recording, "rb") as file:
        replay(pickle.load(file))
    (words,) = SCENARIOS[scenario]
    launch._executor(Asked(None, words).sweep(), print)  # reads the data once for all forks
    gc.collect()
    gc.freeze()
    place = Path(place)
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place / "whole", ignore_errors=True)
    began = time.monotonic()
    in_a_fork(run, place / "whole", words)
    seconds = (time.monotonic() - began) / OF
    expected = in_a_fork(fingerprint, place / "whole")
    moments, killed, wrong = random.Random(seed), 0, []
    for number in range(count):
        more, of_shards = killed_and_done(place / "run", words, moments, seconds)
        killed += more
        found = in_a_fork(finished, place / "run", words, expected)
        found = found if isinstance(found, list) else [str(found)]
        wrong += [f"round {number}: {sentence}" for sentence in of_shards + found]
    print(json.dumps({"killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main()
