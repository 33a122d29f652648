"""What a wheel installs, built offline, and that it works beside folders of a user's that are called like ours."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.builds import ROOT, built

NEEDED = ("winit_jax", "sweeps")
FILES = ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
MAIN = "import sys, winit_jax; print(winit_jax.__file__, file=sys.stderr); from winit_jax.cli.main import main; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the sources, unpacked; the folder that it would be installed into."""
    pytest.importorskip("setuptools", minversion="77")
    archive = built(tmp_path_factory.mktemp("wheel"), "wheel", NEEDED, FILES)
    installed = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(archive) as file:
        file.extractall(installed)
    return installed


@pytest.fixture
def elsewhere(tmp_path):
    """A user's folder, with packages of their own whose names are those of folders of ours."""
    for name in ("analysis", "sweeps", "numerics", "spec", "tests", "cli"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a package of the user was imported')\n")
    return tmp_path


def apart(installed, folder, *words):
    """The command line of an unpacked wheel, in a folder that is searched first."""
    path = os.pathsep.join([str(folder), str(installed)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", MAIN, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)


def test_a_wheel_installs_one_import_name(wheel):
    assert [path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")] == ["winit_jax"]


def test_a_wheel_holds_every_module_the_ready_sweeps_and_its_types(wheel):
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "winit_jax").rglob("*.py")}
    ours |= {f"winit_jax/sweeps/{path.name}" for path in (ROOT / "sweeps").glob("*.toml")}
    held = {str(path.relative_to(wheel)) for path in wheel.rglob("*") if path.is_file()}
    assert ours | {"winit_jax/py.typed"} <= held
    assert {Path(name).suffix for name in held if name.startswith("winit_jax/sweeps/")} == {".toml"}


def test_the_catalog_of_a_wheel_is_its_own(wheel, elsewhere):
    listed = apart(wheel, elsewhere, "catalog")
    assert listed.returncode == 0, listed.stderr
    assert {line.split()[0] for line in listed.stdout.splitlines()} == {
        path.stem for path in ROOT.glob("sweeps/*.toml")
    }
    assert listed.stderr == f"{wheel / 'winit_jax' / '__init__.py'}\n"
    printed = apart(wheel, elsewhere, "catalog", "phase")
    assert printed.stdout == (ROOT / "sweeps" / "phase.toml").read_text()


@pytest.mark.slow
def test_quickstart_runs_from_a_wheel(wheel, elsewhere):
    ended = apart(wheel, elsewhere, "run", "quickstart")
    assert (ended.returncode, ended.stdout) == (0, "runs/quickstart\n"), ended.stderr
    assert list((elsewhere / "runs" / "quickstart" / "networks").glob("*.parquet"))
    assert list((elsewhere / "runs" / "quickstart" / "figures").glob("*.png"))
