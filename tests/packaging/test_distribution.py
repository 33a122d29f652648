"""What a source distribution holds, built offline from a copy of what the repository tracks."""

import tarfile

import pytest

from support.builds import ROOT, built

COPIED = ("analysis", "benchmarks", "docs", "sweeps", "tests", "winit_jax")
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md"),
    *("mkdocs.yml", "pyproject.toml"),
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names in an sdist, below its own folder."""
    pytest.importorskip("setuptools", minversion="77")
    archive = built(tmp_path_factory.mktemp("sdist"), "sdist", COPIED, FILES)
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
