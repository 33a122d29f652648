"""Words of a sweep file about data: what is a text, and what positions and encodings there are."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

# Of data, as the descriptions of keys say it.
A_PATH = "a path to .npz, .npy, CSV, parquet, IDX or CIFAR's binary files, to their folder, or to a text"
# How the values of images become positions.
CUTS = ("rows", "pixels")
MAX_POSITIONS = 1_000_000
# Bytes of a window of text, unless the sweep says otherwise, and the values that a byte has.
TEXT_POSITIONS, BYTES = 64, 256
# Windows of a text that networks learn from and are tested on, at most, unless the sweep says otherwise.
TEXT_WINDOWS = (4096, 1024)
TEXT_MARK, TEXT_ENDINGS = "text:", (".txt", ".text")


def is_text(source: str) -> bool:
    """Whether a source is read as a text, byte by byte: by the mark before its path, or by its ending."""
    return source.startswith(TEXT_MARK) or source.lower().removesuffix(".gz").endswith(TEXT_ENDINGS)


def _positions(value: object) -> object:
    """What `positions` may be, told at once: a union of types has a complaint of each of them."""
    if value is None or (isinstance(value, str) and value in CUTS):
        return value
    if type(value) is not int or not 1 <= value <= MAX_POSITIONS:
        raise PydanticCustomError("positions", "no positions")
    return value


Positions = Annotated[
    Annotated[int, Field(ge=1, le=MAX_POSITIONS)] | Literal["rows", "pixels"] | None, BeforeValidator(_positions)
]
Encoding = Literal["one_hot", "random"]
