"""What it costs to look at a run of many parts.

    python -m benchmarks.journals                    # 80,000 parts
    python -m benchmarks.journals 10000 --folder DIR # into a folder that is kept; one that is there is read

A folder is made up with that many committed parts of two tables (hard links to a few files) as 64 shards leave it, and
the time is taken of what readers do: the journal read, files held against it, networks counted, `winit status` as a
function and as a command, imports included.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from winit_jax import folders
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.planning import planner as planning
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Sweep
from winit_jax.store import damage, journal
from winit_jax.store.asked import count, grid_digest, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.journal import Environment, File, Record, environment_id, to_line
from winit_jax.store.schema import VERSION
from winit_jax.system import disk

FAMILIES, WRITERS, LINKS = 8, 64, 30_000


def sweep_of(parts: int) -> Sweep:
    """A sweep of that many parts of FAMILIES families each."""
    words = ["activation=tanh,relu", f"gain=lin:0.5:2:{FAMILIES}", "width=100", "depth=int:1:10", "init=normal"]
    return load_sweep(None, [*words, f"seed=int:1:{parts // 2}"], vocabulary())


def made_up(path: Path, parts: int) -> Sweep:
    """Write the folder."""
    sweep = sweep_of(parts)
    planning.PART_SECONDS = 1e-12
    folder = RunFolder(path)
    folder.create()
    with folder.lock():
        folder.write_sweep(sweep.to_toml())
        folder.write_info({"state": "done"}, sweep)
    for name in ("networks", "layers", "parts"):
        (path / name).mkdir()
    made_by = {"versions": {}}
    digests = {"grid": grid_digest(sweep), "settings": settings_digest(sweep), "made_by": environment_id(made_by)}
    lines = [[to_line(Environment(version=VERSION, id=digests["made_by"], made_by=made_by))] for _ in range(WRITERS)]
    depths, data = tuple(sweep.grid.depth), b"0" * 100
    source, status, n_links = path / "layers" / "source", None, LINKS
    jobs = ((job, at) for part in planner(4).parts(sweep) for at, job in enumerate(part.jobs))
    whole: dict[tuple[object, ...], list[object]] = {}
    for job, _ in jobs:
        whole.setdefault((job.activation, job.seed), []).extend(job.points)
    for position, ((activation, seed), points) in enumerate(whole.items()):
        part = journal.Part((replace(job, activation=str(activation), seed=int(str(seed)), points=tuple(points)),))
        stem = f"00-0000-{position * FAMILIES:09d}-{part.name}"
        if n_links >= LINKS or status is None:
            n_links = 0
            source.unlink(missing_ok=True)
            disk.write_new(source, data)
            status = os.stat(source)
        file = File(sha256="0" * 64, bytes=len(data), rows=80, changed_ns=status.st_mtime_ns)
        for table in ("networks", "layers"):
            os.link(source, path / table / f"{stem}.parquet")
            n_links += 1
        files = {"networks": file, "layers": file}
        lines[position % WRITERS].append(
            to_line(
                Record(
                    version=VERSION,
                    stem=stem,
                    jobs=part.jobs,
                    depths=depths,
                    files=files,
                    **digests,
                    networks=part.n_networks(set(depths)),
                    families=part.n_families,
                )
            )
        )
    source.unlink()
    for number, texts in enumerate(lines, 1):
        (path / "parts" / f"{number:06d}.jsonl").write_bytes(b"".join(texts))
    return sweep


def timed(name: str, work: object) -> object:
    """Say how long it takes."""
    before, cpu = time.perf_counter(), time.process_time()
    result = work()  # type: ignore[operator]
    print(f"  {name:<32} {time.perf_counter() - before:6.2f} s, {time.process_time() - cpu:6.2f} s of CPU", flush=True)
    return result


def commanded(path: Path) -> None:
    """Say how long `winit status` takes as a command, and how much of it processors worked."""
    before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "winit_jax", "status", str(path)], check=True, stdout=subprocess.DEVNULL)
    seconds, now = time.perf_counter() - before, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(f"  {'winit status':<32} {seconds:6.2f} s, {cpu:6.2f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=int, nargs="?", default=80_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winit-journals-") as scratch:
        path = (options.folder or Path(scratch)) / "run"
        is_there = path.exists()
        sweep = sweep_of(options.parts) if is_there else timed("made up", lambda: made_up(path, options.parts))
        size = sum(file.stat().st_size for file in (path / "parts").iterdir())
        print(f"{options.parts:,} parts of {FAMILIES} families, {size / 2**20:.1f} MiB of journal")
        entries = timed("journal.read", lambda: journal.read(path))
        timed("damaged", lambda: damage.damaged(path, entries))
        timed("foreign", lambda: damage.foreign(path, entries))
        timed("count", lambda: count(sweep, list(entries.committed())))
        print(timed("status", lambda: folders.status(path)))
        commanded(path)


if __name__ == "__main__":
    main()
