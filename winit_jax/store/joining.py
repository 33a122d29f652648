"""A sweep and the folder that it is run into: whether they fit, and what then is to be done. Decided under the lock."""

from dataclasses import dataclass, replace

from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Sweep, Vocabulary, difference
from winit_jax.store.asked import Count, count, is_within, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.journal import FolderError, Record


@dataclass(frozen=True)
class Joined:
    """sweep: what is run, all of it if `asked` is None: then it is the folder's from now on.

    asked: of the networks of the folder's sweep those that are wanted now. How they are computed, it says too.
    """

    sweep: Sweep
    asked: Sweep | None = None


def stored_sweep(folder: RunFolder, vocabulary: Vocabulary) -> Sweep:
    """The folder's sweep. Errors: FolderError."""
    folder.sweep()
    try:
        return load_sweep(folder.sweep_file, [], vocabulary)
    except SpecError as error:
        raise FolderError(f"{folder} holds a sweep.toml that cannot be read.\n{error}") from error


def join(folder: RunFolder, sweep: Sweep, vocabulary: Vocabulary) -> Joined:
    """What a sweep becomes in a folder: its own, one that adds points, or some of the points that are there.

    Errors: FolderError for a sweep that would change what is there, and where sweep.toml was edited.
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
    """What betrays that sweep.toml was edited since its parts were made; nothing if nothing does."""
    settings = settings_digest(sweep)
    if any(record.settings != settings for record in records):
        return "was edited: parts in the folder were made with other inputs, measurements, training or precision."
    beside = (counted or count(sweep, records)).beside
    return f"was edited: the folder holds {beside:,} networks that it does not ask for." if beside else ""
