"""Shards: one share of a sweep out of n, numbered from 1, for many machines that fill one run folder."""

import re
from dataclasses import dataclass
from typing import Any

from winit_jax.spec.problems import Problem, briefly

# More would be more processes than any sweep has parts.
MOST_SHARDS = 100_000
_FORM = re.compile(r"\s*([+-]?\d{1,12})\s*/\s*([+-]?\d{1,12})\s*")


@dataclass(frozen=True, order=True)
class Shard:
    """The share `number` out of `of`, numbers from 1 to `of`; `str()` is how it is asked for."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """For files: in the order of names shards lie in that of their numbers."""
        return f"{self.number:06d}-of-{self.of:06d}"


def read_shard(value: Any, problems: list[Problem]) -> Shard | None:
    """A shard from "3/64", from (3, 64) or from a Shard; None where it is none, and a problem is added."""
    shard, sentence = _read(value)
    if sentence:
        problems.append(Problem("shard", sentence))
    return shard


def _read(value: Any) -> tuple[Shard | None, str]:
    """(A shard, "") or (None, what is wrong with it)."""
    if isinstance(value, Shard):
        value = (value.number, value.of)
    if isinstance(value, str):
        found = _FORM.fullmatch(value)
        if found is None:
            return None, f"{value!r} is not of the form I/N, such as 3/64: the third of 64 shards."
        value = (int(found[1]), int(found[2]))
    if not (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(each, int) and not isinstance(each, bool) for each in value)
    ):
        return None, f"{briefly(value)} is neither I/N, such as '3/64', nor two whole numbers, such as (3, 64)."
    number, of = value
    if not 1 <= of <= MOST_SHARDS:
        return None, f"{number}/{of} has {of:,} shards; there are 1 to {MOST_SHARDS:,}."
    if not 1 <= number <= of:
        hint = " An array that counts from 0 adds 1: --shard $((INDEX + 1))/N." if number == 0 else ""
        return None, f"{number}/{of} is none of the {of:,} shards, which are numbered 1 to {of:,}.{hint}"
    return Shard(number, of), ""
