"""The factors of a function's weights that give each of its products unit size, in one pass.

LSUV (Mishkin and Matas 2015, arXiv:1511.06422) of any function: a product is linear in its weights, so that once its
size is known, the factor is, and what comes behind is computed of the product times it.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from winit_jax.numerics.tapping import pointwise
from winit_jax.numerics.tapping.equations import constants_and_carries
from winit_jax.numerics.tapping.segments import bound
from winit_jax.numerics.tapping.sites import Site, Survey

Factors = dict[str, np.ndarray]


def factors_of(closed: core.ClosedJaxpr, survey: Survey, arguments: Sequence[Any]) -> Factors:
    """Path of each parameter that is weights -> the factor that gives its product a root mean square of 1.

    closed, survey: the function as it was read. Weights that lie side by side for the turns of a loop have a factor for
    each, [turns]; weights that are used more than once have that of the first use. Products are those before biases are
    added. Where one is zero or not finite no factor helps, and it is 1. Loops run as loops of Python.
    """
    tuning = _Tuning(survey)
    tuning.run(closed, arguments, "", ())
    return tuning.factors


class _Tuning:
    def __init__(self, survey: Survey) -> None:
        self.sites = {tap.site.key: tap.site for tap in survey.all_taps() if tap.site.kind == "contraction"}
        self.entered = {key.rpartition("/")[0] for key in self.sites}
        self.factors, self.known = Factors(), dict[str, np.ndarray]()

    def run(self, closed: core.ClosedJaxpr, arguments: Sequence[Any], prefix: str, turn: tuple[int, ...]) -> list[Any]:
        """What a jaxpr makes of arguments with the factors so far, and with those found in it. turn: of each loop."""
        jaxpr = closed.jaxpr
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *arguments], strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else env[atom]

        for index, eqn in enumerate(jaxpr.eqns):
            values, key = [read(atom) for atom in eqn.invars], f"{prefix}{index}"
            site = self.sites.get(key)
            if site is not None:
                outs = [self._scaled(bound(eqn, values)[0], site, turn)]
            elif self._is_entered(key):
                outs = self._called(eqn, values, key, turn)
            else:
                outs = bound(eqn, values)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _is_entered(self, key: str) -> bool:
        return any(one.startswith(f"{key}/") for one in self.entered)

    def _scaled(self, product: jax.Array, site: Site, turn: tuple[int, ...]) -> jax.Array:
        path = site.parameter
        if not path:
            return product
        index = tuple(turn[loop] for loop in site.stacked)
        factors = self.factors.setdefault(path, np.ones([site.loops[loop] for loop in site.stacked]))
        known = self.known.setdefault(path, np.zeros(factors.shape, bool))
        if not known[index]:
            # Largest first, so that no square leaves the range of the numbers.
            largest = float(jnp.max(jnp.abs(product)))
            if math.isfinite(largest) and largest > 0:
                share = float(jnp.sqrt(jnp.mean(jnp.square(product.astype(jnp.float32) / largest))))
                factors[index] = 1 / (largest * share)
            known[index] = True
        scaled: jax.Array = (product * factors[index]).astype(product.dtype)
        return scaled

    def _called(self, eqn: Any, values: list[Any], key: str, turn: tuple[int, ...]) -> list[Any]:
        name = eqn.primitive.name
        if name == "scan":
            return self._scanned(eqn, values, key, turn)
        if name == "while":
            skipped, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
            asked, fixed, carried = values[:skipped], values[skipped : skipped + consts], values[skipped + consts :]
            goes_on = core.jaxpr_as_fun(eqn.params["cond_jaxpr"])
            while goes_on(*asked, *carried)[0]:
                carried = self.run(eqn.params["body_jaxpr"], [*fixed, *carried], f"{key}/0/", (*turn, 0))
            return carried
        if name == "cond":
            branch = int(np.clip(int(values[0]), 0, len(eqn.params["branches"]) - 1))
            return self.run(eqn.params["branches"][branch], values[1:], f"{key}/{branch}/", turn)
        body = pointwise.body_of(eqn)
        assert body is not None
        return self.run(body, values, f"{key}/0/", turn)

    def _scanned(self, eqn: Any, values: list[Any], key: str, turn: tuple[int, ...]) -> list[Any]:
        consts, carries = constants_and_carries(eqn)
        fixed, carried, passed = values[:consts], values[consts : consts + carries], values[consts + carries :]
        length = eqn.params["length"]
        order = range(length - 1, -1, -1) if eqn.params["reverse"] else range(length)
        collected: list[list[Any]] = [[] for _ in eqn.outvars[carries:]]
        for number in order:
            given = [*fixed, *carried, *(array[number] for array in passed)]
            outs = self.run(eqn.params["jaxpr"], given, f"{key}/0/", (*turn, number))
            carried = outs[:carries]
            for column, value in zip(collected, outs[carries:], strict=True):
                column.append(value)
        step = -1 if eqn.params["reverse"] else 1
        return [*carried, *(jnp.stack(column[::step]) for column in collected)]
