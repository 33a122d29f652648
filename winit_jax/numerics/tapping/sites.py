"""Where a function is tapped: one record a site, found before anything is computed."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

from winit_jax.numerics.activations import Activation

# What stands at a site. `contraction`: a product with weights or between signals, with its biases added.
# `nonlinearity`: an elementwise function of one signal. `softmax`. `lookup`: rows of a table of embeddings. `sum`: a
# branch added to a stream.
Kind = Literal["contraction", "nonlinearity", "softmax", "lookup", "sum"]


@dataclass(frozen=True)
class Origin:
    """What is known of a value before it is computed.

    parameter: the path of the parameter that it is, in another form or a multiple at most; empty where it is none.
    moves: whether it depends on the inputs. depth: how many contractions lie between it and the inputs at the most.
    site: the key of the contraction that it is, with biases added or a multiple of it at most. is_reduced: whether it
    is made of sums or extremes alone, as the mean and variance of a normalization are. stacked: which of the
    loops around it go through the parameter, along an axis each.
    """

    parameter: str = ""
    moves: bool = False
    depth: int = 0
    site: str = ""
    is_reduced: bool = False
    stacked: tuple[int, ...] = ()

    def joined(self, other: "Origin") -> "Origin":
        """Of a value that may be either."""
        return Origin("", self.moves or other.moves, max(self.depth, other.depth), "")


@dataclass(frozen=True)
class Site:
    """One place of a function, and what stands there.

    key: where it stands in the jaxpr, unlike that of every other site. kind: what it is; op: its word in tables. scope:
    names that the function gave the place (`jax.named_scope`, modules of Flax). parameter: the path of its weights.
    shape: of the value. units: the axes of its units. fan_in, fan_out: of the weights as used, 0 without. follows: the
    key of the contraction that a nonlinearity is a function of, or that ends the branch of a sum. loops: how often each
    loop that it stands in is gone through, the outermost first; the last of them is 0 in a loop of unknown length, of
    which the last turn is measured. levels: how many numbers of the key come before that of each loop.
    is_differentiated: whether gradients are taken there. stacked: of the parameter, as of its `Origin`.
    """

    key: str
    kind: Kind
    op: str
    scope: str
    shape: tuple[int, ...]
    parameter: str = ""
    units: tuple[int, ...] = ()
    fan_in: int = 0
    fan_out: int = 0
    follows: str = ""
    loops: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    is_differentiated: bool = True
    stacked: tuple[int, ...] = ()

    def place(self, turn: tuple[int, ...]) -> tuple[int, ...]:
        """Where it stands in the order of the computation, at one turn of each of its loops."""
        numbers: list[int] = []
        turns = dict(zip(self.levels, turn, strict=True))
        for level, number in enumerate(map(int, self.key.split("/"))):
            numbers += [number, *([turns[level]] if level in turns else [])]
        return tuple(numbers)


@dataclass
class Use:
    """How a parameter is used: the fans of the contractions whose weights it is, and whether anything reads it."""

    fans: list[tuple[int, int]] = field(default_factory=list)
    is_read: bool = False


@dataclass(frozen=True)
class Tap:
    """A site, and what is read there beside its value. source: what a nonlinearity is a function of; phi: what is known
    of it."""

    site: Site
    source: Any = None
    phi: Activation | None = None


@dataclass
class Survey:
    """The taps of one jaxpr by the variable that they read, and the surveys of the jaxprs that its equations call."""

    taps: dict[Any, list[Tap]] = field(default_factory=lambda: defaultdict(list))
    inner: dict[int, tuple["Survey", ...]] = field(default_factory=dict)
    out: list[Origin] = field(default_factory=list)

    def all_taps(self) -> list[Tap]:
        """Those of the jaxprs that it calls too, in the order of the computation."""
        found = [(tap.site.key, tap) for taps in self.taps.values() for tap in taps]
        found += [(tap.site.key, tap) for surveys in self.inner.values() for one in surveys for tap in one.all_taps()]
        return [tap for _, tap in sorted(found, key=lambda pair: _order(pair[0]))]


def _order(key: str) -> list[int]:
    return [int(number) for number in key.split("/")]
