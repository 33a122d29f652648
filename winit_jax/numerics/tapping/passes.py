"""A function evaluated with a tap at each of its sites: one pass forward, one back, nothing kept whole."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from winit_jax.numerics.activations import Activation
from winit_jax.numerics.tapping import pointwise
from winit_jax.numerics.tapping.equations import constants_and_carries
from winit_jax.numerics.tapping.reversal import is_cut
from winit_jax.numerics.tapping.segments import Cutter, Step, bound
from winit_jax.numerics.tapping.sites import Origin, Site, Survey, Tap, Use
from winit_jax.numerics.tapping.statistics import (
    Columns,
    Sums,
    attention_entropy,
    columns_of,
    columns_of_phi,
    columns_of_weights,
    log10_of_gradient,
    squares_of_gradient,
    sums_of,
    sums_of_phi,
)
from winit_jax.numerics.tapping.survey import Surveyor
from winit_jax.numerics.tapping.tuning import Factors, factors_of

Measured = dict[str, Sums]
Probes = Mapping[str, jax.Array]
_squares = jax.jit(squares_of_gradient)


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
        self._cutter, self._cut = Cutter(), dict[int, list[Step]]()
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

    def forward(self, params: Any, inputs: Any, probes: Probes | None = None) -> tuple[Any, Measured]:
        """(What the function returns, the sums of each site by its key; those in loops have an axis for each)."""
        arguments = [*jax.tree.leaves(params), *jax.tree.leaves(inputs)]
        outs, measured = self._evaluate(self._closed, arguments, self._survey, probes or {})
        return jax.tree.unflatten(jax.tree.structure(self._out), outs), measured

    def measured(self, params: Any, inputs: Any, key: jax.Array | None) -> tuple[Measured, list[Any]]:
        """(The sums of each site by its key, gradients of the parameters that are floats, in their order).

        key: of the random direction of the loss (`loss_of`); None for no way back. `columns` makes columns of sums.
        Errors: those of differentiating the function, such as ValueError for a loop of unknown length.
        """
        if key is None:
            return self.forward(params, inputs)[1], []
        probes = {site.key: jnp.zeros((*site.loops, 4)) for site in self.sites if site.is_differentiated}
        leaves = jax.tree.leaves(params)

        def loss(moved: list[Any], probes: Probes) -> tuple[jax.Array, Measured]:
            given = iter(moved)
            mixed = [next(given) if is_float else leaf for leaf, is_float in zip(leaves, self.floats, strict=True)]
            out, sites = self.forward(jax.tree.unflatten(self._params_tree, mixed), inputs, probes)
            return _loss(out, key), sites

        moved = [leaf for leaf, is_float in zip(leaves, self.floats, strict=True) if is_float]
        (of_params, of_sites), sites = jax.grad(loss, argnums=(0, 1), has_aux=True)(moved, probes)
        for site_key, squares in of_sites.items():
            sites[site_key]["gradient"] = squares
        return sites, of_params

    def factors(self, params: Any, inputs: Any) -> Factors:
        """The factor of each parameter that is weights that gives its product unit size; see `tuning.factors_of`."""
        return factors_of(self._closed, self._survey, [*jax.tree.leaves(params), *jax.tree.leaves(inputs)])

    def columns(self, measured: Measured) -> dict[str, Columns]:
        """The columns of each site by its key, in float64; those in loops have an axis for each."""
        return {site.key: columns_of_site(site, measured[site.key], self.samples) for site in self.sites}

    def columns_of_parameters(self, params: Any, gradients: Sequence[Any]) -> dict[str, Columns]:
        """The columns of each parameter that is floats, by its path. gradients: as of `measured`, or none."""
        given, columns = iter(gradients or ()), {}
        for path, leaf, is_float in zip(self.paths, jax.tree.leaves(params), self.floats, strict=True):
            if is_float and leaf.size:
                columns[path] = columns_of_weights(*jax.device_get((leaf, next(given, None))))
        return columns

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _evaluate(
        self, closed: core.ClosedJaxpr, arguments: Sequence[Any], survey: Survey, probes: Probes
    ) -> tuple[list[Any], Measured]:
        jaxpr = closed.jaxpr
        env: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        env.update(zip(jaxpr.invars, arguments, strict=True))
        measured: Measured = {}

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else env[atom]

        for step in self._steps(jaxpr, survey):
            if step.program is None:
                eqn = jaxpr.eqns[step.index]
                values = [read(atom) for atom in eqn.invars]
                outs, found = self._called(eqn, values, survey.inner[step.index], probes)
                measured |= found
            else:
                outs = step.program(*(env[var] for var in step.ins))
            for var, value in zip(step.outs, outs, strict=True):
                env[var] = value
            for var in step.outs:
                for tap in survey.taps.get(var, ()):
                    measured[tap.site.key] = self._read(tap, env[var], env.get(tap.source))
                    if tap.site.key in probes:
                        env[var] = _watched(env[var], probes[tap.site.key])
            for var in step.last:
                del env[var]
        return [read(atom) for atom in jaxpr.outvars], measured

    def _steps(self, jaxpr: core.Jaxpr, survey: Survey) -> list[Step]:
        """Those of a jaxpr, found once."""
        if id(survey) not in self._cut:
            entered = {index for index, inner in survey.inner.items() if any(one.all_taps() for one in inner)}
            ends = {
                var: [tap.source for tap in taps if tap.source is not None] for var, taps in survey.taps.items() if taps
            }
            self._cut[id(survey)] = self._cutter.steps(jaxpr, entered, ends)
        return self._cut[id(survey)]

    def _read(self, tap: Tap, value: jax.Array, source: jax.Array | None) -> Sums:
        site = tap.site
        samples = self.samples if value.ndim and value.shape[0] == self.samples and 0 not in site.units else 0
        values = jax.lax.stop_gradient((value, source if tap.phi is not None else None))
        sums: Sums = _sums(*values, site.kind, tap.phi, site.units, samples, self.threshold)
        return sums

    def _called(
        self, eqn: Any, values: list[Any], surveys: tuple[Survey, ...], probes: Probes
    ) -> tuple[list[Any], Measured]:
        name = eqn.primitive.name
        if name == "scan":
            return self._scanned(eqn, values, surveys[0], probes)
        if name == "while":
            return self._repeated(eqn, values, surveys[0])
        if name == "cond":
            return self._chosen(eqn, values, surveys, probes)
        body = pointwise.body_of(eqn)
        assert body is not None
        if name.startswith("custom_"):
            # Its own derivative holds, and not that of what is inside, which is looked at beside it.
            _, measured = self._evaluate(body, [jax.lax.stop_gradient(value) for value in values], surveys[0], {})
            return bound(eqn, values), measured
        mine = of_taps(probes, surveys)
        if name in ("remat", "remat2", "checkpoint"):

            def inside(values: list[Any], probes: Probes) -> tuple[list[Any], Measured]:
                return self._evaluate(body, values, surveys[0], probes)

            again = jax.checkpoint(inside, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])
            found: tuple[list[Any], Measured] = again(values, mine)
            return found
        return self._evaluate(body, values, surveys[0], mine)

    def _scanned(self, eqn: Any, values: list[Any], survey: Survey, probes: Probes) -> tuple[list[Any], Measured]:
        consts, carries = constants_and_carries(eqn)
        fixed, carried, passed = values[:consts], values[consts : consts + carries], values[consts + carries :]

        def turn(carry: list[Any], given: tuple[list[Any], Probes]) -> tuple[list[Any], tuple[list[Any], Measured]]:
            xs, mine = given
            outs, measured = self._evaluate(eqn.params["jaxpr"], [*fixed, *carry, *xs], survey, mine)
            return outs[:carries], (outs[carries:], measured)

        last, (stacked, measured) = jax.lax.scan(
            turn,
            carried,
            (passed, of_taps(probes, (survey,))),
            length=eqn.params["length"],
            reverse=eqn.params["reverse"],
            unroll=eqn.params["unroll"],
        )
        return [*last, *stacked], measured

    def _repeated(self, eqn: Any, values: list[Any], survey: Survey) -> tuple[list[Any], Measured]:
        skipped, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        asked, fixed, carried = values[:skipped], values[skipped : skipped + consts], values[skipped + consts :]

        def turn(carry: list[Any]) -> tuple[list[Any], Measured]:
            return self._evaluate(eqn.params["body_jaxpr"], [*fixed, *carry], survey, {})

        shapes = jax.eval_shape(turn, carried)[1]
        none = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        outs, measured = jax.lax.while_loop(
            lambda state: core.jaxpr_as_fun(eqn.params["cond_jaxpr"])(*asked, *state[0])[0],
            lambda state: turn(state[0]),
            (carried, none),
        )
        return outs, jax.tree.map(lambda value: value[None], measured)

    def _chosen(
        self, eqn: Any, values: list[Any], surveys: tuple[Survey, ...], probes: Probes
    ) -> tuple[list[Any], Measured]:
        which, *given = values
        mine = of_taps(probes, surveys)
        branches = [
            lambda given, mine, body=body, survey=survey: self._evaluate(body, given, survey, mine)
            for body, survey in zip(eqn.params["branches"], surveys, strict=True)
        ]
        shapes = [jax.eval_shape(branch, given, mine)[1] for branch in branches]

        def whole(branch: Callable[..., tuple[list[Any], Measured]]) -> Callable[..., tuple[list[Any], Measured]]:
            def run(given: list[Any], mine: Probes) -> tuple[list[Any], Measured]:
                outs, measured = branch(given, mine)
                for shape in shapes:
                    for key, sums in shape.items():
                        if key not in measured:
                            measured[key] = {name: jnp.zeros(of.shape, of.dtype) for name, of in sums.items()}
                return outs, measured

            return run

        found: tuple[list[Any], Measured] = jax.lax.switch(which, [whole(branch) for branch in branches], given, mine)
        return found


def columns_of_site(site: Site, sums: Mapping[str, Any], samples: int) -> Columns:
    """The columns of one site from its sums, of whatever library; `gradient` among them as of `squares_of_gradient`."""
    columns = columns_of(sums, math.prod(site.shape[axis] for axis in site.units), samples)
    columns |= {name: np.asarray(sums[name]) for name in ("attention_entropy", "executed") if name in sums}
    if "flat" in sums:
        columns |= columns_of_phi(np.asarray(sums["flat"]), sums["firsts"].shape[-1])
    if "gradient" in sums:
        columns["log10_grad_rms"] = log10_of_gradient(sums["gradient"])
    return columns


def of_taps(probes: Probes, surveys: Sequence[Survey]) -> dict[str, jax.Array]:
    """Of the probes those of some surveys."""
    keys = {tap.site.key for survey in surveys for tap in survey.all_taps()}
    return {key: value for key, value in probes.items() if key in keys}


def loss_of(out: Any, key: jax.Array) -> jax.Array:
    """The loss whose gradients are measured: what the function returns, where that is one number.

    Else a mean over samples of <c_i, out_i> with a random unit direction c_i a sample, as of a sweep; a sample is what
    lies along the first axis of an output. Several outputs add.
    """
    leaves = [leaf for leaf in jax.tree.leaves(out) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if len(leaves) == 1 and not leaves[0].shape:
        loss: jax.Array = leaves[0].astype(jnp.float32)
        return loss
    total = jnp.zeros(())
    for number, leaf in enumerate(leaves):
        rows = leaf.astype(jnp.float32).reshape(leaf.shape[0] if leaf.ndim else 1, -1)
        total += jnp.sum(rows * directions_of(key, number, rows.shape)) / rows.shape[0]
    return total


def directions_of(key: jax.Array, number: int, shape: tuple[int, ...]) -> jax.Array:
    """The random unit directions of an output: [rows, n]. number: of the output among all of the function's."""
    directions: jax.Array = jax.random.normal(jax.random.fold_in(key, number), shape)
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    return directions


_loss = jax.jit(loss_of)


def path_of(path: Any) -> str:
    """The path of a leaf of a pytree as one word: `layers.0.kernel`; `params` of a pytree that is a leaf itself.

    Variables of Flax nnx hold their array as `value`, of which nothing is said.
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator=".") or "params"
