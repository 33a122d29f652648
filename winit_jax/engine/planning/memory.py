"""How much memory a sweep takes at its peak, by arithmetic, and how much there is: asked before anything is read."""

from collections.abc import Callable
from dataclasses import dataclass

from winit_jax.engine.planning import shapes
from winit_jax.engine.planning.planner import MAX_FAMILIES, PART_SECONDS, SIGNAL_SHARE, Planner
from winit_jax.numerics.measure.batches import CPU_CALL_NETWORKS, CPU_CALL_PAIRS
from winit_jax.spec.sweep import Sweep
from winit_jax.system.machine import memory_bytes
from winit_jax.wording import size

MIB = 2**20
# Python with JAX and pandas, and each compiled program by what it does, measured; more programs share what they take.
BASE_MIB = 350.0
PROGRAM_MIB = {"forward": 50.0, "gradients": 200.0, "singular_values": 70.0, "training": 200.0}
MAX_PROGRAMS = 8
# Parts in flight (runner.lanes), each with draws, signals and results of its own.
LANES = 2
# Of the draws of a job, and of all that a training batch holds, within compute.batch_mib.
STACK_SHARE = 0.125
# float64 columns of a result, in the arrays of a job and again in the tables of its part.
COLUMNS = 2 * 32
# Arrays of [samples, width] that the networks of a block need.
ARRAYS = 5
# Inputs whose Jacobians are decomposed, and double-precision matrices that it takes for each.
SPECTRUM_INPUTS, SPECTRUM_MATRICES = 4, 4
# What is kept of one family from its planning to the end, in the journal and in lists of what is done, measured.
FAMILY_BYTES = 1000


@dataclass(frozen=True)
class Share:
    """What takes memory, and what makes it less."""

    what: str
    mib: float
    lower: str


def shares(sweep: Sweep, planner: Planner, gradient_mib: Callable[[int, int, int, str, str], float]) -> list[Share]:
    """Estimated shares of a sweep's peak, in MiB, the largest first. gradient_mib: as in `spec.Vocabulary`."""
    grid, measure, inputs = sweep.grid, sweep.measure, sweep.inputs
    budget, deepest = sweep.compute.batch_mib, max(grid.depth)
    width = max(grid.width, default=1)
    samples = shapes.of_inputs(inputs, width).rows
    features = [shapes.of_inputs(inputs, each).features for each in grid.width] or [1]
    array = samples * width * 4 / MIB
    entries = max(planner.entries(block, width) for block in grid.block)
    layer, first = entries * 4 / MIB, max(features) * width * 4 / MIB
    stack = min(max(layer, STACK_SHARE * budget), layer * max(deepest - 1, 0))
    if measure.gradients or measure.singular_values:  # these need every layer at once
        stack = layer * max(deepest - 1, 0)
    families = max(sweep.n_networks // len(grid.depth), 1)
    family_seconds = min(planner.family_seconds(sweep, block, width) for block in grid.block) if grid.width else 0.0
    together = min(families, MAX_FAMILIES, max(1, int(PART_SECONDS / family_seconds)) if family_seconds else 1)
    if any(planner.one_pass(name) for name in grid.activation):
        together = min(families, MAX_FAMILIES)
    signals = max(min(together * array, SIGNAL_SHARE * budget), array) if deepest > 1 else array
    # A program has that much room, whether or not there are as many networks.
    padded = max(together, min(CPU_CALL_NETWORKS, CPU_CALL_PAIRS // (samples * width)))
    results = padded * deepest * COLUMNS * 8 / MIB
    histogram = measure.histogram
    if histogram:
        results += padded * deepest * (histogram.bins + 3) * 8 * (2 + 12) / MIB
    if measure.gradients:
        results += together * sum(grid.depth) * 14 * 8 / MIB
    kinds = planner.kinds(sweep)
    programs = {name: min(count * kinds, MAX_PROGRAMS) for name, count in planner.programs(sweep).items()}
    memory_shares = [
        Share("programs", sum(PROGRAM_MIB[name] * count for name, count in programs.items()), "the number of names"),
        # Held in single precision, once as read and once for the device; made ready in double precision.
        Share("inputs", samples * (8 * sum(features) + 24 * max(features)) / MIB, "inputs.samples or features"),
        # Normal draws are made of random bits and a temporary of their size.
        Share("draws of weights", LANES * (max(stack + 2 * layer, 3 * first)), "the width"),
        Share("activations", LANES * (ARRAYS * array + signals), "inputs.samples or the width"),
        Share("results", LANES * results, "the depth"),
        Share("the list of networks", families * FAMILY_BYTES / MIB, "the number of points"),
    ]
    if measure.gradients:
        kinds_of = [(norm, block) for norm in grid.normalization for block in grid.block]
        needed = max(gradient_mib(deepest, samples, width, *kind) for kind in kinds_of)
        memory_shares.append(Share("gradients", LANES * needed, "inputs.samples or the depth"))
    if measure.singular_values:
        matrices = SPECTRUM_INPUTS * SPECTRUM_MATRICES * width * width * 8 / MIB
        memory_shares.append(Share("singular values", LANES * (matrices + stack), "the width"))
    if sweep.train:
        data = shapes.of_training(sweep.train)
        # Parameters, gradients and two moments; signals of a minibatch and their gradients.
        learner = 16 * (data.features * width + (deepest - 1) * entries) / MIB
        learner += 16 * deepest * sweep.train.batch_size * data.positions * width / MIB
        batch = min(float(budget), planner.together(width, deepest) * learner)
        # Whole-number pixels, float64, then float32 twice.
        memory_shares += [
            Share("data", data.features * data.rows * (8 + 8 + 4 + 4) / MIB, "train.train_samples"),
            Share("training", LANES * batch, "compute.batch_mib, the width or the depth"),
        ]
    return sorted(memory_shares, key=lambda share: -share.mib)


def peak_mib(memory_shares: list[Share]) -> float:
    """The peak of a process, from its shares."""
    return BASE_MIB + sum(share.mib for share in memory_shares)


def too_much(memory_shares: list[Share], available: float) -> str | None:
    """A sentence if that is more than the memory there is, in MiB."""
    if (needed := peak_mib(memory_shares)) <= available:
        return None
    largest = memory_shares[0]
    return (
        f"This sweep needs about {size(needed * MIB)} of memory, {size(largest.mib * MIB)} of it for {largest.what}, "
        f"and {size(available * MIB)} are there. Lower {largest.lower}."
    )


def available_mib() -> float:
    """The memory of this machine, or of the container that this process runs in; infinite where nobody says."""
    return memory_bytes() / MIB
