"""Probes: a user's own function, measured at each of its sites for every seed and factor, as two tables."""

import fnmatch
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from winit_jax.columns.formats import FLOAT32, FORMATS
from winit_jax.engine.probe_tables import few, tables_of
from winit_jax.errors import Refused, described
from winit_jax.numerics import narrow
from winit_jax.numerics.tapping.loss import directions_of
from winit_jax.numerics.tapping.passes import Tapped
from winit_jax.numerics.tapping.segments import evaluated
from winit_jax.store.probe_folder import Point, points_of
from winit_jax.user_code import contained, pass_on

# Parameters of all networks that are measured side by side, in bytes; networks of more are measured one by one.
BESIDE_BYTES = 8 << 20
MOST_BESIDE = 16
# The stream of the random direction of the loss, apart from whatever a model draws from its seed.
DIRECTION = 0x77696E69
# Of the parameters by which a network is known again.
FINGERPRINT_SEED = 0


class Network(NamedTuple):
    """What a user's function returns: init(key) -> params, apply(params, inputs) -> anything, inputs."""

    init: Callable[[jax.Array], Any]
    apply: Callable[[Any, Any], Any]
    inputs: Any


@dataclass(frozen=True)
class Asked:
    """seeds: of the parameters. factors: pattern of parameter paths -> factors that those are multiplied by, an axis
    each. gradients: whether the way back is gone too. formats: that numbers are rounded to, an axis; float32 is the
    function as it is. threshold: of saturation."""

    seeds: Sequence[int] = (0,)
    factors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gradients: bool = True
    formats: Sequence[str] = (FLOAT32,)
    threshold: float = 0.05

    @property
    def points(self) -> list[Point]:
        return points_of(self.seeds, self.factors, self.formats)


@dataclass(frozen=True)
class Tuned:
    """What makes every product of weights of unit size. by_path: path of the weights -> factor, one for each layer
    that lies side by side in a loop. factors: the same as a pytree like the parameters, 1 where a parameter is no
    weights. params: the parameters times them."""

    by_path: dict[str, np.ndarray]
    factors: Any
    params: Any


