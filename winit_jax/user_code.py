"""Code of a user's own: named by an import path, and contained while it runs."""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from winit_jax.errors import described


def is_import_path(name: str) -> bool:
    """Whether a name means something of the user's own, `package.module:thing`, well written or not."""
    return ":" in name


def check_form(path: str) -> None:
    """Hold an import path against `package.module:function`, without importing anything.

    Errors: ValueError with one sentence.
    """
    module, _, attribute = path.partition(":")
    if not all(word.isidentifier() for word in (*module.split("."), attribute)):
        raise ValueError(f"{path!r} is not an import path: write 'package.module:function'.")


def imported(path: str) -> Callable[..., Any]:
    """The function `package.module:function`; the working directory is searched too, after all else.

    Errors: ValueError with one sentence where it cannot be imported or is no function.
    """
    check_form(path)
    module_name, _, attribute = path.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        with as_it_was():
            module = importlib.import_module(module_name)
    except BaseException as error:
        pass_on(error)
        raise ValueError(f"{path!r}: importing {module_name} failed: {described(error)}") from error
    function: Callable[..., Any] | None = getattr(module, attribute, None)
    if not callable(function):
        raise ValueError(f"{path!r}: {module_name} has no function {attribute!r}.")
    return function


def contained(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, whose exits and errors of the system are ordinary errors: they are nobody's but its own.

    So are exceptions that derive from nothing but BaseException, and what it changes in its process.
    """

    def call(*arguments: Any) -> Any:
        try:
            with as_it_was():
                return function(*arguments)
        except BaseException as error:
            pass_on(error)
            if isinstance(error, Exception) and not isinstance(error, OSError | MemoryError):
                raise
            raise RuntimeError(f"{name} raised {described(error)}") from error

    return call


def pass_on(error: BaseException) -> None:
    """Raise what a signal of the user's raised while their code ran; all else that code ends with is its own."""
    if getattr(error, "is_a_signal", False):
        raise error


class _Inside:
    """How many threads are in a user's code, and the current folder, which all share, before the first of them was."""

    def __init__(self) -> None:
        self.lock, self.count, self.folder = threading.Lock(), 0, ""


_inside = _Inside()


@contextmanager
def as_it_was() -> Iterator[None]:
    """What a user's code does to its process is undone: the current folder, in which relative paths of the run lie, and
    NumPy's answer to overflow and the like."""
    with _inside.lock:
        if not _inside.count:
            _inside.folder = os.getcwd()
        _inside.count += 1
    try:
        with np.errstate():
            yield
    finally:
        with _inside.lock:
            _inside.count -= 1
            os.chdir(_inside.folder)
