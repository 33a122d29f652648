"""What a process needs to know to compute the parts of a sweep."""

from collections.abc import Mapping
from dataclasses import dataclass

from winit_jax.data.datasets import Dataset, load_dataset
from winit_jax.data.inputs import InputData, load_all_inputs
from winit_jax.spec.sweep import Sweep


@dataclass(frozen=True)
class Work:
    """A sweep with its data. It can be pickled and computed in another process, to the same bits.

    inputs: by width, and under "inf" where data start the theory of infinite width. dataset: what networks learn, None
    where nothing is trained.
    """

    sweep: Sweep
    inputs: Mapping[int | str, InputData]
    dataset: Dataset | None = None


def read_work(sweep: Sweep) -> Work:
    """A sweep with its data, read from where it says. Errors: InputError with one sentence."""
    dataset = load_dataset(sweep.train) if sweep.train else None
    return Work(sweep, load_all_inputs(sweep.inputs, sweep.grid.width, sweep.grid.infinite), dataset)
