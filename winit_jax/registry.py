"""Things by name: `name`, `name(argument, ...)` or `package.module:thing`. One pattern for whatever a sweep names."""

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from winit_jax.user_code import imported, is_import_path

Thing = TypeVar("Thing")

_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>[^()]*)\)")


class UnknownName(ValueError):
    """One sentence: a word is none of the names of a registry, nor an import path."""


class Registry(Mapping[str, Thing], Generic[Thing]):
    """The things of one kind: a mapping of those that have a name, in order; `find` takes every way to write one.

    kind: as sentences call one of them, with its article. makers: by name, what makes one from numbers, as
    `leaky_relu(0.2)` asks for; a parameter that is annotated with a Literal takes one of its words instead. adopt:
    makes one of a user's own function and its import path; None where import paths name nothing of this kind.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, Thing],
        makers: Mapping[str, Callable[..., Thing]] | None = None,
        adopt: Callable[[Callable[..., Any], str], Thing] | None = None,
    ) -> None:
        self.kind, self.makers, self.adopt = kind, dict(makers or {}), adopt
        self._entries = dict(entries)
        self._made: dict[str, Thing] = {}

    def __getitem__(self, name: str) -> Thing:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, word: str) -> Thing:
        """What a word names: the same object each time, so that programs compiled for it are found again.

        An import path is imported, and what it names may be called. Errors: ValueError with one sentence, UnknownName
        where the word is no name.
        """
        if word in self._entries:
            return self._entries[word]
        if word not in self._made:
            self._made[word] = self._make(word)
        return self._made[word]

    def forget(self) -> None:
        """Make anew what was made, when it is next asked for: a user's module may have changed."""
        self._made.clear()

    def _make(self, word: str) -> Thing:
        if self.adopt and is_import_path(word):
            return self.adopt(imported(word), word)
        call = _CALL.fullmatch(word.replace(" ", ""))
        if call and call["name"] in self.makers:
            return _made(word, call["name"], call["arguments"], self.makers[call["name"]])
        if call and call["name"] in self._entries:
            raise ValueError(f"{word!r}: {call['name']} takes no argument.")
        raise UnknownName(f"{word!r} is not {self.kind}.")


def _made(word: str, name: str, arguments: str, maker: Callable[..., Thing]) -> Thing:
    """What a maker makes of its arguments as they are written: numbers and words, then the names of what it can be told
    beside.

    Errors: ValueError.
    """
    parameters = inspect.signature(maker).parameters.values()
    flags = [parameter.name for parameter in parameters if parameter.default is False]
    given = arguments.split(",") if arguments.strip() else []
    while given and given[-1] in flags:
        flags.remove(given.pop())
    wanted = [parameter for parameter in parameters if parameter.default is not False]
    values: Sequence[str | float] = given
    if not any(map(_choices, wanted)):
        values = _numbers(word, ",".join(given)) if given else []
    elif len(given) == len(wanted):
        values = [_value(word, argument, parameter) for argument, parameter in zip(given, wanted, strict=True)]
    if len(values) != len(wanted):
        raise ValueError(f"{word!r}: {name} takes {_described(wanted)}.")
    told = [one.name for one in parameters if one.default is False and one.name not in flags]
    return maker(*values, **dict.fromkeys(told, True))


def _choices(parameter: inspect.Parameter) -> tuple[str, ...]:
    """The words that an argument may be; none of one that is a number."""
    return get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()


def _value(word: str, argument: str, parameter: inspect.Parameter) -> str | float:
    """One argument of a call. Errors: ValueError."""
    choices = _choices(parameter)
    if not choices:
        return _numbers(word, argument)[0]
    if argument not in choices:
        raise ValueError(f"{word!r}: the {parameter.name} is {_any_of(choices)}, not {argument!r}.")
    return argument


def _described(wanted: Sequence[inspect.Parameter]) -> str:
    """What a call takes, in words: `2 numbers`, or each argument by name where some are words."""
    if not any(map(_choices, wanted)):
        return f"{len(wanted)} number{'s' * (len(wanted) > 1)}"
    each = [f"a {one.name} ({_any_of(_choices(one))})" if _choices(one) else f"a {one.name}" for one in wanted]
    return f"{', '.join(each[:-1])} and {each[-1]}"


def _any_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _numbers(word: str, text: str) -> list[float]:
    """The arguments of a call. Errors: ValueError."""
    numbers = []
    for argument in text.split(","):
        try:
            numbers.append(float(argument))
        except ValueError:
            raise ValueError(f"{word!r}: {argument!r} is not a number.") from None
        if not math.isfinite(numbers[-1]):
            raise ValueError(f"{word!r}: the argument must be finite.")
    return numbers
