"""Compiled programs are kept on disk, so that the next process that needs one reads it instead of compiling it.

That is JAX's persistent compilation cache, in the user's cache folder, with a folder of its own for each jaxlib and
processor: code for one may be wrong, or illegal, on another. What goes wrong with the folder costs a sentence, never a
run. Whoever has told JAX of a cache, or to have none, is left alone.
"""

import hashlib
import os
import platform
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

# The variable that names another folder, or says that none is to be used.
VARIABLE, OFF = "WINIT_CACHE", "off"
# Before this version jaxlib writes lines on stderr for each program that it reads on some processors (jax issue 38445),
# unless this variable says otherwise before it is imported.
QUIET_SINCE, LOGS, NO_LOGS = (0, 12), "TF_CPP_MIN_LOG_LEVEL", "3"
# A file that says that this jaxlib does not read on this processor what it has written there.
REJECTED = "rejected"
# Of all programs of one jaxlib and processor; the oldest go first, until half is left.
MOST_BYTES = 2**29
# What JAX's warnings about its cache begin with.
_READING, _WRITING = "Error reading persistent compilation cache", "Error writing persistent compilation cache"

_using = threading.RLock()
_users = 0


def folder() -> Path | None:
    """Where the programs of this jaxlib and processor are kept; None where they are not, or not by us."""
    said = os.environ.get(VARIABLE, "").strip()
    set_by_user = jax.config.values["jax_compilation_cache_dir"]
    if said.lower() == OFF or set_by_user or not jax.config.values["jax_enable_compilation_cache"]:
        return None
    version = metadata.version("jaxlib")
    is_quiet = tuple(map(int, version.split(".")[:2])) >= QUIET_SINCE or os.environ.get(LOGS) == NO_LOGS
    if not said and not is_quiet:
        return None
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winit-jax"
    return (Path(said).expanduser() if said else usual) / f"jaxlib-{version}-{processor()}"


def processor() -> str:
    """This machine's kind of processor, by its name and what it can do: 12 hex digits."""
    words = [platform.machine()]
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.strip():
                break  # of the first core
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "flags", "CPU part", "CPU implementer", "Features"):
                words.append(" ".join(sorted(value.split())))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def described() -> str:
    """Where programs are kept, and how many there are, in words."""
    place = folder()
    if place is None:
        return f"compiled programs are not kept; {VARIABLE} names a folder for them"
    if (place / REJECTED).exists():
        return f"jaxlib does not read what it compiled, and nothing is kept in {place}"
    sizes = [entry.stat().st_size for entry in os.scandir(place)] if place.is_dir() else []
    return f"{len(sizes)} compiled programs, {sum(sizes) / 2**20:.1f} MiB, in {place}"


@contextmanager
def kept(say: Callable[[str], None]) -> Iterator[None]:
    """A context in which programs are read from the folder, and written there. say: told if it cannot be used.

    JAX's settings are as before afterwards. Contexts may be nested; those of several threads share the first one's.
    """
    global _users
    with _using:
        place = None if _users else folder()
        if place is None or not _usable(place, say):
            place = None
        else:
            _users += 1
    if place is None:
        yield
        return
    settings = {
        "jax_compilation_cache_dir": str(place),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_enable_xla_caches": "none",  # files of XLA's own that nobody would remove
    }
    before = {name: jax.config.values[name] for name in settings}
    _set(settings)
    ill: list[str] = []
    lost: list[str] = []
    try:
        with _hearing(ill, lost):
            yield
    finally:
        _set(before)
        with _using:
            _users -= 1
        if ill:
            _forget(place)
            if any("machine" in reason for reason in ill):
                (place / REJECTED).touch()
                say(f"note: jaxlib cannot read compiled programs here, and none are kept any more ({ill[0]})")
            else:
                say(f"note: a compiled program could not be read ({ill[0]}); all that were kept are compiled anew")
        if lost:
            say(f"note: a compiled program could not be kept in {place} ({lost[0]})")


def _usable(place: Path, say: Callable[[str], None]) -> bool:
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(None, "it cannot be written")
        if (place / REJECTED).exists():
            return False
        _prune(place)
    except OSError as error:
        reason = error.strerror or error
        say(f"note: compiled programs are not kept in {place} ({reason}); {VARIABLE} names another folder, or {OFF}")
        return False
    return True


def _prune(place: Path) -> None:
    """Remove the oldest programs where they are more than MOST_BYTES."""
    files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(place))
    left = sum(size for _, size, _ in files)
    if left <= MOST_BYTES:
        return
    for _, size, path in files:
        if left <= MOST_BYTES // 2:
            break
        with suppress(OSError):
            os.unlink(path)
            left -= size


def _set(settings: dict[str, object]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@contextmanager
def _hearing(ill: list[str], lost: list[str]) -> Iterator[None]:
    """Take in JAX's reasons why programs were not read, and not written; all other warnings go where they went."""
    usual = warnings.showwarning

    def show(message: Warning | str, *place: object, **more: object) -> None:
        text = str(message)
        if text.startswith((_READING, _WRITING)):
            (ill if text.startswith(_READING) else lost).append(text.partition(": ")[2])
        else:
            usual(message, *place, **more)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="Error (reading|writing) persistent compilation cache")
        warnings.showwarning = show
        yield


def _forget(place: Path) -> None:
    for file in place.iterdir():
        with suppress(OSError):
            file.unlink(missing_ok=True)
