"""The calls of a module's forward pass, in their order: numbered each time, and once written down."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from winit_jax.engine.torch_probing.operations import instead_of, word_of
from winit_jax.errors import Refused

# Attributes and questions that make no value.
ASKING = frozenset(("shape", "dtype", "device", "ndim", "grad_fn", "requires_grad", "is_nested", "is_cuda", "layout"))


@dataclass(eq=False)
class Value:
    """A tensor of the recorded pass, without its numbers. parameter: its path, if it is one. moves: whether it depends
    on the inputs. maker: the call that made it. number: what it holds, if that is one number that does not move."""

    shape: tuple[int, ...]
    is_float: bool
    parameter: str = ""
    moves: bool = False
    maker: "Call | None" = None
    number: torch.Tensor | None = None


@dataclass(eq=False)
class Call:
    """args, kwargs: with a Value for each tensor. given: those values, in the order of the arguments. scope: the path
    of the module that called."""

    number: int
    word: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: list[Value]
    scope: str
    outs: list[Value] = field(default_factory=list)


class Made(NamedTuple):
    """A call that was made. number: its place among all calls. outs: the tensors that it made."""

    number: int
    word: str
    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outs: list[torch.Tensor]


class Calls(TorchFunctionMode):
    """Sees every call of PyTorch's that is given a tensor, by its number; what has steps by its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, word = kwargs or {}, word_of(func)
        steps = instead_of(func, word)
        if steps is not None:
            with self:
                return steps(*args, **kwargs)
        given = [] if word in ASKING else tensors_in((args, kwargs))
        if not given:
            return func(*args, **kwargs)
        number, self.number = self.number, self.number + 1
        self.before(number, word, given)
        out = func(*args, **kwargs)
        self.after(Made(number, word, func, args, kwargs, tensors_in(out)))
        return out

    def before(self, number: int, word: str, given: list[torch.Tensor]) -> None:
        """given: the tensors of its arguments."""

    def after(self, made: Made) -> None:
        """The same call, once it was made."""


class Record(Calls):
    """Writes all calls down. parameters: by their paths. inputs: tensors that move. scope: as of `scopes_of`."""

    def __init__(
        self, parameters: Mapping[str, torch.Tensor], inputs: Sequence[torch.Tensor], scope: list[str]
    ) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.scope = scope
        self._values: Any = WeakTensorKeyDictionary()
        for path, tensor in parameters.items():
            value = self._values[tensor] = self._new(tensor, False, None)
            value.parameter = path
        for tensor in inputs:
            self._values[tensor] = self._new(tensor, True, None)
        self._given: list[Value] = []

    def value_of(self, tensor: torch.Tensor) -> Value:
        """Of a tensor that no call made: a constant, or what came out of code that is not seen and has a gradient."""
        found: Value | None = self._values.get(tensor)
        if found is None:
            moves = tensor.grad_fn is not None
            found = self._values[tensor] = self._new(tensor, moves, None)
        return found

    def before(self, number: int, word: str, given: list[torch.Tensor]) -> None:
        # What is changed in place is another value afterwards.
        self._given = [self.value_of(tensor) for tensor in given]

    def after(self, made: Made) -> None:
        values = iter(self._given)
        written = replaced(made.args, lambda _: next(values)), replaced(made.kwargs, lambda _: next(values))
        call = Call(made.number, made.word, made.func, *written, self._given, self.scope[-1] if self.scope else "")
        moves = any(value.moves for value in call.given)
        for tensor in made.outs:
            value = self._values[tensor] = self._new(tensor, moves, call)
            call.outs.append(value)
        self.calls.append(call)

    @staticmethod
    def _new(tensor: torch.Tensor, moves: bool, call: Call | None) -> Value:
        with torch.no_grad():
            number = tensor.detach().clone() if tensor.numel() == 1 and not moves else None
        return Value(tuple(tensor.shape), tensor.is_floating_point(), "", moves, call, number)


@contextmanager
def scopes_of(module: torch.nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are being called, the innermost last, as long as the context is open."""
    stack: list[str] = []
    handles = []
    for path, inner in module.named_modules():

        def enter(_module: Any, _args: Any, path: str = path) -> None:
            stack.append(path)

        def leave(_module: Any, _args: Any, _out: Any) -> None:
            stack.pop()

        handles += [inner.register_forward_pre_hook(enter), inner.register_forward_hook(leave, always_call=True)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors of nested tuples, lists, dicts and records, in their order."""
    found: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    replaced(tree, note)
    return found


def replaced(tree: Any, by: Callable[[torch.Tensor], Any]) -> Any:
    """Nested tuples, lists and dicts with something else for each tensor; other records become dicts."""
    if isinstance(tree, torch.Tensor):
        return by(tree)
    if isinstance(tree, Mapping):
        return {key: replaced(value, by) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [replaced(value, by) for value in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    if hasattr(tree, "__dataclass_fields__") and not isinstance(tree, type):
        return {name: replaced(getattr(tree, name), by) for name in tree.__dataclass_fields__}
    return tree


def check_same(words: Sequence[str], number: int, word: str) -> None:
    """Errors: Refused where a call is another one than that which was recorded."""
    if number >= len(words) or words[number] != word:
        then = words[number] if number < len(words) else "none"
        raise Refused(
            f"The module does not do the same thing each time that it is called: step {number} was {then}, and then "
            f"{word}. Probe it with what it draws at random switched off, as by eval()."
        )
