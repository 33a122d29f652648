"""Which part a worker gets next: one whose program it has compiled, before one that costs it a compilation."""

from collections import deque
from collections.abc import Iterable, Iterator

from winit_jax.engine.running.suspects import Task, by_program

Programs = tuple[str, ...]


class Deck:
    """Tasks by what is compiled for them.

    A worker stays with its programs as long as there are parts of them; then it takes up the one of which there is
    most left for each worker that has it. So every program is compiled by few workers, and none waits for others.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._left: dict[Programs, deque[Task]] = {}
        self._holders: dict[Programs, set[str]] = {}
        for task in tasks:
            self._left.setdefault(tuple(by_program(task.part)), deque()).append(task)

    def __iter__(self) -> Iterator[Task]:
        """In the order of the grid, program by program."""
        while (task := self.take("")) is not None:
            yield task

    @property
    def holds_more(self) -> bool:
        return any(self._left.values())

    def take(self, worker: str) -> Task | None:
        """The next task for a worker; None where nothing is left."""
        left = {programs: tasks for programs, tasks in self._left.items() if tasks}
        if not left:
            return None
        own = [programs for programs in left if worker in self._holders.get(programs, ())]
        chosen = own[0] if own else max(left, key=self._share)
        self._holders.setdefault(chosen, set()).add(worker)
        return left[chosen].popleft()

    def leaves(self, worker: str) -> None:
        """A worker that is not there any more holds nothing."""
        for holders in self._holders.values():
            holders.discard(worker)

    def _share(self, programs: Programs) -> float:
        return len(self._left[programs]) / (1 + len(self._holders.get(programs, ())))
