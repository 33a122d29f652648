"""A function in segments between its taps: each a program of its own, compiled once for all that are alike.

Compiling is most of what a probe takes. Layers that do the same have the same equations with other arrays, so a network
of 100 layers has as many programs as one of two, and what XLA is given at a time is small. For the way back a segment
keeps of what goes into it what is read there, and computes anew what lies within.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.extend import core

from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.tapping.rounds import Rounds, straight

Program = Callable[..., list[Any]]
JAX_FOLDER = next(iter(jax.__path__))
# Of an equation: which of its operands are rounded, and which of what it makes.
Places = tuple[tuple[int, ...], tuple[int, ...]]
NOWHERE: Places = ((), ())


@dataclass(frozen=True)
class Step:
    """What is computed next: one equation that is gone into, or a segment of those that are not.

    index: of that equation, -1 for a segment. program: of a segment. ins, outs: variables that it reads and makes.
    last: those that nothing reads afterwards. is_rounded: whether the program takes a format behind its values.
    """

    index: int
    program: Program | None
    ins: tuple[Any, ...]
    outs: tuple[Any, ...]
    last: tuple[Any, ...]
    is_rounded: bool = False


class Cutter:
    """Cuts jaxprs into steps, and has the programs of all of them."""

    def __init__(self) -> None:
        self._programs: dict[Hashable, Program] = {}

    def steps(
        self,
        jaxpr: core.Jaxpr,
        entered: Collection[int],
        ends: Mapping[Any, Collection[Any]],
        rounds: Rounds | None = None,
    ) -> list[Step]:
        """entered: indices of the equations that are steps themselves. ends: the variables after which a segment ends,
        and for each of them those that are read when it is there. rounds: where numbers are rounded, if they are."""
        places = {id(eqn): rounds.of(index, eqn) for index, eqn in enumerate(jaxpr.eqns)} if rounds else {}
        groups: list[tuple[int, list[Any]]] = []
        is_open = False
        for index, eqn in enumerate(jaxpr.eqns):
            if index in entered:
                groups.append((index, [eqn]))
                is_open = False
                continue
            if not is_open:
                groups.append((-1, []))
            groups[-1][1].append(eqn)
            is_open = not any(out in ends for out in eqn.outvars)
        steps: list[Step] = []
        wanted = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
        for index, eqns in reversed(groups):
            made = [out for eqn in eqns for out in eqn.outvars]
            # What a tap reads beside a value is wanted after the step that made the value.
            wanted_after = wanted | {beside for out in made for beside in ends.get(out, ())}
            outs = [out for out in made if out in wanted_after or out in ends]
            ins = list(dict.fromkeys(a for eqn in eqns for a in eqn.invars if not isinstance(a, core.Literal)))
            ins = [atom for atom in ins if atom not in set(made)]
            before = (wanted_after - set(made)) | set(ins)
            last = tuple((set(outs) | before) - wanted)
            if index >= 0:
                steps.append(Step(index, None, tuple(ins), tuple(eqns[0].outvars), last))
            elif outs or any(eqn.effects for eqn in eqns):
                of_eqns = tuple(places.get(id(eqn), NOWHERE) for eqn in eqns)
                is_rounded = any(of != NOWHERE for of in of_eqns)
                program = self._program(eqns, ins, outs, of_eqns)
                steps.append(Step(-1, program, tuple(ins), tuple(outs), last, is_rounded))
            else:
                continue
            wanted = before
        return steps[::-1]

    def _program(
        self, eqns: Sequence[Any], ins: Sequence[Any], outs: Sequence[Any], places: Sequence[Places]
    ) -> Program:
        form = form_of(eqns, ins, outs), tuple(places)
        if form not in self._programs:
            self._programs[form] = program_of(eqns, ins, outs, places)
        return self._programs[form]


def program_of(eqns: Sequence[Any], ins: Sequence[Any], outs: Sequence[Any], places: Sequence[Places]) -> Program:
    """Values of `ins` -> values of `outs`, compiled, as are its ways back: one for each choice of arguments that move.

    places: where the numbers of each equation are rounded; where any are, the `Limits` of a format come behind the
    values. It can be differentiated in reverse alone.
    """

    def run(*values: Any) -> list[Any]:
        env = computed(eqns, dict(zip(ins, values, strict=False)), places, values[len(ins) :])
        return [env[out] for out in outs]

    forward = jax.jit(run)
    ways_back: dict[tuple[bool, ...], WayBack] = {}
    is_float = [jnp.issubdtype(out.aval.dtype, jnp.floating) for out in outs]

    def way_back(moves: tuple[bool, ...], arguments: Sequence[Any]) -> WayBack:
        def back(values: Sequence[Any], cotangents: Sequence[Any]) -> Any:
            def of_moving(*moving: Any) -> list[Any]:
                given = iter(moving)
                mixed = [next(given) if one else value for one, value in zip(moves, values, strict=True)]
                return [out for out, differs in zip(run(*mixed), is_float, strict=True) if differs]

            return jax.vjp(of_moving, *(value for one, value in zip(moves, values, strict=True) if one))[1](cotangents)

        if moves not in ways_back:
            floats = [out.aval for out, one in zip(outs, is_float, strict=True) if one]
            ways_back[moves] = WayBack.of(back, arguments, floats)
        return ways_back[moves]

    @jax.custom_vjp
    def differentiable(*values: Any) -> list[Any]:
        outs: list[Any] = forward(*values)
        return outs

    def program(*values: Any) -> list[Any]:
        # Of values that nothing traces no derivative is taken, and calling what has one takes as long as a small layer.
        outs: list[Any] = (differentiable if any(isinstance(value, Tracer) for value in values) else forward)(*values)
        return outs

    def forth(*primals: Any) -> tuple[list[Any], Any]:
        values = [one.value for one in primals]
        moves = tuple(one.perturbed and jnp.issubdtype(one.value.dtype, jnp.floating) for one in primals)
        return forward(*values), jax.tree_util.Partial(partial(gone_back, moves), way_back(moves, values).kept(values))

    def gone_back(moves: tuple[bool, ...], kept: Sequence[Any], cotangents: Sequence[Any]) -> tuple[Any, ...]:
        given = [
            jnp.zeros(one.shape, one.dtype) if isinstance(one, SymbolicZero) else one
            for one, differs in zip(cotangents, is_float, strict=True)
            if differs
        ]
        found = iter(ways_back[moves].program(kept, given))
        return tuple(next(found) if one else None for one in moves)

    differentiable.defvjp(forth, lambda kept, cotangents: kept(cotangents), symbolic_zeros=True)
    return program


@dataclass(frozen=True)
class WayBack:
    """Of a segment, for one choice of arguments that move. is_read: which arguments it reads. program: (those of them,
    cotangents) -> cotangents of the arguments that move."""

    is_read: tuple[bool, ...]
    program: Callable[..., Any]

    @classmethod
    def of(cls, back: Callable[..., Any], ins: Sequence[Any], outs: Sequence[Any]) -> "WayBack":
        """back: (all arguments, cotangents) -> cotangents. ins, outs: of the shapes and types of those."""
        shapes = [[jax.ShapeDtypeStruct(jnp.shape(one), one.dtype) for one in of] for of in (ins, outs)]
        closed = jax.make_jaxpr(back)(*shapes)
        jaxpr, eqns = closed.jaxpr, read_equations(closed.jaxpr)
        wanted = set(map(id, jaxpr.outvars)).union(id(atom) for eqn in eqns for atom in eqn.invars)
        is_read = tuple(id(var) in wanted for var in jaxpr.invars[: len(ins)])
        arguments, cotangents_in = jaxpr.invars[: len(ins)], jaxpr.invars[len(ins) :]
        read = [*(var for var, one in zip(arguments, is_read, strict=True) if one), *cotangents_in]

        def program(kept: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
            given = dict(zip([*jaxpr.constvars, *read], [*closed.consts, *kept, *cotangents], strict=True))
            env = computed(eqns, given)
            return [atom.val if isinstance(atom, core.Literal) else env[atom] for atom in jaxpr.outvars]

        return cls(is_read, jax.jit(program))

    def kept(self, values: Sequence[Any]) -> list[Any]:
        return [value for value, one in zip(values, self.is_read, strict=True) if one]


def computed(
    eqns: Sequence[Any], env: dict[Any, Any], places: Sequence[Places] = (), to: Sequence[Any] = ()
) -> dict[Any, Any]:
    """The values of variables, and of all that equations make of them.

    places: where the numbers of each equation are rounded, nowhere if empty; to: then the parts of `Limits`.
    """
    for eqn, (operands, made) in zip(eqns, places or [NOWHERE] * len(eqns), strict=True):
        given = [atom.val if isinstance(atom, core.Literal) else env[atom] for atom in eqn.invars]
        given = [straight(one, Limits(*to)) if n in operands else one for n, one in enumerate(given)]
        found = [straight(one, Limits(*to)) if n in made else one for n, one in enumerate(bound(eqn, given))]
        env.update(zip(eqn.outvars, found, strict=True))
    return env


def bound(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """What an equation makes of values."""
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outs) if eqn.primitive.multiple_results else [outs]


def evaluated(closed: core.ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """What a jaxpr makes of arguments, one equation after the other, without those that nothing needs.

    Equations that are alike share what JAX compiles for them, as of an `init` with many layers.
    """
    jaxpr = closed.jaxpr
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *arguments], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else env[atom]

    for eqn in read_equations(jaxpr):
        values = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name == "slice" and set(eqn.params["strides"] or (1,)) == {1}:
            # One program for all places of it, such as the keys of the layers.
            places = [jnp.asarray(start) for start in eqn.params["start_indices"]]
            outs = [jax.lax.dynamic_slice(values[0], places, eqn.outvars[0].aval.shape)]
        else:
            outs = bound(eqn, values)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def read_equations(jaxpr: core.Jaxpr) -> list[Any]:
    """Those whose values something needs, in their order."""
    wanted, found = set(map(id, jaxpr.outvars)), list[Any]()
    for eqn in reversed(jaxpr.eqns):
        if any(id(out) in wanted for out in eqn.outvars):
            wanted |= set(map(id, eqn.invars))
            found.append(eqn)
    return found[::-1]


# -- what is alike -----------------------------------------------------------------------------------------------------


def form_of(eqns: Sequence[Any], ins: Sequence[Any], outs: Sequence[Any]) -> Hashable:
    """What two segments have in common that compute the same of their arguments."""
    numbers: dict[Any, int] = {}

    def named(var: Any) -> Hashable:
        return numbers.setdefault(var, len(numbers)), str(var.aval)

    def read(atom: Any) -> Hashable:
        return (str(atom.aval), fixed(atom.val)) if isinstance(atom, core.Literal) else named(atom)

    return (
        tuple(map(named, ins)),
        tuple(
            (
                eqn.primitive,
                str(eqn.ctx),
                tuple(map(read, eqn.invars)),
                tuple(map(named, eqn.outvars)),
                of_params(eqn),
            )
            for eqn in eqns
        ),
        tuple(map(read, outs)),
    )


def of_params(eqn: Any) -> Hashable:
    params = dict(eqn.params)
    if eqn.primitive.name == "custom_jvp_call" and is_of_jax(params["call_jaxpr"].jaxpr):
        # JAX makes the rule anew at each call; those of its own functions depend on what is called alone.
        del params["jvp_jaxpr_fun"]
    return tuple((name, fixed(value)) for name, value in sorted(params.items()))


def is_of_jax(jaxpr: core.Jaxpr) -> bool:
    """Whether a function of JAX itself was traced."""
    info = getattr(jaxpr, "debug_info", None)
    return JAX_FOLDER in str(getattr(info, "func_src_info", ""))


def fixed(value: Any) -> Hashable:
    """A parameter of an equation as something to compare: jaxprs by their form, arrays by what object they are."""
    if isinstance(value, core.ClosedJaxpr | core.Jaxpr):
        # In later releases of JAX the two are one.
        jaxpr = getattr(value, "jaxpr", value)
        form = form_of(jaxpr.eqns, [*jaxpr.constvars, *jaxpr.invars], jaxpr.outvars)
        return form, tuple(map(id, getattr(value, "consts", ())))
    if isinstance(value, tuple | list):
        return tuple(map(fixed, value))
    if isinstance(value, float):
        return float, value.hex()  # 0.0 and -0.0 are equal and not alike
    if isinstance(value, complex):
        return complex, value.real.hex(), value.imag.hex()
    if isinstance(value, np.generic | np.ndarray) and not value.shape:
        return str(value.dtype), value.tobytes()
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value
