"""What the system may do to a command, in sentences: streams that are closed or full, disks, memory, names."""

import codecs
import contextlib
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from winit_jax.errors import described, says
from winit_jax.system.signals import Stopped

# With this variable set an error that no sentence was written for shows where it came from.
TRACEBACK = "WINIT_TRACEBACK"
# What the system says of a name, rather than of a disk or a device: the request was wrong.
OF_A_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EINVAL)
# What Python says before it hands a name with a NUL to the system.
NUL = re.compile(r"embedded null (byte|character)")


class _Named(io.FileIO):
    """The raw stdout, whose errors say that it is stdout."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "stdout") from error


class _Forgiving(io.FileIO):
    """A raw stream for messages, which are never a reason to stop: what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare_streams() -> None:
    """Make stdin, stdout and stderr usable whatever the shell made of them.

    A closed one is opened on the null device, so that no file of ours takes its number. Messages that stderr cannot
    take are dropped. What a terminal cannot encode is replaced; bytes of a file name that are no text come out as they
    were.
    """
    codecs.register_error("winit", _replace)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None or _number(sys.stdout) == 1:
        sys.stdout = _text(_Named(1, "w", closefd=False), sys.stdout)
    if sys.stderr is None or _number(sys.stderr) == 2:
        sys.stderr = _text(_Forgiving(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, earlier: object) -> io.TextIOWrapper:
    """A stream of lines in the encoding of the one before."""
    encoding = getattr(earlier, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="winit", line_buffering=True)


def _number(stream: object) -> int | None:
    try:
        number: int | None = stream.fileno()  # type: ignore[attr-defined]
        return number
    except (AttributeError, OSError, ValueError):  # another object in its place
        return None


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replacement = b""
    for character in error.object[error.start : error.end]:
        code = ord(character)
        replacement += bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else b"?"
    return replacement, error.end


def guarded(command: Callable[[], object], kept: str) -> int:
    """Call a command that ends with SystemExit; its exit code. Every error becomes one sentence on stderr.

    kept: the sentence on what is not lost, added to errors that are not the request's.
    """
    try:
        try:
            command()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Stopped as stop:
        _say(f"Interrupted.{kept}")
        return 128 + stop.number
    except KeyboardInterrupt:  # raised by code, for the user's signals are Stopped
        _say(f"Something raised KeyboardInterrupt.{kept}")
        return 1
    except BaseException as error:
        text, code = sentence(error)
        _say(text if code == 2 else text + kept)
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        if isinstance(error, OSError):  # what stdout still holds would be tried again at exit, and said again
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def sentence(error: BaseException, at: str = "") -> tuple[str, int]:
    """(What happened, in one sentence; the exit code: 2 where the request was wrong, else 1).

    at: where it happened, if the system does not say.
    """
    if isinstance(error, OSError):
        number = error.errno
        if number is None and (match := re.search(r"\[errno (\d+)\]", str(error), re.IGNORECASE)):  # of Arrow
            number = int(match[1])
        what = os.strerror(number) if number else str(error).strip() or type(error).__name__
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        place = f"{_short(place)}: " if (place := names[0] if names else at) else ""
        return f"{place}{what.splitlines()[0].rstrip('.')}.", 2 if number in OF_A_NAME else 1
    if isinstance(error, MemoryError):
        return "There is not enough memory.", 1
    if isinstance(error, RecursionError):
        return "Something is nested too deep.", 1
    if isinstance(error, UnicodeError):
        text = getattr(error, "object", "")
        shown = f"{_short(text)!a}: " if isinstance(text, str) and text else ""
        return f"{shown}holds what is not text in UTF-8.", 2
    if isinstance(error, ValueError) and NUL.search(says(error)):
        return "A name holds a NUL.", 2
    said = described(error)
    return f"{said.rstrip('.')}. winit has no sentence for this; {TRACEBACK}=1 shows where it comes from.", 1


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:60]}...{text[-40:]}"


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        print(text, file=sys.stderr, flush=True)
