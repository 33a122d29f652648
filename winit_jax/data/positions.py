"""Images as positions: rows of pixels, or pixels, each with its features."""

from typing import NamedTuple

import numpy as np

from winit_jax.data.bounded import InputError

# An axis of an image that is no longer holds its channels.
MAX_CHANNELS = 4


class Cut(NamedTuple):
    """Samples cut into positions. x: [samples, positions, features]. grid: (height, width) of the pixels, or None."""

    x: np.ndarray
    grid: tuple[int, int] | None


def cut(x: np.ndarray, shape: tuple[int, ...], how: str, place: str, name: str) -> Cut:
    """Flat samples [samples, values] as positions; shape: of one sample, (height, width) or with channels.

    rows: [samples, height, width * channels]. pixels: [samples, height * width, channels]. Channels stand last, or
    first where the last axis is too long to hold them (CIFAR), and go last here.
    Errors: InputError where the samples have no such shape. place: of the key, name: of the source, for sentences.
    """
    if len(shape) == 3:
        if shape[2] > MAX_CHANNELS and shape[0] > MAX_CHANNELS:
            raise InputError(
                f"{place}: samples of {name} have the shape {shape}, of which neither the last axis nor the first "
                f"holds channels, {MAX_CHANNELS} at most."
            )
        images = x.reshape(-1, *shape)
        images = images if shape[2] <= MAX_CHANNELS else images.transpose(0, 2, 3, 1)
    elif len(shape) == 2:
        images = x.reshape(-1, *shape, 1)
    else:
        what = f"rows of {shape[0]:,} values" if len(shape) == 1 else f"of the shape {shape}"
        raise InputError(f"{place}: {how!r} cuts images, and the samples of {name} are {what}.")
    count, height, width, channels = images.shape
    if how == "rows":
        return Cut(images.reshape(count, height, width * channels), None)
    return Cut(images.reshape(count, height * width, channels), (height, width))
