"""From a sweep to a finished run: the folder it fits, the data it reads, what is missing, and how it ended.

The same for the command line and for Python: whoever starts a run is its `Host`, who is told what happens on the way.
A request that cannot be carried out is `Refused` with its sentence.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from winit_jax.engine.clusters import driving
from winit_jax.engine.clusters.connecting import connected
from winit_jax.engine.computing import devices
from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.vocabulary import activation_notes, import_paths, planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.engine.planning import dealing
from winit_jax.engine.planning.planner import Planner
from winit_jax.engine.planning.report import agreed, memory_problem
from winit_jax.engine.running import held, runner
from winit_jax.engine.running.beside import check_beside, digest, way
from winit_jax.engine.running.campaign import Campaign
from winit_jax.engine.running.outcome import Outcome
from winit_jax.engine.running.progress import OnProgress, progress
from winit_jax.engine.running.supervise import Watched
from winit_jax.errors import Refused
from winit_jax.spec.machines import Machines
from winit_jax.spec.shards import Shard
from winit_jax.spec.sweep import Sweep
from winit_jax.store import compacting, lock, recovery
from winit_jax.store.asked import count_done, grid_digest, settings_digest
from winit_jax.store.damage import foreign, shown
from winit_jax.store.folder import RunFolder, StoreError
from winit_jax.store.joining import Joined, join
from winit_jax.store.leases import Lease
from winit_jax.store.unfilled import never_filled
from winit_jax.system import provenance, streams
from winit_jax.wording import duration

# Guess at an accelerator over one CPU machine: only the size of parts and the printed estimate depend on it.
ACCELERATOR_SPEEDUP = 20.0


Run = Callable[[Campaign, OnProgress], Outcome]


@dataclass(frozen=True)
class Host:
    """Whoever starts a run.

    say: is told what happens, a line at a time. agrees: is asked whether to begin what takes more than an hour; None
    where nobody is. shows_progress: whether how far the run is may be shown on stderr. watched: what a supervising
    process knows, where there is one.
    """

    say: Callable[[str], None]
    agrees: Callable[[str], bool] | None = None
    shows_progress: bool = True
    watched: Watched = field(default_factory=Watched)

    def announce(self, path: str) -> None:
        """Say that code which an import path names is run; once, however many processes a command takes."""
        if not self.watched.attempt:
            self.say(f"{path} is imported and run, as the request names it")


def launch(sweep: Sweep, path: Path, host: Host, machines: Machines | None = None) -> Outcome:
    """Run a sweep into a folder, or go on with one. machines: by whom; None for this process alone.

    Errors: Refused; Interrupted, after which the folder can be gone on with.
    """
    machines = machines or Machines()
    shard, cluster = machines.shard, machines.cluster
    folder = open_folder(path, sweep)
    if problem := provenance.known_bad():
        raise Refused(problem)
    executor = _executor(sweep, host.say, computes=cluster is None, halved=host.watched.halved)
    for note in (*activation_notes(sweep), *executor.notes):
        host.say(f"note: {note}")
    try:
        folder.create()
        if cluster is not None:
            with connected(cluster, host.say) as pool, folder.share(None, pool.name):
                how = partial(driving.run, pool, host.say)
                return _compute(_begin(folder, sweep, executor, host, shard), folder, host, how)
        with folder.lock() if shard is None else folder.share(shard):
            return _compute(_begin(folder, sweep, executor, host, shard), folder, host)
    except StoreError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        text, code = streams.sentence(error, at=str(folder))
        raise Refused(f"{text} What was finished is kept.", code) from error


def open_folder(path: Path, sweep: Sweep) -> RunFolder:
    """The run folder. Errors: Refused for what is none, and for a sweep that would change what is in it."""
    folder = RunFolder(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Refused(f"--out: {str(path)!a} is not text in UTF-8. Choose another.") from None
    if path.exists() and not path.is_dir():
        raise Refused(f"{path} is a file, not a folder. Choose another --out.")
    try:
        join(folder, sweep, vocabulary())
    except StoreError as error:
        raise Refused(str(error)) from error
    return folder


def _executor(sweep: Sweep, say: Callable[[str], None], computes: bool = True, halved: int = 0) -> Executor:
    """What computes the sweep, its data read. computes: on this machine; else its memory is not asked for it.

    halved: as of `Executor`.

    Errors: Refused where it does not fit into memory; InputError.
    """
    if computes and (problem := memory_problem(sweep, planner(provenance.cores()), vocabulary(), devices.on_cpu())):
        raise Refused(problem)
    executor = Executor(read_work(sweep), say=say, halved=halved)
    if problem := executor.training.too_large():
        raise Refused(problem)
    return executor


def _import_others(folder: RunFolder, joined: Joined, announce: Callable[[str], None]) -> None:
    """Import the functions of the folder's sweep that what is asked for does not name: its parts may hold both."""
    assert joined.asked is not None
    words, asked = vocabulary(announce), import_paths(joined.asked)
    for name in import_paths(joined.sweep):
        if name in asked:
            continue
        check = words.check_init if name in joined.sweep.grid.init else words.check_activation
        if isinstance(problem := check(name), str):
            raise Refused(f"{folder.sweep_file} names {name}: {problem} Put it back, or choose another --out.")


