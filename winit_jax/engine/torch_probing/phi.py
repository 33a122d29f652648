"""Elementwise functions of PyTorch known again by what they compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from winit_jax.engine.torch_probing.operations import ELEMENTWISE
from winit_jax.engine.torch_probing.recording import Call, Value
from winit_jax.engine.torch_probing.statistics import Phi, slopes_of
from winit_jax.numerics.activations import activation
from winit_jax.numerics.activations.probing import PROBED
from winit_jax.numerics.tapping.pointwise import AFFINE, GRID, known_as, unit_of

ARITHMETIC = frozenset(("add", "sub", "mul", "div", "neg", "rsub", "to", "float", "type", "where", "clone", "detach"))
SCALAR = "scalar"


@dataclass(frozen=True)
class Known:
    """An elementwise function. name: its word in tables. phi: itself, of a tensor; max_slope: the unit of
    slopes, 0 where nothing can be said of them."""

    name: str
    phi: Phi
    max_slope: float


def is_elementwise(call: Call) -> bool:
    """Whether a call acts on each element alone."""
    return call.word in ELEMENTWISE and len(call.outs) == 1


def source_of(call: Call, sources: dict[Value, Any]) -> Any:
    """The one tensor that an elementwise call's value is a function of, through those before it; SCALAR where it is one
    of numbers alone, None where it is of several tensors."""
    arrays = {sources.get(value, SCALAR if is_scalar(value) else value) for value in call.given} - {SCALAR}
    if not arrays:
        return SCALAR
    source = arrays.pop()
    return source if not arrays and source is not None and source.shape == call.outs[0].shape else None


def is_scalar(value: Value) -> bool:
    """Whether it is a number that all entries meet alike."""
    return value.number is not None or not value.shape


def steps_between(source: Value, end: Value) -> list[Call]:
    """The calls by which `end` is made of `source`, in their order."""
    found: dict[int, Call] = {}
    ahead = [end]
    while ahead:
        value = ahead.pop()
        call = value.maker
        if value is source or value.number is not None or call is None or call.number in found:
            continue
        found[call.number] = call
        ahead += call.given
    return [found[number] for number in sorted(found)]


def function_of(steps: Sequence[Call], source: Value, end: Value) -> Phi:
    """phi itself, of a tensor of any shape. Errors, when it is called: KeyError where it needs a number that moves."""

    def phi(u: torch.Tensor) -> torch.Tensor:
        env: dict[Value, torch.Tensor] = {source: u}

        def read(argument: Any) -> Any:
            if isinstance(argument, Value):
                found = env.get(argument, argument.number)
                if found is None:
                    raise KeyError("a number that moves")
                # Of its own, for some steps are in place.
                return found.to(u.device).clone()
            if isinstance(argument, tuple | list):
                return type(argument)(map(read, argument))
            return argument

        for call in steps:
            kwargs = {name: read(argument) for name, argument in call.kwargs.items()}
            env[call.outs[0]] = call.func(*read(call.args), **kwargs)
        return env[end].expand(u.shape)

    return phi


class Recognizer:
    """Knows functions again, each once: a network has the same at each of its layers."""

    def __init__(self) -> None:
        self._seen: dict[str, Known | None] = {}

    def __call__(self, source: Value, end: Value) -> Known | None:
        """The function that `end` is of `source`; None where it is affine, which no phi is."""
        steps = steps_between(source, end)
        text = _written(steps, source)
        if text not in self._seen:
            self._seen[text] = _recognized(steps, source, end)
        return self._seen[text]


def _written(steps: Sequence[Call], source: Value) -> str:
    numbers: dict[Value, str] = {source: "u"}

    def name(argument: Any) -> str:
        if isinstance(argument, Value):
            if argument.number is not None:
                return f"{argument.number.item()}"
            return numbers.setdefault(argument, f"v{len(numbers)}")
        if isinstance(argument, tuple | list):
            return f"({', '.join(map(name, argument))})"
        return repr(argument)

    lines = []
    for call in steps:
        given = ", ".join([*map(name, call.args), *(f"{key}={name(value)}" for key, value in call.kwargs.items())])
        lines.append(f"{name(call.outs[0])} = {call.word}({given})")
    return "\n".join(lines)


def _recognized(steps: Sequence[Call], source: Value, end: Value) -> Known | None:
    phi = function_of(steps, source, end)
    own = next((call.word for call in reversed(steps) if call.word not in ARITHMETIC), "product")
    points = torch.tensor(PROBED, dtype=torch.float32)
    try:
        with torch.no_grad():
            values = np.asarray(phi(points).double(), np.float64)
    except (KeyError, RuntimeError, TypeError, ValueError):
        return Known(own, phi, 0.0)
    found = known_as(values, points.double().numpy(), float(torch.finfo(torch.float32).eps))
    if found == AFFINE:
        return None
    name, ours = found or (own, "")
    return Known(name, phi, activation(ours).max_slope if ours else _unit(phi))


def _unit(phi: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The unit of slopes, as of a function of JAX; 0 where slopes cannot be taken or are not finite."""
    try:
        slopes = slopes_of(phi, torch.linspace(*GRID))
    except RuntimeError:
        return 0.0
    return unit_of(slopes.double().numpy()) or 0.0
