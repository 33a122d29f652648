"""A function evaluated with a tap at each of its sites: one pass forward, one back, nothing kept whole."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.narrow import Limits
from winit_jax.numerics.tapping import pointwise, rounds
from winit_jax.numerics.tapping.equations import constants_and_carries
from winit_jax.numerics.tapping.loss import loss_of
from winit_jax.numerics.tapping.reversal import is_cut
from winit_jax.numerics.tapping.rounds import Rounds, rounds_of
from winit_jax.numerics.tapping.segments import Cutter, Step, bound
from winit_jax.numerics.tapping.sites import Origin, Site, Survey, Tap, Use
from winit_jax.numerics.tapping.statistics import (
    PREFIXES,
    Columns,
    Sums,
    attention_entropy,
    columns_of_lost,
    columns_of_site,
    columns_of_weights,
    squares_of_gradient,
    sums_of,
    sums_of_phi,
)
from winit_jax.numerics.tapping.survey import Surveyor
from winit_jax.numerics.tapping.tuning import Factors, factors_of

Measured = dict[str, Sums]
Probes = Mapping[str, jax.Array]
_squares, _loss = jax.jit(squares_of_gradient), jax.jit(loss_of)


class Way(NamedTuple):
    """What goes along with a pass. probes: of the sites whose gradients are measured, by their keys. to: the format
    that numbers are rounded to, None where they are not."""

    probes: Probes
    to: Limits | None = None


class Rounded(NamedTuple):
    """What was measured of a function in a format of fewer bits. sites: as of `Tapped.measured`, with `lost` and
    `grad_lost`. params: as they were rounded. gradients: of those that are floats, rounded. lost, grad_lost: counts
    of `narrow.Lost` of both, [4] each."""

    sites: Measured
    params: Any
    gradients: list[jax.Array]
    lost: list[jax.Array]
    grad_lost: list[jax.Array]


@partial(jax.jit, static_argnums=range(2, 7))
def _sums(
    value: jax.Array,
    source: jax.Array | None,
    kind: str,
    phi: Activation | None,
    units: tuple[int, ...],
    samples: int,
    threshold: float,
) -> Sums:
    """What is measured of the value of one site. source: the argument of a nonlinearity phi."""
    sums = sums_of(value, units, samples)
    if source is not None:
        sums |= sums_of_phi(source, value, phi, units, threshold)
    if kind == "softmax":
        sums |= attention_entropy(value)
    return sums | {"executed": jnp.float32(1)}


@jax.custom_vjp
def _watched(x: jax.Array, probe: jax.Array) -> jax.Array:
    """x itself; the gradient of `probe`, [4], is what `squares_of_gradient` says of that of x."""
    return x


_watched.defvjp(lambda x, probe: (x, None), lambda _, cotangent: (cotangent, _squares(cotangent)))


class Tapped:
    """A function of parameters and inputs, read and ready to be measured.

    apply: (params, inputs) -> anything; every array of floats in what it returns counts as output. params, inputs:
    pytrees of arrays, or of `jax.ShapeDtypeStruct`; nothing is computed here. threshold: of saturation.
    sites: in the order of the computation. uses: of each parameter, by its path.
    Errors: what tracing `apply` raises.
    """

    def __init__(self, apply: Callable[[Any, Any], Any], params: Any, inputs: Any, threshold: float = 0.05) -> None:
        self.threshold = threshold
        leaves, self._params_tree = jax.tree.flatten(params)
        data, self._inputs_tree = jax.tree.flatten(inputs)
        self.paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        self.samples = next((leaf.shape[0] for leaf in data if len(leaf.shape)), 0)
        self._count = len(leaves)
        self.floats = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

        def flat(*values: Any) -> Any:
            return apply(
                jax.tree.unflatten(self._params_tree, values[: self._count]),
                jax.tree.unflatten(self._inputs_tree, values[self._count :]),
            )

        self._closed, self._out = jax.make_jaxpr(flat, return_shape=True)(*leaves, *data)
        surveyor = Surveyor()
        origins = [Origin(path) for path in self.paths] + [Origin(moves=True)] * len(data)
        self._cutter, self._cut = Cutter(), dict[tuple[int, int], list[Step]]()
        self._survey = surveyor.read(self._closed, origins)
        self.uses: dict[str, Use] = dict(surveyor.uses)
        self.taps = {tap.site.key: tap for tap in self._survey.all_taps()}

    @property
    def sites(self) -> list[Site]:
        return [tap.site for tap in self.taps.values()]

    @property
    def jaxpr(self) -> core.ClosedJaxpr:
        """What was read."""
        return self._closed

    @property
    def has_way_back(self) -> bool:
        """Whether no loop of unknown length reads what gradients are taken of."""
        inputs = [False] * (len(self._closed.jaxpr.invars) - self._count)
        return not is_cut(self._closed, self._survey, [*self.floats, *inputs])

    def forward(self, params: Any, inputs: Any, way: Way = Way({})) -> tuple[Any, Measured]:  # noqa: B008
        """(What the function returns, the sums of each site by its key; those in loops have an axis for each)."""
        arguments = [*jax.tree.leaves(params), *jax.tree.leaves(inputs)]
        places = None if way.to is None else self._rounds
        outs, measured = self._evaluate(self._closed, arguments, self._survey, way, places)
        return jax.tree.unflatten(jax.tree.structure(self._out), outs), measured

    def measured(
        self, params: Any, inputs: Any, key: jax.Array | None, to: Limits | None = None
    ) -> tuple[Measured, list[Any]]:
        """(The sums of each site by its key, gradients of the parameters that are floats, in their order).

        key: of the random direction of the loss (`loss_of`); None for no way back. to: as of `rounded`, which also
        rounds params and inputs before, and gradients afterwards. `columns` makes columns of sums.
        Errors: those of differentiating the function, such as ValueError for a loop of unknown length.
        """
        if key is None:
            return self.forward(params, inputs, Way({}, to))[1], []
        said = 4 if to is None else 8
        probes = {site.key: jnp.zeros((*site.loops, said)) for site in self.sites if site.is_differentiated}
        leaves = jax.tree.leaves(params)

        def loss(moved: list[Any], probes: Probes) -> tuple[jax.Array, Measured]:
            given = iter(moved)
            mixed = [next(given) if is_float else leaf for leaf, is_float in zip(leaves, self.floats, strict=True)]
            out, sites = self.forward(jax.tree.unflatten(self._params_tree, mixed), inputs, Way(probes, to))
            return _loss(out, key), sites

        moved = [leaf for leaf, is_float in zip(leaves, self.floats, strict=True) if is_float]
        (of_params, of_sites), sites = jax.grad(loss, argnums=(0, 1), has_aux=True)(moved, probes)
        for site_key, of_site in of_sites.items():
            sites[site_key]["gradient"] = of_site[..., :4]
            if to is not None:
                sites[site_key]["grad_lost"] = of_site[..., 4:]
        return sites, of_params

    def rounded(self, params: Any, inputs: Any, key: jax.Array | None, to: Limits) -> Rounded:
        """The function in a format of fewer bits: all that `rounds` names is rounded, and gradients at the same places.

        to: the format. key, errors: as of `measured`.
        """
        params, lost = rounds.rounded_leaves(params, to)
        inputs, _ = rounds.rounded_leaves(inputs, to)
        sites, gradients = self.measured(params, inputs, key, to)
        gradients, grad_lost = rounds.rounded_leaves(gradients, to)
        return Rounded(sites, params, gradients, lost, grad_lost)

    @cached_property
    def _rounds(self) -> Rounds:
        """Where numbers are rounded, parameters and inputs before."""
        return rounds_of(self._closed.jaxpr, self._survey, [True] * len(self._closed.jaxpr.invars))

    def factors(self, params: Any, inputs: Any) -> Factors:
        """The factor of each parameter that is weights that gives its product unit size; see `tuning.factors_of`."""
        return factors_of(self._closed, self._survey, [*jax.tree.leaves(params), *jax.tree.leaves(inputs)])

    def columns(self, measured: Measured) -> dict[str, Columns]:
        """The columns of each site by its key, in float64; those in loops have an axis for each."""
        return {site.key: columns_of_site(site, measured[site.key], self.samples) for site in self.sites}

    def columns_of_parameters(self, params: Any, gradients: Sequence[Any], *lost: Sequence[Any]) -> dict[str, Columns]:
        """The columns of each parameter that is floats, by its path. gradients: as of `measured`, or none. lost: as of
        `Rounded`, of parameters and of gradients, or none."""
        given, columns = iter(gradients or ()), {}
        of_floats = [iter(counts) for counts in lost]
        for path, leaf, is_float in zip(self.paths, jax.tree.leaves(params), self.floats, strict=True):
            if not is_float:
                continue
            gradient, counts = next(given, None), [next(one, None) for one in of_floats]
            if leaf.size:
                columns[path] = columns_of_weights(*jax.device_get((leaf, gradient)))
                for of_one, prefix in zip(counts, PREFIXES, strict=False):
                    if of_one is not None:
                        columns[path] |= columns_of_lost(np.asarray(of_one), prefix)
        return columns

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _evaluate(
        self, closed: core.ClosedJaxpr, arguments: Sequence[Any], survey: Survey, way: Way, places: Rounds | None
    ) -> tuple[list[Any], Measured]:
        """places: where numbers are rounded, None where they are not."""
        jaxpr = closed.jaxpr
        env: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(jaxpr.invars, arguments, strict=True))
        measured: Measured = {}
        made = places.made if places else frozenset()

        def round_those_of(variables: Sequence[Any]) -> None:
            for var in variables:
                if var in made:
                    env[var] = rounds.straight(env[var], way.to)

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else env[atom]

        round_those_of([*jaxpr.constvars, *jaxpr.invars])
        for step in self._steps(jaxpr, survey, places):
            if step.program is None:
                eqn = jaxpr.eqns[step.index]
                values = [read(atom) for atom in eqn.invars]
                inner = places.inner[step.index] if places else (None,) * len(survey.inner[step.index])
                outs, found = self._called(eqn, values, survey.inner[step.index], way, inner)
                measured |= found
            else:
                format_of_step = way.to if step.is_rounded and way.to is not None else ()
                outs = step.program(*(env[var] for var in step.ins), *format_of_step)
            for var, value in zip(step.outs, outs, strict=True):
                env[var] = value
            if step.program is None:
                round_those_of(step.outs)
            for var in step.outs:
                if taps := survey.taps.get(var, ()):
                    env[var], found = self._tapped(taps, env[var], env, way)
                    measured |= found
            for var in step.last:
                del env[var]
        return [read(atom) for atom in jaxpr.outvars], measured

    def _tapped(
        self, taps: Sequence[Tap], value: jax.Array, env: Mapping[Any, Any], way: Way
    ) -> tuple[jax.Array, Measured]:
        """(The value of some sites, as it goes on; what is measured of them)."""
        mine = [way.probes[tap.site.key] for tap in taps if tap.site.key in way.probes]
        if way.to is None:
            measured = {tap.site.key: self._read(tap, value, env.get(tap.source)) for tap in taps}
            for probe in mine:
                value = _watched(value, probe)
            return value, measured
        near, lost = rounds.rounded_and_lost(jax.lax.stop_gradient(value), way.to)
        measured = {tap.site.key: self._read(tap, near, env.get(tap.source)) | {"lost": lost} for tap in taps}
        return rounds.watched(value, near, mine, way.to), measured

    def _steps(self, jaxpr: core.Jaxpr, survey: Survey, places: Rounds | None = None) -> list[Step]:
        """Those of a jaxpr, found once."""
        of_both = id(survey), id(places)
        if of_both not in self._cut:
            entered = {index for index, inner in survey.inner.items() if any(one.all_taps() for one in inner)}
            ends = {
                var: [tap.source for tap in taps if tap.source is not None] for var, taps in survey.taps.items() if taps
            }
            self._cut[of_both] = self._cutter.steps(jaxpr, entered, ends, places)
        return self._cut[of_both]

    def _read(self, tap: Tap, value: jax.Array, source: jax.Array | None) -> Sums:
        site = tap.site
        samples = self.samples if value.ndim and value.shape[0] == self.samples and 0 not in site.units else 0
        values = jax.lax.stop_gradient((value, source if tap.phi is not None else None))
        sums: Sums = _sums(*values, site.kind, tap.phi, site.units, samples, self.threshold)
        return sums

    def _called(
        self, eqn: Any, values: list[Any], surveys: tuple[Survey, ...], way: Way, places: tuple[Rounds | None, ...]
    ) -> tuple[list[Any], Measured]:
        name = eqn.primitive.name
        if name == "scan":
            return self._scanned(eqn, values, surveys[0], way, places[0])
        if name == "while":
            return self._repeated(eqn, values, surveys[0], way, places[0])
        if name == "cond":
            return self._chosen(eqn, values, surveys, way, places)
        body = pointwise.body_of(eqn)
        assert body is not None
        if name.startswith("custom_"):
            # Its own derivative holds, and not that of what is inside, which is looked at beside it.
            beside = [jax.lax.stop_gradient(value) for value in values]
            outs, measured = self._evaluate(body, beside, surveys[0], Way({}, way.to), places[0])
            exact = bound(eqn, values)
            if way.to is None:
                return exact, measured
            pairs = zip(exact, outs, strict=True)
            return [rounds.replaced(*pair, way.to) if rounds.is_float(pair[0]) else pair[0] for pair in pairs], measured
        mine = of_taps(way, surveys)
        if name in ("remat", "remat2", "checkpoint"):

            def inside(values: list[Any], way: Way) -> tuple[list[Any], Measured]:
                return self._evaluate(body, values, surveys[0], way, places[0])

            again = jax.checkpoint(inside, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])
            found: tuple[list[Any], Measured] = again(values, mine)
            return found
        return self._evaluate(body, values, surveys[0], mine, places[0])

    def _scanned(
        self, eqn: Any, values: list[Any], survey: Survey, way: Way, places: Rounds | None
    ) -> tuple[list[Any], Measured]:
        consts, carries = constants_and_carries(eqn)
        fixed, carried, passed = values[:consts], values[consts : consts + carries], values[consts + carries :]

        def turn(carry: list[Any], given: tuple[list[Any], Probes]) -> tuple[list[Any], tuple[list[Any], Measured]]:
            xs, mine = given
            arguments = [*fixed, *carry, *xs]
            outs, measured = self._evaluate(eqn.params["jaxpr"], arguments, survey, Way(mine, way.to), places)
            return outs[:carries], (outs[carries:], measured)

        last, (stacked, measured) = jax.lax.scan(
            turn,
            carried,
            (passed, of_taps(way, (survey,)).probes),
            length=eqn.params["length"],
            reverse=eqn.params["reverse"],
            unroll=eqn.params["unroll"],
        )
        return [*last, *stacked], measured

    def _repeated(
        self, eqn: Any, values: list[Any], survey: Survey, way: Way, places: Rounds | None
    ) -> tuple[list[Any], Measured]:
        skipped, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        asked, fixed, carried = values[:skipped], values[skipped : skipped + consts], values[skipped + consts :]

        def turn(carry: list[Any]) -> tuple[list[Any], Measured]:
            return self._evaluate(eqn.params["body_jaxpr"], [*fixed, *carry], survey, Way({}, way.to), places)

        shapes = jax.eval_shape(turn, carried)[1]
        none = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        outs, measured = jax.lax.while_loop(
            lambda state: core.jaxpr_as_fun(eqn.params["cond_jaxpr"])(*asked, *state[0])[0],
            lambda state: turn(state[0]),
            (carried, none),
        )
        return outs, jax.tree.map(lambda value: value[None], measured)

    def _chosen(
        self, eqn: Any, values: list[Any], surveys: tuple[Survey, ...], way: Way, places: tuple[Rounds | None, ...]
    ) -> tuple[list[Any], Measured]:
        which, *given = values
        mine = of_taps(way, surveys)
        branches = [
            lambda given, mine, body=body, survey=survey, of=of: self._evaluate(body, given, survey, mine, of)
            for body, survey, of in zip(eqn.params["branches"], surveys, places, strict=True)
        ]
        shapes = [jax.eval_shape(branch, given, mine)[1] for branch in branches]

        def whole(branch: Callable[..., tuple[list[Any], Measured]]) -> Callable[..., tuple[list[Any], Measured]]:
            def run(given: list[Any], mine: Way) -> tuple[list[Any], Measured]:
                outs, measured = branch(given, mine)
                for shape in shapes:
                    for key, sums in shape.items():
                        if key not in measured:
                            measured[key] = {name: jnp.zeros(of.shape, of.dtype) for name, of in sums.items()}
                return outs, measured

            return run

        found: tuple[list[Any], Measured] = jax.lax.switch(which, [whole(branch) for branch in branches], given, mine)
        return found


def of_taps(way: Way, surveys: Sequence[Survey]) -> Way:
    """With the probes of some surveys alone."""
    keys = {tap.site.key for survey in surveys for tap in survey.all_taps()}
    return Way({key: value for key, value in way.probes.items() if key in keys}, way.to)


def path_of(path: Any) -> str:
    """The path of a leaf of a pytree as one word: `layers.0.kernel`; `params` of a pytree that is a leaf itself.

    Variables of Flax nnx hold their array as `value`, of which nothing is said.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator=".") or "params"
