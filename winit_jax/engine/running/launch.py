"""From a sweep to a finished run: the folder it fits, the data it reads, what is missing, and how it ended.

What is said on the way goes to stderr; a request that cannot be carried out is `Refused` with its sentence.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from winit_jax.data.datasets import load_dataset
from winit_jax.data.inputs import InputError, load_all_inputs
from winit_jax.engine.computing import executor as execute
from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.planning.report import agreed, memory_problem
from winit_jax.engine.running import held, runner, supervise
from winit_jax.engine.running.progress import progress
from winit_jax.spec.parts import Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store.asked import count_done, grid_digest, settings_digest
from winit_jax.store.damage import foreign, shown
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.joining import Joined, join
from winit_jax.store.status import name_job
from winit_jax.store.unfilled import never_filled
from winit_jax.system import provenance
from winit_jax.system import streams as system
from winit_jax.wording import duration

# Guess at an accelerator over one CPU machine: only the size of parts and the printed estimate depend on it.
ACCELERATOR_SPEEDUP = 20.0


class Refused(Exception):
    """A request that is not carried out, in a sentence. code: what the command exits with."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


def launch(sweep: Sweep, path: Path, announce: Callable[[str], None], *, yes: bool = False) -> int:
    """Run a sweep into a folder, or go on with one; the exit code: 0, or 1 where networks failed.

    announce: as of `execute.vocabulary`, told of functions that only the folder's sweep names. yes: begin a run of
    hours without asking. Errors: Refused.
    """
    folder = open_folder(path, sweep)
    if problem := provenance.known_bad():
        raise Refused(problem)
    executor = _executor(sweep)
    for note in execute.activation_notes(sweep):
        typer.echo(f"note: {note}", err=True)
    try:
        folder.create()
        with folder.lock():
            joined = join(folder, sweep, execute.vocabulary())
            if joined.asked:
                _import_others(folder, joined, announce)
                executor = _executor(joined.sweep)
            made_of = held.made_of(executor)
            if change := held.changed(folder, made_of):
                raise Refused(change)
            _recover(folder)
            _ask_if_long(joined.asked or joined.sweep, folder, executor, yes)
            if joined.asked is None:
                folder.write_sweep(joined.sweep.to_toml())
            return _compute(joined.sweep, folder, executor, made_of, joined.asked)
    except StoreError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        text, code = system.sentence(error, at=str(folder))
        raise Refused(f"{text} What was finished is kept.", code) from error


def open_folder(path: Path, sweep: Sweep) -> RunFolder:
    """The run folder; a sweep that would change what is in it is refused."""
    folder = RunFolder(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Refused(f"--out: {str(path)!a} is not text in UTF-8. Choose another.") from None
    if path.exists() and not path.is_dir():
        raise Refused(f"{path} is a file, not a folder. Choose another --out.")
    try:
        join(folder, sweep, execute.vocabulary())
    except StoreError as error:
        raise Refused(str(error)) from error
    return folder


def _import_others(folder: RunFolder, joined: Joined, announce: Callable[[str], None]) -> None:
    """Import the functions of the folder's sweep that what is asked for does not name: its parts may hold both."""
    assert joined.asked is not None
    check = execute.vocabulary(announce).check_activation
    for name in execute.import_paths(joined.sweep):
        if name not in joined.asked.grid.activation and (problem := check(name)):
            raise Refused(f"{folder.sweep_file} names {name}: {problem} Put it back, or choose another --out.")


def _recover(folder: RunFolder) -> None:
    """Bring the folder in order after a kill or damage, and say what was found."""
    for sentence in folder.recover():
        typer.echo(f"damaged: {sentence}; it is made anew, and what is left of it is in quarantine/", err=True)


def _notes_on(folder: RunFolder) -> Iterator[str]:
    """Of files in the tables' folders that are none of the run's."""
    if folder.displaced:
        yield f"note: {shown(folder.displaced)} in {folder}: no part of this run, and in quarantine/ now"
    if strangers := foreign(folder.path, folder.journal()):
        yield f"note: {shown(strangers)} in {folder}: no part of this run, and left alone"


def _planner(executor: execute.Executor) -> Planner:
    speedup = 1.0 if executor.devices[0].platform == "cpu" else ACCELERATOR_SPEEDUP
    return execute.planner(provenance.cores(), speedup, executor.together, imports=True)


def _ask_if_long(sweep: Sweep, folder: RunFolder, executor: execute.Executor, yes: bool) -> None:
    """Networks that the folder has take no time, and a process that goes on for another one asks no more."""
    if supervise.current.attempt:
        return
    there = count_done(sweep, folder.committed())
    left = max(0.0, 1 - there / max(sweep.n_networks, 1))
    if not agreed(left * _planner(executor).seconds(sweep), provenance.cores(), yes):
        raise Refused("Nothing was run.")


def _executor(sweep: Sweep) -> execute.Executor:
    if problem := memory_problem(sweep, execute.planner(provenance.cores()), execute.vocabulary(), execute.on_cpu()):
        raise Refused(problem)
    try:
        dataset = load_dataset(sweep.train) if sweep.train else None
        inputs = load_all_inputs(sweep.inputs, sweep.grid.width, sweep.grid.infinite)
    except InputError as error:
        raise Refused(str(error)) from error
    executor = execute.Executor(sweep, inputs, dataset, say=lambda sentence: typer.echo(sentence, err=True))
    if problem := executor.too_large():
        raise Refused(problem)
    return executor


def _compute(
    sweep: Sweep, folder: RunFolder, executor: execute.Executor, made_of: dict[str, Any], asked: Sweep | None = None
) -> int:
    """Compute what is missing of the networks that are asked for, of all if None; the exit code.

    made_of: data and functions, as `held.made_of`.
    """
    made_by = {
        **provenance.environment(execute.environment()),
        "matmul_precision": sweep.compute.matmul_precision,
        **made_of,
    }
    if not supervise.current.attempt and (note := held.differs(folder, made_by)):
        typer.echo(f"note: {note}", err=True)

    def describe() -> dict:
        return {**made_by, "self_check": executor.verdicts.agreed}

    folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    folder.made_with(made_by)
    folder.widen(never_filled(sweep))
    folder.write_predictions(executor.predictions())
    plan = _planner(executor)
    try:
        with progress() as on_progress:
            outcome = runner.run(
                sweep,
                folder,
                plan,
                executor,
                runner.lanes(len(executor.devices)),
                on_progress,
                describe,
                asked,
                supervise.current,
            )
    except runner.Interrupted as interruption:
        raise Refused(
            f"{interruption} Go on with: {folder.go_on}",
            128 + interruption.signal_number,
        ) from None
    except StoreError as error:
        raise Refused(str(error), 1) from error
    done = outcome.done - outcome.before
    if sweep.n_predictions:
        typer.echo(f"{sweep.n_predictions:,} predictions at infinite width", err=True)
    if outcome.total:
        typer.echo(
            f"{done:,} networks in {duration(outcome.seconds)} ({outcome.done:,} of {outcome.total:,} in {folder})",
            err=True,
        )
    for note in (*outcome.notes, *_notes_on(folder)):
        typer.echo(note, err=True)
    for failure in outcome.failures:
        (job,) = Part.from_json([failure["networks"]]).jobs
        typer.echo(f"failed: {name_job(job)}: {failure['reason']}", err=True)
    return 1 if outcome.failures else 0
