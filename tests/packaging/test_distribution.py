"""What a source distribution holds, built offline from a copy of what the repository tracks."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("analysis", "benchmarks", "docs", "sweeps", "tests", "winit_jax")
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md"),
    *("mkdocs.yml", "pyproject.toml"),
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names in an sdist, below its own folder."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("sdist") / "copy"
    copy.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "runs"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    build = "import setuptools.build_meta as backend; print(backend.build_sdist('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (archive,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        return {name.partition("/")[2] for name in file.getnames()}


@pytest.mark.parametrize("folder", COPIED)
def test_an_sdist_holds_every_file_of_a_folder(names, folder):
    kinds = {".py", ".toml", ".md", ".png", ".svg", ".css", ".ipynb"}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.suffix in kinds}
    files = {name for name in files if "__pycache__" not in name and "egg-info" not in name}
    assert files
    assert files <= names


def test_an_sdist_holds_the_files_beside_its_folders(names):
    assert set(FILES) <= names
    assert not any("__pycache__" in name for name in names)
