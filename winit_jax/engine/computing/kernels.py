"""Which kernel computes dense layers: the one of Pallas only where a run is on a GPU, and begins by seeing that it is
right there and faster than XLA's."""

import time
from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from statistics import median

from winit_jax.engine.computing.measuring import Measuring
from winit_jax.engine.computing.verdicts import CHECKED_PAIRS, SelfCheckError, Verdicts
from winit_jax.engine.planning.planner import Planner
from winit_jax.numerics.blocks import BLOCKS
from winit_jax.numerics.measure.networks import PALLAS, XLA
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.spec.parts import Job
from winit_jax.spec.sweep import Sweep

# Passes by each kernel, in turn, behind the first one, which compiles.
ROUNDS = 3


def choose(
    measuring: Measuring,
    planner: Planner,
    before: Set[str] = frozenset(),
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str, str | None]:
    """(The kernel that computes a sweep's dense layers, a sentence where it was asked for another one).

    measuring: of the sweep, by XLA. planner: cuts jobs of the size that the run has. before: the kernels that the
    folder's networks were computed with: where they are one, that one goes on, and is not timed again.
    """
    sweep = measuring.work.sweep
    if sweep.compute.kernel == XLA:
        return XLA, None
    why = _why_not(measuring, planner, before, clock)
    if why is None:
        return PALLAS, None
    return XLA, f"compute.kernel is pallas, {why}: all layers are computed by xla"


def _why_not(measuring: Measuring, planner: Planner, before: Set[str], clock: Callable[[], float]) -> str | None:
    """What speaks against Pallas' kernel, as the end of a sentence; None if nothing does."""
    if measuring.platform != "gpu":
        return f"which computes on GPUs and not on {measuring.platform}"
    if before == {XLA}:
        return "but xla has computed what is in the folder"
    jobs = list(_jobs(measuring, planner))
    if not jobs:
        return "which has nothing to do here: it is for dense layers of float32, without normalization and positions"
    by_pallas, depths = replace(measuring, kernel=PALLAS), (max(measuring.work.sweep.grid.depth),)
    seconds: dict[str, list[float]] = {XLA: [0.0] * ROUNDS, PALLAS: [0.0] * ROUNDS}
    for job in jobs:
        named = f"{job.activation} at width {job.width}"
        try:
            wrong = _why_wrong(by_pallas, job, depths)
            if wrong:
                return f"which {wrong}"
            if before == {PALLAS}:
                continue
            measuring.forward(job, depths)
            for turn in range(ROUNDS):
                for way in (measuring, by_pallas):
                    start = clock()
                    way.forward(job, depths)
                    seconds[way.kernel][turn] += clock() - start
        except Exception as error:  # of Pallas, Triton, a driver or a device: whatever it is, XLA computes the run
            text = (str(error).strip().splitlines() or [""])[0]
            return f"which does not compute {named} here ({type(error).__name__}: {text})"
    if before == {PALLAS}:
        return None
    ratio = median(one / other for one, other in zip(seconds[PALLAS], seconds[XLA], strict=True))
    return None if ratio < 1 else f"which took {ratio:.2f} times the time of xla as the run began"


def _why_wrong(by_pallas: Measuring, job: Job, depths: tuple[int, ...]) -> str | None:
    """What float64 NumPy says against the kernel's networks, as the end of a sentence."""
    evidence, findings = by_pallas.forward(job, depths)
    if len(evidence.x) * job.width > CHECKED_PAIRS:
        return f"has more of {job.activation} at width {job.width} than float64 NumPy can be asked about"
    verdicts = Verdicts(lambda sentence: None, by_pallas.work.sweep.compute.batch_mib, by_pallas.platform)
    try:
        verdicts.check(evidence, shared=findings.histogram is None)
    except SelfCheckError as error:
        return f"is not right here ({error})"
    return None


def _jobs(measuring: Measuring, planner: Planner) -> Iterator[Job]:
    """Of each activation and width that the kernel computes, the first job."""
    sweep = measuring.work.sweep
    for width in sweep.grid.width:
        if measuring.work.inputs[width].positions > 1:
            continue
        for activation in sweep.grid.activation:
            if (some := _covered(sweep, activation, width)) is not None:
                yield next(iter(planner.parts(some))).jobs[0]


def _covered(sweep: Sweep, activation: str, width: int) -> Sweep | None:
    """Of a sweep, what the kernel computes of an activation and a width; None if nothing is (`fused.covers`)."""
    grid = sweep.grid
    kinds = [kind for kind in sweep.inits if not kind.is_scaled_by_inputs]
    some = {
        "activation": [activation],
        "width": [width],
        "infinite": False,
        "init": [kind.name for kind in kinds],
        "block": [name for name in grid.block if BLOCKS.find(name) == BLOCKS.find("dense")],
        "normalization": [name for name in grid.normalization if NORMALIZATIONS[name].is_none],
        "dtype": [name for name in grid.dtype if name == "float32"],
        "seed": grid.seed[:1],
    }
    if grid.skip_scale is not None:
        some["skip_scale"] = [skip for skip in grid.skip_scale if skip == 0]
    if not all(values for name, values in some.items() if name != "infinite"):
        return None
    return replace(sweep, grid=grid.model_copy(update=some), inits=tuple(kinds))
