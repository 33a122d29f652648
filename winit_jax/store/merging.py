"""Run folders that grew apart put together into one: the parts of all of them, each once.

The sweep of the new folder is that of a folder which asks for all that the others ask for; where there is none, the one
whose axes have the values of all. Files are linked, or copied, after their checksums were compared. Of a part that
several folders have, the first one's is kept, whether the others have the same bytes or only the same networks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.difference import difference
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Sweep, Vocabulary
from winit_jax.store import journal, leases, lock, recovery
from winit_jax.store.asked import count_done, grid_digest, is_within, settings_digest
from winit_jax.store.damage import damaged
from winit_jax.store.folder import RunFolder
from winit_jax.store.info import Info
from winit_jax.store.joining import edited, stored_sweep
from winit_jax.store.journal import Environment, FolderError, Journal, Record
from winit_jax.store.schema import VERSION
from winit_jax.store.unfilled import never_filled

# Of conflicts and damage, so many are named.
MOST_NAMED = 20


@dataclass(frozen=True)
class Merged:
    """What became of several folders; `str()` is what `winit merge` prints.

    parts: that were taken. networks: that the new folder has, of total. equal: parts left out because the new folder
    has their bytes already; alike: because it has their networks already, computed elsewhere or cut otherwise. go_on:
    the command that computes what is missing, "" if nothing is.
    """

    parts: int
    networks: int
    total: int
    equal: int
    alike: int
    go_on: str

    def __str__(self) -> str:
        lines = [f"{self.parts:,} parts taken: {self.networks:,} of {self.total:,} networks"]
        if self.equal:
            lines.append(f"{self.equal:,} parts were there already, with the same bytes: kept once")
        if self.alike:
            lines.append(f"{self.alike:,} parts were left out: an earlier folder has their networks")
        if self.go_on:
            lines.append(f"go on     {self.go_on}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Source:
    """One folder. sweep, entries: its own."""

    folder: RunFolder
    sweep: Sweep
    entries: Journal


def merge(paths: Sequence[Path], out: Path, vocabulary: Vocabulary) -> Merged:
    """Put run folders together into `out`, which is new, or was begun by the same merge.

    Errors: FolderError with all that stands in the way: folders that are damaged or at work, sweeps that differ in
    more than points, parts that hold some networks of another part and some that it does not; OSError.
    """
    if len({path.absolute() for path in (*paths, out)}) < len(paths) + 1:
        raise FolderError(f"a folder is named twice, among {', '.join(map(str, (*paths, out)))}.")
    sources = [_source(path, vocabulary) for path in paths]
    sweep = _union(sources, vocabulary)
    target = RunFolder(out)
    if target.exists() and grid_digest(stored_sweep(target, vocabulary)) != grid_digest(sweep):
        raise FolderError(f"{target} is another run. Choose another --out.")
    if problems := [problem for source in sources for problem in _problems(source)]:
        stand = "thing stands" if len(problems) == 1 else "things stand"
        raise FolderError(_listed(f"{len(problems):,} {stand} in the way of merging:", problems))
    _chosen(target.committed() if target.exists() else {}, sources)  # before anything is made
    target.create()
    with target.lock():
        recovery.recover(target)
        target.write_sweep(sweep.to_toml())
        choice = _chosen(target.committed(), sources)
        target.plans_for(grid_digest(sweep), settings_digest(sweep))
        for source, record in choice.taken:
            environments = source.entries.environments
            if record.made_by in environments and record.made_by not in target.journal().environments:
                made_by = environments[record.made_by]
                target.writer.append(Environment(version=VERSION, id=record.made_by, made_by=made_by))
            target.writer.adopt(record, source.folder.path)
        target.widen(never_filled(sweep))
        _adopt_predictions(target, sources, sweep)
        done = count_done(sweep, target.committed())
        is_whole = done == sweep.n_networks and not target.journal().lacks_predictions
        infos = [source.folder.info() for source in sources]
        target.write_info(_info(infos, sweep, done, "done" if is_whole else "unfinished"), sweep)
    go_on = "" if is_whole else target.go_on
    return Merged(len(choice.taken), done, sweep.n_networks, choice.equal, choice.alike, go_on)


def _source(path: Path, vocabulary: Vocabulary) -> _Source:
    folder = RunFolder(path)
    sweep = stored_sweep(folder, vocabulary)
    return _Source(folder, sweep, folder.refresh())


def _union(sources: Sequence[_Source], vocabulary: Vocabulary) -> Sweep:
    """The sweep that asks for all. Errors: FolderError."""
    for source in sources:
        if all(is_within(other.sweep, source.sweep) for other in sources):
            return source.sweep
    first, *others = sources
    problems = []
    for source in others:
        of_points = tuple(f"grid.{axis}: " for axis in AXES)
        problems += [
            problem.replace("the new sweep", str(source.folder)).replace("the folder", str(first.folder))
            for problem in difference(first.sweep, source.sweep)
            if not (problem.startswith(of_points) and "values of the folder are not in the new sweep" in problem)
        ]
    if problems:
        raise FolderError(_listed("the folders differ in more than points:", problems))
    grid: dict[str, Any] = {}
    for axis in (*AXES, *WEIGHT_SCALES):
        of_each = [getattr(source.sweep.grid, axis) for source in sources]
        values = list(dict.fromkeys(value for of_one in of_each for value in of_one or ()))
        if axis == "width" and any(source.sweep.grid.infinite for source in sources):
            values.append("inf")
        if any(of_one != of_each[0] for of_one in of_each):
            grid[axis] = values
    try:
        return load_sweep(first.folder.sweep_file, [], vocabulary, [grid])
    except SpecError as error:
        raise FolderError(f"the sweeps together are none:\n{error}") from error


def _problems(source: _Source) -> Iterator[str]:
    folder, entries = source.folder, source.entries
    staging = folder.staging
    if lock.look(staging / "lock").held or leases.living(staging):
        yield f"{folder} is being written; wait for its processes to end"
    if sentence := edited(source.sweep, list(entries.parts().values())):
        yield f"{folder}/sweep.toml {sentence.removesuffix('.')}"
    for problem in (*entries.unreadable, *damaged(folder.path, entries, thorough=True)):
        yield f"{folder}: {problem}"


@dataclass
class _Choice:
    taken: list[tuple[_Source, Record]]
    equal: int = 0
    alike: int = 0


def _chosen(there: dict[str, Record], sources: Sequence[_Source]) -> _Choice:
    """Which parts to take: those with networks that no earlier one has. Errors: FolderError."""
    held: dict[tuple[Any, ...], set[int]] = {}
    files = {file.sha256 for record in there.values() for file in record.files.values()}
    for record in there.values():
        _hold(held, record)
    choice, conflicts = _Choice([]), []
    for source in sources:
        for record in source.entries.parts().values():
            old = sum(len(held.get(family, set()) & depths) for family, depths in _families(record))
            whole = sum(len(depths) for _, depths in _families(record))
            if not old:
                choice.taken.append((source, record))
                files.update(file.sha256 for file in record.files.values())
                _hold(held, record)
            elif old == whole:
                is_equal = all(file.sha256 in files for file in record.files.values())
                choice.equal, choice.alike = choice.equal + is_equal, choice.alike + (not is_equal)
            else:
                conflicts.append(
                    f"{source.folder}: {record.stem} has {old:,} networks that an earlier folder has, and "
                    f"{whole - old:,} that it has not"
                )
    if conflicts:
        text = "parts hold networks of which only some are there already; nothing was taken:"
        raise FolderError(_listed(text, conflicts))
    return choice


def _families(record: Record) -> Iterator[tuple[tuple[Any, ...], set[int]]]:
    for job in record.jobs:
        depths = set(record.depths) if job.depth is None else {job.depth}
        for family in job.families():
            yield family, depths


def _hold(held: dict[tuple[Any, ...], set[int]], record: Record) -> None:
    for family, depths in _families(record):
        held[family] = held.get(family, set()) | depths


def _adopt_predictions(target: RunFolder, sources: Sequence[_Source], sweep: Sweep) -> None:
    """The tables of theory of a folder of the same sweep; where there is none, they are to be made anew."""
    if journal.PREDICTIONS in target.journal().records:
        return
    for source in sources:
        record = source.entries.records.get(journal.PREDICTIONS)
        if record is not None and not record.void and grid_digest(source.sweep) == grid_digest(sweep):
            target.writer.adopt(record, source.folder.path)
            return
    grid, settings = grid_digest(sweep), settings_digest(sweep)
    about: dict[str, Any] = {"depths": (), "made_by": "", "grid": grid, "settings": settings, "files": {}, "jobs": ()}
    target.writer.commit(Record(version=VERSION, stem=journal.PREDICTIONS, void="not merged", **about))


def _info(infos: Sequence[Info], sweep: Sweep, done: int, state: str) -> dict[str, Any]:
    """run.json of all folders together: what the first says of versions and devices, the failures of all."""
    failures = [failure.model_dump() for info in infos for failure in info.failures]
    checks = dict.fromkeys(check for info in infos for check in info.self_check)
    return {
        **infos[0].model_dump(exclude_unset=True),
        "state": state,
        "title": sweep.title,
        "networks": sweep.n_networks,
        "networks_done": done,
        "seconds": round(sum(info.seconds for info in infos), 3),
        "self_check": list(checks),
        "failures": failures,
    }


def _listed(head: str, problems: Sequence[str]) -> str:
    more = len(problems) - MOST_NAMED
    lines = [f"  {problem}" for problem in problems[:MOST_NAMED]] + [f"  and {more:,} more"] * (more > 0)
    return "\n".join([head, *lines])
