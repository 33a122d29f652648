"""The forward sweep against what a user would write instead, as ratios in one run.

    python -m benchmarks.forward              # the phase sweep's work: width 100, 1000 inputs
    python -m benchmarks.forward --width 1000
    python -m benchmarks.forward --samples 100
    python -m benchmarks.forward growth       # time and peak memory over seeds, depth and grid size

Every figure is the median over rounds; in a round all ways run in turn, so a ratio compares neighbors in
time. Alternatives run a few networks of the sweep, the sweep runs whole: figures are microseconds a
network and layer. Compiling is not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import jax
import numpy as np

from benchmarks import alternatives
from winit_jax.api import Asked
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.engine.computing.work import read_work
from winit_jax.engine.running import runner
from winit_jax.system.provenance import cores, versions

LAYERS = 50


def seconds(function) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def sgemm_peak() -> float:
    """The best float32 matrix-product rate of NumPy's BLAS here over several sizes, in FLOP/s."""
    rng = np.random.default_rng(0)
    best = 0.0
    for rows, inner, columns in (
        (1000, 100, 100),
        (2000, 100, 100),
        (4000, 100, 100),
        (1000, 1000, 1000),
        (2000, 2000, 2000),
    ):
        a = rng.standard_normal((rows, inner), dtype=np.float32)
        b = rng.standard_normal((inner, columns), dtype=np.float32)
        out = np.empty((rows, columns), np.float32)
        times = [seconds(lambda a=a, b=b, out=out: np.dot(a, b, out=out)) for _ in range(30)]
        best = max(best, 2 * rows * inner * columns / median(times))
    return best


class Sweep:
    """A sweep's whole work without files, in as many lanes as `winit run` takes."""

    def __init__(self, *words: str, source: str | None = None) -> None:
        self.sweep = Asked(source, words).sweep()
        self.executor = Executor(read_work(self.sweep))
        self.parts = list(planner(cores()).parts(self.sweep))

    def __call__(self) -> None:
        depths = tuple(self.sweep.grid.depth)
        lanes = runner.lanes(1)  # every part on all devices
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(lambda part: self.executor.run(part, depths), self.parts))

    @property
    def network_layers(self) -> int:
        return self.sweep.n_networks // len(self.sweep.grid.depth) * max(self.sweep.grid.depth)


