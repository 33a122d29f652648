"""Which shards of a run there are, or workers of a cluster, how far each is, and which shards nobody has begun."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from winit_jax.spec.shards import Shard
from winit_jax.store import leases, shard_states
from winit_jax.store.leases import Lease
from winit_jax.wording import duration

# So many shards that are done are named one by one; of more, their number.
MOST_DONE = 16


@dataclass(frozen=True)
class ShardStatus:
    """One shard; or, with `shard` None, one worker of a cluster or its launcher, of which `cluster` says which it is.

    state: running, done, failed, interrupted, unfinished or killed. reason: why it failed. total, done: networks of its
    share. failed: jobs of its last process. rate: networks a second of its last process. heard: seconds since its last
    heartbeat, or its end; ended: when that was, in seconds since 1970.
    """

    shard: Shard | None
    state: str
    reason: str
    host: str
    pid: int
    total: int
    done: int
    failed: int
    rate: float
    heard: float
    ended: float
    cluster: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def name(self) -> str:
        if self.shard:
            return f"shard {self.shard}"
        return "launcher" if self.cluster else "worker"

    def __str__(self) -> str:
        state = f"{self.state} ({self.reason})" if self.reason else self.state
        rate = f", {self.rate:,.1f} a second" if self.rate else ""
        heard = f"heard of {duration(max(self.heard, 0.0))} ago"
        of = f" of {self.total:,}" if self.shard or self.cluster else ""
        failed = f", {self.failed:,} failed" if self.shard or self.cluster else ""
        done = f"{self.done:,}{of} networks{rate}{failed}"
        return f"{self.name:<14} {state:<12} {done}, process {self.pid} on {self.host}, {heard}"


@dataclass(frozen=True)
class Shards:
    """all: those that were ever begun, in order. not_begun: numbers of the others, where all are of one n."""

    all: tuple[ShardStatus, ...] = ()
    not_begun: tuple[int, ...] = ()

    @property
    def running(self) -> tuple[ShardStatus, ...]:
        return tuple(one for one in self.all if one.is_running)

    def lines(self) -> Iterator[str]:
        """What `winit status` says of them; nothing where there are none."""
        if not self.all:
            return
        counted = [one for one in self.all if not one.cluster]
        states = [one.state for one in counted]
        what = "shards" if any(one.shard for one in self.all) else "workers"
        counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(sorted(states)))
        rest = f"; not begun: {in_ranges(self.not_begun)}" if self.not_begun else ""
        yield f"{what:<9} {counts or 'none yet'}{rest}"
        for one in self.all:
            if one.state != "done" or states.count("done") <= MOST_DONE:
                yield f"  {one}"


def look(folder: Path) -> Shards:
    """The shards of a run folder, without taking any lock. Errors: FolderError, OSError where it cannot be read."""
    found: dict[Shard | str, ShardStatus] = {}
    for shard, lease in shard_states.kept(folder).items():
        found[shard] = _status(lease, lease.state or "killed")
    for writer in leases.writers(folder / "staging"):
        lease = writer.lease
        key = Shard(*lease.shard) if lease.shard else lease.id
        earlier = found.get(key)
        if writer.is_alive or earlier is None or not earlier.is_running:
            found[key] = _status(lease, "running" if writer.is_alive else lease.state or "killed")
    shards = [shard for shard in found if isinstance(shard, Shard)]
    of = {shard.of for shard in shards}
    begun = {shard.number for shard in shards}
    missing = [number for number in range(1, max(of) + 1) if number not in begun] if len(of) == 1 else []
    ordered = sorted(
        found.items(), key=lambda item: (item[0] if isinstance(item[0], Shard) else Shard(0, 0), str(item[0]))
    )
    return Shards(tuple(status for _, status in ordered), tuple(missing))


def in_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in order, those that follow each other as 5-9."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _status(lease: Lease, state: str) -> ShardStatus:
    seconds = lease.heartbeat - lease.started
    return ShardStatus(
        shard=Shard(*lease.shard) if lease.shard else None,
        state=state,
        reason=lease.reason,
        host=lease.host,
        pid=lease.pid,
        total=lease.total,
        done=lease.done,
        failed=lease.failed,
        rate=(lease.done - lease.already_done) / seconds if seconds > 1 else 0.0,
        heard=time.time() - lease.heartbeat,
        ended=lease.heartbeat,
        cluster=lease.cluster,
    )