def _begin(folder: RunFolder, sweep: Sweep, executor: Executor, host: Host, shard: Shard | None) -> Campaign:
    """Join the folder, behind its gate: what the sweep is run into fits it, and what killed processes left is in order.

    Beside others that are at work, nothing is changed but what is left of dead ones. Errors: Refused; StoreError.
    """
    if not folder.has_locks and not host.watched.attempt:
        host.say(
            f"note: the file system of {folder} has no locks. A heartbeat tells other processes that this one is at "
            f"work: where it is killed, others count the folder as in use for {lock.STALE_SECONDS:.0f} seconds more"
        )
    with folder.gate() as others:
        joined = join(folder, sweep, vocabulary())
        if joined.asked:
            _import_others(folder, joined, host.announce)
            executor = _executor(joined.sweep, host.say, computes=not folder.cluster, halved=host.watched.halved)
        others = [lease for lease in others if lease.has_begun]
        if folder.lease is not None:
            check_beside(folder, shard, joined.sweep, others)
        made_of = held.made_of(executor.work)
        if change := held.changed(folder, made_of):
            raise Refused(change)
        if others:
            recovery.sweep_up(folder)
        else:
            _recover(folder, host.say, thorough=shard is None)
        _agree(joined.asked or joined.sweep, folder, executor, host, shard)
        if joined.asked is None and not others:
            folder.write_sweep(joined.sweep.to_toml())
        campaign = _campaign(folder, executor, host, made_of, joined.asked, shard)
        if not others:
            compacting.take_apart(folder, executor.sweep)
            folder.widen(never_filled(executor.sweep))
        if shard is None:
            folder.write_predictions(executor.predictions())
        if folder.lease is not None:
            _begin_beside(campaign, others)
        return campaign


def _begin_beside(campaign: Campaign, others: list[Lease]) -> None:
    """Say in the lease, and in run.json if nobody has yet, that the shard or the launcher is at work."""
    folder, sweep = campaign.folder, campaign.sweep
    assert folder.lease is not None
    if not others:
        if sweep.train:
            runner.drop_what_was_deepest(folder, max(sweep.grid.depth))
        info = {**folder.info().model_dump(exclude_unset=True), **campaign.describe(), "state": "running"}
        folder.write_info(info, sweep)
    folder.lease.tell_now(has_begun=True, sweep=digest(sweep), cut=way())


def _recover(folder: RunFolder, say: Callable[[str], None], thorough: bool) -> None:
    """Bring the folder in order after a kill or damage, and say what was wrong."""
    for sentence in recovery.recover(folder, thorough):
        say(f"damaged: {sentence}; it is made anew, and what is left of it is in quarantine/")