def compare(width: int, samples: int, rounds: int, gains: int, seeds: int, activations: list[str]) -> None:
    x = np.random.default_rng(0).standard_normal((samples, width))
    gain = 1.5
    weights = [w * gain / np.sqrt(width) for w in np.random.default_rng(1).standard_normal((LAYERS, width, width))]
    x32, weights32 = x.astype(np.float32), [w.astype(np.float32) for w in weights]
    try:
        import torch
    except ImportError:
        torch = None
    peaks = []
    common = (
        f"gain=log:0.1:10:{gains}",
        f"depth=int:1:{LAYERS}",
        f"width={width}",
        f"inputs.samples={samples}",
        "measure.jacobian=false",  # the alternatives have none either; see benchmarks.derivatives
    )
    for activation in activations:
        sweep = Sweep(f"activation={activation}", f"seed=int:0:{seeds - 1}", *common)
        ways = {"winit": (sweep, sweep.network_layers)}
        if activation == "relu":  # a bias too small to matter takes the shortcut away
            plain = Sweep("activation=relu", f"seed=int:0:{seeds - 1}", "bias_std=1e-30", *common)
            ways = {"winit, no shortcut": (plain, plain.network_layers), "winit": ways["winit"]}
        count = max(1, min(4, 400 // width))
        for full in (True, False):
            name = "" if full else ", 3 statistics"
            ways[f"NumPy float64{name}"] = (
                lambda full=full, activation=activation: alternatives.numpy_network(x, weights, activation, full),
                LAYERS,
            )
            ways[f"NumPy float32{name}"] = (
                lambda full=full, activation=activation: alternatives.numpy_network(x32, weights32, activation, full),
                LAYERS,
            )
            if torch:
                tx, tw = torch.from_numpy(x32), [torch.from_numpy(w) for w in weights32]
                ways[f"PyTorch loop{name}"] = (
                    lambda full=full, activation=activation, tx=tx, tw=tw: alternatives.torch_network(
                        torch, tx, tw, activation, full
                    ),
                    LAYERS,
                )
            vmapped = alternatives.jax_networks(activation, full)
            keys = jax.random.split(jax.random.key(0), count)
            ways[f"jit(vmap){name}"] = (
                lambda vmapped=vmapped, keys=keys, count=count: jax.block_until_ready(
                    vmapped(x32, keys, np.full(count, gain, np.float32), LAYERS)
                ),
                count * LAYERS,
            )
        for function, _ in ways.values():
            function()  # compile, load libraries
        times: dict[str, list[float]] = {name: [] for name in (*ways, "bare products")}
        for _ in range(rounds):
            for name, (function, network_layers) in ways.items():
                times[name].append(seconds(function) / network_layers * 1e6)
            peaks.append(sgemm_peak())
            times["bare products"].append(2 * samples * width * width / peaks[-1] * 1e6)
        base = "winit, no shortcut" if activation == "relu" else "winit"
        print(f"\n{activation}, width {width}, {samples} inputs: microseconds a network and layer")
        for name, rounds_taken in times.items():
            ratio = median(t / base_time for t, base_time in zip(rounds_taken, times[base], strict=True))
            print(f"  {name:<28}{median(rounds_taken):10.1f}   {ratio:8.2f} times {base}")
        print(flush=True)
    print(f"sgemm peak {median(peaks) / 1e9:.0f} GFLOP/s")


RUN = "import sys; from winit_jax.cli.main import app; app(sys.argv[1:])"


def whole_run(*words: str) -> tuple[float, float, str]:
    """(wall seconds, peak MiB, the line that winit printed) of a cold `winit run` in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        script = (
            "import resource, subprocess, sys; "
            "p = subprocess.run([sys.executable, '-c', sys.argv[1], *sys.argv[2:]], capture_output=True, text=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); print(p.stderr)"
        )
        command = [sys.executable, "-c", script, RUN, "run", *words, "--out", f"{folder}/run", "--no-figures"]
        started = time.perf_counter()
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        elapsed = time.perf_counter() - started
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return elapsed, int(lines[0]) / unit, next((line for line in lines if "networks in" in line), "")


def growth() -> None:
    print(f"{'grid':<46}{'networks':>10}{'seconds':>9}{'peak MiB':>10}")
    for label, words in (
        ("phase, 1 seed", ["phase", "seed=0"]),
        ("phase, 4 seeds", ["phase"]),
        ("phase, 16 seeds", ["phase", "seed=int:0:15"]),
        ("phase, depth to 200", ["phase", "depth=int:1:200"]),
        ("phase, 25 times larger (320 gains x 20 seeds)", ["phase", "gain=log:0.1:10:320", "seed=int:0:19"]),
    ):
        networks = Asked(words[0], words[1:]).sweep().n_networks
        elapsed, peak, _ = whole_run(*words)
        print(f"{label:<46}{networks:>10,}{elapsed:>9.1f}{peak:>10.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("compare", "growth"), default="compare")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gains", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=4)
    known = ["tanh", "sigmoid", "relu"]
    parser.add_argument("--activations", nargs="+", choices=known, default=known)
    arguments = parser.parse_args()
    installed = versions()
    print(f"{cores()} cores, Python {installed['python']}, jaxlib {installed['jaxlib']}, numpy {installed['numpy']}")
    if arguments.what == "growth":
        growth()
    else:
        a = arguments
        compare(a.width, a.samples, a.rounds, a.gains, a.seeds, a.activations)


if __name__ == "__main__":
    main()
