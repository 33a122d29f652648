"""Where the numbers of a function are rounded to a format of fewer bits, and rounding that gradients pass too.

What goes into a contraction, what comes out of it with its biases added, the argument and the value of every
elementwise function, and the value of every other site are numbers of the format; what lies between two of them is one
step, computed in the function's own types (docs/definitions.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from winit_jax.numerics import narrow
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.scaled import Scaled
from winit_jax.numerics.tapping import pointwise
from winit_jax.numerics.tapping.equations import constants_and_carries
from winit_jax.numerics.tapping.flow import FORMS
from winit_jax.numerics.tapping.sites import Survey
from winit_jax.numerics.tapping.statistics import squares_of_gradient

# What makes numbers of a format of those that it is given: their form changes, or some of them are chosen.
CHOOSING = FORMS | {"concatenate", "gather", "neg", "pad", "reduce_max", "reduce_window_max", "stop_gradient"}


# -- rounding ----------------------------------------------------------------------------------------------------------


@jax.jit
def rounded(x: jax.Array, to: Limits) -> jax.Array:
    """The numbers of a format nearest to x, of any shape and type, in that type."""
    near: jax.Array = narrow.rounded(Scaled(x.astype(jnp.float32), jnp.int32(0)), to).astype(x.dtype)
    return near


@jax.jit
def rounded_and_lost(x: jax.Array, to: Limits) -> tuple[jax.Array, jax.Array]:
    """The same, with the counts of `narrow.Lost`: [4], float32."""
    near, became = narrow.rounded_and_told(Scaled(x.astype(jnp.float32), jnp.int32(0)), to)
    # One sum, for each is a program of its own to XLA on CPU.
    counts = jnp.sum(jnp.stack([mask.reshape(-1) for mask in became]).astype(jnp.int32), axis=1)
    return near.astype(x.dtype), counts.astype(jnp.float32)


@jax.custom_vjp
def straight(x: jax.Array, to: Limits) -> jax.Array:
    """x rounded; its gradient is that of what it becomes, rounded too."""
    near: jax.Array = rounded(x, to)
    return near


straight.defvjp(lambda x, to: (rounded(x, to), to), lambda to, cotangent: (rounded(cotangent, to), None))


@jax.custom_vjp
def watched(x: jax.Array, near: jax.Array, probes: Sequence[jax.Array], to: Limits) -> jax.Array:
    """`near`, which x was rounded to. The gradient of x is rounded, and that of each probe, [8], is what is said of it:
    `squares_of_gradient` of what it became, and the counts of `narrow.Lost`."""
    return near


@jax.jit
def _said(cotangent: jax.Array, to: Limits) -> tuple[jax.Array, jax.Array]:
    near, lost = rounded_and_lost(cotangent, to)
    return near, jnp.concatenate([squares_of_gradient(near), lost])


def _way_back(kept: tuple[Limits, Sequence[jax.Array]], cotangent: jax.Array) -> tuple[Any, ...]:
    to, probes = kept
    near, said = _said(cotangent, to)
    return near, None, [said for _ in probes], None


watched.defvjp(lambda x, near, probes, to: (near, (to, probes)), _way_back)


@jax.custom_vjp
def replaced(exact: jax.Array, by: jax.Array, to: Limits) -> jax.Array:
    """`by`, with the derivative of what it stands for; the gradient is rounded."""
    return by


replaced.defvjp(lambda exact, by, to: (by, to), lambda to, cotangent: (rounded(cotangent, to), None, None))


def rounded_leaves(tree: Any, to: Limits) -> tuple[Any, list[jax.Array]]:
    """(A pytree with its floats rounded, the counts of `narrow.Lost` of each leaf of floats)."""
    leaves, form = jax.tree.flatten(tree)
    near, counts = [], []
    for leaf in leaves:
        if is_float(leaf):
            leaf, lost = rounded_and_lost(leaf, to)
            counts.append(lost)
        near.append(leaf)
    return jax.tree.unflatten(form, near), counts


def is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


# -- places ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Rounds:
    """Where the numbers of one jaxpr are rounded, beside the values of its sites.

    made: variables, as soon as they are there. operands: index of a contraction -> which of its operands, as they go
    into it. inner: of the jaxprs that its equations call. outs: which of what it returns are numbers of the format.
    """

    made: frozenset[Any]
    operands: Mapping[int, tuple[int, ...]]
    inner: Mapping[int, tuple["Rounds", ...]]
    outs: tuple[bool, ...]

    def of(self, index: int, eqn: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of one equation: which operands, and which of what it makes."""
        return self.operands.get(index, ()), tuple(n for n, out in enumerate(eqn.outvars) if out in self.made)


