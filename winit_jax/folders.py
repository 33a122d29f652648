"""What the commands do with run folders, as functions: `import winit_jax as winit` has them by these names.

What only looks runs no code that a sweep names, and takes no lock.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from winit_jax.errors import Refused

if TYPE_CHECKING:
    from winit_jax.spec.sweep import Vocabulary
    from winit_jax.store.compacting import Compacted
    from winit_jax.store.merging import Merged
    from winit_jax.store.probe_folder import ProbeVerdict
    from winit_jax.store.status import Status
    from winit_jax.store.verify import Verdict
    from winit_jax.store.watching import Sight

# The vocabulary is imported by the functions that need it, for it imports JAX.


def status(folder: str | Path) -> "Status":
    """What of a run or a probe is done, missing, failed and damaged. Errors: FolderError if there is none; Refused."""
    from winit_jax.store.probe_folder import ProbeFolder, is_probe
    from winit_jax.store.status import look

    if is_probe(Path(folder)):
        return ProbeFolder(Path(folder)).status()
    return look(Path(folder), _vocabulary)


def watch(folder: str | Path, every: float = 5.0) -> "Iterator[Sight]":
    """How far a run is, looked at so often in seconds, until nobody is at work and nothing is waited for any more.

    Errors: FolderError if there is none; Refused for the folder of a probe.
    """
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.store.probe_folder import is_probe
    from winit_jax.store.watching import Watch

    if is_probe(Path(folder)):
        raise Refused(f"{folder} is the folder of a probe, which is done in one go: winit status says what is there.")
    watching = Watch(Path(folder), vocabulary())
    while True:
        yield (sight := watching.look())
        if sight.is_over:
            return
        time.sleep(every)


def verify(folder: str | Path) -> "Verdict | ProbeVerdict":
    """Read every file of a run or a probe: checksums, rows, tables against each other. Errors: FolderError; Refused."""
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.store.folder import RunFolder
    from winit_jax.store.probe_folder import ProbeFolder, is_probe
    from winit_jax.store.verify import verify

    if is_probe(Path(folder)):
        return ProbeFolder(Path(folder)).verify()
    with _sentences_of(folder):
        return verify(RunFolder(Path(folder)), vocabulary())


def repair(folder: str | Path) -> list[str]:
    """Move damaged parts of a run to its quarantine/, so that the next run makes them anew; sentences about them.

    Errors: FolderError, also where another process has the folder; Refused.
    """
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.store import verify as checks
    from winit_jax.store.folder import RunFolder
    from winit_jax.store.probe_folder import is_probe

    if is_probe(Path(folder)):
        raise Refused(f"{folder} is the folder of a probe: the command that made it makes what is damaged anew.")
    held = RunFolder(Path(folder))
    with _sentences_of(folder), held.lock():
        return checks.repair(held, vocabulary())


def merge(*folders: str | Path, out: str | Path) -> "Merged":
    """Put run folders that grew apart together into a new one, of the same sweep or of sweeps that differ in points.

    Checksums are compared first; files are linked or copied, and the folders stay as they are. Of a part that several
    have, the first one's is kept. Errors: FolderError, which names all that stands in the way at once; Refused.

    winit.merge("runs/a", "runs/b", out="runs/both")
    """
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.store import merging
    from winit_jax.store.probe_folder import is_probe

    if not folders:
        raise Refused("name the folders to be merged.")
    if probes := [str(folder) for folder in (*folders, out) if is_probe(Path(folder))]:
        raise Refused(f"{', '.join(probes)}: folders of probes are not merged.")
    with _sentences_of(out):
        return merging.merge([Path(folder) for folder in folders], Path(out), vocabulary())


def compact(folder: str | Path, rows: int | None = None) -> "Compacted":
    """Join the parts of a run into few large ones, of about `rows` rows (a million): the same rows in the same order.

    A run of more than a thousand parts does it by itself at its end. Errors: FolderError, also where another process
    has the folder; Refused.
    """
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.store import compacting, recovery
    from winit_jax.store.folder import RunFolder
    from winit_jax.store.joining import stored_sweep
    from winit_jax.store.probe_folder import is_probe

    if is_probe(Path(folder)):
        raise Refused(f"{folder} is the folder of a probe, whose files are few.")
    if rows is not None and rows < 1:
        raise Refused(f"rows: {rows} is less than 1.")
    held = RunFolder(Path(folder))
    stored_sweep(held, vocabulary())
    with _sentences_of(folder), held.lock():
        if damage := recovery.recover(held):
            raise Refused(f"{folder} was damaged: {damage[0]}. Make it anew with: {held.go_on}", 1)
        return compacting.compact(held, stored_sweep(held, vocabulary()), rows or compacting.ROWS)


def _vocabulary() -> "Vocabulary":
    from winit_jax.engine.computing.vocabulary import vocabulary

    return vocabulary()


@contextmanager
def _sentences_of(folder: str | Path) -> Iterator[None]:
    """What the system says of a folder's files as Refused."""
    try:
        yield
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}.", 1) from error
