"""Which part a worker gets next: one whose program it has compiled, before one that costs it a compilation."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from winit_jax.engine.planning.dealing import Costs
from winit_jax.engine.running.suspects import Task, by_program

Programs = tuple[str, ...]


@dataclass
class _Pile:
    """Tasks of the same programs. left: estimated seconds of those. compiling: of compiling for them.

    holders: workers that have compiled them, or are about to.
    """

    compiling: float
    tasks: deque[tuple[Task, float]] = field(default_factory=deque)
    left: float = 0.0
    holders: set[str] = field(default_factory=set)


class Deck:
    """Tasks by what is compiled for them. costs: estimates, as shards are dealt by.

    A worker stays with its programs as long as there are parts of them. Then it takes up one that nobody has; else it
    helps where most is left for each worker, if those who have the program would take longer than it takes to compile.
    So every program is compiled by few workers, and none does in vain what others are about to end.
    """

    def __init__(self, tasks: Iterable[Task], costs: Costs) -> None:
        self._piles: dict[Programs, _Pile] = {}
        for task in tasks:
            programs, seconds = tuple(by_program(task.part)), costs.of(task.part)
            if programs not in self._piles:
                self._piles[programs] = _Pile(len(programs) * costs.of_program(task.part.jobs[0]))
            self._piles[programs].tasks.append((task, seconds))
            self._piles[programs].left += seconds

    @property
    def holds_more(self) -> bool:
        return any(pile.tasks for pile in self._piles.values())

    def take(self, worker: str) -> Task | None:
        """The next task for a worker; None where nothing is left that is worth its while."""
        piles = [pile for pile in self._piles.values() if pile.tasks]
        own = [pile for pile in piles if worker in pile.holders]
        free = [pile for pile in piles if not pile.holders]
        slow = [pile for pile in piles if pile.holders and pile.left / len(pile.holders) > pile.compiling]
        if own:
            chosen = own[0]
        elif free:
            chosen = max(free, key=lambda pile: pile.left)
        elif slow:
            chosen = max(slow, key=lambda pile: pile.left / len(pile.holders))
        else:
            return None
        chosen.holders.add(worker)
        task, seconds = chosen.tasks.popleft()
        chosen.left -= seconds
        return task

    def leaves(self, worker: str) -> None:
        """A worker that gets no more parts holds nothing."""
        for pile in self._piles.values():
            pile.holders.discard(worker)