def rounds_of(jaxpr: core.Jaxpr, survey: Survey, given: Sequence[bool]) -> Rounds:
    """Where to round in a jaxpr. given: which of its arguments are numbers of the format already, as what another place
    rounded is; it is not rounded twice, for then nothing would be lost in what is counted at that place."""
    wanted = {tap.source for taps in survey.taps.values() for tap in taps if tap.source is not None}
    sites = {
        int(tap.site.key.rpartition("/")[2])
        for taps in survey.taps.values()
        for tap in taps
        if tap.site.kind == "contraction"
    }
    known = {var for var, is_given in zip(jaxpr.invars, given, strict=True) if is_given}
    made = {var for var in (*jaxpr.constvars, *jaxpr.invars) if var in wanted and var not in known}
    known |= made
    operands: dict[int, tuple[int, ...]] = {}
    inner: dict[int, tuple[Rounds, ...]] = {}

    def is_known(atom: Any) -> bool:
        return not isinstance(atom, core.Literal) and atom in known

    for index, eqn in enumerate(jaxpr.eqns):
        outs = [False] * len(eqn.outvars)
        if index in survey.inner and any(one.all_taps() for one in survey.inner[index]):
            inner[index], outs = _called(eqn, survey.inner[index], [is_known(atom) for atom in eqn.invars])
        elif index in sites:
            places = [n for n, atom in enumerate(eqn.invars[:2]) if is_float(atom.aval) and not is_known(atom)]
            operands[index] = tuple(places)
        elif (body := pointwise.body_of(eqn)) is not None:
            outs = list(rounds_of(body.jaxpr, Survey(), [is_known(atom) for atom in eqn.invars]).outs)
        elif eqn.primitive.name in CHOOSING:
            floats = [atom for atom in eqn.invars if not isinstance(atom, core.Literal) and is_float(atom.aval)]
            outs = [bool(floats) and all(map(is_known, floats))] * len(outs)
        for out, is_of_format in zip(eqn.outvars, outs, strict=True):
            if not is_of_format and out in wanted and not survey.taps.get(out):
                made.add(out)
            if is_of_format or out in made or survey.taps.get(out):
                known.add(out)
    return Rounds(frozenset(made), operands, inner, tuple(map(is_known, jaxpr.outvars)))


def _called(eqn: Any, surveys: tuple[Survey, ...], given: list[bool]) -> tuple[tuple[Rounds, ...], list[bool]]:
    """(Where to round in what an equation calls, which of what it makes are numbers of the format)."""
    name = eqn.primitive.name
    if name == "scan":
        consts, carries = constants_and_carries(eqn)
        return _looped(eqn.params["jaxpr"], surveys, given[:consts], given[consts:], carries)
    if name == "while":
        skipped, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        fixed, carried = given[skipped : skipped + consts], given[skipped + consts :]
        return _looped(eqn.params["body_jaxpr"], surveys, fixed, carried, len(carried))
    if name == "cond":
        branches = eqn.params["branches"]
        found = tuple(rounds_of(body.jaxpr, survey, given[1:]) for body, survey in zip(branches, surveys, strict=True))
        return found, [all(of) for of in zip(*(one.outs for one in found), strict=True)]
    body = pointwise.body_of(eqn)
    assert body is not None
    found = (rounds_of(body.jaxpr, surveys[0], given),)
    return found, list(found[0].outs)


def _looped(
    body: Any, surveys: tuple[Survey, ...], fixed: list[bool], others: list[bool], carries: int
) -> tuple[tuple[Rounds, ...], list[bool]]:
    """Of a loop; others: what it carries, and what it goes through."""
    carried, passed = others[:carries], others[carries:]
    while True:
        found = rounds_of(body.jaxpr, surveys[0], [*fixed, *carried, *passed])
        after = [before and out for before, out in zip(carried, found.outs[:carries], strict=True)]
        if after == carried:
            return (found,), [*after, *found.outs[carries:]]
        carried = after
