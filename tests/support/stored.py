"""A small run in six parts, of one family each, and what tests of run folders do with it."""

import shutil

from support.runs import winit
from winit_jax.store import schema

FEW = ["activation=tanh", "gain=0.5,1.5", "width=8", "depth=1,2", "seed=0,1,2", "inputs.samples=20"]
ROWS = 2 * 2 * 3


def files(folder, name="networks"):
    return sorted((folder / name).iterdir())


def empty(folder):
    """Nothing is done."""
    for name in ("parts", *schema.TABLES, *schema.PREDICTIONS):
        shutil.rmtree(folder / name, ignore_errors=True)


def status(folder, code=0):
    lines = (line.split(None, 1) for line in winit("status", folder, code=code)[0].splitlines())
    return {line[0]: line[1] if len(line) > 1 else "" for line in lines}


def flip(path, at=300):
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(bytes(data))
