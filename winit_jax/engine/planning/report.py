"""What `winit plan` says, and what `winit run` asks before it takes long."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from winit_jax.engine.planning.memory import MIB, available_mib, peak_mib, shares, too_much
from winit_jax.wording import duration, size

if TYPE_CHECKING:
    from winit_jax.engine.planning.planner import Planner
    from winit_jax.spec.sweep import Sweep, Vocabulary

# Shares of memory that no accelerator takes.
ON_THE_HOST = ("programs", "inputs", "results", "data", "the list of networks")
# A run that takes longer is agreed to on a terminal; one that takes a minute says so.
ASKED_SECONDS, SAID_SECONDS = 3600.0, 60.0


def summary(sweep: "Sweep", planner: "Planner", vocabulary: "Vocabulary") -> dict[str, Any]:
    """Counts and estimates of a sweep, memory among them."""
    return planner.summary(sweep) | {"memory_mib": peak_mib(shares(sweep, planner, vocabulary.gradient_mib))}


def plan_lines(sweep: "Sweep", found: Mapping[str, Any], cores: int, folder: str) -> list[str]:
    """What is planned, for a terminal. found: of `summary`."""
    there, needed = available_mib(), found["memory_mib"]
    rows = ", ".join(f"{table} {count:,}" for table, count in found["rows_by_table"].items())
    if sweep.train:
        work = f"{sweep.train.steps:,} steps of {sweep.train.batch_size:,} samples, each network by itself"
    else:
        work = f"{found['passes']:,} through {max(sweep.grid.depth):,} layers, each serving every depth"
    measuring = f", {duration(found['measuring_seconds'])} of it before training" if sweep.train else ""
    beyond = f": more than the {size(there * MIB)} of this machine" if needed > there else f" of {size(there * MIB)}"
    lines = {
        "networks": f"{found['networks']:,}",
        "theory": f"{sweep.n_predictions:,} points at infinite width" if sweep.n_predictions else "",
        "training" if sweep.train else "passes": work,
        "draws": f"{found['draws']:,} of the weights, shared by the networks that differ only in scale",
        "compilations": f"{found['compilations']:,}, about {duration(found['compile_seconds'])} where none is cached",
        "tables": f"{found['rows']:,} rows, about {found['bytes'] / 2**20:,.1f} MiB: {rows}",
        "time": f"about {duration(found['seconds'])} on {cores} cores of this machine, after compiling{measuring}",
        "memory": f"about {size(needed * MIB)}{beyond}",
        "folder": folder,
    }
    return [f"{name:<13} {text}" for name, text in lines.items() if text]


def memory_problem(sweep: "Sweep", planner: "Planner", vocabulary: "Vocabulary", on_cpu: bool) -> str | None:
    """A sentence if the sweep needs more memory than this machine has.

    on_cpu: an accelerator holds what is computed in memory of its own, which is not counted here.
    """
    found = shares(sweep, planner, vocabulary.gradient_mib)
    return too_much([share for share in found if on_cpu or share.what in ON_THE_HOST], available_mib())


def agreed(seconds: float, cores: int, yes: bool) -> bool:
    """Whether to begin a run that takes about so long; asked where there is a terminal and it is more than an hour.

    Without a terminal nobody can answer, so it begins, and says so.
    """
    if seconds < SAID_SECONDS:
        return True
    text = f"about {duration(seconds)} on {cores} cores of this machine"
    if seconds < ASKED_SECONDS or yes:
        typer.echo(text, err=True)
    elif not (sys.stdin.isatty() and sys.stderr.isatty()):
        typer.echo(f"{text}; going on, for there is no terminal to ask on", err=True)
    else:
        return typer.confirm(f"{text}. Begin?", err=True)
    return True
