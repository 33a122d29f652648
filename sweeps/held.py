"""What a folder's rows were made of and with, held against what would be added to them."""

from typing import TYPE_CHECKING, Any

from sweeps.provenance import changed_values, differences
from sweeps.store import RunFolder

if TYPE_CHECKING:
    from sweeps.execute import Executor


def made_of(executor: "Executor") -> dict[str, Any]:
    """The data that networks are fed with and the user's functions in them, for run.json."""
    from sweeps.execute import fingerprints

    inputs = {str(width): data.describe() for width, data in executor.inputs.items()}
    found = {"inputs": inputs, **({"train": executor.dataset.describe()} if executor.dataset else {})}
    return found | ({"activations": known} if (known := fingerprints(executor.sweep)) else {})


def changed(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence where a path, or an import path, holds something else than when the folder was begun."""
    for made_by in folder.journal().environments.values():
        for before, after in [
            *((before, now["inputs"].get(width)) for width, before in made_by.get("inputs", {}).items()),
            (made_by.get("train"), now.get("train")),
        ]:
            if before and after and before.get("sha256") != after["sha256"]:
                then, files = before.get("files", {}), after.get("files", {})
                names = sorted(name for name in {*then, *files} if then.get(name) != files.get(name))
                return (
                    f"{after['source']} has changed since {folder.path} was begun (SHA-256 {before.get('sha256')} "
                    f"then, {after['sha256']} now{': ' if names else ''}{', '.join(names)}). "
                    "Put the old data back, or choose another --out."
                )
        known = made_by.get("activations")
        for path, values in known.items() if isinstance(known, dict) else ():
            given = now.get("activations", {}).get(path)
            if given is not None and (change := changed_values(values, given)):
                return (
                    f"{path} is not the function that it was when {folder.path} was begun ({change}). Put the old code "
                    "back, give the new function a name of its own, or choose another --out."
                )
    return None


def differs(folder: RunFolder, now: dict[str, Any]) -> str | None:
    """A sentence on what may change last digits between what is in the folder and what is added."""
    environments = folder.journal().environments.values()
    found = dict.fromkeys(change for before in environments for change in differences(before, now))
    return f"{folder.path} was made with {'; '.join(found)}: last digits may differ" if found else None
