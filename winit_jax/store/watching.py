"""How far a run is, again and again, from any machine that sees its folder; no lock is taken."""

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from winit_jax.spec.sweep import Sweep, Vocabulary
from winit_jax.store import journal, lock, shards_at_work
from winit_jax.store.asked import count, grid_digest, settings_digest
from winit_jax.store.folder import RunFolder
from winit_jax.store.glance import Glance
from winit_jax.store.info import read_info
from winit_jax.store.joining import stored_sweep
from winit_jax.store.shards_at_work import Shards
from winit_jax.wording import duration

# What run.json says of a run that has come to an end, though not all is there.
ENDED = ("failed", "interrupted", "unfinished")
# Networks a second are taken over so many seconds, so that parts of a second each make no jumps.
RATE_SECONDS = 60.0


@dataclass(frozen=True)
class Sight:
    """How far a run is at one moment; `str()` is one line.

    networks, done: of the whole sweep. rate: networks a second lately, None as long as nobody can tell. failed: jobs.
    workers: processes that are at work. shards: as in `Status`. state: where the last process left the run.
    """

    networks: int
    done: int
    rate: float | None
    failed: int
    workers: int
    shards: Shards
    state: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nobody is at work, and either all is there or what is not is not waited for.

        Not so between two processes of a run that was killed, and as long as any shard may be begun, or begun again.
        """
        if self.workers:
            return False
        if self.is_whole:
            return True
        shards = [one for one in self.shards.all if one.shard]
        may_begin = bool(self.shards.not_begun) or any(one.state not in ("done", "failed") for one in shards)
        return self.state in ENDED and not may_begin

    @property
    def is_whole(self) -> bool:
        return self.done >= self.networks

    def __str__(self) -> str:
        rate = "" if self.rate is None else f", {self.rate:,.1f} a second"
        left = ""
        if self.rate and self.done < self.networks:
            left = f", {duration((self.networks - self.done) / self.rate)} left"
        share = f" ({self.done / self.networks:.1%})" if self.networks else ""
        return (
            f"{self.done:,} of {self.networks:,} networks{share}{rate}{left}, {self.failed:,} failed, "
            f"{self.workers:,} at work{f'; {self.state}' if self.is_over and not self.is_whole else ''}"
        )


@dataclass
class Watch:
    """Looks at a run folder. Errors of `look`: FolderError where it is none."""

    path: Path
    vocabulary: Vocabulary
    _glance: Glance | None = None
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self) -> Sight:
        """How far it is now; after the first time, only what was appended to the journal since is read."""
        folder = RunFolder(self.path)
        sweep = stored_sweep(folder, self.vocabulary)
        done, now = self._done(sweep), time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > RATE_SECONDS:
            self._seen.popleft()
        (then, before), seconds = self._seen[0], now - self._seen[0][0]
        shards = shards_at_work.look(folder.path)
        alone = lock.look(folder.staging / "lock").held
        info = read_info(folder.path / "run.json")[0]
        failed = sum(one.failed for one in shards.running) + len(info.failures)
        return Sight(
            networks=sweep.n_networks,
            done=done,
            rate=(done - before) / seconds if seconds > 1 and then < now else None,
            failed=failed,
            workers=len(shards.running) + alone,
            shards=shards,
            state=info.state,
        )

    def _done(self, sweep: Sweep) -> int:
        if self._glance is None:
            self._glance = Glance(self.path.absolute())
        found = None
        if self._glance.more():
            found = self._glance.done(grid_digest(sweep), settings_digest(sweep))
        else:
            self._glance = None
        if found is None:
            found = count(sweep, list(journal.read(self.path.absolute()).parts().values())).done
        return found
