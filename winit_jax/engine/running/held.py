"""What a folder's rows were made of and with, held against what would be added to them."""

from typing import TYPE_CHECKING, Any

from winit_jax.spec.parts import Job
from winit_jax.store.folder import RunFolder
from winit_jax.system.provenance import changed_values, differences

if TYPE_CHECKING:
    from winit_jax.engine.computing.executor import Executor


def made_of(executor: "Executor") -> dict[str, Any]:
    """The data that networks are fed with and the user's functions in them, for run.json."""
    from winit_jax.engine.computing.executor import fingerprints

    inputs = {str(width): data.describe() for width, data in executor.inputs.items()}
    found = {"inputs": inputs, **({"train": executor.dataset.describe()} if executor.dataset else {})}
    return found | ({"activations": known} if (known := fingerprints(executor.sweep)) else {})


def changed(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence where a path, or an import path, holds something else than networks in the folder were made of."""
    journal = folder.journal()
    for made_by, jobs in _jobs_by_environment(folder).items():
        then = journal.environments.get(made_by, {})
        then_inputs = then.get("inputs", {})
        pairs = [(then_inputs.get(str(job.width)), now["inputs"].get(str(job.width))) for job in jobs]
        pairs += [(then.get("train"), now.get("train"))] if any(job.depth is not None for job in jobs) else []
        for before, after in pairs:
            if before and after and before.get("sha256") != after["sha256"]:
                return _data_changed(folder, before, after)
        known = then.get("activations")
        known = known if isinstance(known, dict) else {}
        for path in sorted({job.activation for job in jobs} & known.keys()):
            given = now.get("activations", {}).get(path)
            if given is not None and (change := changed_values(known[path], given)):
                return (
                    f"{path} is not the function that it was when {folder} was begun ({change}). Put the old code "
                    "back, give the new function a name of its own, or choose another --out."
                )
    return None


def _jobs_by_environment(folder: RunFolder) -> dict[str, set[Job]]:
    """The committed jobs by what they were made with. A run that committed nothing holds nobody to what it read."""
    found: dict[str, set[Job]] = {}
    for record in folder.committed().values():
        found.setdefault(record.made_by, set()).update(record.jobs)
    return found


def _data_changed(folder: RunFolder, before: dict[str, Any], after: dict[str, Any]) -> str:
    then, files = before.get("files", {}), after.get("files", {})
    names = sorted(name for name in {*then, *files} if then.get(name) != files.get(name))
    return (
        f"{after['source']} has changed since {folder} was begun (SHA-256 {before.get('sha256')} "
        f"then, {after['sha256']} now{': ' if names else ''}{', '.join(names)}). "
        "Put the old data back, or choose another --out."
    )


def differs(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence on what may change last digits between what is in the folder and what is added."""
    environments = folder.journal().environments.values()
    found = dict.fromkeys(change for before in environments for change in differences(before, now))
    return f"{folder} was made with {'; '.join(found)}: last digits may differ" if found else None
