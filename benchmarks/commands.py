"""Whole commands on an accelerator and on the cores beside it, in turn, and how far their tables part.

    python -m benchmarks.commands                 # on the machine with the accelerator
    python -m benchmarks.commands phase training  # some of its sweeps
    python -m benchmarks.commands --again         # the same work twice in this process, without files

Every sweep is a cold `winit run` in a process of its own, compiling included; `computing` is what the run itself says
it took, without the start of Python and JAX. Tables are compared by networks: differences of log10_act_rms in units
of 1 + its size, for depth amplifies rounding.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.forward import Sweep
from winit_jax.analysis import load
from winit_jax.system.provenance import versions

RUN = "import sys; from winit_jax.cli.main import main; sys.argv[0] = 'winit'; main()"
SWEEPS = {
    "phase": ("phase",),
    "phase, width 300": ("phase", "width=300", "seed=0,1"),
    "width 1000, 1000 inputs": (
        "activation=tanh,relu", "gain=log:0.3:3:32", "bias_std=0,0.1", "width=1000", "depth=int:1:50", "seed=0",
    ),
    "gradients": ("batchnorm-gradients",),
    "training": ("trainability",),
    "quickstart": ("quickstart",),
}  # fmt: skip


def cold_run(words: tuple[str, ...], folder: Path, platform: str | None) -> tuple[float, dict]:
    """(Wall seconds of a cold `winit run`, its run.json)."""
    environment = {**os.environ, **({"JAX_PLATFORMS": platform} if platform else {})}
    started = time.perf_counter()
    command = [sys.executable, "-c", RUN, "run", *words, "--out", str(folder), "--no-figures"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(done.stderr[-2000:], flush=True)
    return time.perf_counter() - started, json.loads((folder / "run.json").read_text())


def again(name: str) -> str:
    """Seconds of a first pass, which compiles, and of a second."""
    words = SWEEPS[name]
    source, grid = (words[0], words[1:]) if "=" not in words[0] else (None, words)
    work, taken = Sweep(*grid, source=source), []
    for _ in range(2):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return f"{name:<26}first {taken[0]:8.2f} s, second {taken[1]:8.2f} s"


def parted(folder_a: Path, folder_b: Path) -> str:
    """How far the last layers of two runs differ."""
    tables = [load(folder).networks for folder in (folder_a, folder_b)]
    keys = list(tables[0].columns[: tables[0].columns.get_loc("preact_mean")])
    first, second = (table.sort_values(keys)["log10_act_rms"].to_numpy() for table in tables)
    with np.errstate(invalid="ignore"):
        difference = np.abs(first - second) / (1 + np.abs(second))
    difference = difference[np.isfinite(difference)]
    return f"largest difference {difference.max():.2g}, median {np.median(difference):.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SWEEPS), help="some of: " + "; ".join(SWEEPS))
    parser.add_argument("--no-cpu", action="store_true", help="do not run on the cores")
    parser.add_argument("--again", action="store_true", help="first and second passes, in this process")
    arguments = parser.parse_args()
    installed = versions()
    print(f"Python {installed['python']}, jaxlib {installed['jaxlib']}, {os.cpu_count()} cores")
    for name in arguments.names:
        if arguments.again:
            print(again(name), flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            ways = {"accelerator": None} if arguments.no_cpu else {"accelerator": None, "cores": "cpu"}
            for way, platform in ways.items():
                wall, info = cold_run(SWEEPS[name], Path(folder) / way, platform)
                print(f"{name:<26}{way:<12}{wall:8.1f} s, computing {info['seconds']:8.1f} s", flush=True)
            if len(ways) == 2:
                print(f"{name:<26}{parted(*(Path(folder) / way for way in ways))}", flush=True)


if __name__ == "__main__":
    main()
