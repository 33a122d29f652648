"""Tables of ten million networks: what it takes to look at them.

    python -m benchmarks.tables                      # writes a run folder of 10^7 networks, and reads it
    python -m benchmarks.tables --folder DIR         # into a folder that is kept; one that is there is read
    python -m benchmarks.tables --seeds 20           # of fewer networks
    python -m benchmarks.tables --only heatmap regimes

The folder has the layout, the columns and the parts of a run; what would be measured is drawn at random. Each way to
look at it is a process of its own: seconds from its start, imports included, CPU seconds of them, and the most memory.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from winit_jax.columns import MEASURED, PREDICTED, columns_of
from winit_jax.columns.records import Column
from winit_jax.system.provenance import versions

COLUMNS = ["log10_act_rms", "saturated"]
NOISE = 0.05  # standard deviation over seeds


def heatmap(folder: Path) -> object:
    return _load(folder).heatmap("log10_act_rms")


def heatmap_of_some(folder: Path) -> object:
    return _load(folder).heatmap("saturated", where={"activation": "tanh", "depth": 50}, y="seed")


def profile(folder: Path) -> object:
    return _load(folder).lines("log10_act_rms")


def regimes(folder: Path) -> object:
    return _load(folder).regime_map()


def columns(folder: Path) -> object:
    return _load(folder).read("networks", COLUMNS)


def whole(folder: Path) -> object:
    return _load(folder).networks


def status(folder: Path) -> object:
    import winit_jax

    return winit_jax.status(folder)


WAYS = {way.__name__: way for way in (heatmap, heatmap_of_some, profile, regimes, columns, whole, status)}
WORDS = {
    "heatmap": "heatmap of log10_act_rms, median over seeds",
    "heatmap_of_some": "heatmap of saturated, where one activation and depth",
    "profile": "lines of log10_act_rms against depth, with bands",
    "regimes": "map of regimes",
    "columns": f"read({', '.join(COLUMNS)}) and the keys",
    "whole": "load().networks",
    "status": "status",
}


def _load(folder: Path):
    from winit_jax.analysis import load

    return load(folder)


def write(folder: Path, seeds: int, samples: int) -> int:
    """Write a run folder whose measured numbers are drawn at random; how many networks it has.

    5 activations, 100 gains and 100 depths of each seed; in parts as the planner makes them for so many samples.
    """
    from winit_jax.api import asked_of
    from winit_jax.engine.computing.scales import Sizes, places_of
    from winit_jax.engine.computing.tables import Found, Points, networks_table
    from winit_jax.engine.computing.vocabulary import planner
    from winit_jax.store.asked import grid_digest, settings_digest
    from winit_jax.store.folder import RunFolder

    axes = {"activation": ["tanh", "relu", "sigmoid", "gelu", "erf"], "gain": "log:0.1:10:100", "width": 100}
    asked = {**axes, "depth": "int:1:100", "seed": f"int:0:{seeds - 1}", "inputs": {"samples": samples}}
    sweep = asked_of(asked, {}).sweep()
    generator = np.random.default_rng(0)
    run = RunFolder(folder)
    run.create()
    with run.lock():
        run.write_sweep(sweep.to_toml())
        run.plans_for(grid_digest(sweep), settings_digest(sweep))
        run.made_with({"benchmark": "tables"})
        measured = [column for column in columns_of("networks") if column.name in (*MEASURED, *PREDICTED)]
        for number, part in enumerate(planner(os.cpu_count() or 1).parts(sweep)):
            tables = []
            for job in part.jobs:
                sizes, place = Sizes.of(job, 100), places_of(job.block, job.width)[0]
                gains = np.array([sizes.gain(point, sweep.scale_axis, place) for point in job.points])
                scales = {
                    "std": gains / 10,
                    "gain": gains,
                    "bias_std": np.zeros(len(gains)),
                    "skip_scale": np.zeros(len(gains)),
                }
                from winit_jax.columns import SCALES

                scales |= {axis: sizes.values(job, axis) for axis in SCALES if axis not in scales}
                layers = np.arange(1, 101)[:, None]
                found = {column.name: _numbers(column, layers, gains, generator) for column in measured}
                tables.append(networks_table(Points(sweep, job, scales), tuple(sweep.grid.depth), Found(layers=found)))
            import pyarrow as pa

            run.write(
                f"{number:06d}", part, tuple(sweep.grid.depth), {"networks": pa.concat_tables(tables).combine_chunks()}
            )
        run.write_info({"state": "done"}, sweep)
    return sweep.n_networks


def _numbers(column: Column, layers: np.ndarray, gains: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What might be measured: [layers, gains], float32 as what is computed."""
    shape = (len(layers), len(gains))
    if column.name == "nonfinite":
        return np.zeros(shape)
    slope = layers * np.log10(gains) * 0.1 if column.name.endswith("log10_act_rms") else np.full(shape, 0.5)
    if column.name in PREDICTED:
        return slope
    return np.float32(slope + NOISE * generator.standard_normal(shape, np.float32)).astype(float)


def measured(way: str, folder: Path) -> tuple[float, float, float]:
    """(Seconds, CPU seconds, MiB at the most) of a process that looks at the folder that way."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.tables", "--look", way, "--folder", str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    cpu, peak = map(float, said.split()[-2:])
    return seconds, cpu, peak


def look(way: str, folder: Path) -> None:
    """Look at the folder, and print what it took."""
    WAYS[way](folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--samples", type=int, default=100, help="that parts are planned for: more make smaller parts")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--look", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        return look(options.look, options.folder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "run"
        if not (folder / "sweep.toml").exists():
            start = time.perf_counter()
            count = write(folder, options.seeds, options.samples)
            print(f"wrote {count:,} networks in {time.perf_counter() - start:.0f} s")
        files = sorted((folder / "networks").iterdir())
        size = sum(file.stat().st_size for file in files) / 2**20
        print(f"{versions()}\n{len(files):,} files, {size:,.0f} MiB\n")
        print(f"{'':52}{'seconds':>8}{'CPU s':>8}{'MiB':>8}")
        for way in options.only:
            seconds, cpu, peak = measured(way, folder)
            print(f"{WORDS[way]:52}{seconds:8.2f}{cpu:8.2f}{math.ceil(peak):8,}", flush=True)
    return None


if __name__ == "__main__":
    main()
