"""Which columns the tables of a sweep leave out: those that none of its networks can fill.

They depend on the sweep alone, so that all parts have the same columns.
"""

from functools import lru_cache

from winit_jax.columns import RULES, Need
from winit_jax.columns import never_filled as _never_filled
from winit_jax.columns.formats import FLOAT32
from winit_jax.spec.sweep import Sweep


def needs_met(sweep: Sweep) -> frozenset[Need]:
    """The needs of columns (`columns.NEEDS`) that the sweep meets."""
    grid, measure = sweep.grid, sweep.measure
    met: dict[Need, bool] = {
        "training": sweep.train is not None,
        "jacobian": measure.jacobian,
        "gradients": measure.gradients,
        "singular_values": measure.singular_values and set(grid.normalization) != {"batch"},
        "predictions": any(kind.is_predicted for kind in sweep.inits) and set(grid.normalization) != {"batch"},
        "samples": sweep.inputs.samples > 1,
        "units": max(grid.width, default=2) > 1,
        "phi": any(kind.has_phi for kind in sweep.blocks),
        "positions": sweep.inputs.has_positions,
        "attention": any(kind.heads for kind in sweep.blocks),
        "sites": any(kind.sites for kind in sweep.blocks),
        "stem_scale": grid.stem_scale is not None,
        "readout_scale": grid.readout_scale is not None,
        "lsuv": any(kind.is_scaled_by_inputs for kind in sweep.inits),
        "inner weights": any(kind.places > 1 for kind in sweep.blocks),
        "formats": set(grid.dtype) != {FLOAT32},
    }
    return frozenset(need for need, is_met in met.items() if is_met)


def never_filled(sweep: Sweep) -> frozenset[str]:
    """Names of the columns that no network of the sweep can fill; its tables leave them out."""
    axes = sweep.formula_axes
    return _without(needs_met(sweep)) | {rule.name for rule in RULES if rule.name.removesuffix("_rule") not in axes}


@lru_cache
def _without(met: frozenset[Need]) -> frozenset[str]:
    return _never_filled(met)
