"""What a worker has to have in common with the launcher before it is given any part.

Devices may differ: which part was made on what is in run.json (`made_by`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from winit_jax.system.provenance import DECISIVE

COMPARED = ("python", *DECISIVE)


def named(worker: Mapping[str, Any]) -> str:
    """A worker in words. worker: as of `working.introduce`, with its address."""
    return f"worker {worker['address']} (process {worker['pid']} on {worker['host']})"


def unlike(worker: Mapping[str, Any], launcher: Mapping[str, Any], folder: str) -> str:
    """A sentence on why a worker cannot fill a folder together with others; "" where it can.

    worker, launcher: `versions` and `commit` of both, and of the worker what it sees.
    """
    if differences := list(_versions(worker, launcher)):
        return (
            f"{named(worker)} runs other software than this process: {'; '.join(differences)}. "
            "Install the same on both, so that all rows are made alike."
        )
    if not worker["sees"]:
        return (
            f"{named(worker)} does not see {folder}: a file that was just written there cannot be read from it. "
            "Choose an --out on a file system that all workers share."
        )
    if not worker["writes"]:
        return f"{named(worker)} may not write into {folder}. Run it as a user who may."
    return ""


def _versions(worker: Mapping[str, Any], launcher: Mapping[str, Any]) -> Iterator[str]:
    for name in COMPARED:
        here, there = launcher["versions"].get(name, "none"), worker["versions"].get(name, "none")
        if here != there:
            yield f"{name} {there}, not {here}"
    here, there = launcher["commit"], worker["commit"]
    if here and there and here != there:
        yield f"commit {there[:12]}{'+' * there.endswith('+')}, not {here[:12]}{'+' * here.endswith('+')}"


def made_otherwise(worker: Mapping[str, Any], there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """A sentence where a worker read other data, or imported other functions, than the launcher; "" where it did not.

    there, here: of `held.made_of`, the worker's and the launcher's.
    """
    for width, mine in here["inputs"].items():
        if change := _data(there["inputs"].get(width, {}), mine):
            return f"{named(worker)} {change}"
    if "train" in here and (change := _data(there.get("train", {}), here["train"])):
        return f"{named(worker)} {change}"
    for kind in ("activations", "inits"):
        for path, values in here.get(kind, {}).items():
            if there.get(kind, {}).get(path) != values:
                return f"{named(worker)} imports another function as {path}. Have all import the same file."
    return ""


def _data(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if there.get("sha256") == here.get("sha256"):
        return ""
    return (
        f"reads other data as {here.get('source')} than this process (SHA-256 {there.get('sha256')} there, "
        f"{here.get('sha256')} here). Put the same files in both places."
    )
