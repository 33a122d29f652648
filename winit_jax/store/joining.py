"""Whether a sweep may be run into a run folder, and which sweep is then run.

Call `join` while holding the folder's lock, so that no other process changes the folder meanwhile.
"""

from dataclasses import dataclass, replace

from winit_jax.spec.difference import difference
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Sweep, Vocabulary
from winit_jax.store.asked import Count, count, is_within, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.journal import FolderError, Record


@dataclass(frozen=True)
class Joined:
    """What is run into a folder.

    sweep: the sweep that the folder holds from now on.
    asked: the part of it that is wanted now, with the `compute` settings to use; None if all of it is wanted.
    """

    sweep: Sweep
    asked: Sweep | None = None


def stored_sweep(folder: RunFolder, vocabulary: Vocabulary) -> Sweep:
    """The sweep in the folder's sweep.toml. Errors: FolderError if there is none, or it cannot be read."""
    folder.sweep()
    try:
        return load_sweep(folder.sweep_file, [], vocabulary)
    except SpecError as error:
        raise FolderError(f"{folder} holds a sweep.toml that cannot be read.\n{error}") from error


def join(folder: RunFolder, sweep: Sweep, vocabulary: Vocabulary) -> Joined:
    """How a sweep is run into a folder.

    Into a new folder, or one whose sweep it equals or extends by points: all of it. Into a folder whose sweep has more
    points: those that it asks for.
    Errors: FolderError if it differs from the folder's sweep otherwise, or if sweep.toml was edited by hand.
    """
    if not folder.exists():
        return Joined(sweep)
    stored = stored_sweep(folder, vocabulary)
    joined = Joined(sweep)
    if is_within(sweep, stored):
        if not is_within(stored, sweep):
            joined = Joined(replace(stored, compute=sweep.compute), sweep)
    elif problems := difference(stored, sweep):
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise FolderError(
            f"{folder} holds another sweep, and only points may be added to it:\n{listed}\n"
            "Nothing was changed. Choose another --out, or go on with the sweep.toml in the folder."
        )
    if sentence := edited(joined.sweep, list(folder.committed().values())):
        raise FolderError(f"{folder.sweep_file} {sentence} Put it back as it was, or choose another --out.")
    return joined


def edited(sweep: Sweep, records: list[Record], counted: Count | None = None) -> str:
    """A sentence about how the parts show that sweep.toml was edited since they were made; "" if they do not.

    counted: the `count` of these parts, if the caller has it.
    """
    settings = settings_digest(sweep)
    if any(record.settings != settings for record in records):
        return "was edited: parts in the folder were made with other inputs, measurements, training or precision."
    beside = (counted or count(sweep, records)).beside
    return f"was edited: the folder holds {beside:,} networks that it does not ask for." if beside else ""
