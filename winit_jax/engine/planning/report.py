"""What a sweep will take: the plan that `winit plan` prints, and what is held against it before a run begins."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from winit_jax.engine.planning.memory import MIB, available_mib, peak_mib, shares, too_much
from winit_jax.wording import duration, size

if TYPE_CHECKING:
    from winit_jax.engine.planning.planner import Planner
    from winit_jax.spec.sweep import Sweep, Vocabulary

# Shares of memory that no accelerator takes.
ON_THE_HOST = ("programs", "inputs", "results", "data", "the list of networks")
# A run that takes longer is agreed to by whoever starts it; one that takes a minute says so.
ASKED_SECONDS, SAID_SECONDS = 3600.0, 60.0


@dataclass(frozen=True)
class Plan:
    """What a sweep will take, by arithmetic alone; `str()` is what `winit plan` prints.

    networks: rows of the networks table. families: networks that differ in more than depth and learning rate. passes:
    forward passes, each of which serves every depth. compilations: programs. draws: unit draws of all weights of a
    network, shared by the networks that differ only in scale. predictions: points at infinite width.
    rows, bytes: of all tables; rows_by_table, bytes_by_table: of each. seconds: estimate on this machine after
    compiling, measuring_seconds of it before training; compile_seconds: where nothing is cached.
    memory_mib: estimated peak of the process; available_mib: memory of this machine or container. deepest: layers of
    the deepest network. training: (steps, samples a minibatch) where networks are trained, else None.
    cores: of this machine. folder: where the run would lie, in words, or nothing.
    """

    networks: int
    families: int
    passes: int
    compilations: int
    draws: int
    predictions: int
    rows: int
    rows_by_table: Mapping[str, int]
    bytes: int
    bytes_by_table: Mapping[str, int]
    seconds: float
    measuring_seconds: float
    compile_seconds: float
    memory_mib: float
    available_mib: float
    deepest: int
    training: tuple[int, int] | None
    cores: int
    folder: str = ""

    def to_json(self) -> dict[str, Any]:
        """One object with what the sweep takes; what is of this machine or in words is left out."""
        left_out = ("available_mib", "deepest", "training", "cores", "folder")
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def __str__(self) -> str:
        rows = ", ".join(f"{table} {count:,}" for table, count in self.rows_by_table.items())
        lines = {
            "networks": f"{self.networks:,}",
            "theory": f"{self.predictions:,} points at infinite width" if self.predictions else "",
            "training" if self.training else "passes": self._work(),
            "draws": f"{self.draws:,} of the weights, shared by the networks that differ only in scale",
            "compilations": f"{self.compilations:,}, about {duration(self.compile_seconds)} where none is cached",
            "tables": f"{self.rows:,} rows, about {self.bytes / MIB:,.1f} MiB: {rows}",
            "time": self._time(),
            "memory": f"about {size(self.memory_mib * MIB)}{self._beside_what_is_there()}",
            "folder": self.folder,
        }
        return "\n".join(f"{name:<13} {text}" for name, text in lines.items() if text)

    def _work(self) -> str:
        if self.training:
            steps, batch_size = self.training
            return f"{steps:,} steps of {batch_size:,} samples, each network by itself"
        return f"{self.passes:,} through {self.deepest:,} layers, each serving every depth"

    def _time(self) -> str:
        measuring = f", {duration(self.measuring_seconds)} of it before training" if self.training else ""
        return f"about {duration(self.seconds)} on {self.cores} cores of this machine, after compiling{measuring}"

    def _beside_what_is_there(self) -> str:
        there = size(self.available_mib * MIB)
        return f": more than the {there} of this machine" if self.memory_mib > self.available_mib else f" of {there}"


def plan_of(sweep: "Sweep", planner: "Planner", vocabulary: "Vocabulary", cores: int, folder: str = "") -> Plan:
    """The plan of a sweep. cores, folder: as in `Plan`."""
    return Plan(
        **planner.summary(sweep),
        predictions=sweep.n_predictions,
        memory_mib=peak_mib(shares(sweep, planner, vocabulary.gradient_mib)),
        available_mib=available_mib(),
        deepest=max(sweep.grid.depth),
        training=(sweep.train.steps, sweep.train.batch_size) if sweep.train else None,
        cores=cores,
        folder=folder,
    )


def memory_problem(sweep: "Sweep", planner: "Planner", vocabulary: "Vocabulary", on_cpu: bool) -> str | None:
    """A sentence if the sweep needs more memory than this machine has.

    on_cpu: an accelerator holds what is computed in memory of its own, which is not counted here.
    """
    counted = shares(sweep, planner, vocabulary.gradient_mib)
    return too_much([share for share in counted if on_cpu or share.what in ON_THE_HOST], available_mib())


def agreed(seconds: float, cores: int, say: Callable[[str], None], agrees: Callable[[str], bool] | None = None) -> bool:
    """Whether to begin a run that takes about so long.

    say: is told of the time where it is more than a minute. agrees: is asked instead where it is more than an hour;
    None where nobody needs to be.
    """
    if seconds < SAID_SECONDS:
        return True
    text = f"about {duration(seconds)} on {cores} cores of this machine"
    if seconds >= ASKED_SECONDS and agrees is not None:
        return agrees(text)
    say(text)
    return True
