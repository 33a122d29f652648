"""What is to be run, into which folder, and by whom."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.running.supervise import Watched
from winit_jax.spec.parts import Part
from winit_jax.spec.shards import Shard
from winit_jax.spec.sweep import Sweep
from winit_jax.store.checkpoints import Checkpoint
from winit_jax.store.folder import RunFolder


class Engine(Protocol):
    """What computes a part (`Executor`).

    watch: is told now and then which share of the part is done; it may raise Abandoned.
    """

    def run(
        self, part: Part, depths: tuple[int, ...], lane: int, watch: Callable[[float], None], checkpoint: Checkpoint
    ) -> dict[str, pa.Table]: ...


@dataclass(frozen=True)
class Campaign:
    """What is to be run, into which folder, and by whom.

    sweep: what the folder holds when all is done. asked: of its networks those that are wanted now; None for all.
    describe: what goes into run.json beside the counts, asked at the start and at the end. watched: what a supervising
    process knows of earlier processes of the same command. shard: which of the parts are to be computed; None for all.
    finish: makes what is made once, by the last of several processes; it is called behind the gate. lanes: how many
    parts to keep in flight.
    """

    sweep: Sweep
    folder: RunFolder
    planner: Planner
    engine: Engine
    describe: Callable[[], dict[str, Any]]
    asked: Sweep | None = None
    watched: Watched = field(default_factory=Watched)
    shard: Shard | None = None
    finish: Callable[[], None] = lambda: None
    lanes: int = 1

    @property
    def wanted(self) -> Sweep:
        """The networks that are to be there in the end."""
        return self.asked or self.sweep
