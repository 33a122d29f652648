"""Who makes and who reads each value of a jaxpr, and what may be said of a value from that alone."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax.extend import core

from winit_jax.numerics.tapping import pointwise

# What changes the form of a value and none of its numbers, and what leaves out some of them.
FORMS = pointwise.CASTS | {
    "reshape", "transpose", "squeeze", "expand_dims", "broadcast_in_dim", "rev", "slice", "dynamic_slice", "split",
    "unstack", "optimization_barrier", "sharding_constraint",
}  # fmt: skip


def is_reduction(name: str) -> bool:
    """Whether a primitive makes few numbers of many; a pool, which is a window that moves, keeps a signal a signal."""
    return name.startswith(("reduce_", "arg")) and not name.startswith(("reduce_window", "reduce_precision"))


class Flow:
    """makers: the equation that makes a variable. readers: those that read it, None among them where it is returned.
    sources: of `pointwise.sources`."""

    def __init__(self, jaxpr: core.Jaxpr) -> None:
        self.makers = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
        self.readers: dict[Any, list[Any]] = defaultdict(list)
        self.sources = pointwise.sources(jaxpr)
        for eqn in jaxpr.eqns:
            for atom in eqn.invars:
                if not isinstance(atom, core.Literal):
                    self.readers[atom].append(eqn)
        for atom in jaxpr.outvars:
            if not isinstance(atom, core.Literal):
                self.readers[atom].append(None)

    def uncast(self, var: Any) -> Any:
        """The value that a variable is in another type of floats, if it is one: the one that was computed."""
        while (made := self.makers.get(var)) is not None and pointwise.is_cast(made):
            (before,) = made.invars
            if isinstance(before, core.Literal):
                break
            var = before
        return var

    def leaves_its_source(self, var: Any) -> bool:
        """Whether what is done with a function of its source is, at some place, no more one of that source alone."""
        readers = self.readers[var]
        return any(
            reader is None
            or not pointwise.is_elementwise(reader)
            or self.sources.get(reader.outvars[0]) is not self.sources.get(var)
            for reader in readers
        )

    def is_only_reduced(self, var: Any) -> bool:
        """Whether only sums or extremes are made of a value, of its square, or of either in another type."""
        return all(
            reader is not None
            and (
                is_reduction(reader.primitive.name)
                or ((pointwise.is_cast(reader) or _squares(reader, var)) and self.is_only_reduced(reader.outvars[0]))
            )
            for reader in self.readers[var]
        )

    def softmax_of(self, var: Any) -> Any:
        """The division that ends a softmax whose exponential this is; None where it is none."""
        if self.makers[var].primitive.name != "exp":
            return None
        forms = list(self._forms(var))
        readers = [(form, reader) for form in forms for reader in self.readers[form] if reader is not None]
        sums = {reader.outvars[0] for _, reader in readers if reader.primitive.name == "reduce_sum"}
        for form, reader in readers:
            if reader.primitive.name == "div" and reader.invars[0] is form and self._comes_from(reader.invars[1], sums):
                return reader
        return None

    def _forms(self, var: Any) -> Iterator[Any]:
        """A value, and what it is in other types or under a mask, whose sums are still its own."""
        yield var
        for reader in self.readers[var]:
            if reader is not None and (pointwise.is_cast(reader) or _masks(reader, var)):
                yield from self._forms(reader.outvars[0])

    def _comes_from(self, atom: Any, wanted: set[Any]) -> bool:
        while not isinstance(atom, core.Literal):
            if atom in wanted:
                return True
            made = self.makers.get(atom)
            if made is None or made.primitive.name not in FORMS:
                return False
            atom = made.invars[0]
        return False


def _squares(eqn: Any, var: Any) -> bool:
    return eqn.primitive.name in ("integer_pow", "square", "mul") and all(atom is var for atom in eqn.invars)


def _masks(eqn: Any, var: Any) -> bool:
    """Whether an equation, or a call of it alone, chooses between a value and others, as `jnp.where` does."""
    body = pointwise.body_of(eqn)
    if body is not None:
        names = {inner.primitive.name for inner in body.jaxpr.eqns}
        return "select_n" in names and names <= FORMS | {"select_n"} and len(eqn.outvars) == 1
    return eqn.primitive.name == "select_n" and eqn.invars[0] is not var and is_float(var)


def is_float(atom: Any) -> bool:
    """Whether an atom of a jaxpr holds floats."""
    return bool(jnp.issubdtype(atom.aval.dtype, jnp.floating))
