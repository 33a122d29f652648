"""Distributions built offline from a copy of what the repository tracks."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "runs")


def built(folder, kind, folders, files):
    """The archive that the back end makes of a copy of these, in `folder`. kind: `sdist` or `wheel`."""
    copy = folder / "copy"
    copy.mkdir()
    for name in folders:
        shutil.copytree(ROOT / name, copy / name, ignore=IGNORED)
    for name in files:
        shutil.copy(ROOT / name, copy / name)
    build = f"import setuptools.build_meta as backend; print(backend.build_{kind}('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (archive,) = (copy / "dist").iterdir()
    return archive
