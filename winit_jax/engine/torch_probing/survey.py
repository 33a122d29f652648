"""Where the sites of a module are: its recorded calls are read once, as a jaxpr is (`numerics.tapping.survey`)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from winit_jax.engine.torch_probing.operations import (
    DOT,
    FORMS,
    FUSED,
    REDUCED,
    SAME_UNITS,
    SCALING,
    Contraction,
    contraction,
)
from winit_jax.engine.torch_probing.phi import SCALAR, Known, Recognizer, is_elementwise, source_of
from winit_jax.engine.torch_probing.recording import Call, Value
from winit_jax.numerics.tapping.sites import Kind, Origin, Site, Use


@dataclass(frozen=True)
class Tap:
    """A site, and which of the tensors that a call makes is measured there."""

    site: Site
    out: int = 0


@dataclass(frozen=True)
class Argument:
    """A nonlinearity, whose saturation is looked at where its argument is first used; given: which of a call's tensors
    that is."""

    site: Site
    given: int
    known: Known


@dataclass
class Survey:
    """Taps and arguments by the numbers of calls; uses of parameters by their paths; what cannot be looked into."""

    taps: dict[int, list[Tap]] = field(default_factory=lambda: defaultdict(list))
    arguments: dict[int, list[Argument]] = field(default_factory=lambda: defaultdict(list))
    uses: dict[str, Use] = field(default_factory=lambda: defaultdict(Use))
    fused: list[str] = field(default_factory=list)

    @property
    def sites(self) -> list[Site]:
        """In the order of the computation."""
        return [tap.site for number in sorted(self.taps) for tap in self.taps[number]]


class Surveyor:
    """Reads the calls of one pass. outputs: the values that the module returned."""

    def __init__(self, calls: Sequence[Call], outputs: Sequence[Value]) -> None:
        self.calls, self.survey = calls, Survey()
        self.origins: dict[Value, Origin] = {}
        self.units: dict[Value, tuple[int, ...]] = {}
        self.sources: dict[Value, Any] = {}
        self.readers: dict[Value, list[Call | None]] = defaultdict(list)
        self.recognized = Recognizer()
        for call in calls:
            for value in call.given:
                self.readers[value].append(call)
        for value in outputs:
            self.readers[value].append(None)

    def read(self) -> Survey:
        for call in self.calls:
            for value in call.given:
                if path := self.origin(value).parameter:
                    self.survey.uses[path].is_read = True
            if call.outs:
                self._call(call)
        self._nonlinearities()
        return self.survey

    def origin(self, value: Value) -> Origin:
        if value not in self.origins:
            self.origins[value] = Origin(value.parameter, value.moves)
        return self.origins[value]

    def _call(self, call: Call) -> None:
        shapes = [value.shape for value in call.given]
        found = contraction(call.word, shapes, len(call.outs[0].shape), call.args)
        if found is not None:
            self._contraction(call, found)
        elif call.word == "embedding" or (call.word == "getitem" and len(call.given) == 2):
            self._lookup(call)
        else:
            self._plain(call)

    def _plain(self, call: Call) -> None:
        found = [self.origin(value) for value in call.given]
        moving = [one for one in found if one.moves]
        is_reduced = call.word in REDUCED or (bool(moving) and all(one.is_reduced for one in moving))
        depth = max(one.depth for one in found) + (call.word in FUSED and bool(moving))
        origin = Origin("", bool(moving), depth, is_reduced=is_reduced)
        keeps = call.word in FORMS or call.word in SCALING
        if keeps and len(moving) == 1:
            origin = replace(origin, site=moving[0].site)
        named = [one.parameter for one in found if one.parameter]
        scales = call.word in SCALING and sum(value.number is None for value in call.given) <= 1
        if len(named) == 1 and not moving and (call.word in FORMS or scales):
            origin = replace(origin, parameter=named[0])
        if call.word in FUSED and moving:
            self.survey.fused.append(call.word)
        for out in call.outs:
            self.origins[out] = origin
            if call.word in SAME_UNITS:
                same = [v for v in call.given if v in self.units and len(v.shape) == len(out.shape)]
                if same:
                    self.units[out] = self.units[same[0]]
        if is_elementwise(call) and (source := source_of(call, self.sources)) is not None:
            self.sources[call.outs[0]] = source
        if call.word == "add":
            self._sum(call)
        elif call.word == "softmax":
            self._softmax(call)

    def _tap(self, value: Value, kind: Kind, op: str, scope: str, **known: Any) -> Site:
        assert value.maker is not None
        at = value.maker.number
        site = Site(f"{at}", kind, op, scope, value.shape, **known)
        self.survey.taps[at].append(Tap(site, value.maker.outs.index(value)))
        return site

    def _units(self, value: Value) -> tuple[int, ...]:
        return self.units.get(value, (len(value.shape) - 1,))

    def _contraction(self, call: Call, found: Contraction) -> None:
        out = call.outs[0]
        operands = [self.origin(call.given[at]) for at in found.operands]
        moves = any(one.moves for one in operands)
        depth = max(one.depth for one in operands)
        if not moves or not out.is_float or not out.shape:
            self.origins[out] = Origin("", moves, depth)
            return
        still = [at for at, one in enumerate(operands) if not one.moves]
        known: dict[str, Any] = {}
        value, scope = out, call.scope
        axes: tuple[int, ...] = (len(out.shape) - 1,)
        if len(still) == 1:
            fan_in, fan_out = found.fans[still[0]]
            path = operands[still[0]].parameter
            known = {"fan_in": fan_in, "fan_out": fan_out, "parameter": path}
            axes, value = found.units[still[0]], self._with_biases(out)
            if path:
                self.survey.uses[path].fans.append((fan_in, fan_out))
            # The weights of a module within, as of the last projection of attention.
            inner = path.partition(".parametrizations.")[0].rpartition(".")[0]
            scope = inner if inner.startswith(f"{scope}." if scope else "") else scope
        elif found.op != DOT:
            axes = found.units[1]
        site = self._tap(value, "contraction", found.op, scope, units=axes, **known)
        self.origins[out] = Origin("", True, 1 + depth, site.key)
        self.units[out] = axes

    def _with_biases(self, out: Value) -> Value:
        """The value that holds a product with its biases added, where nothing else is done with it."""
        readers = self.readers[out]
        if len(readers) == 1 and (call := readers[0]) is not None and call.word == "add":
            others = [value for value in call.given if value is not out]
            if call.outs[0].shape == out.shape and not any(value.moves for value in others):
                return call.outs[0]
        return out

    def _lookup(self, call: Call) -> None:
        at = 1 if call.word == "embedding" else 0
        table, index, out = call.given[at], call.given[1 - at], call.outs[0]
        parameter = self.origin(table).parameter
        if not parameter or not self.origin(index).moves or not out.is_float:
            self._plain(call)
            if parameter and not self.origin(index).moves:
                self.origins[out] = Origin(parameter, False)
            return
        head = parameter.rpartition(".")[0]
        scope = head if head.startswith(call.scope) else call.scope
        site = self._tap(out, "lookup", "lookup", scope, units=(len(out.shape) - 1,), parameter=parameter)
        self.origins[out] = Origin("", True, 0, site.key)

    def _sum(self, call: Call) -> None:
        """A branch that is added to a stream: two signals, of which one has gone through more contractions."""
        out = call.outs[0]
        if len(call.given) != 2 or len(out.shape) < 2 or not out.is_float or self.origins[out].is_reduced:
            return
        operands = [self.origin(value) for value in call.given]
        if (
            any(value.shape != out.shape for value in call.given)
            or not all(one.moves for one in operands)
            or operands[0].depth == operands[1].depth
        ):
            return
        branch = max(operands, key=lambda one: one.depth)
        self._tap(out, "sum", "sum", call.scope, units=self._units(out), follows=branch.site)

    def _softmax(self, call: Call) -> None:
        out = call.outs[0]
        if not out.moves or len(out.shape) < 2 or not out.is_float:
            return
        dim = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
        axis = int(dim) % len(out.shape) if isinstance(dim, int) else len(out.shape) - 1
        self._tap(out, "softmax", "softmax", call.scope, units=(axis,))

    # -- elementwise functions ---------------------------------------------------------------------------------------

    def _nonlinearities(self) -> None:
        for call in self.calls:
            if not is_elementwise(call) or not self._ends(end := call.outs[0]):
                continue
            source = self.sources[end]
            if self._is_only_reduced(end) or self._is_normalized_exponential(end):
                continue
            known = self.recognized(source, end)
            if known is None:
                continue
            units = self._units(source)
            follows = self.origin(source).site
            site = self._tap(end, "nonlinearity", known.name, call.scope, units=units, follows=follows)
            first = next(reader for reader in self.readers[source] if reader is not None and is_elementwise(reader))
            if known.max_slope > 0:
                argument = Argument(site, first.given.index(source), known)
                self.survey.arguments[first.number].append(argument)

    def _ends(self, value: Value) -> bool:
        """Whether a value is phi(u) of a signal, and what is done with it is no more a function of u alone."""
        source = self.sources.get(value)
        if source is None or source is SCALAR or not value.is_float or not source.is_float or len(value.shape) < 2:
            return False
        if not self.origin(source).moves or self.origin(source).is_reduced:
            return False
        return any(
            reader is None or not is_elementwise(reader) or self.sources.get(reader.outs[0]) is not source
            for reader in self.readers[value]
        )

    def _is_only_reduced(self, value: Value) -> bool:
        """Whether what is done with a value is to reduce it, or its squares."""
        return all(
            reader is not None
            and (
                reader.word in REDUCED
                or (reader.word in ("square", "pow", "mul") and self._is_only_reduced(reader.outs[0]))
            )
            for reader in self.readers[value]
        )

    def _is_normalized_exponential(self, value: Value) -> bool:
        """Whether it is the exponential of a softmax that is written out."""
        assert value.maker is not None
        words = {reader.word for reader in self.readers[value] if reader is not None}
        return value.maker.word == "exp" and "sum" in words