def _agree(sweep: Sweep, folder: RunFolder, executor: Executor, host: Host, shard: Shard | None) -> None:
    """Have the host agree to a long run. Errors: Refused.

    Networks that the folder has take no time, and a process that goes on for another one asks no more. Nobody is asked
    of a shard, for whom others may be waiting.
    """
    if host.watched.attempt:
        return
    done = count_done(sweep, folder.committed())
    left = max(0.0, 1 - done / max(sweep.n_networks, 1))
    seconds = left * _planner(executor).seconds(sweep) / (shard.of if shard else 1)
    if not agreed(seconds, provenance.cores(), host.say, None if shard else host.agrees):
        raise Refused("Nothing was run.")


def _planner(executor: Executor) -> Planner:
    devices = len(executor.devices)
    speedup = 1.0 if executor.devices[0].platform == "cpu" else ACCELERATOR_SPEEDUP * devices
    return planner(provenance.cores(), speedup, executor.training.together, imports=True, devices=devices)


def _shard_planner(executor: Executor) -> Planner:
    """One that depends on the sweep alone, so that all machines cut and deal the same parts."""
    together = executor.training.together_in_shards
    return planner(dealing.CORES, 1.0, together, imports=True, least_parts=dealing.LEAST_PARTS)


def _campaign(
    folder: RunFolder,
    executor: Executor,
    host: Host,
    made_of: dict[str, Any],
    asked: Sweep | None,
    shard: Shard | None,
) -> Campaign:
    """What is to be computed: the networks that are asked for, of the executor's sweep if None.

    made_of: data and functions, as `held.made_of`.
    """
    sweep = executor.sweep
    cutting = _planner(executor) if folder.lease is None else _shard_planner(executor)
    kernel: str | None = executor.measuring.kernel
    if folder.cluster:  # whose workers choose for themselves, where there is a choice
        kernel = kernel if kernel == sweep.compute.kernel else None
    else:
        note = executor.choose_kernel(cutting, held.kernels(folder))
        kernel = executor.measuring.kernel
        if note and not host.watched.attempt:
            host.say(f"note: {note}")
    made_by = held.made_with(sweep, made_of, devices.environment(), kernel)
    if not host.watched.attempt and (note := held.differs(folder, made_by)):
        host.say(f"note: {note}")
    folder.plans_for(grid_digest(sweep), settings_digest(sweep))
    folder.made_with(made_by)
    return Campaign(
        sweep=sweep,
        folder=folder,
        planner=cutting,
        engine=executor,
        describe=lambda: {**made_by, "self_check": executor.verdicts.agreed},
        asked=asked,
        watched=host.watched,
        shard=shard,
        finish=lambda: folder.write_predictions(executor.predictions()),
        lanes=runner.lanes(1),  # every part on all devices
    )


def _compute(campaign: Campaign, folder: RunFolder, host: Host, how: Run = runner.run) -> Outcome:
    """Compute what is missing of the campaign, and sum it up. This process has the folder. how: by whom."""
    try:
        with progress(host.say) if host.shows_progress else nullcontext(_unseen) as on_progress:
            outcome = how(campaign, on_progress)
    except StoreError as error:
        raise Refused(str(error), 1) from error
    for line in (*_summary(campaign, outcome), *outcome.notes, *_notes_on(folder)):
        host.say(line)
    return outcome


def _unseen(done: float, total: int) -> None:
    """Progress that nobody looks at."""


def _summary(campaign: Campaign, outcome: Outcome) -> Iterator[str]:
    """What was computed, and in which time."""
    predictions, what = campaign.sweep.n_predictions, ""
    if campaign.shard is not None:
        predictions, what = 0, f"of shard {campaign.shard} "
    if predictions:
        yield f"{predictions:,} predictions at infinite width"
    if outcome.total:
        computed = f"{outcome.done - outcome.already_done:,} networks {what}in {duration(outcome.seconds)}"
        yield f"{computed} ({outcome.done:,} of {outcome.total:,} in {campaign.folder})"


def _notes_on(folder: RunFolder) -> Iterator[str]:
    """Of files in the tables' folders that are none of the run's."""
    if folder.displaced:
        yield f"note: {shown(folder.displaced)} in {folder}: no part of this run, and in quarantine/ now"
    if strangers := foreign(folder.path, folder.journal()):
        yield f"note: {shown(strangers)} in {folder}: no part of this run, and left alone"
