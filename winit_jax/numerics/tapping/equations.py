"""What an equation says by itself: the fans of a contraction's operands, and the scope that it stands in."""

import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Fans:
    """Of one operand of a contraction, were it the weights. units: the axes of the product that are its units."""

    fan_in: int
    fan_out: int
    units: tuple[int, ...]


def of_dot(eqn: Any) -> list[Fans]:
    """Of both operands of a dot_general."""
    (contracted, batched) = eqn.params["dimension_numbers"]
    shapes = [atom.aval.shape for atom in eqn.invars]
    free = [
        [axis for axis in range(len(shape)) if axis not in of and axis not in batch]
        for shape, of, batch in zip(shapes, contracted, batched, strict=True)
    ]
    first = len(batched[0])
    places = [range(first, first + len(free[0])), range(first + len(free[0]), first + len(free[0]) + len(free[1]))]
    return [
        Fans(
            math.prod(shape[axis] for axis in of),
            math.prod(shape[axis] for axis in own),
            tuple(place) or (len(eqn.outvars[0].aval.shape) - 1,),
        )
        for shape, of, own, place in zip(shapes, contracted, free, places, strict=True)
    ]


def of_convolution(eqn: Any) -> list[Fans]:
    """Of both operands of a convolution: the kernel's, whose taps count in both of its fans."""
    numbers = eqn.params["dimension_numbers"]
    out_axis, in_axis, *spatial = numbers.rhs_spec
    kernel = eqn.invars[1].aval.shape
    taps = math.prod(kernel[axis] for axis in spatial)
    fans = Fans(kernel[in_axis] * taps, kernel[out_axis] * taps, (numbers.out_spec[1],))
    return [fans, fans]


def scope_of(eqn: Any) -> str:
    """The names that a function gave the place of an equation, without those of JAX's transformations."""
    words = []
    for word in str(eqn.source_info.name_stack).split("/"):
        while match := re.fullmatch(r"(\w+)\((.*)\)", word):
            word = "" if match[1] in ("jit", "pjit") and is_of_jax(match[2]) else match[2]
        if word and not is_of_jax(word) and "->" not in word:
            words.append(word)
    return "/".join(words)


def is_of_jax(name: str) -> bool:
    """Whether a name is JAX's own, or that of a function without one, and says nothing of a place."""
    return name.startswith(("_", "<")) or any(hasattr(of, name) for of in (jnp, jax.nn, jax.lax, jax.numpy.linalg))


def joined(*scopes: str) -> str:
    """Scopes within each other as one."""
    return "/".join(scope for scope in scopes if scope)


def constants_and_carries(eqn: Any) -> tuple[int, int]:
    """How many arguments of a scan are the same at each turn, and how many it carries; others are passed one by one.

    Told by ranks, for parameters of the equation have other names in other releases: what is passed, and what is
    collected, has one axis more outside than inside.
    """
    body = eqn.params["jaxpr"].jaxpr

    def same_rank(outside: Any, inside: Any) -> int:
        return sum(len(one.aval.shape) == len(other.aval.shape) for one, other in zip(outside, inside, strict=True))

    carries = same_rank(eqn.outvars, body.outvars)
    return same_rank(eqn.invars, body.invars) - carries, carries
