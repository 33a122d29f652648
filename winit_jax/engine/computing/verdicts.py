"""The self-check of a run: each program's first network against float64 NumPy, and what follows from it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from winit_jax.numerics import draws
from winit_jax.numerics.measure import comparison, families
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings
from winit_jax.numerics.rounding import product_roundoff
from winit_jax.spec.parts import Job

CHECKED_LAYERS = 3
# The float64 check holds about eight such arrays; beyond this it would take longer than it is worth.
CHECKED_PAIRS = 4_000_000


class SelfCheckError(Exception):
    """The fast pass and float64 NumPy disagree: nothing that this program computes can be trusted. One sentence."""

    is_sentence = True


@dataclass(frozen=True)
class Evidence:
    """What a forward pass was given and what it found.

    x: [samples, features]. columns: of `families.forward`, [layers, networks]. room: as it was given there.
    """

    job: Job
    x: np.ndarray
    family: Family
    settings: Settings
    columns: dict[str, np.ndarray]
    room: int = 0


@dataclass
class Verdicts:
    """One verdict for each program: an activation, normalization and width, and whether one network stands for many.

    Safe to call from several threads.
    say: told of a program that is condemned, once. batch_mib, platform: as in `families.forward`.
    agreed: a line for each program that is right.
    """

    say: Callable[[str], None]
    batch_mib: float
    platform: str
    agreed: list[str] = field(default_factory=list)
    _locks: dict[tuple[Any, ...], threading.Lock] = field(default_factory=dict)
    _found: dict[tuple[Any, ...], str | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, evidence: Evidence, *, shared: bool) -> None:
        """Return where a job's programs are right, which the first job of each decides; others wait for that.

        Nothing that a condemned program computed is so handed over.
        shared: as in `families.groups`. Errors: SelfCheckError.
        """
        job = evidence.job
        if len(evidence.x) * job.width > CHECKED_PAIRS:
            return
        for group in families.groups(evidence.family, evidence.x.shape[1], evidence.settings, shared):
            function = (job.activation, job.normalization, job.norm_position, job.block)
            scaled = evidence.family.is_scaled_by_inputs
            program = (*function, job.dtype, job.width, group.networks.skip is None, group.is_rescaled, scaled)
            with self._lock:
                lock = self._locks.setdefault(program, threading.Lock())
            with lock:
                if program not in self._found:  # an error in comparing is no verdict
                    wrong = self._compare(evidence, group.positions)
                    self._found[program] = _condemned(job, wrong) if wrong else None
                    if wrong:
                        self.say(str(self._found[program]))
            if (sentence := self._found[program]) is not None:
                raise SelfCheckError(sentence)

    def _compare(self, evidence: Evidence, positions: np.ndarray) -> list[str]:
        """What the first layers of a network got wrong, in sentences: the first of which float64 can hold any."""
        job, x, family, settings = evidence.job, evidence.x, evidence.family, evidence.settings
        depth = int(settings.layer_of(len(evidence.columns["nonfinite"]))[-1])
        layers = family.first_layers(x.shape[1], depth, self.batch_mib, CHECKED_LAYERS, evidence.room)
        directions = np.asarray(draws.directions(job.seed, "tangents", len(x), job.width), np.float64)
        for at in dict.fromkeys(int(positions[place]) for place in (0, len(positions) // 2, -1)):
            wrong, compared = comparison.compare(
                {name: values[: settings.rows(len(layers)), at] for name, values in evidence.columns.items()},
                x,
                family.network_by_layer(at, len(layers)),
                layers,
                directions,
                settings.activation,
                settings.saturation_threshold,
                job.normalization,
                product_roundoff(settings.precision, self.platform),
                family.block,
                settings.norm_position,
                settings.layout.positions,
                settings.layout.grid,
                family.is_scaled_by_inputs,
                family.format,
            )
            if compared or wrong:
                break
        if compared and not wrong:
            with self._lock:
                self.agreed.append(f"{job.activation}, {job.normalization}, width {job.width}: {compared} layers agree")
        return wrong


def _condemned(job: Job, wrong: Sequence[str]) -> str:
    blamed = (
        f"{job.activation} does not compute in float32 what it computes in float64: look for float16 or whole "
        "numbers in it."
        if ":" in job.activation
        else "This jax and jaxlib cannot be trusted here; see `winit doctor`."
    )
    named = f"{job.activation}{'' if job.normalization == 'none' else f' with {job.normalization} normalization'}"
    return f"the self-check failed for {named} at width {job.width}: {wrong[0]} ({len(wrong)} in all). {blamed}"
