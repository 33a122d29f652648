"""Where the sites of a function are: its jaxpr is read once, before anything is computed."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jax.extend import core

from winit_jax.numerics.tapping import pointwise
from winit_jax.numerics.tapping.equations import (
    Fans,
    constants_and_carries,
    is_of_jax,
    joined,
    of_convolution,
    of_dot,
    scope_of,
)
from winit_jax.numerics.tapping.flow import FORMS, Flow, is_float, is_reduction
from winit_jax.numerics.tapping.sites import Kind, Origin, Site, Survey, Tap, Use

SCALING = frozenset(["mul", "div", "neg", "add", "sub", "add_any", "select_n", "stop_gradient"])


class Surveyor:
    """Reads a jaxpr. uses: what becomes of each parameter, by its path; filled as it reads."""

    def __init__(self) -> None:
        self.uses: dict[str, Use] = defaultdict(Use)

    def read(
        self,
        closed: core.ClosedJaxpr,
        origins: Sequence[Origin],
        prefix: str = "",
        scope: str = "",
        loops: tuple[int, ...] = (),
        levels: tuple[int, ...] = (),
        is_differentiated: bool = True,
    ) -> Survey:
        """origins: of the arguments. prefix, scope: of keys and names. loops, levels: of the loops around it, as of a
        site."""
        return _Reading(self, closed.jaxpr, prefix, scope, loops, levels, is_differentiated).read(origins)


class _Reading:
    def __init__(
        self,
        surveyor: Surveyor,
        jaxpr: core.Jaxpr,
        prefix: str,
        scope: str,
        loops: tuple[int, ...],
        levels: tuple[int, ...],
        is_differentiated: bool,
    ) -> None:
        self.surveyor, self.jaxpr = surveyor, jaxpr
        self.prefix, self.scope, self.is_differentiated = prefix, scope, is_differentiated
        self.loops, self.levels = loops, levels
        self.survey = Survey()
        self.origins: dict[Any, Origin] = {}
        self.units: dict[Any, tuple[int, ...]] = {}
        self.flow = Flow(jaxpr)
        self.places = {out: index for index, eqn in enumerate(jaxpr.eqns) for out in eqn.outvars}

    def origin(self, atom: Any) -> Origin:
        return Origin() if isinstance(atom, core.Literal) else self.origins.get(atom, Origin())

    def read(self, origins: Sequence[Origin]) -> Survey:
        self.origins.update(zip(self.jaxpr.invars, origins, strict=True))
        for index, eqn in enumerate(self.jaxpr.eqns):
            for atom in eqn.invars:
                if parameter := self.origin(atom).parameter:
                    self.surveyor.uses[parameter].is_read = True
            self._equation(index, eqn)
        self._nonlinearities()
        self.survey.out = [self.origin(atom) for atom in self.jaxpr.outvars]
        return self.survey

    # -- equations ---------------------------------------------------------------------------------------------------

    def _equation(self, index: int, eqn: Any) -> None:
        name = eqn.primitive.name
        if name == "dot_general":
            self._contraction(index, eqn, of_dot(eqn))
        elif name == "conv_general_dilated":
            self._contraction(index, eqn, of_convolution(eqn))
        elif name == "gather" and self.origin(eqn.invars[0]).parameter and not self.origin(eqn.invars[0]).moves:
            self._lookup(index, eqn)
        elif name == "scan":
            self._scan(index, eqn)
        elif name == "while":
            self._while(index, eqn)
        elif name == "cond":
            self._cond(index, eqn)
        elif pointwise.body_of(eqn) is not None and not pointwise.is_elementwise(eqn):
            self._call(index, eqn)
        else:
            self._plain(index, eqn)

    def _plain(self, index: int, eqn: Any) -> None:
        found = [self.origin(atom) for atom in eqn.invars]
        moving = [one for one in found if one.moves]
        name = eqn.primitive.name
        is_reduced = is_reduction(name) or (bool(moving) and all(one.is_reduced for one in moving))
        origin = Origin("", bool(moving), max((one.depth for one in found), default=0), is_reduced=is_reduced)
        keeps = name in FORMS or name in SCALING
        if keeps and len(moving) == 1:
            origin = replace(origin, site=moving[0].site)
        named = [one.parameter for one in found if one.parameter]
        if len(named) == 1 and not moving and (name in FORMS or (name in SCALING and self._scalars_but_one(eqn))):
            stacked = next(one.stacked for one in found if one.parameter)
            origin = replace(origin, parameter=named[0], stacked=stacked)
        for out in eqn.outvars:
            self.origins.setdefault(out, origin)
            if eqn.invars and pointwise.is_elementwise(eqn):
                alike = [atom for atom in eqn.invars if not isinstance(atom, core.Literal)]
                same = [self.units[atom] for atom in alike if atom in self.units and atom.aval.shape == out.aval.shape]
                if same:
                    self.units[out] = same[0]
        if name in ("add", "add_any"):
            self._sum(index, eqn)

    def _scalars_but_one(self, eqn: Any) -> bool:
        return sum(int(math.prod(atom.aval.shape) > 1) for atom in eqn.invars) <= 1

    def _site(self, index: int, eqn: Any, kind: Kind, op: str, var: Any, **known: Any) -> Site:
        return Site(
            key=f"{self.prefix}{index}",
            kind=kind,
            op=op,
            scope=joined(self.scope, scope_of(eqn)),
            shape=tuple(var.aval.shape),
            loops=self.loops,
            levels=self.levels,
            is_differentiated=self.is_differentiated,
            **known,
        )

    def _contraction(self, index: int, eqn: Any, fans: list[Fans]) -> None:
        (out,) = eqn.outvars
        operands = [self.origin(atom) for atom in eqn.invars[:2]]
        depth = 1 + max(one.depth for one in operands)
        moves = any(one.moves for one in operands)
        weights = [i for i, one in enumerate(operands) if not one.moves]
        if not moves or not is_float(out):
            self.origins[out] = Origin("", moves, depth - 1)
            return
        known: dict[str, Any] = {}
        if len(weights) == 1:
            of = fans[weights[0]]
            own = operands[weights[0]]
            known = {"fan_in": of.fan_in, "fan_out": of.fan_out, "parameter": own.parameter, "stacked": own.stacked}
            if known["parameter"]:
                self.surveyor.uses[known["parameter"]].fans.append((of.fan_in, of.fan_out))
        axes = fans[weights[0]].units if len(weights) == 1 else (len(out.aval.shape) - 1,)
        # What is added to a product of two signals is no bias: the mask of attention may be infinite.
        var = self._with_biases(out) if len(weights) == 1 else out
        site = self._site(index, eqn, "contraction", eqn.primitive.name, var, units=axes, **known)
        self.survey.taps[var].append(Tap(site))
        self.origins[out] = Origin("", True, depth, site.key)
        self.units[out] = axes

    def _with_biases(self, out: Any) -> Any:
        """The variable that holds a product with its biases added, where nothing else is done with it."""
        var = out
        while len(readers := self.flow.readers[var]) == 1 and (eqn := readers[0]) is not None:
            if eqn.primitive.name in ("convert_element_type", "copy"):
                ahead = eqn.outvars[0]
            elif eqn.primitive.name == "add" and self._is_still(eqn, var):
                return eqn.outvars[0]
            else:
                break
            if ahead.aval.dtype != var.aval.dtype and not is_float(ahead):
                break
            var = ahead
        return out

    def _is_still(self, eqn: Any, var: Any) -> bool:
        """Whether what is added to a variable does not depend on the inputs: read backwards, for it may come later."""
        (other,) = [atom for atom in eqn.invars if atom is not var] or [None]
        return other is not None and not self._moves(other)

    def _moves(self, atom: Any) -> bool:
        ahead, seen = [atom], set()
        while ahead:
            one = ahead.pop()
            if isinstance(one, core.Literal) or one in seen:
                continue
            seen.add(one)
            if one in self.origins:
                if self.origins[one].moves:
                    return True
            elif one in self.flow.makers:
                ahead += self.flow.makers[one].invars
        return False

    def _lookup(self, index: int, eqn: Any) -> None:
        (out,) = eqn.outvars
        parameter = self.origin(eqn.invars[0]).parameter
        if not is_float(out) or not self.origin(eqn.invars[1]).moves:
            self.origins[out] = Origin(parameter if not self.origin(eqn.invars[1]).moves else "", False)
            return
        site = self._site(index, eqn, "lookup", "lookup", out, units=(len(out.aval.shape) - 1,), parameter=parameter)
        self.survey.taps[out].append(Tap(site))
        self.origins[out] = Origin("", True, 0, site.key)

    def _sum(self, index: int, eqn: Any) -> None:
        """A branch that is added to a stream: two signals, of which one has gone through more contractions."""
        (out,) = eqn.outvars
        operands = [self.origin(atom) for atom in eqn.invars]
        shapes = {tuple(atom.aval.shape) for atom in eqn.invars}
        if (
            len(shapes) > 1
            or len(out.aval.shape) < 2
            or not is_float(out)
            or not all(one.moves for one in operands)
            or operands[0].depth == operands[1].depth
            or self.origin(out).is_reduced
        ):
            return
        branch = max(operands, key=lambda one: one.depth)
        site = self._site(index, eqn, "sum", "sum", out, units=(len(out.aval.shape) - 1,), follows=branch.site)
        self.survey.taps[out].append(Tap(site))

    # -- calls -------------------------------------------------------------------------------------------------------

    def _inner(
        self,
        index: int,
        eqn: Any,
        bodies: Sequence[Any],
        origins: Sequence[Origin],
        turns: tuple[int, ...] = (),
        alive: bool = True,
    ) -> list[Survey]:
        """turns: how often a loop is gone through. alive: whether its gradient is taken inside."""
        scope = joined(self.scope, scope_of(eqn))
        name = eqn.params.get("name", "")
        if eqn.primitive.name in ("jit", "pjit") and not is_of_jax(name):
            scope = joined(scope, name)
        surveys = []
        for branch, body in enumerate(bodies):
            prefix = f"{self.prefix}{index}/{branch}/"
            loops, levels = (*self.loops, *turns), (*self.levels, *[self.prefix.count("/")] * len(turns))
            is_differentiated = self.is_differentiated and alive
            surveys.append(self.surveyor.read(body, origins, prefix, scope, loops, levels, is_differentiated))
        self.survey.inner[index] = tuple(surveys)
        return surveys

    def _call(self, index: int, eqn: Any) -> None:
        body = pointwise.body_of(eqn)
        alive = not eqn.primitive.name.startswith("custom_")
        (survey,) = self._inner(index, eqn, [body], [self.origin(a) for a in eqn.invars], alive=alive)
        self.origins.update(zip(eqn.outvars, survey.out, strict=True))

    def _scan(self, index: int, eqn: Any) -> None:
        consts, carries = constants_and_carries(eqn)
        given = [self.origin(atom) for atom in eqn.invars]
        fixed, carried, passed = given[:consts], given[consts : consts + carries], given[consts + carries :]
        passed = [replace(one, stacked=(*one.stacked, len(self.loops))) if one.parameter else one for one in passed]
        body = eqn.params["jaxpr"]
        found = self._settled(body, carried, lambda these: [*fixed, *these, *passed], carries)
        (survey,) = self._inner(index, eqn, [body], [*fixed, *found, *passed], (eqn.params["length"],))
        self.origins.update(zip(eqn.outvars, survey.out, strict=True))

    def _while(self, index: int, eqn: Any) -> None:
        skipped, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        given = [self.origin(atom) for atom in eqn.invars]
        fixed, carried = given[skipped : skipped + consts], given[skipped + consts :]
        body = eqn.params["body_jaxpr"]
        found = self._settled(body, carried, lambda these: [*fixed, *these], len(carried))
        (survey,) = self._inner(index, eqn, [body], [*fixed, *found], (0,), alive=False)
        self.origins.update(zip(eqn.outvars, survey.out, strict=True))

    def _settled(self, body: Any, carried: list[Origin], given: Any, count: int) -> list[Origin]:
        """Origins of what a loop carries, once those that move after a turn are known to."""
        for _ in range(1 + count):
            out = Surveyor().read(body, given(carried)).out[:count]
            after = [
                replace(before, moves=before.moves or one.moves, parameter="" if one.moves else before.parameter)
                for before, one in zip(carried, out, strict=True)
            ]
            if after == carried:
                break
            carried = after
        return carried

    def _cond(self, index: int, eqn: Any) -> None:
        given = [self.origin(atom) for atom in eqn.invars[1:]]
        surveys = self._inner(index, eqn, eqn.params["branches"], given)
        for position, out in enumerate(eqn.outvars):
            origins = [survey.out[position] for survey in surveys]
            joint = origins[0]
            for other in origins[1:]:
                joint = joint.joined(other)
            self.origins[out] = replace(joint, moves=joint.moves or self.origin(eqn.invars[0]).moves)

    # -- elementwise functions ---------------------------------------------------------------------------------------

    def _nonlinearities(self) -> None:
        """A function ends where it is computed, not where it is then cast to another type, once or several times."""
        found: dict[Any, int] = {}
        for eqn in self.jaxpr.eqns:
            if pointwise.is_elementwise(eqn) and self._ends(eqn.outvars[0]):
                end = self.flow.uncast(eqn.outvars[0])
                if end is not self.flow.sources.get(eqn.outvars[0]):
                    found[end] = self.places[end]
        for end, index in found.items():
            eqn, source = self.jaxpr.eqns[index], self.flow.sources[end]
            if (division := self.flow.softmax_of(end)) is not None:
                (out,) = division.outvars
                place, last = self.places[out], len(out.aval.shape) - 1
                site = self._site(place, division, "softmax", "softmax", out, units=(last,))
                self.survey.taps[out].append(Tap(site, source=None))
                continue
            if self.flow.is_only_reduced(end):
                continue
            steps = pointwise.steps_between(self.jaxpr, source, end)
            known = pointwise.recognized(steps, source, end)
            if known is None:
                continue
            op, phi = known
            units = self.units.get(source, (len(end.aval.shape) - 1,))
            site = self._site(index, eqn, "nonlinearity", op, end, units=units, follows=self.origin(source).site)
            self.survey.taps[end].append(Tap(site, source, phi))

    def _ends(self, var: Any) -> bool:
        """Whether a value is phi(u) of a signal, and what is done with it is no more a function of u alone."""
        source = self.flow.sources.get(var)
        if source is None or source is pointwise.SCALAR:
            return False
        if not self.origin(source).moves or self.origin(source).is_reduced:
            return False
        if len(var.aval.shape) < 2 or not is_float(var) or not is_float(source):
            return False
        return self.flow.leaves_its_source(var)
