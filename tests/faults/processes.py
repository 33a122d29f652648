"""Scripts of this folder in processes of their own: without JAX's threads, they may fork and be killed."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python(script, *words, **options):
    path = os.pathsep.join([str(HERE.parents[1]), *sys.path])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, str(HERE / script), *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def finished(process):
    said, troubles = process.communicate(timeout=900)
    assert process.returncode == 0, troubles
    return said
