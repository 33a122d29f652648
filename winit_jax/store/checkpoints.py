"""Checkpoints: the state of an unfinished training in one .npz file of plain arrays, written whole or not at all.

A checkpoint belongs to one part of one sweep under one set of library versions, and its fingerprint says which. A
checkpoint that is damaged or has another fingerprint is not used: a note says so, and the part is trained from the
start.
"""

import contextlib
import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# Seconds between two checkpoints of a training.
SECONDS = 30.0
# Names of the entries of the file that hold the fingerprint and the step.
FINGERPRINT, STEP = "fingerprint", "step"

# What reading a damaged file may raise. An unknown compression raises NotImplementedError, which is a RuntimeError.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)

Arrays = Mapping[str, np.ndarray]


def fingerprint(belongs_to: Any) -> str:
    """SHA-256, in hex, of the JSON of what a checkpoint belongs to. What JSON does not know goes in as `str` of it."""
    return hashlib.sha256(json.dumps(belongs_to, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class Checkpoint:
    """The checkpoint of one part.

    note: called with a sentence when the file exists but cannot be used, or cannot be written.
    step: the training step of the checkpoint that was loaded or saved last; None before the first.
    """

    path: Path
    note: Callable[[str], None] = lambda sentence: None
    step: int | None = None
    _written: float = field(default_factory=time.monotonic)

    def load(self, belongs_to: str) -> dict[str, np.ndarray] | None:
        """The arrays of the checkpoint, `step` among them; None if training has to start anew.

        belongs_to: the `fingerprint` that the file must have. A file that is damaged or has another one is noted.
        """
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            is_foreign = str(arrays.pop(FINGERPRINT)) != belongs_to
            step = int(arrays[STEP])
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            self.note(f"{self.path} is damaged ({type(error).__name__}): its networks are trained from the start.")
            return None
        if is_foreign:
            self.note(f"{self.path} is of another sweep or version: its networks are trained from the start.")
            return None
        self.step = step
        return arrays

    def due(self) -> bool:
        """Whether SECONDS have passed since the last save or `postpone`."""
        return time.monotonic() - self._written >= SECONDS

    def postpone(self) -> None:
        """Make the next checkpoint due SECONDS from now."""
        self._written = time.monotonic()

    def save(self, arrays: Arrays, belongs_to: str) -> None:
        """Replace the file by these arrays, `step` among them, under the fingerprint `belongs_to`.

        Errors: OSError; an earlier file is then unchanged.
        """
        self.path.parent.mkdir(exist_ok=True)
        staged = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(staged, "wb") as file:
                np.savez(file, allow_pickle=False, **{FINGERPRINT: np.array(belongs_to)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, self.path)
        except OSError:  # where the disk is full, the half-written file takes room that others need
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            raise
        self.step, self._written = int(arrays[STEP]), time.monotonic()

    def discard(self) -> None:
        """Delete the file, once its part is committed or is no longer wanted."""
        for path in (self.path, self.path.with_name(f"{self.path.name}.new")):
            with contextlib.suppress(OSError):  # there is no such file, or it is a folder that is not ours
                path.unlink()
        with contextlib.suppress(OSError):  # other parts have checkpoints in it, or there is no such folder
            self.path.parent.rmdir()


def between(
    watch: Callable[[float], None], steps: int, checkpoint: Checkpoint | None, belongs_to: str
) -> Callable[[int, Callable[[], Arrays]], None]:
    """The function that a training of `steps` steps calls between stretches of steps.

    watch: is given the share of steps done, 0 to 1; it ends the training by raising.
    Out: a function of (step reached, function that returns the arrays to save). It calls `watch`, then saves a
    checkpoint if one is due. If `watch` raises, it saves one, due or not, and raises again. A checkpoint that cannot be
    written is noted, and the training goes on.
    """

    def keep(arrays_now: Callable[[], Arrays]) -> None:
        if checkpoint is None:
            return
        try:
            checkpoint.save(arrays_now(), belongs_to)
        except OSError as error:  # the training itself goes on
            checkpoint.note(f"{checkpoint.path} cannot be written: {error.strerror or error}.")
            checkpoint.postpone()

    def watch_and_save(step: int, arrays_now: Callable[[], Arrays]) -> None:
        try:
            watch(step / steps)
        except Exception:
            keep(arrays_now)
            raise
        if checkpoint is not None and checkpoint.due():
            keep(arrays_now)

    return watch_and_save
