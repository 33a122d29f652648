"""The text of a sweep file, and what is wrong with it before its keys are looked at."""

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from winit_jax.spec.catalog import names, sweep_text
from winit_jax.spec.problems import Problem, SpecError, briefly

MAX_BYTES = 16 * 2**20
# Of a dotted key that is looked at; ours have three at most. The parser takes time that grows with their square: of all
# of them together it may be so many steps.
MAX_PARTS, MAX_STEPS = 100, 2e7


def read_file(source: str | Path | None) -> tuple[str, str, dict[str, Any], Path]:
    """(label for errors, name, contents, the folder that relative paths start from)."""
    if source is None:
        return "command line", "", {}, Path()
    path = Path(source)
    try:
        is_file = path.suffix == ".toml" or path.is_file()
    except OSError:  # a name longer than the system allows
        is_file = False
    # A run may lie in a folder called like the ready sweep that it is of.
    if not is_file and str(source) not in names() and _is_folder(path):
        hint = f" Its sweep is {path / 'sweep.toml'}." if (path / "sweep.toml").is_file() else ""
        raise SpecError(briefly(str(path)), [Problem("", f"is a folder, not a sweep file.{hint}")])
    if not is_file:
        return f"{source}.toml", str(source), tomllib.loads(sweep_text(str(source))), Path()
    data = parse(path)
    return path.name, path.resolve().parent.name if path.stem == "sweep" else path.stem, data, path.parent


def parse(path: Path) -> dict[str, Any]:
    """A sweep file as plain data, whatever lies there. Errors: SpecError with one problem."""
    try:
        text = _read(path).decode("utf-8")
        if deepest := _deepest_key(text):
            raise _wrong(path, f"has a key of {deepest:,} parts; a sweep file has three.")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise _wrong(path, "there is no such file.") from None
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise _wrong(path, "is not a text file in UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong(path, f"is not TOML: {error}.") from None
    except ValueError as error:
        if "\0" in str(path):
            raise SpecError(briefly(str(path)), [Problem("", "is no file name.")]) from None
        # TOML's integers have 64 bits; Python's parser gives up on those of more than 4300 digits.
        raise _wrong(path, f"is not TOML: {error}.") from None


def _wrong(path: Path, message: str) -> SpecError:
    return SpecError(str(path), [Problem("", message)])


def _read(path: Path) -> bytes:
    """A file's bytes, never more than a sweep file may have, and never from what is no file and might not end.

    Errors: SpecError; OSError, ValueError.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise _wrong(path, "is a folder, not a sweep file.")
    if not stat.S_ISREG(status.st_mode):
        raise _wrong(path, "is a pipe or a device, not a file.")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        size = max(status.st_size, len(raw))
        raise _wrong(path, f"has {size:,} bytes; a sweep file may have {MAX_BYTES:,}: write ranges.")
    return raw


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _deepest_key(text: str) -> int:
    """How many parts the deepest dotted key has, where keys are too deep for the parser; else 0."""
    pieces = (piece.split(".") for piece in re.split(r"[=,{}\[\]\n#]", text) if piece.count(".") > MAX_PARTS)
    parts = [len(names) for names in pieces if all(part.strip() for part in names)]  # rules of dots are no keys
    return max(parts) if sum(count**2 for count in parts) > MAX_STEPS else 0


def too_large(data: dict[str, Any]) -> list[Problem]:
    """Integers beyond TOML's 64 bits, wherever they stand. A stack, for dotted keys nest without a limit."""
    problems = []
    rest: list[tuple[str, Any]] = [("", data)]
    while rest:
        place, value = rest.pop()
        if isinstance(value, dict):
            # A place stays readable: what lies deep in unknown tables is named by its beginning.
            rest.extend((f"{place}.{key}".lstrip(".")[:200], item) for key, item in value.items())
        elif isinstance(value, list):
            rest.extend((f"{place}[{index}]", item) for index, item in enumerate(value))
        elif isinstance(value, int) and value.bit_length() > 64:
            problems.append(Problem(place, "the number is too large."))
    return problems[::-1]
