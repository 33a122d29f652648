"""Scripts of this folder in processes of their own: without JAX's threads, they may fork and be killed."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environment():
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), *sys.path])
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}


def python(script, *words, **options):
    command = [sys.executable, str(HERE / script), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment(), **pipes, **options)


def finished(process):
    said, troubles = process.communicate(timeout=900)
    assert process.returncode == 0, troubles
    return said
