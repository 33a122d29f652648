"""A scheduler of dask and workers of it, in processes of their own that can be killed."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from support.runs import TINY_PARTS

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 120


def environment():
    paths = [str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}


def python(place, *words, **options):
    """A process in this folder. Its stderr is in the file `said`, which is appended to."""
    said = place / "said"
    with said.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=place,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
            **options,
        )


def waited_for(what, seconds=PATIENCE_SECONDS):
    """The first value that is not empty."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@contextmanager
def scheduler(place):
    """(Its process, its address)."""
    file = place / "scheduler.json"
    file.unlink(missing_ok=True)
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with ended(python(place, "-m", "distributed.cli.dask_scheduler", *words)) as process:
        yield process, waited_for(lambda: _address(file))


def _address(file):
    try:
        return json.loads(file.read_text())["address"]
    except (OSError, ValueError):
        return ""


@contextmanager
def ended(process):
    try:
        yield process
    finally:
        try:
            process.terminate()
            process.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def workers(place, address, count=2):
    return ended(python(place, "-m", "winit_jax", "worker", address, "--count", count, "--quiet"))


def launcher(place, *words, cluster):
    """`winit run ... --cluster`, every family its own part."""
    (place / "said").write_bytes(b"")
    script = f"{TINY_PARTS}from winit_jax.cli.main import main\nmain()"
    return python(place, "-c", script, "run", *words, "--no-figures", "--cluster", cluster)


def code_of(process):
    return process.wait(300)


def parts(folder):
    """How many files of networks there are."""
    return len(list(Path(folder).glob("networks/*.parquet")))


def pids(folder, state="worker"):
    """The processes that have a lease and are not the launcher."""
    found = []
    for path in Path(folder).glob("staging/writers/*.json"):
        try:
            note = json.loads(path.read_text().strip("\0 \n"))
        except (OSError, ValueError):
            continue
        if not note["cluster"]:
            found.append(note["pid"])
    return found
