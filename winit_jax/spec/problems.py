"""What is wrong with a request: places, sentences, and the nearest right word."""

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from winit_jax.errors import WinitError
from winit_jax.spec.aliases import AS_OURS, IN_JAX, in_order, nearest, squashed

# Of a long list of problems, or of names, so many are shown. A short list is shown whole.
SHOWN_PROBLEMS, ALL_PROBLEMS = 10, 20
SHOWN_NAMES, ALL_NAMES = 3, 20


@dataclass(frozen=True)
class Problem:
    """One thing wrong. place: where, as `grid.gain[2]`; message: what was found and what is allowed."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class SpecError(WinitError):
    """Every problem of one request. str() is the text that a user reads."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        shown = self.problems if count <= ALL_PROBLEMS else self.problems[:SHOWN_PROBLEMS]
        lines = [f"  {problem}" for problem in shown]
        if len(shown) < count:
            lines.append(f"  and {count - len(shown):,} more")
        listed = "\n".join(lines)
        super().__init__(f"{source}: {count:,} problem{'s' if count != 1 else ''}\n{listed}")

    def beside(self, others: Sequence[Problem]) -> "SpecError":
        """The same request, of which these are wrong too."""
        return SpecError(self.source, [*self.problems, *others])


def briefly(value: object) -> str:
    """repr() of what was found, cut where it is long or deep, so that a sentence stays a sentence."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    return short.repr(value)


def shortened(place: str) -> str:
    """A place that stays readable: what is long is named by its beginning."""
    return place if len(place) <= 120 else f"{place[:117]}..."


def did_you_mean(word: object, known: Iterable[str], kind: str = "") -> str:
    """' Did you mean ...? Known: ...' for a word that is not one of `known`; of many names those most like it.

    kind: as in `aliases`, where words have other names.
    """
    names = sorted(known)
    near = nearest(str(word), names, kind)
    guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    if kind == "activation" and (path := IN_JAX.get(squashed(str(word)))):
        guess = f" It can be given by import path, as jax.nn:{path}."
    if kind == "activation" and (ours := AS_OURS.get(squashed(str(word)))):
        guess = f" As it is usually initialized it is {ours}."
    if len(names) > ALL_NAMES:
        names = [name for name in in_order(str(word), names) if name not in near]
        more = len(names) - SHOWN_NAMES
        return f"{guess} Known: {', '.join(names[:SHOWN_NAMES])} and {more:,} more."
    return f"{guess} Known: {', '.join(names)}."


def unknown(place: str, what: str, word: object, known: Iterable[str], problems: list[Problem], kind: str = "") -> None:
    """Add that a word is not known, with the nearest right word where the problem will be shown."""
    hint = did_you_mean(word, known, kind) if len(problems) < ALL_PROBLEMS else ""
    problems.append(Problem(shortened(place), f"{what}{hint}"))
