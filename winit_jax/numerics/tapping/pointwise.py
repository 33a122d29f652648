"""Elementwise functions inside a jaxpr: which values are phi(u) of one array u, and which phi it is.

A network that computes in bfloat16 or float16 has the functions that it has in float32: casts are no steps of a
function, and what is to be known of it is evaluated in float32, where only its constants are still rounded.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from winit_jax.numerics.activations import ACTIVATIONS, Activation, activation
from winit_jax.numerics.activations.probing import PROBED

ELEMENTWISE = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil",
    "clamp", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv",
    "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p",
    "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow", "reduce_precision", "rem",
    "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh",
    "xor",
))  # fmt: skip
# Names of the parameter that holds the body of a call, tried in turn.
BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
CALLS = frozenset(
    ["jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"]
)
# A value in another type. Float32 to bfloat16 and the like are no functions, though they round.
CASTS = frozenset(("convert_element_type", "copy", "copy_p", "reduce_precision"))
# What a function is known again by need not be better than this many roundoffs of its type.
ROUNDOFFS = 64
# As far as a function's own constants may lead away from it, each of which is off by half the distance of two numbers
# around 1 in the type that it is computed in: gelu, with two of them, and selu, with two, by less than two such.
OF_CONSTANTS = 2.0
# Where slopes are looked at, and the part of it beyond which those that have a maximum grow by no more than GROWTH.
GRID = (-50, 50, 20_001)
INNER, GROWTH = slice(1_000, -1_000), 1.01
# A share of it is still a normal number of float32.
LEAST_SLOPE = 1e-30
SCALAR = "scalar"
# Functions of JAX that networks have beside those of ours.
OF_JAX: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_tanh": jax.nn.gelu,
    "relu6": jax.nn.relu6,
    "relu_squared": lambda a: jnp.square(jax.nn.relu(a)),
    "hard_swish": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "log_sigmoid": jax.nn.log_sigmoid,
    "softsign": jax.nn.soft_sign,
    "quick_gelu": lambda a: a * jax.nn.sigmoid(1.702 * a),
}
AFFINE = ("affine", "")


def body_of(eqn: Any) -> core.ClosedJaxpr | None:
    """What an equation calls, once; None where it is no such call."""
    if eqn.primitive.name not in CALLS:
        return None
    for name in BODIES:
        found = eqn.params.get(name)
        if isinstance(found, core.ClosedJaxpr):
            return found
        if isinstance(found, core.Jaxpr):
            return core.ClosedJaxpr(found, ())
    return None


def is_elementwise(eqn: Any) -> bool:
    """Whether an equation, or all of what it calls, acts on each element alone; scalars are broadcast."""
    if len(eqn.outvars) != 1:
        return False
    name = eqn.primitive.name
    if name in ELEMENTWISE:
        return True
    if name == "broadcast_in_dim":
        return not eqn.invars[0].aval.shape
    body = body_of(eqn)
    return body is not None and not body.jaxpr.constvars and all(map(is_elementwise, body.jaxpr.eqns))


def is_cast(eqn: Any) -> bool:
    """Whether an equation gives floats in another type of floats, or the same."""
    return eqn.primitive.name in CASTS and all(
        jnp.issubdtype(atom.aval.dtype, jnp.floating) for atom in (*eqn.invars, *eqn.outvars)
    )


def widened(dtype: Any) -> Any:
    """The type in which numbers of a type are evaluated here: float32 of the floats that have fewer bits."""
    is_narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if is_narrow else dtype


def sources(jaxpr: core.Jaxpr) -> dict[Any, Any]:
    """Of every value that is an elementwise function of one array, that array; SCALAR where it is one of scalars alone.

    A value that is not among them is its own.
    """
    found: dict[Any, Any] = {}
    for eqn in jaxpr.eqns:
        if not is_elementwise(eqn):
            continue
        out: Any = eqn.outvars[0]
        arrays = {source_of(found, atom) for atom in eqn.invars} - {SCALAR}
        if not arrays:
            found[out] = SCALAR
        elif len(arrays) == 1 and (source := arrays.pop()) is not None and source.aval.shape == out.aval.shape:
            found[out] = source
    return found


def source_of(found: dict[Any, Any], atom: Any) -> Any:
    """The source of a value among those `found`; None for an array written out."""
    if isinstance(atom, core.Literal):
        return SCALAR if not np.shape(atom.val) else None
    shape: tuple[int, ...] = atom.aval.shape
    return found.get(atom, atom if shape else SCALAR)


def steps_between(jaxpr: core.Jaxpr, source: Any, end: Any) -> list[Any]:
    """The equations by which `end` is made of `source`, in order, those of its scalars among them."""
    made_by = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    wanted: dict[int, Any] = {}
    ahead = [end]
    while ahead:
        var = ahead.pop()
        eqn = made_by.get(var)
        if var is source or eqn is None or id(eqn) in wanted or not is_elementwise(eqn):
            continue
        wanted[id(eqn)] = eqn
        ahead += [atom for atom in eqn.invars if not isinstance(atom, core.Literal)]
    return [eqn for eqn in jaxpr.eqns if id(eqn) in wanted]


def evaluated(steps: Sequence[Any], env: dict[Any, Any], shape: tuple[int, ...]) -> dict[Any, Any]:
    """The values that elementwise equations make of those in `env`, whatever shape they were traced with.

    Floats of fewer than 32 bits are float32 here, as those in `env` have to be; constants are as they were rounded.
    Errors: KeyError where a value is needed that `env` lacks.
    """
    env = dict(env)

    def read(atom: Any) -> Any:
        return literal(atom) if isinstance(atom, core.Literal) else env[atom]

    for eqn in steps:
        values = [read(atom) for atom in eqn.invars]
        body = body_of(eqn)
        if body is not None:
            inner = dict(zip(body.jaxpr.invars, values, strict=True))
            inner = evaluated(body.jaxpr.eqns, inner, shape)
            (last,) = body.jaxpr.outvars
            answer = literal(last) if isinstance(last, core.Literal) else inner[last]
        elif eqn.primitive.name == "reduce_precision":
            (answer,) = values
        elif eqn.primitive.name == "broadcast_in_dim":
            answer = jnp.broadcast_to(values[0], shape)
        elif eqn.primitive.name in ("select_n", "clamp"):
            whole = [jnp.broadcast_to(value, shape) for value in values]
            answer = eqn.primitive.bind(*whole, **eqn.params)
        else:
            answer = eqn.primitive.bind(*_alike(values, shape), **_widened_params(eqn.params))
        env[eqn.outvars[0]] = answer
    return env


def literal(atom: Any) -> Any:
    """The value of a literal in the type in which it is evaluated."""
    dtype = atom.aval.dtype
    return atom.val if widened(dtype) == dtype else np.asarray(atom.val).astype(widened(dtype))


def _alike(values: Sequence[Any], shape: tuple[int, ...]) -> Iterator[Any]:
    several = len(values) > 1 and any(np.shape(value) for value in values)
    for value in values:
        yield jnp.broadcast_to(value, shape) if several else jnp.asarray(value)


def _widened_params(params: dict[str, Any]) -> dict[str, Any]:
    """Those of an equation, for floats of 32 bits and no sharding."""
    given = {name: None if name == "sharding" else value for name, value in params.items()}
    return given | {"new_dtype": widened(given["new_dtype"])} if "new_dtype" in given else given


def function_of(steps: Sequence[Any], source: Any, end: Any) -> Callable[[jax.Array], jax.Array]:
    """phi itself, of an array of any shape in the source's type, `widened`.

    Errors, when it is called: KeyError where it depends on traced scalars.
    """

    def phi(u: jax.Array) -> jax.Array:
        value: jax.Array = jnp.broadcast_to(evaluated(steps, {source: u}, u.shape)[end], u.shape)
        return value

    return phi


@lru_cache(maxsize=1)
def _known() -> dict[str, np.ndarray]:
    """The values at PROBED of every activation that has a name, by that name."""
    functions = {name: activation(name) for name in ACTIVATIONS} | OF_JAX
    values = jax.jit(lambda points: [phi(points) for phi in functions.values()])(jnp.asarray(PROBED, jnp.float32))
    return {name: np.asarray(of_name, np.float64) for name, of_name in zip(functions, values, strict=True)}


# What was recognized already, by its equations: a network has the same function at each of its layers.
_SEEN: dict[str, tuple[str, Activation | None] | None] = {}


def recognized(steps: Sequence[Any], source: Any, end: Any) -> tuple[str, Activation | None] | None:
    """(Its name, the activation) of what `steps` make of `source`; None where it is affine, which no phi is.

    A function is known by its values at PROBED: one of ours, a leaky ReLU of whatever slope, or one with the name of
    its last step. None for the activation where nothing can be said of its slopes.
    """
    text = f"{source.aval.dtype}\n" + _written(steps)
    if text not in _SEEN:
        _SEEN[text] = _recognized(steps, source, end)
    return _SEEN[text]


def _written(steps: Sequence[Any]) -> str:
    """Equations as a text in which neither names of variables nor shapes matter."""
    numbers: dict[Any, int] = {}

    def name(atom: Any) -> str:
        return f"{atom.val}" if isinstance(atom, core.Literal) else f"v{numbers.setdefault(atom, len(numbers))}"

    lines = []
    for eqn in steps:
        body = body_of(eqn)
        shown = {key: value for key, value in eqn.params.items() if key in ("y", "new_dtype")}
        inside = f"{{{_written(body.jaxpr.eqns)}}}" if body is not None else ""
        words = " ".join(map(name, eqn.invars))
        lines.append(f"{name(eqn.outvars[0])} = {eqn.primitive.name}{shown}{inside} {words}")
    return "\n".join(lines)


def _recognized(steps: Sequence[Any], source: Any, end: Any) -> tuple[str, Activation | None] | None:
    dtype, phi = widened(source.aval.dtype), function_of(steps, source, end)
    own = _last_name(steps)
    try:
        values = np.asarray(jax.jit(phi)(jnp.asarray(PROBED, dtype)), np.float64)
    except (KeyError, TypeError, ValueError):
        return own, None
    points = np.asarray(jnp.asarray(PROBED, dtype), np.float64)
    found = known_as(values, points, float(jnp.finfo(dtype).eps), OF_CONSTANTS * _coarsest(steps))
    if found == AFFINE:
        return None
    name, ours = found or (own, "")
    return name, activation(ours) if ours else _described(phi, name, dtype)


def _coarsest(steps: Sequence[Any]) -> float:
    """The distance of two numbers around 1 in the coarsest type that something is computed in, which casts are not."""
    inner = [body.jaxpr.eqns for eqn in steps if (body := body_of(eqn)) is not None]
    own = [out.aval.dtype for eqn in steps if body_of(eqn) is None and not is_cast(eqn) for out in eqn.outvars]
    of_floats = [float(jnp.finfo(dtype).eps) for dtype in own if jnp.issubdtype(dtype, jnp.floating)]
    return max([0.0, *of_floats, *map(_coarsest, inner)])


def known_as(values: np.ndarray, points: np.ndarray, eps: float, off: float = 0.0) -> tuple[str, str] | None:
    """(Its name in tables, its name as an activation of ours or "") of a function from its `values` at `points`, PROBED
    as its type has them; AFFINE where it is affine, None where it is none that we know. eps: of its type. off: how far
    its constants, rounded to a coarser type, may lead away from one of ours; then it is the nearest."""
    roundoff = eps * ROUNDOFFS

    def distance(expected: np.ndarray) -> float:
        with np.errstate(invalid="ignore"):
            farthest = np.max(np.abs(values - expected) / np.maximum(1, np.abs(expected)))
        return float(farthest) if np.isfinite(farthest) else np.inf

    up, down = int(np.argmin(np.abs(points - 1))), int(np.argmin(np.abs(points + 1)))
    step = (values[up] - values[down]) / (points[up] - points[down])
    if distance(values[up] + step * (points - points[up])) <= roundoff:
        return AFFINE
    distances = {name: distance(expected) for name, expected in _known().items()}
    near = [name for name, far in distances.items() if far <= roundoff] or [min(distances, key=distances.__getitem__)]
    if distances[near[0]] <= max(roundoff, off):
        return near[0], near[0] if near[0] in ACTIVATIONS else ""
    slope = float(values[down] / points[down])
    if distance(np.where(points > 0, points, slope * points)) <= roundoff:
        return "leaky_relu", f"leaky_relu({slope:.6g})"
    return None


def _described(phi: Callable[[jax.Array], jax.Array], name: str, dtype: Any) -> Activation | None:
    """What saturation needs to know of a function: its slope, and the unit of slopes (`unit_of`)."""

    def slope(a: jax.Array) -> jax.Array:
        given = a.astype(dtype)
        found: jax.Array = jax.jvp(phi, (given,), (jnp.ones_like(given),))[1].astype(a.dtype)
        return found

    unit = unit_of(np.asarray(jax.jit(slope)(jnp.linspace(*GRID)), np.float64))
    if unit is None:
        return None
    return Activation(name, response=lambda a: phi(a.astype(dtype)).astype(a.dtype), slope=slope, max_slope=unit)


def unit_of(slopes: np.ndarray) -> float | None:
    """What saturation measures slopes in, from those along GRID: the greatest of them; None where it is none.

    Where slopes grow on, as those of exp and of squares do, the greatest says nothing, and only a slope of 0 is flat.
    """
    sizes = np.abs(slopes)
    greatest = float(np.max(sizes))
    if not (np.isfinite(sizes).all() and greatest > 0):
        return None
    return greatest if greatest <= GROWTH * np.max(sizes[INNER]) else LEAST_SLOPE


def _last_name(steps: Sequence[Any]) -> str:
    """The word for a function: what a call of it is called, or its last step that is no arithmetic."""
    arithmetic = ("add", "sub", "mul", "div", "neg", "broadcast_in_dim", "convert_element_type", "select_n", "copy")
    for eqn in reversed(steps):
        name = eqn.params.get("name") if body_of(eqn) is not None else eqn.primitive.name
        if name and name not in arithmetic:
            return str(name)
    return "product"
