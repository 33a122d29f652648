"""What is known of the numerics before anything is computed: words of a sweep, a planner, functions of the user's own.

`spec` and `planning` know nothing of JAX; what they need to know is handed to them from here.
"""

from collections.abc import Callable
from functools import cache

from winit_jax.data.datasets import check_dataset
from winit_jax.data.inputs import check_inputs
from winit_jax.data.sources import SOURCES
from winit_jax.engine.computing import theories
from winit_jax.engine.planning.memory import LANES
from winit_jax.engine.planning.planner import FLOPS_A_CORE, LEAST_PARTS, Planner
from winit_jax.engine.planning.points import Draw
from winit_jax.numerics import initializers, own_inits, schemes
from winit_jax.numerics.activations import ACTIVATIONS, activation, probing
from winit_jax.numerics.blocks import BLOCKS, entries, measured_units, multiplications
from winit_jax.numerics.blocks.attention import Attention
from winit_jax.numerics.measure import backward, batches
from winit_jax.numerics.training import trainer
from winit_jax.registry import UnknownName
from winit_jax.spec.problems import Problem, briefly, did_you_mean
from winit_jax.spec.sweep import BlockKind, InitKind, Inputs, Sweep, Train, Vocabulary
from winit_jax.user_code import check_form, is_import_path

# How a block that takes numbers is written.
EXAMPLES = {
    "mlp": "mlp(4)", "gated": "gated(4)", "conv": "conv(3)", "conv2d": "conv2d(3)", "residual_conv": "residual_conv(3)",
    "residual_conv2d": "residual_conv2d(3)", "attention": "attention(4)", "transformer": "transformer(4, 4)",
}  # fmt: skip
# And an init.
INIT_EXAMPLES = {"variance_scaling": "variance_scaling(2, fan_in, normal)", "siren": "siren(30)"}


def vocabulary(announce: Callable[[str], None] | None = None) -> Vocabulary:
    """The words that a sweep file may use, from the numerics' own tables.

    announce: is told of an import path before what it names is imported and called. Without it only the
    form of a path is looked at, for a sweep that is merely read runs no code of its own.
    """

    def check_activation(name: str) -> str | None:
        try:
            if is_import_path(name):
                check_form(name)
                if announce is None:
                    return None
                announce(name)
            activation(name)
        except UnknownName as error:
            return str(error) + did_you_mean(name, ACTIVATIONS, "activation")
        except ValueError as error:
            return str(error)
        return None

    def check_threshold(name: str, threshold: float) -> str | None:
        if is_import_path(name) and announce is None:
            return None
        least, most = activation(name).thresholds
        if least <= threshold <= most:
            return None
        bound = f"less than {least:.3g}" if threshold < least else f"more than {most:.6g}"
        return f"{threshold!r} is {bound}, beyond which float32 cannot tell the slopes of {name} apart."

    def check_block(name: str) -> str | BlockKind:
        try:
            block = BLOCKS.find(name)
        except UnknownName:
            known = (*BLOCKS, *BLOCKS.makers)
            if name in BLOCKS.makers:
                return f"{name!r} needs its numbers, as {EXAMPLES[name]}."
            return f"{briefly(name)} is not a block.{did_you_mean(name, known, 'block')}"
        except ValueError as error:
            return str(error)
        heads = [update.heads for update in block.updates if isinstance(update, Attention)]
        sites = tuple(update.site for update in block.updates if update.site)
        has_phi = block.responds or any(update.has_phi for update in block.updates)
        taps = getattr(block, "taps", None) is not None or block.name == "dense"
        places = max(len(update.places(1)) for update in block.updates)
        return BlockKind(block.name, block.needs_positions, max(heads, default=0), sites, taps, has_phi, places)

    @cache  # so that what is imported is announced once
    def check_init(name: str) -> str | InitKind:
        try:
            if is_import_path(name):
                check_form(name)
                if announce is not None:
                    announce(name)
                    schemes.name_of(name)
                return InitKind(name, is_scheme=True, is_predicted=False, has_biases=False)
            name = schemes.name_of(name)
        except UnknownName:
            known = (*initializers.SHAPES, *schemes.SCHEMES, *INIT_EXAMPLES)
            if name in INIT_EXAMPLES:
                return f"{name!r} needs its arguments, as {INIT_EXAMPLES[name]}."
            return f"{briefly(name)} is not an init.{did_you_mean(name, known, 'init')}"
        except ValueError as error:
            return str(error)
        is_scheme, has_biases = name not in initializers.SHAPES, schemes.own_biases(name) is not None
        is_scaled = schemes.shape_of(name) == initializers.UNIT_VARIANCE
        return InitKind(name, is_scheme, schemes.is_predicted(name), has_biases, is_scaled)

    def check_data(inputs: Inputs, train: Train | None) -> list[Problem]:
        return [*check_inputs(inputs), *(check_dataset(train) if train is not None else [])]

    return Vocabulary(
        activations=tuple(sorted(ACTIVATIONS)),
        check_activation=check_activation,
        check_threshold=check_threshold,
        inits=tuple(dict.fromkeys((*initializers.SHAPES, *schemes.SCHEMES, *schemes.SCHEMES.makers))),
        check_init=check_init,
        blocks=(*BLOCKS, *BLOCKS.makers),
        check_block=check_block,
        gradient_mib=lambda layers, rows, width, normalization, block: backward.gradient_mib(
            layers, rows, width, normalization, BLOCKS.find(block)
        ),
        optimizers=tuple(trainer.OPTIMIZERS),
        check_options=trainer.unknown_options,
        sources=tuple(SOURCES),
        check_data=check_data,
    )


