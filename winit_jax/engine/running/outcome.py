"""How a run ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from winit_jax.spec.parts import Job, Part
from winit_jax.store.folder import RunFolder
from winit_jax.store.status import name_job


@dataclass
class Outcome:
    """What became of a run.

    total: networks that are asked for. already_done, done: of them in the folder, before the command and now.
    seconds: that the command took. failures: jobs that failed, as run.json lists them, each with the part's name and a
    reason. notes: lines on what else happened. closes: whether no other process goes on with the folder, and what it
    holds can be drawn.
    """

    total: int
    already_done: int
    done: int = 0
    seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closes: bool = True

    def fail(self, jobs: tuple[Job, ...], reason: str, part: str) -> None:
        """Write down that jobs of a part failed."""
        self.failures.extend({"part": part, "networks": job, "reason": reason} for job in Part(jobs).to_json())

    def failed(self) -> list[str]:
        """Each job that failed in the words of its axes, with the reason."""
        jobs = Part.from_json([failure["networks"] for failure in self.failures]).jobs
        return [f"{name_job(job)}: {each['reason']}" for job, each in zip(jobs, self.failures, strict=True)]


class Interrupted(Exception):
    """A signal of the user's: what was in flight is committed, checkpointed or given up; the folder can be resumed.

    checkpointed: (networks, step reached) of each training that was in flight.
    """

    def __init__(
        self, signal_number: int, outcome: Outcome, folder: RunFolder, checkpointed: Sequence[tuple[int, int]] = ()
    ) -> None:
        super().__init__(signal_number)
        self.signal_number, self.outcome = signal_number, outcome
        self.folder, self.checkpointed = folder, tuple(checkpointed)

    def __str__(self) -> str:
        """What is kept, in a sentence."""
        kept = f"{self.outcome.done:,} of {self.outcome.total:,} networks are done"
        if self.checkpointed:
            steps = sorted({step for _, step in self.checkpointed})
            where = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
            kept += f", and {sum(count for count, _ in self.checkpointed):,} in training are kept as of {where}"
        return f"Interrupted: {kept}."
