"""The text of a sweep file, and what is wrong with it before its keys are looked at."""

import tomllib
from pathlib import Path
from typing import Any

from sweeps.problems import Problem, SpecError, briefly


def read_file(source: str | Path | None) -> tuple[str, str, dict[str, Any], Path]:
    """(label for errors, name, contents, the folder that relative paths start from)."""
    if source is None:
        return "command line", "", {}, Path()
    path = Path(source)
    try:
        is_file = path.suffix == ".toml" or path.is_file()
    except OSError:  # a name longer than the system allows
        is_file = False
    if not is_file:
        from sweeps.catalogue import sweep_text

        return f"{source}.toml", str(source), tomllib.loads(sweep_text(str(source))), Path()
    try:
        text = path.read_bytes().decode("utf-8")
        return (
            path.name,
            path.resolve().parent.name if path.stem == "sweep" else path.stem,
            tomllib.loads(text),
            path.parent,
        )
    except FileNotFoundError:
        raise SpecError(str(path), [Problem("", "there is no such file.")]) from None
    except OSError as error:
        raise SpecError(str(path), [Problem("", f"cannot be read: {error.strerror}.")]) from None
    except UnicodeDecodeError:
        raise SpecError(str(path), [Problem("", "is not a text file in UTF-8.")]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(str(path), [Problem("", f"is not TOML: {error}.")]) from None
    except ValueError as error:
        if "\0" in str(path):
            raise SpecError(briefly(str(path)), [Problem("", "is no file name.")]) from None
        # TOML's integers have 64 bits; Python's parser gives up on those of more than 4300 digits.
        raise SpecError(str(path), [Problem("", f"is not TOML: {error}.")]) from None


def too_large(data: dict[str, Any]) -> list[Problem]:
    """Integers beyond TOML's 64 bits, wherever they stand. A stack, for dotted keys nest without a limit."""
    found = []
    rest: list[tuple[str, Any]] = [("", data)]
    while rest:
        place, value = rest.pop()
        if isinstance(value, dict):
            # A place stays readable: what lies deep in unknown tables is named by its beginning.
            rest.extend((f"{place}.{key}".lstrip(".")[:200], item) for key, item in value.items())
        elif isinstance(value, list):
            rest.extend((f"{place}[{index}]", item) for index, item in enumerate(value))
        elif isinstance(value, int) and value.bit_length() > 64:
            found.append(Problem(place, "the number is too large."))
    return found[::-1]