class Probe:
    """One network, read, and measured for the points that are asked for.

    network: whose init may be traced or not. Errors: Refused with one sentence where it cannot be called, has no site,
    or a pattern fits none of its parameters.
    """

    def __init__(self, network: Network, asked: Asked) -> None:
        self.asked, self.notes = asked, list[str]()
        self._last: tuple[int, Any] | None = None
        self._init = contained(network.init, "init")
        params = self._shapes()
        try:
            self.inputs = jax.tree.map(jnp.asarray, network.inputs)
            self.tapped = Tapped(contained(network.apply, "apply"), params, self.inputs, asked.threshold)
        except BaseException as error:
            pass_on(error)
            raise Refused(f"apply(params, inputs) cannot be traced: {described(error)}") from error
        if not self.tapped.sites:
            raise Refused("apply(params, inputs) has no contraction of its inputs: there is nothing to measure.")
        self.shapes = {path: leaf.shape for path, leaf in zip(self.tapped.paths, jax.tree.leaves(params), strict=True)}
        self._fits = []
        for pattern in asked.factors:
            fits = [fnmatch.fnmatchcase(path, pattern) for path in self.tapped.paths]
            if not any(fits):
                raise Refused(f"scale.{pattern}: no parameter has such a path. Known: {few(self.tapped.paths)}.")
            self._fits.append(fits)

    def _shapes(self) -> Any:
        """The parameters as shapes where `init` can be traced, else those of the first seed."""
        try:
            self._is_traced = True
            return self._traced_init[1]
        except BaseException as error:
            pass_on(error)
            self._is_traced = False
        try:
            return self._drawn(self.asked.seeds[0])
        except BaseException as error:
            pass_on(error)
            raise Refused(f"init(key) cannot be called: {described(error)}") from error

    def _drawn(self, seed: int | jax.Array) -> Any:
        """The parameters of a seed; those of the last one are kept, for shapes and the fingerprint need them too."""
        if not isinstance(seed, int):
            return self._drawn_with(jax.random.key(seed))
        if self._last is None or self._last[0] != seed:
            self._last = None  # not two networks at once
            self._last = seed, self._drawn_with(jax.random.key(seed))
        return self._last[1]

    def _drawn_with(self, key: jax.Array) -> Any:
        if self._is_traced:
            closed, shapes = self._traced_init
            return jax.tree.unflatten(jax.tree.structure(shapes), evaluated(closed, [key]))
        return jax.tree.map(jnp.asarray, self._init(key))

    @cached_property
    def _traced_init(self) -> Any:
        """(The jaxpr of `init`, the parameters as shapes)."""
        return jax.make_jaxpr(self._init, return_shape=True)(jax.random.key(0))

    def parts(self, points: "Sequence[Point] | None" = None) -> Iterator[tuple["Point", dict[str, pa.Table]]]:
        """(A point, `sites` and `parameters` of its network) of each of the points, all that are asked for by default.

        Errors: Refused where the function cannot be computed, with its own words.
        """
        wanted = self.asked.points if points is None else list(points)
        for is_narrow, these in itertools.groupby(wanted, is_in_a_format):
            alike, beside = list(these), self._beside(is_narrow)
            for at in range(0, len(alike), beside):
                some = alike[at : at + beside]
                for point, measured in zip(some, self._measured(some, beside), strict=True):
                    found = tables_of(
                        self.tapped.sites, self.tapped.uses, self.shapes, measured, point, self.factor_columns
                    )
                    yield point, found

    @property
    def fingerprint(self) -> str:
        """What tells this network, its inputs and how it is measured from others, as a SHA-256.

        Of the jaxpr, the arrays that it closes over, the inputs, and the parameters of one seed: another init makes
        another network.
        """
        text = re.sub(r"0x[0-9a-f]+", "", str(self.tapped.jaxpr))
        digest = hashlib.sha256(f"{text}\n{self.asked.gradients}\n{self.factor_columns}".encode())
        for leaf in jax.tree.leaves((self.tapped.jaxpr.consts, self.inputs, self._drawn(FINGERPRINT_SEED))):
            is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
            numbers = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
            digest.update(f"{numbers.shape} {numbers.dtype}".encode() + np.ascontiguousarray(numbers).tobytes())
        return digest.hexdigest()

    def tuned(self, seed: int) -> Tuned:
        """The factors that give each product of weights unit size on these inputs, of the parameters of one seed.

        Errors: Refused where the function cannot be computed.
        """
        try:
            params = self._drawn(seed)
            found = self.tapped.factors(params, self.inputs)
        except BaseException as error:
            pass_on(error)
            raise Refused(f"The function cannot be computed: {described(error)}") from error
        leaves, tree = jax.tree.flatten(params)
        factors = [found.get(path, np.ones(())) for path in self.tapped.paths]
        scaled = [
            (leaf * factor.reshape(*factor.shape, *[1] * (leaf.ndim - factor.ndim))).astype(leaf.dtype)
            if path in found
            else leaf
            for path, leaf, factor in zip(self.tapped.paths, leaves, factors, strict=True)
        ]
        return Tuned(found, jax.tree.unflatten(tree, factors), jax.tree.unflatten(tree, scaled))

    @property
    def factor_columns(self) -> list[str]:
        return [f"scale.{pattern}" for pattern in self.asked.factors]

    # -- computing ---------------------------------------------------------------------------------------------------

    def _beside(self, is_narrow: bool) -> int:
        """How many networks are measured at once: as many whatever of them is there already, so that the numbers are
        the same. is_narrow: in formats of fewer bits, which are all one program."""
        if not self._is_traced:
            return 1
        fitting = BESIDE_BYTES // max(1, 4 * sum(map(math.prod, self.shapes.values())))
        count = sum(is_in_a_format(point) == is_narrow for point in self.asked.points)
        return max(1, min(MOST_BESIDE, count, fitting))

    def _parameters(self, seed: int | jax.Array, factors: jax.Array) -> Any:
        return self._scaled(self._drawn(seed), factors)

    def _scaled(self, params: Any, factors: jax.Array) -> Any:
        leaves, tree = jax.tree.flatten(params)
        for fits, factor in zip(self._fits, factors, strict=True):
            leaves = [
                (leaf * factor).astype(leaf.dtype) if fit else leaf for fit, leaf in zip(fits, leaves, strict=True)
            ]
        return jax.tree.unflatten(tree, leaves)

    def _one(self, params: Any, seed: jax.Array, to: narrow.Limits | None) -> tuple[Any, ...]:
        """(The sums of sites; what `columns_of_parameters` makes columns of). to: the format, None of float32."""
        key = _direction_key(seed) if self.asked.gradients else None
        if to is None:
            sums, gradients = self.tapped.measured(params, self.inputs, key)
            return sums, (params, gradients)
        sums, *of_parameters = self.tapped.rounded(params, self.inputs, key, to)
        return sums, tuple(of_parameters)

    def _measured(self, points: Sequence[Point], beside: int) -> Iterator[Any]:
        """(Columns of sites, columns of parameters) of each point, at most `beside` of them, all in formats or none."""
        whole = [*points, *[points[-1]] * (beside - len(points))]  # the last ones in the shape of the others
        seeds = jnp.array([point.seed for point in whole], jnp.uint32)
        factors = jnp.array([point.factors for point in whole], jnp.float32).reshape(len(whole), -1)
        to = _limits(whole) if is_in_a_format(points[0]) else None
        draw: Callable[..., Any] = jax.vmap(self._parameters)
        measure: Callable[..., Any] = jax.vmap(self._one)
        # Not compiled as a whole: what is alike in them is, once.
        if beside == 1:
            seeds, factors, to = jax.tree.map(lambda array: array[0], (seeds, factors, to))
            draw, measure = (lambda seed, factors: self._parameters(int(seed), factors)), self._one
        try:
            sums, of_parameters = measure(draw(seeds, factors), seeds, to)
            sums = jax.device_get(sums)
        except BaseException as error:
            pass_on(error)
            if self.asked.gradients and not self.tapped.has_way_back:
                self.notes.append("A loop of unknown length has no gradient: log10_grad_rms is NaN.")
                self.asked = replace(self.asked, gradients=False)
                yield from self._measured(points, beside)
                return
            raise Refused(f"The function cannot be computed: {described(error)}") from error
        for number in range(len(points)):
            of_one = sums, of_parameters
            if beside > 1:
                of_one = jax.tree.map(lambda array, number=number: array[number], of_one)
            yield self.tapped.columns(of_one[0]), self.tapped.columns_of_parameters(*of_one[1])


def is_in_a_format(point: Point) -> bool:
    """Whether its numbers are rounded."""
    return point.dtype != FLOAT32


def _limits(points: Sequence[Point]) -> narrow.Limits:
    """The formats of some points as arrays."""
    each = [narrow.limits(FORMATS[point.dtype], 1) for point in points]
    limits: narrow.Limits = jax.tree.map(lambda *of_points: jnp.asarray(np.concatenate(of_points)), *each)
    return limits


def _direction_key(seed: Any) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), DIRECTION)


def directions(seed: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """The random unit directions of an output under a seed, as a probe has them: [rows, n], float32."""
    return np.asarray(directions_of(_direction_key(seed), number, shape))


def as_network(answer: Any, name: str) -> Network:
    """What a user's function returned as a network. Errors: Refused with one sentence."""
    if not isinstance(answer, tuple) or len(answer) != 3 or not all(map(callable, answer[:2])):
        raise Refused(
            f"{name}() has to return (init, apply, inputs): init(key) -> params, apply(params, inputs); or "
            "(make, inputs) of PyTorch, where make() returns a module."
        )
    return Network(*answer)
