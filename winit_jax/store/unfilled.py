"""Which columns the tables of a sweep have: those that a network of it could fill.

They depend on the sweep alone, so that every part has the same.
"""

from functools import lru_cache

from winit_jax.spec.sweep import Sweep
from winit_jax.store import schema


def never_filled(sweep: Sweep) -> frozenset[str]:
    """Columns that no network of the sweep can fill; its tables do not have them."""
    grid, measure = sweep.grid, sweep.measure
    predicts = any(init in sweep.predicted for init in grid.init) and "none" in grid.normalization
    return _never_filled(
        trained=sweep.train is not None,
        jacobian=measure.jacobian,
        gradients=measure.gradients,
        singular_values=measure.singular_values and set(grid.normalization) != {"batch"},
        predicts=predicts,
        pairs_of_samples=sweep.inputs.samples > 1,
        pairs_of_units=max(grid.width, default=2) > 1,
    )


@lru_cache
def _never_filled(
    trained: bool,
    jacobian: bool,
    gradients: bool,
    singular_values: bool,
    predicts: bool,
    pairs_of_samples: bool,
    pairs_of_units: bool,
) -> frozenset[str]:
    groups = (
        (trained, ("learning_rate", *schema.LEARNT)),
        (jacobian, ("log10_jacobian",)),
        (gradients, schema.GRADIENTS),
        (singular_values, schema.SINGULAR_VALUES),
        (predicts, schema.PREDICTED),
        (pairs_of_samples, ("input_correlation", "input_decorrelation", "theory_input_correlation")),
        (pairs_of_units, ("unit_similarity",)),
    )
    return frozenset(name for filled, names in groups if not filled for name in names)
