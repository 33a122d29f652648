"""Whether a function has a way back: through a loop of unknown length JAX takes no gradient in reverse."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend import core

from winit_jax.numerics.tapping import pointwise
from winit_jax.numerics.tapping.equations import constants_and_carries
from winit_jax.numerics.tapping.sites import Survey


def is_cut(closed: core.ClosedJaxpr, survey: Survey, moved: Sequence[bool]) -> bool:
    """Whether a loop of unknown length reads what gradients are taken of.

    moved: of which arguments gradients are taken; the sites that are differentiated are added to them. What stands
    inside a function with a derivative of its own is not looked at, for that derivative holds.
    """
    return _read(closed.jaxpr, survey, moved)[0]


def _read(jaxpr: core.Jaxpr, survey: Survey, moved: Sequence[bool]) -> tuple[bool, list[bool]]:
    """(Whether there is such a loop, which of the values that come out depend on what gradients are taken of)."""
    out: Any
    depending = {var for var, moves in zip(jaxpr.invars, moved, strict=True) if moves}
    cut = False

    def depends(atom: Any) -> bool:
        return not isinstance(atom, core.Literal) and atom in depending

    for index, eqn in enumerate(jaxpr.eqns):
        found, outs = _of_equation(eqn, survey.inner.get(index, ()), [depends(atom) for atom in eqn.invars])
        cut = cut or found
        for out, moves in zip(eqn.outvars, outs, strict=True):
            is_watched = any(tap.site.is_differentiated for tap in survey.taps.get(out, ()))
            if (moves or is_watched) and jnp.issubdtype(out.aval.dtype, jnp.floating):
                depending.add(out)
    return cut, [depends(atom) for atom in jaxpr.outvars]


def _of_equation(eqn: Any, inner: Sequence[Survey], given: Sequence[bool]) -> tuple[bool, list[bool]]:
    name = eqn.primitive.name
    every = [any(given)] * len(eqn.outvars)
    if name == "stop_gradient":
        return False, [False]
    if name == "while":
        return any(given[eqn.params["cond_nconsts"] :]), every
    if name == "scan":
        return _of_scan(eqn, inner[0], list(given))
    if name == "cond":
        branches = zip(eqn.params["branches"], inner, strict=True)
        found = [_read(body.jaxpr, survey, given[1:]) for body, survey in branches]
        return any(cut for cut, _ in found), [any(outs) for outs in zip(*(outs for _, outs in found), strict=True)]
    if inner and not name.startswith("custom_"):
        body = pointwise.body_of(eqn)
        assert body is not None
        return _read(body.jaxpr, inner[0], given)
    return False, every


def _of_scan(eqn: Any, survey: Survey, given: list[bool]) -> tuple[bool, list[bool]]:
    """What a turn carries on depends on what any turn before it carried."""
    consts, carries = constants_and_carries(eqn)
    while True:
        cut, outs = _read(eqn.params["jaxpr"].jaxpr, survey, given)
        carried = [one or other for one, other in zip(given[consts : consts + carries], outs, strict=False)]
        if carried == given[consts : consts + carries]:
            return cut, outs
        given[consts : consts + carries] = carried
