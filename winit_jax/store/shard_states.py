"""How far each shard came: shards/, with the last note of each that is not at work any more."""

from pathlib import Path

from pydantic import ValidationError
from pydantic_core import to_json

from winit_jax.spec.shards import Shard
from winit_jax.store.leases import Lease
from winit_jax.system import disk

SHARDS = "shards"


def keep(folder: Path, lease: Lease, staging: Path) -> None:
    """Write down how a shard ended; a writer that is none is not kept. Errors: OSError."""
    if lease.shard is None or not lease.has_begun:
        return
    place = folder / SHARDS
    place.mkdir(exist_ok=True)
    disk.replace_file(place / f"{Shard(*lease.shard).name}.json", to_json(lease, indent=2) + b"\n", staging)


def kept(folder: Path) -> dict[Shard, Lease]:
    """The last notes of shards. Files that are none are left out. Errors: OSError."""
    found = {}
    for name in disk.names(folder / SHARDS):
        try:
            lease = Lease.model_validate_json(disk.read(folder / SHARDS / name))
        except (OSError, ValidationError):
            continue
        if lease.shard is not None:
            found[Shard(*lease.shard)] = lease
    return found
