"""A built package knows what it was built from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_build_knows_its_commit(tmp_path):
    pytest.importorskip("setuptools")
    root = Path(__file__).parents[2]
    cloned = subprocess.run(["git", "clone", "-q", root, tmp_path / "clone"], capture_output=True)
    if cloned.returncode:
        pytest.skip("not in a git checkout")
    shutil.copy(root / "setup.py", tmp_path / "clone")
    (tmp_path / "clone" / "untracked").write_text("")
    script = "import setuptools; setuptools.setup = lambda **_: None; import setup; from pathlib import Path; "
    script += f"setup.write(Path({str(tmp_path)!r}) / 'built')"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "clone", check=True, env={"PATH": os.environ["PATH"]})
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (tmp_path / "built" / "_commit.txt").read_text().strip().rstrip("+") == head.stdout.strip()
