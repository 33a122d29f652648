"""Whether a shard, or the launcher of a cluster, may work beside the processes that have its folder."""

from winit_jax.engine.planning import dealing
from winit_jax.errors import Refused
from winit_jax.spec.shards import Shard
from winit_jax.spec.sweep import Sweep
from winit_jax.store.asked import grid_digest, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.leases import Lease, in_words
from winit_jax.system import provenance


def digest(sweep: Sweep) -> str:
    """What two processes must have alike to fill one folder."""
    return f"{grid_digest(sweep)} {settings_digest(sweep)}"


def way() -> str:
    """How parts are cut and dealt: two versions may do it otherwise, and would then leave out or repeat some."""
    return f"{dealing.WAY} {provenance.versions().get('winit-jax', '')}"


def check_beside(folder: RunFolder, shard: Shard | None, sweep: Sweep, others: list[Lease]) -> None:
    """shard: None for a launcher. others: writers of the folder that live and have begun. Errors: Refused.

    Of a cluster nobody but workers may be left, of a launcher that was killed.
    """
    if strange := [lease for lease in others if (lease.shard is None) != (shard is None) or lease.cluster]:
        raise Refused(
            f"{folder} is being filled by {in_words(strange)}, and shards and workers of a cluster would repeat "
            "what the others do. Wait until they have ended."
        )
    shards = [lease for lease in others if lease.shard is not None]
    if shard and (same := [lease for lease in shards if lease.shard == (shard.number, shard.of)]):
        raise Refused(f"shard {shard} of {folder} is at work already ({same[0].who}).")
    if shard and (unequal := [lease for lease in shards if lease.shard and lease.shard[1] != shard.of]):
        raise Refused(
            f"{folder} is being filled by {in_words(unequal)}, and shards of {shard.of:,} would repeat what they do. "
            "Wait until they have ended."
        )
    if unlike := [lease for lease in others if lease.sweep != digest(sweep)]:
        raise Refused(
            f"{folder} is being filled with another sweep by {in_words(unlike)}; points are added when they have ended."
        )
    if unlike := [lease for lease in others if lease.cut != way()]:
        raise Refused(
            f"{folder} is being filled by another version of winit, {in_words(unlike)}, which cuts the sweep in other "
            "parts. Wait until they have ended, or use that version."
        )
