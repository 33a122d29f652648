"""Where a long training stands, in one file of plain arrays: written whole or not at all, and read only if it fits.

A checkpoint belongs to one part of one sweep under one set of versions. Its fingerprint says which, and one that
belongs to something else, or is damaged, is left aside with a note: the part is then trained from its start.
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

# Between two checkpoints of a training.
SECONDS = 30.0
# The entry that holds the fingerprint, and the one that holds the step.
FINGERPRINT, STEP = "fingerprint", "step"

# What reading a file of damaged bytes may raise: NotImplementedError, a RuntimeError, of an unknown compression.
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
    """SHA-256 of what a checkpoint belongs to, as JSON."""
    return hashlib.sha256(json.dumps(belongs_to, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class Checkpoint:
    """The checkpoint of one part. step: the one that was written last, None before there is any.

    note: told in a sentence why a checkpoint that is there is not used.
    """

    path: Path
    note: Callable[[str], None] = lambda sentence: None
    step: int | None = None
    _written: float = field(default_factory=time.monotonic)

    def load(self, belongs_to: str) -> dict[str, np.ndarray] | None:
        """The arrays of the file with this fingerprint, `step` among them; None where there is none to go on from."""
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
        """Whether SECONDS have passed since the last one."""
        return time.monotonic() - self._written >= SECONDS

    def postpone(self) -> None:
        """Try again after SECONDS."""
        self._written = time.monotonic()

    def save(self, arrays: Arrays, belongs_to: str) -> None:
        """Make these the file, `step` among them. Errors: OSError, and then an earlier file is still whole."""
        self.path.parent.mkdir(exist_ok=True)
        staged = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(staged, "wb") as file:
                np.savez(file, allow_pickle=False, **{FINGERPRINT: np.array(belongs_to)}, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staged, self.path)
        except OSError:  # of a full disk, what was written takes the room that others need
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            raise
        self.step, self._written = int(arrays[STEP]), time.monotonic()

    def discard(self) -> None:
        """Take the file away, once its part is committed or never will be."""
        for path in (self.path, self.path.with_name(f"{self.path.name}.new")):
            with contextlib.suppress(OSError):  # nothing is there, or a folder that is not ours
                path.unlink()
        with contextlib.suppress(OSError):  # other parts have theirs, or there is no such folder
            self.path.parent.rmdir()


def between(
    watch: Callable[[float], None], steps: int, checkpoint: Checkpoint | None, belongs_to: str
) -> Callable[[int, Callable[[], Arrays]], None]:
    """What a training of so many steps does between stretches of them: tell `watch` its share, and be kept.

    Out: of (the step reached, how all stands then). What is due is written; all is where `watch` ends the training.
    """

    def keep(standing: Callable[[], Arrays]) -> None:
        if checkpoint is None:
            return
        try:
            checkpoint.save(standing(), belongs_to)
        except OSError as error:  # the training itself goes on
            checkpoint.note(f"{checkpoint.path} cannot be written: {error.strerror or error}.")
            checkpoint.postpone()

    def save_sometimes(step: int, standing: Callable[[], Arrays]) -> None:
        try:
            watch(step / steps)
        except Exception:
            keep(standing)
            raise
        if checkpoint is not None and checkpoint.due():
            keep(standing)

    return save_sometimes
