"""Where a function is tapped: one record a site, found before anything is computed."""

from dataclasses import dataclass, field
from typing import Any, Literal

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
    is made of sums or extremes alone, as the mean and variance of a normalization are.
    """

    parameter: str = ""
    moves: bool = False
    depth: int = 0
    site: str = ""
    is_reduced: bool = False

    def joined(self, other: "Origin") -> "Origin":
        """Of a value that may be either."""
        return Origin("", self.moves or other.moves, max(self.depth, other.depth), "")


@dataclass(frozen=True)
class Site:
    """One place of a function, and what stands there.

    key: where it stands in the jaxpr, unlike that of every other site. kind: what it is; op: its word in tables. scope:
    names that the function gave the place (`jax.named_scope`, modules of Flax). parameter: the path of its weights.
    shape, dtype: of the value. units: the axes of its units. fan_in, fan_out: of the weights as used, 0 without.
    follows: the key of the contraction that a nonlinearity is a function of, or that ends the branch of a sum. stream:
    likewise of what the branch is added to. loops: how often each loop that it stands in is gone through, the outermost
    first; the last of them is 0 in a loop of unknown length, of which the last turn is measured. levels: how many
    numbers of the key come before that of each loop. is_differentiated: whether gradients are taken there.
    """

    key: str
    kind: Kind
    op: str
    scope: str
    shape: tuple[int, ...]
    dtype: Any
    parameter: str = ""
    units: tuple[int, ...] = ()
    fan_in: int = 0
    fan_out: int = 0
    follows: str = ""
    stream: str = ""
    loops: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    is_differentiated: bool = True

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
