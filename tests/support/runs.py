"""Runs of small sweeps through the command line, in this process or in one that is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from winit_jax.cli.main import app
from winit_jax.columns import AXES, COLUMNS, NAMES
from winit_jax.columns import KEYS as ALL_KEYS
from winit_jax.engine.planning import planner

# The keys that every table has, and the columns that are there where a sweep gives their axis alone.
KEYS = tuple(key for key in ALL_KEYS if not AXES[key].needs)
ONLY_ASKED = {column.name for column in COLUMNS if {"formats", "stem_scale", "readout_scale", "lsuv"} & {*column.needs}}

SMALL = [
    "activation=tanh,relu",
    "init=normal,he_normal",
    "gain=0.5,1.5",
    "bias_std=0,0.1",
    "width=8",
    "depth=int:1:4",
    "seed=0,1",
    "inputs.samples=20",
]
# Every family its own part: many commits, so that there is something to interrupt.
TINY_PARTS = "import winit_jax.engine.planning.planner as p; p.PART_SECONDS = 1e-12\n"


def winit(*words, code=0):
    """Invoke the command line; (stdout, stderr)."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def run(folder, *words, code=0):
    """`winit run` without figures; its stderr."""
    return winit("run", *words, "--out", folder, "--no-figures", code=code)[1]


# One process instead of two, for those who kill it.
UNWATCHED = "from winit_jax.engine.running import supervise as s; s.begin = s.Watched\n"


def run_apart(folder, *words, before="", timeout=300, supervised=False, devices=1):
    """`winit run` in a process of its own, of so many devices, after the Python text `before`; the finished process."""
    script = f"{TINY_PARTS}{'' if supervised else UNWATCHED}{before}\nfrom winit_jax.cli.main import main\nmain()"
    command = [sys.executable, "-c", script, "run", *words, "--out", str(folder), "--no-figures"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Python puts '-c' in sys.argv[0] and the rest where the command line looks for it.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
    more = {"XLA_FLAGS": flags} if devices > 1 else {}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, **more}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


def table(folder, name="networks"):
    """A table in a fixed order of rows, names as text."""
    frame = pd.read_parquet(Path(folder) / name)
    names = {key: frame[key].astype(str) for key in NAMES if key in frame}
    order = [key for key in frame if key in ALL_KEYS or key in ("learning_rate", "layer", "step", "bin_low")]
    return frame.assign(**names).sort_values(order).reset_index(drop=True)


def assert_same_bits(one, other, names=("networks", "layers")):
    for name in names:
        pd.testing.assert_frame_equal(table(one, name), table(other, name), check_exact=True)


def module_of_ones_own(text, folder, monkeypatch):
    """The name of a module with this text in `folder`, which becomes the working directory; forgotten at the end."""
    name = f"own_{folder.name}"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield name
    sys.modules.pop(name, None)


def in_tiny_parts(folder, *words):
    """`run` with every family its own part; the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "PART_SECONDS", 1e-12)
        run(folder, *words)
    return folder
