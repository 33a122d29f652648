"""What a folder's rows were made of and with, held against what would be added to them."""

from typing import Any

from winit_jax.engine.computing.vocabulary import fingerprints
from winit_jax.engine.computing.work import Work
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Sweep
from winit_jax.store.folder import RunFolder
from winit_jax.system import provenance
from winit_jax.system.provenance import changed_values, differences


def made_of(work: Work) -> dict[str, Any]:
    """The data that networks are fed with and the user's functions in them, for run.json."""
    described: dict[str, Any] = {"inputs": {str(width): data.describe() for width, data in work.inputs.items()}}
    if work.dataset:
        described["train"] = work.dataset.describe()
    return described | fingerprints(work.sweep)


def made_with(sweep: Sweep, made_of: dict[str, Any], devices: dict[str, Any], kernel: str | None) -> dict[str, Any]:
    """The environment that parts are made with.

    made_of: as above. devices: as `devices.environment` says them. kernel: what computes dense layers; None where
    others do.
    """
    return {
        **provenance.environment(devices),
        "matmul_precision": sweep.compute.matmul_precision,
        **({} if kernel is None else {"kernel": kernel}),
        **made_of,
    }


def kernels(folder: RunFolder) -> set[str]:
    """What dense layers of the folder were computed with, by all who have begun to write there."""
    return {str(made_by["kernel"]) for made_by in folder.journal().environments.values() if "kernel" in made_by}


def changed(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence where a path, or an import path, holds something else than networks in the folder were made of.

    now: of `made_of`. Errors: StoreError where the folder's journal cannot be read.
    """
    journal = folder.journal()
    for made_by, jobs in _jobs_by_environment(folder).items():
        then = journal.environments.get(made_by, {})
        then_inputs = then.get("inputs", {})
        pairs = [(then_inputs.get(str(job.width)), now["inputs"].get(str(job.width))) for job in jobs]
        pairs += [(then.get("train"), now.get("train"))] if Part(tuple(jobs)).is_training else []
        for held, loaded in pairs:
            if held and loaded and held.get("sha256") != loaded["sha256"]:
                return _data_changed(folder, held, loaded)
        used = {"activations": {job.activation for job in jobs}}
        used["inits"] = {point.init for job in jobs for point in job.points}
        for kind, digits in (("activations", 9), ("inits", 5)):
            functions = then.get(kind)
            functions = functions if isinstance(functions, dict) else {}
            for path in sorted(used[kind] & functions.keys()):
                values = now.get(kind, {}).get(path)
                if values is not None and (change := changed_values(functions[path], values, digits)):
                    return (
                        f"{path} is not the function that it was when {folder} was begun ({change}). Put the old code "
                        "back, give the new function a name of its own, or choose another --out."
                    )
    return None


def _jobs_by_environment(folder: RunFolder) -> dict[str, set[Job]]:
    """The committed jobs by what they were made with. A run that committed nothing holds nobody to what it read."""
    jobs: dict[str, set[Job]] = {}
    for record in folder.committed().values():
        jobs.setdefault(record.made_by, set()).update(record.jobs)
    return jobs


def _data_changed(folder: RunFolder, held: dict[str, Any], loaded: dict[str, Any]) -> str:
    then, files = held.get("files", {}), loaded.get("files", {})
    names = sorted(name for name in {*then, *files} if then.get(name) != files.get(name))
    return (
        f"{loaded['source']} has changed since {folder} was begun (SHA-256 {held.get('sha256')} "
        f"then, {loaded['sha256']} now{': ' if names else ''}{', '.join(names)}). "
        "Put the old data back, or choose another --out."
    )


def differs(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence on what may change last digits between what is in the folder and what is added."""
    environments = folder.journal().environments.values()
    changes = dict.fromkeys(change for environment in environments for change in differences(environment, now))
    return f"{folder} was made with {'; '.join(changes)}: last digits may differ" if changes else None