def draw_of(init: str) -> Draw:
    """What an init draws, and how its own biases are drawn."""
    return Draw(schemes.shape_of(init), schemes.own_bias_law(init))


def planner(
    cores: int,
    speedup: float = 1.0,
    together: Callable[[int, int], int] | None = None,
    *,
    imports: bool = False,
    least_parts: int = LEAST_PARTS,
    devices: int = 1,
) -> Planner:
    """A planner that knows the numerics.

    speedup: of an accelerator over the cores, as an estimate. together: how many networks of a (width, depth) are
    trained at once (`Training.together`). imports: whether activations given by import path may be asked if they are
    homogeneous; else they count as not. least_parts, devices: as in `Planner`.
    """
    return Planner(
        draw_of=draw_of,
        skip=lambda block: BLOCKS.find(block).skip,
        multiplications=lambda block, width, positions: multiplications(BLOCKS.find(block), width, positions),
        entries=lambda block, width: entries(BLOCKS.find(block), width),
        units=lambda block, width: measured_units(BLOCKS.find(block), width),
        updates=lambda block: len(BLOCKS.find(block).updates),
        one_pass=lambda name: (imports or not is_import_path(name)) and activation(name).homogeneous,
        flops_a_second=FLOPS_A_CORE * cores * speedup,
        together=together or (lambda width, depth: trainer.CPU_BLOCK),
        fixed_points=theories.count_fixed_points,
        in_a_block=lambda rows, width: batches.size(1, rows, width, 0.0, "cpu" if speedup == 1 else "accelerator"),
        predicting=theories.layer_seconds,
        tables=theories.tables_seconds,
        lanes=min(LANES, cores),
        least_parts=least_parts,
        devices=devices,
    )


def import_paths(sweep: Sweep) -> list[str]:
    """The activations and inits of a sweep that are functions of the user's own."""
    return [name for name in (*sweep.grid.activation, *sweep.grid.init) if is_import_path(name)]


def fingerprints(sweep: Sweep) -> dict[str, dict[str, str]]:
    """What the user's own functions return, by what they are of and by import path: activations at fixed points, values
    before slopes, and inits from a fixed key."""
    of_activations = {
        name: probing.fingerprint(activation(name)) for name in sweep.grid.activation if is_import_path(name)
    }
    of_inits = {
        name: own_inits.fingerprint(own_inits.OWN_INITS.find(name)) for name in sweep.grid.init if is_import_path(name)
    }
    return {
        kind: {name: " ".join(f"{value:.12g}" for value in probed) for name, probed in values.items()}
        for kind, values in (("activations", of_activations), ("inits", of_inits))
        if values
    }


def activation_notes(sweep: Sweep) -> list[str]:
    """What could not be learned of activations given by import path."""
    return [note for name in sweep.grid.activation for note in activation(name).notes]
