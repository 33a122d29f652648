"""A text as bytes: windows of it, and the numbers that stand for a byte."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winit_jax.data.bounded import InputError, look_at, refuse_beyond_memory
from winit_jax.spec.sources import BYTES, TEXT_MARK
from winit_jax.spec.sweep import Inputs

# Bytes of memory for each byte of a text: itself, and its place in a permutation of where windows start.
TIMES_TEXT = 1 + 8


@dataclass(frozen=True)
class Text:
    """The content of a file. content: uint8 [bytes]. name: as the sweep names it. files: as in `samples.Source`."""

    content: np.ndarray
    name: str
    files: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        return self.files[0][1]


def read_text(name: str) -> Text:
    """The text of a source, by its path, unpacked where it is compressed with gzip. Errors: InputError."""
    file = look_at(Path(name.removeprefix(TEXT_MARK)))
    try:
        content = file.read(TIMES_TEXT)
    except (OSError, EOFError, zlib.error) as error:
        what = "is a damaged gzip file" if file.packed else "cannot be read"
        raise InputError(f"{file.path} {what}: {error}.") from None
    return Text(np.frombuffer(content, np.uint8), name, ((file.path.name, file.sha256()),))


def count_windows(content: np.ndarray, length: int) -> int:
    """How many windows of so many bytes there are, each with a start of its own; 0 where the text is shorter."""
    return max(0, len(content) - length + 1)


def windows(content: np.ndarray, length: int, starts: np.ndarray) -> np.ndarray:
    """The bytes from these starts on: uint8 [starts, length]."""
    chosen: np.ndarray = np.lib.stride_tricks.sliding_window_view(content, length)[starts]
    return chosen


@dataclass(frozen=True)
class Encoding:
    """What stands for each value of a byte. table: float32 [256, features], a row for each."""

    table: np.ndarray

    @property
    def features(self) -> int:
        return int(self.table.shape[1])

    def encode(self, codes: np.ndarray, name: str) -> np.ndarray:
        """float32 [..., features] of bytes [...]. Errors: InputError for more than fits in memory."""
        refuse_beyond_memory(
            4 * codes.size * self.features, f"{name}: {codes.size:,} bytes by {self.features:,} numbers each"
        )
        return np.asarray(self.table[codes])


def encoding(kind: str | None, features: int, seed: int) -> Encoding:
    """One-hot rows, whose features are the 256 values; or rows of N(0, 1) numbers for `random`, drawn by the seed."""
    if kind != "random":
        return Encoding(np.eye(BYTES, dtype=np.float32))
    rng = np.random.default_rng([seed, features, BYTES])
    return Encoding(rng.standard_normal((BYTES, features), dtype=np.float32))


def input_windows(inputs: Inputs, width: int) -> tuple[np.ndarray, Text]:
    """(x: float32 [samples, positions, features], the text).

    The windows of the text that start at different bytes are the samples there are; of them some are drawn without
    replacement by inputs.seed, or all are taken in their order. Errors: InputError.
    """
    text = read_text(inputs.source)
    length = inputs.positions_known
    count = count_windows(text.content, length)
    if not count:
        raise InputError(f"{text.name} has {len(text.content):,} bytes; a window takes {length:,} (inputs.positions).")
    if inputs.samples > count and not inputs.takes_what_is_there:
        raise InputError(
            f"inputs.samples: {inputs.samples:,} asked for, {text.name} has {count:,} windows of {length:,} bytes."
        )
    starts = np.arange(count)
    if inputs.samples < count:
        starts = np.random.default_rng(inputs.seed).permutation(count)[: inputs.samples]
    codes = windows(text.content, length, starts)
    return encoding(inputs.encoding, inputs.features or width, inputs.seed).encode(codes, text.name), text
