"""In which order tasks start: most side by side, those with suspected jobs alone and last, some not at all.

A part is cut into its jobs where one of them is suspected, set aside or fails, so that its neighbors are computed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from winit_jax.columns import AXES
from winit_jax.engine.running.supervise import Watched
from winit_jax.spec.parts import Job, Part


@dataclass(frozen=True)
class Task:
    """A part to compute under a file stem; `new` counts the networks that it adds to the folder.

    place: of new parts what their stems begin with, and where in the grid they lie; None where a stored part is
    computed again, which takes its place as a whole and is not cut.
    """

    stem: str
    part: Part
    new: int
    place: tuple[str, int] | None = None

    @property
    def can_be_cut(self) -> bool:
        return self.place is not None and len(self.part.jobs) > 1

    def cut(self, jobs: tuple[Job, ...], depths: set[int]) -> "Task":
        """Some of the jobs, under a name of their own. depths: that count."""
        if jobs == self.part.jobs:
            return self
        assert self.place is not None
        part, (program, position) = Part(jobs), self.place
        earlier_jobs = self.part.jobs[: self.part.jobs.index(jobs[0])]
        place = (program, position + sum(len(job.points) for job in earlier_jobs))
        return Task(stem_of(place, part), part, part.n_networks(depths), place)


def stem_of(place: tuple[str, int], part: Part) -> str:
    """The name of a new part's files, in whose order lies the grid."""
    return f"{place[0]}-{place[1]:09d}-{part.name}"


def key(job: Job) -> str:
    """A job's name in the journal: it depends on its networks alone, among processes that share one fork's seed."""
    return f"{hash(job) & (2**64 - 1):x}"


def program(job: Job) -> str:
    """What is compiled for a job."""
    depth = "" if job.depth is None else f", depth {job.depth}"
    block = "" if job.block == AXES["block"].before else f"{job.block}, "
    position = "" if job.norm_position == AXES["norm_position"].before else f" {job.norm_position}"
    dtype = "" if job.dtype == AXES["dtype"].before else f", {job.dtype}"
    return f"{block}{job.activation}, {job.normalization}{position}, width {job.width}{depth}{dtype}"


def by_program(part: Part) -> dict[str, list[str]]:
    """The keys of a part's jobs by their program, as the journal names them."""
    keys: dict[str, list[str]] = {}
    for job in part.jobs:
        keys.setdefault(program(job), []).append(key(job))
    return keys


@dataclass
class Queue:
    """Tasks in the order in which they may start. failures: jobs that are not tried, each with a reason."""

    tasks: Iterator[Task]
    depths: set[int]
    watched: Watched
    failures: list[tuple[Job, str]] = field(default_factory=list)
    _more: list[Task] = field(default_factory=list)
    _alone: list[Task] = field(default_factory=list)

    def next(self, is_idle: bool, take: Callable[[], Task | None] | None = None) -> Task | None:
        """What may start now. is_idle: nothing is in flight. take: chooses among `tasks` in its own order."""
        take = take or (lambda: next(self.tasks, None))
        while (task := self._more.pop(0) if self._more else take()) is not None:
            if (left := self._without_suspects(task)) is not None:
                return left
        return self._alone.pop(0) if is_idle and self._alone else None

    @property
    def holds_more(self) -> bool:
        """Whether any task came back to be started."""
        return bool(self._more or self._alone)

    def again(self, task: Task) -> None:
        """A task that came to no end starts once more, less what is suspected by now."""
        self._more.append(task)

    def failed(self, task: Task) -> bool:
        """Have the jobs of a part that failed tried one by one; False where it cannot be cut."""
        if not task.can_be_cut:
            return False
        self._more.extend(task.cut((job,), self.depths) for job in task.part.jobs)
        return True

    def was_late(self, task: Task) -> bool:
        """The same for a part that took too long, each job alone."""
        if not task.can_be_cut:
            return False
        self._alone.extend(task.cut((job,), self.depths) for job in task.part.jobs)
        return True

    def _without_suspects(self, task: Task) -> Task | None:
        """A task less the jobs that are not to run with others, which are put where they belong."""
        if not (self.watched.suspects or self.watched.set_aside):
            return task
        refused = {job: reason for job in task.part.jobs if (reason := self._refusal(job))}
        if task.place is None:
            if refused:
                self.failures.extend((job, next(iter(refused.values()))) for job in task.part.jobs)
            elif any(key(job) in self.watched.suspects for job in task.part.jobs):
                self._alone.append(task)
            else:
                return task
            return None
        self.failures.extend(refused.items())
        deaths = [self.watched.suspects.get(key(job), 0) for job in task.part.jobs]
        if task.part.is_training and not refused and max(deaths) == 1:
            self._alone.append(task)  # trained apart, its networks would have other last digits
            return None
        rest = tuple(job for job in task.part.jobs if job not in refused)
        clean = tuple(job for job in rest if key(job) not in self.watched.suspects)
        self._alone.extend(task.cut((job,), self.depths) for job in rest if job not in clean)
        return task.cut(clean, self.depths) if clean else None

    def _refusal(self, job: Job) -> str | None:
        if (reason := self.watched.set_aside.get(key(job))) is not None:
            return reason
        if program(job) in self.watched.hopeless:
            return f"not tried: other jobs of {program(job)} ended the process, and none of them ended well"
        return None
