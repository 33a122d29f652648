"""What is wrong with a request: places, sentences, and the nearest right word."""

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong. place: where, as `grid.gain[2]`; message: what was found and what is allowed."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class SpecError(Exception):
    """Every problem of one request. str() is the text that a user reads."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {count} problem{'s' if count != 1 else ''}\n{listed}")


def briefly(value: object) -> str:
    """repr() of what was found, cut where it is long or deep, so that a sentence stays a sentence."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    return short.repr(value)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean ...? Known: ...' for a word that is not one of `known`."""
    names = sorted(known)
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"{guess} Known: {', '.join(names)}."
