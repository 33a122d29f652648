"""The arithmetic of this machine, by a sweep of its own against float64 NumPy."""

from dataclasses import dataclass

from winit_jax.engine.computing.executor import Executor
from winit_jax.engine.computing.verdicts import SelfCheckError
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.spec.reading import load_sweep

WORDS = ("activation=tanh,sigmoid,relu,gelu", "gain=1.5", "width=100", "depth=3", "inputs.samples=1000")


@dataclass(frozen=True)
class SelfCheck:
    """devices: what this process computes on. agreed: a line for each program that is right. wrong: what is not."""

    devices: tuple[str, ...]
    agreed: tuple[str, ...]
    wrong: str | None


def self_check() -> SelfCheck:
    """Compute a small sweep on this process's devices. Errors: DeviceError."""
    sweep = load_sweep(None, WORDS, vocabulary())
    executor = Executor(read_work(sweep))
    wrong = None
    try:
        for part in planner(1).parts(sweep):
            executor.run(part, tuple(sweep.grid.depth))
    except SelfCheckError as error:
        wrong = str(error)
    names = tuple(f"{device} ({device.device_kind})" for device in executor.devices)
    return SelfCheck(names, tuple(executor.verdicts.agreed), wrong)
