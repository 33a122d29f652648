"""Everything is in pyproject.toml but this: a build takes the ready sweeps along, and writes down its commit."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
COMMIT = "_commit.txt"  # for run.json
BESIDE_SWEEPS = shutil.ignore_patterns("*.md")


def commit() -> str:
    """The checkout's commit, with '+' if files were changed; what an sdist says of itself; or nothing."""

    def git(*arguments: str) -> str:
        words = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(HERE), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) == HERE:
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        pass
    written = HERE / "winit_jax" / COMMIT
    return written.read_text(encoding="utf-8").strip() if written.is_file() else ""


def write(package: Path) -> None:
    if found := commit():
        package.mkdir(parents=True, exist_ok=True)
        (package / COMMIT).write_text(found + "\n", encoding="utf-8")


class BuildPackage(build_py):
    """Files of the package, and its commit beside them. Editable ones run from their checkout, which knows it."""

    def run(self) -> None:
        super().run()
        if not getattr(self, "editable_mode", False):
            package = Path(self.build_lib) / "winit_jax"
            write(package)
            shutil.copytree(HERE / "sweeps", package / "sweeps", dirs_exist_ok=True, ignore=BESIDE_SWEEPS)


class BuildSource(sdist):
    """The same for an sdist, which has no checkout to ask."""

    def make_release_tree(self, base_dir, files) -> None:
        super().make_release_tree(base_dir, files)
        write(Path(base_dir) / "winit_jax")


setup(cmdclass={"build_py": BuildPackage, "sdist": BuildSource})
