"""Compiled programs are kept on disk, so that the next process that needs one reads it instead of compiling it.

That is JAX's persistent compilation cache, in the user's cache folder, with a folder of its own for each jaxlib and
processor: code for one may be wrong, or illegal, on another. What goes wrong with the folder costs a sentence, never a
run. Whoever has told JAX of a cache, or to have none, is left alone.
"""

import glob
import hashlib
import os
import platform
import re
import threading
import time
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
# A file that is younger may be one that another process is just writing.
WRITING_SECONDS = 60.0
# JAX's warnings about its cache: (reading or writing, the name of the program, why).
_WARNING = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)", re.DOTALL)

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
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winit-jax"
        place = Path(said).expanduser() if said else usual
    except RuntimeError:  # nobody knows where this user's home is
        return None
    return place / f"jaxlib-{version}-{processor()}"


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
    ill: dict[str, str] = {}
    lost: dict[str, str] = {}
    try:
        with _hearing(ill, lost):
            yield
    finally:
        _set(before)
        with _using:
            _users -= 1
        for why in list(ill.values())[:1]:
            with suppress(OSError):
                _forget(place, ill)
            if any("machine" in reason for reason in ill.values()):
                say(f"note: jaxlib cannot read compiled programs here, and none are kept any more ({why})")
            else:
                say(f"note: a compiled program could not be read ({why}); it was compiled anew")
        for why in list(lost.values())[:1]:
            say(f"note: a compiled program could not be kept in {place} ({why})")


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
def _hearing(ill: dict[str, str], lost: dict[str, str]) -> Iterator[None]:
    """Take in JAX's reasons why programs were not read, and not written, by their names.

    All other warnings go where they went.
    """
    usual = warnings.showwarning

    def show(message: Warning | str, *place: object, **more: object) -> None:
        if found := _WARNING.match(str(message)):
            what, name, why = found.groups()
            (ill if what == "reading" else lost)[name] = why
        else:
            usual(message, *place, **more)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message="Error (reading|writing) persistent compilation cache")
        warnings.showwarning = show
        yield


def _forget(place: Path, ill: dict[str, str]) -> None:
    """Remove the files of programs that could not be read; all, and for good, where this processor reads none."""
    if any("machine" in reason for reason in ill.values()):
        for file in place.iterdir():
            file.unlink(missing_ok=True)
        (place / REJECTED).touch()
        return
    for name in ill:
        for file in place.glob(f"{glob.escape(name)}-*"):
            if time.time() - file.stat().st_mtime > WRITING_SECONDS:
                file.unlink(missing_ok=True)
