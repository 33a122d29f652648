"""Errors of the system: one sentence, the right exit code, never a traceback, and computing goes on where it can."""

import errno
import io
import os
import subprocess
import sys

import pytest

from winit_jax.system import streams as system
from winit_jax.system.signals import Stopped

LONG = "a" * 300
WINIT = f"{sys.executable} -c 'from winit_jax.cli.main import main; main()'"


def shell(command):
    """A command line with `winit` in it, through bash; the finished process."""
    return subprocess.run(["bash", "-c", command.replace("winit", WINIT)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("winit catalog >/dev/full", 1, "stdout: No space left on device.\n"),
        ("winit catalog >&-", 0, ""),
        ("winit catalog 2>&- >&- <&-", 0, ""),
        ("winit catalog nonesuch 2>/dev/full", 2, ""),
        ("winit catalog | true", 0, ""),
        (f"winit run activation=tanh gain=1 --out {LONG}", 2, f"{LONG[:60]}...{LONG[:40]}: File name too long.\n"),
        ("winit run activation=tanh gain=1 --out $'x\\xff'", 2, "--out: 'x\\udcff' is not text in UTF-8."),
        ("JAX_PLATFORMS=nonesuch winit run activation=tanh gain=1 --out never", 1, "JAX does not start on 'nonesuch'"),
    ],
)
def test_streams_and_names_get_a_sentence(command, code, said):
    ended = shell(command)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.startswith(said) if said else ended.stderr == ""
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_a_run_goes_on_without_anybody_to_tell(tmp_path, streams):
    words = "activation=tanh gain=1 width=4 depth=2 inputs.samples=8 --no-figures"
    ended = shell(f"winit run {words} --out {tmp_path / 'run'} {streams}")
    assert ended.returncode == 0
    assert len(list((tmp_path / "run" / "networks").glob("*.parquet"))) == 1


def test_doctor_names_a_platform_that_does_not_start():
    ended = shell("JAX_PLATFORMS=cuda winit doctor")
    assert ended.returncode == 1
    assert "devices      JAX does not start on 'cuda', which JAX_PLATFORMS asks for" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 1, "/x/y: No space left on device. Kept.\n"),
        (OSError("Error writing bytes to file. Detail: [errno 27] File too large"), 1, "File too large. Kept.\n"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "f"), 1, "f: Read-only file system. Kept.\n"),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "f"), 2, "f: File name too long.\n"),
        (MemoryError(), 1, "There is not enough memory. Kept.\n"),
        (RecursionError("maximum recursion depth exceeded"), 1, "Something is nested too deep. Kept.\n"),
        (
            UnicodeEncodeError("utf-8", "x\udcff", 1, 2, "surrogates not allowed"),
            2,
            "'x\\udcff': holds what is not text",
        ),
        (ValueError("embedded null byte"), 2, "A name holds a NUL.\n"),
        (ValueError("stat: embedded null character in path"), 2, "A name holds a NUL.\n"),
        (ValueError("a null column has no dtype"), 1, "ValueError: a null column has no dtype. winit has no sentence"),
        (Stopped(2), 130, "Interrupted. Kept.\n"),
        (KeyError("x"), 1, "KeyError: 'x'. winit has no sentence for this; WINIT_TRACEBACK=1 shows"),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(error, code, said, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(os, "dup2", lambda *_: None)

    def command():
        raise error

    assert system.guarded(command, " Kept.") == code
    assert sys.stderr.getvalue().startswith(said)
    assert sys.stderr.getvalue().count("\n") == 1
