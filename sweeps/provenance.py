"""What a run was made with: versions, devices, commit; and jaxlib builds known to be wrong."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("winit-jax", "jax", "jaxlib", "optax", "numpy", "pandas", "pyarrow")

BUILT_FROM = "_commit.txt"  # beside this file in a package that was built from a checkout

BAD_JAXLIB = {
    "0.10.2": "wrong sums on CPU (jax issue 39103)",
    "0.11.0": "reported to crash on high-rank reductions (jax issue 39257)",
}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; packages not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def known_bad() -> str | None:
    """A sentence if the installed jaxlib is known to be wrong."""
    version = versions().get("jaxlib", "")
    reason = BAD_JAXLIB.get(version)
    return reason and f"jaxlib {version} is known to be bad: {reason}. Install another version."


def commit() -> str | None:
    """The commit that this code is of, with '+' if it was changed since; None where nobody knows.

    From the checkout that it runs from, or as it was written down when the package was built from one (setup.py).
    """
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        # A checkout of another user's is read all the same; nothing in it is run.
        words = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(here), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=5).stdout.strip()

    try:
        # Elsewhere it is installed inside somebody else's repository.
        if Path(git("rev-parse", "--show-toplevel")) == here.parent:
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return (here / BUILT_FROM).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
