"""The folder quarantine/, where damaged and displaced files of a run folder go, because a user may still need them."""

import os
from pathlib import Path

from winit_jax.system import disk

FOLDER = "quarantine"


def set_aside(run_folder: Path, path: Path, *, copy: bool = False) -> None:
    """Move a file (or copy it) into the run folder's quarantine, under a name that no file has there.

    Errors: OSError.
    """
    place = run_folder / FOLDER
    place.mkdir(exist_ok=True)
    name, number = f"{path.parent.name}-{path.stem}", 0
    while os.path.lexists(target := place / f"{name}{f'.{number}' if number else ''}{path.suffix}"):
        number += 1
    if copy:
        disk.write_new(target, disk.read(path))
        disk.sync_folder(place)
    else:
        os.replace(path, target)
