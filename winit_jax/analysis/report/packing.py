"""Arrays as text in a page: bytes of equal weight side by side, deflated, in base64."""

import base64
import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Packed:
    """One array. kind: f4, u2 or u1, little-endian. count: how many numbers. text: base64 of deflated byte planes."""

    kind: str
    count: int
    text: str

    def to_json(self) -> dict[str, str | int]:
        return {"kind": self.kind, "count": self.count, "text": self.text}


def pack(numbers: np.ndarray) -> Packed:
    """An array [count]: floats as float32, whole numbers from 0 as the smallest type that holds them.

    First all lowest bytes, then all next ones, and so on: neighbors in a plane are alike, so that deflate finds more.
    Errors: ValueError for whole numbers below 0 or above 65,535.
    """
    if numbers.dtype.kind == "f":
        kind = "<f4"
    elif numbers.size and (numbers.min() < 0 or numbers.max() > 65_535):
        raise ValueError("Whole numbers are packed from 0 to 65,535.")
    else:
        kind = "<u1" if numbers.max(initial=0) < 256 else "<u2"
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(numbers, kind)
    planes = array.view(np.uint8).reshape(len(array), array.itemsize).T
    text = base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")
    return Packed(kind[1:], len(array), text)
