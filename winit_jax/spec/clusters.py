"""Clusters that parts are given to: a dask scheduler's address, so many processes of this machine, or jobs of SLURM."""

import re
from dataclasses import dataclass

from winit_jax.errors import Refused
from winit_jax.spec.problems import Problem

# More would not be worth one launcher, which gives them their parts one at a time.
MOST_WORKERS = 10_000
FORMS = "tcp://HOST:8786 (a dask scheduler), local:4 (processes of this machine) or slurm:16 (jobs)"
NO_ADDRESS = "is not the address of a scheduler, such as tcp://node7:8786."
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://\S+")
_TCP = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_COUNTED = re.compile(r"(local|slurm)(?::(\S*))?")


@dataclass(frozen=True)
class Cluster:
    """kind: "address", "local" or "slurm". address: of the scheduler, "" unless there is one. count: processes or jobs.

    `str()` is how it is asked for.
    """

    kind: str
    address: str = ""
    count: int = 0

    def __str__(self) -> str:
        return self.address or f"{self.kind}:{self.count}"


def read_cluster(text: str, problems: list[Problem]) -> Cluster | None:
    """What `--cluster` says; None where it says none, and a problem is added."""
    cluster, sentence = _read(text.strip())
    if sentence:
        problems.append(Problem("cluster", sentence))
    return cluster


def _read(text: str) -> tuple[Cluster | None, str]:
    """(A cluster, "") or (None, what is wrong with it)."""
    if _ADDRESS.fullmatch(text):
        return (Cluster("address", text), "") if _is_address(text) else (None, f"{text!r} {NO_ADDRESS}")
    found = _COUNTED.fullmatch(text)
    if found is None:
        return None, f"{text!r} is none of {FORMS}."
    kind, number = found[1], found[2]
    if number is None and kind == "local":
        return None, "say how many processes, as in local:4."
    if number is not None and not re.fullmatch(r"\d{1,9}", number):
        return None, f"{text!r} does not say how many: write a whole number, as in {kind}:4."
    count = 1 if number is None else int(number)
    if not 1 <= count <= MOST_WORKERS:
        return None, f"{text!r} asks for {count:,}; there are 1 to {MOST_WORKERS:,}."
    return Cluster(kind, count=count), ""


def _is_address(text: str) -> bool:
    if text.startswith(("tcp:", "tls:")):
        found = _TCP.fullmatch(text)
        return found is not None and 0 < int(found[3]) < 65536
    return _ADDRESS.fullmatch(text) is not None


def read_address(text: str) -> str:
    """The address of a scheduler that a worker is to join. Errors: Refused."""
    text = text.strip()
    if not _is_address(text):
        raise Refused(f"{text!r} {NO_ADDRESS}")
    return text
