"""What a run was made with: versions, devices, commit; and jaxlib builds known to be wrong."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("winit-jax", "jax", "jaxlib", "optax", "numpy", "pandas", "pyarrow")

# Those that compute.
DECISIVE = ("winit-jax", "jax", "jaxlib", "optax", "numpy")
PACKAGE = Path(__file__).resolve().parents[1]
BUILT_FROM = "_commit.txt"  # in a package that was built from a checkout

BAD_JAXLIB = {
    "0.10.2": "wrong sums on CPU (jax issue 39103)",
    "0.11.0": "reported to crash on high-rank reductions (jax issue 39257)",
}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; packages not installed are left out."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def known_bad() -> str | None:
    """A sentence if the installed jaxlib is known to be wrong."""
    version = versions().get("jaxlib", "")
    reason = BAD_JAXLIB.get(version)
    return reason and f"jaxlib {version} is known to be bad: {reason}. Install another version."


def commit() -> str | None:
    """The commit that this code is of, with '+' if it was changed since; None where nobody knows.

    From the checkout that it runs from, or as it was written down when the package was built from one (setup.py).
    """

    def git(*arguments: str) -> str:
        # A checkout of another user's is read all the same; nothing in it is run.
        words = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(PACKAGE), *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=5).stdout.strip()

    try:
        # Elsewhere it is installed inside somebody else's repository.
        if Path(git("rev-parse", "--show-toplevel")) == PACKAGE.parent:
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return (PACKAGE / BUILT_FROM).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def environment(numerics: Mapping[str, Any]) -> dict[str, Any]:
    """All that numbers may depend on beside the sweep. numerics: devices, platform and settings of JAX."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {"versions": versions(), "commit": commit(), "machine": platform.machine(), "xla_flags": flags, **numerics}


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of two environments may change last digits, as phrases; keys that one of them lacks say nothing."""
    pairs = [(name, _part(earlier, "versions").get(name), _part(now, "versions").get(name)) for name in DECISIVE]
    pairs += [
        (name, earlier[name], now[name])
        for name in ("commit", "platform", "machine", "kernel")
        if {name} <= earlier.keys()
    ]
    if "xla_flags" in earlier:
        pairs.append(("XLA_FLAGS", earlier["xla_flags"] or "none", now.get("xla_flags") or "none"))
    if "jax" in earlier:
        earlier_jax, jax_now = _part(earlier, "jax"), _part(now, "jax")
        pairs += [
            (name, earlier_jax.get(name, "usual"), jax_now.get(name, "usual"))
            for name in sorted({*earlier_jax, *jax_now})
        ]
    return [f"{name} {old} then, {new} now" for name, old, new in pairs if old != new and None not in (old, new)]


def _part(environment: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = environment.get(name)
    return part if isinstance(part, Mapping) else {}


def changed_values(earlier: Any, now: str, digits: int = 9) -> str | None:
    """Where the values of two fingerprints part (`vocabulary.fingerprints`), in words; None where they are the same.

    Functions are the same to so many digits, for another version of JAX may round otherwise.
    """
    new = [float(word) for word in now.split()]
    try:
        old = [float(word) for word in str(earlier).split()]
    except ValueError:
        old = []
    if len(old) != len(new):
        return "another set of values"
    for then, at_present in zip(old, new, strict=True):
        if (
            then != at_present
            and not (then != then and at_present != at_present)
            and not abs(then - at_present) <= 10.0**-digits * max(abs(then), abs(at_present), 1e-9)
        ):
            return f"{then:.9g} then, {at_present:.9g} now"
    return None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
