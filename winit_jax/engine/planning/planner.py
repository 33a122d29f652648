"""From a sweep to work: which networks run together, in which parts, and what it will cost."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from winit_jax.columns import OF_TRAINING
from winit_jax.columns.formats import FLOAT32
from winit_jax.engine.planning import shapes
from winit_jax.engine.planning.batches import batch_size, side_by_side
from winit_jax.engine.planning.points import Count, Draw, count_by_shape, families_by_draw, points_by_draw
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Scale, Sweep

# Seconds of work that a part of a forward sweep holds, roughly, and the most families in one job.
PART_SECONDS = 1.0
MAX_FAMILIES = 4096
# The jobs of a small sweep are spread over about this many parts all the same, so that every lane has work.
LEAST_PARTS = 8
# The share of compute.batch_mib that the signals of a job's networks may take between stacks of layers.
SIGNAL_SHARE = 0.25
# What one CPU core does, measured on AVX-512 servers with 1000 inputs (docs/performance.md): matrix products
# and, as if they were arithmetic, the statistics of each activation.
FLOPS_A_CORE = 7e10
FLOPS_AN_ACTIVATION = 80
# Of a pass in another format than float32, whose weights are of each network by itself, and which rounds.
NARROW_TIMES = 3.0


def times(dtype: str) -> float:
    """How much longer a pass takes in a format than in float32."""
    return 1.0 if dtype == FLOAT32 else NARROW_TIMES


@dataclass(frozen=True)
class Planner:
    """What planning needs to know of the numerics and the machine.

    draw_of: init -> the shape it draws, and how its own biases are drawn. one_pass: whether an activation is positively
    homogeneous. skip: block -> the skip_scale that it has by itself. multiplications: (block, width, positions) -> of a
    row in a layer; entries, units: (block, width) -> numbers that its draws hold, and that statistics read of a row;
    updates: block -> how many a layer has (`blocks.protocol`).
    flops_a_second: of the machine, as an estimate. together: how many networks of a (width, depth) are trained
    at once. fixed_points: rows of the mean_field table. in_a_block: (rows, width) -> how many networks go through the
    layers together, which takes as long for fewer. predicting: (activation, block, points) -> seconds of one layer at
    infinite width. tables: block -> seconds that its first prediction takes beside that. lanes: parts at a time.
    least_parts: over about how many parts the jobs of a small sweep are spread. devices: over which the networks of a
    part are dealt.
    """

    draw_of: Callable[[str], Draw]
    one_pass: Callable[[str], bool]
    skip: Callable[[str], float]
    multiplications: Callable[[str, int, int], int]
    entries: Callable[[str, int], int]
    units: Callable[[str, int], int]
    updates: Callable[[str], int]
    flops_a_second: float
    together: Callable[[int, int], int] = lambda width, depth: 1
    fixed_points: Callable[[Sweep], int] = lambda sweep: 0
    in_a_block: Callable[[int, int], int] = lambda rows, width: 1
    predicting: Callable[[str, str, int], float] = lambda activation, block, points: 0.0
    tables: Callable[[str], float] = lambda block: 0.0
    lanes: int = 1
    least_parts: int = LEAST_PARTS
    devices: int = 1

    def _shape_of(self, init: str) -> str:
        return self.draw_of(init).shape

    def passes(self, sweep: Sweep, activation: str, normalization: str, points: Count, dtype: str = FLOAT32) -> int:
        """How many passes serve every depth: one for all points that a homogeneous activation can share."""
        free = points.all - points.bound
        if dtype != FLOAT32:  # a rounded network is not another one rescaled
            return free
        if not self.one_pass(activation) or normalization != "none" or sweep.measure.histogram:
            return free
        return free - points.shared + (points.shared > 0)

    def layer_seconds(self, sweep: Sweep, block: str, width: int) -> float:
        """Estimated time of one layer of one network."""
        shape = shapes.of_inputs(sweep.inputs, width)
        multiplications = self.multiplications(block, width, shape.positions)
        work = 2 * multiplications + FLOPS_AN_ACTIVATION * self.units(block, width)
        return shape.rows * work / self.flops_a_second

    def stem_seconds(self, sweep: Sweep, width: int) -> float:
        """Of its first layer, whose product all networks of a block share."""
        return shapes.of_inputs(sweep.inputs, width).rows * FLOPS_AN_ACTIVATION * width / self.flops_a_second

    def family_seconds(self, sweep: Sweep, block: str, width: int, depth: int | None = None) -> float:
        """Estimated time of one pass through the deepest network, or through that of one depth alone."""
        layer_seconds = self.layer_seconds(sweep, block, width)
        measure, depths = sweep.measure, sweep.grid.depth if depth is None else [depth]
        seconds = (max(depths) - 1) * layer_seconds + self.stem_seconds(sweep, width)
        if measure.jacobian:
            seconds *= 2
        if measure.gradients:  # a way forth, and a way back from each depth with two products a layer
            seconds += 2 * layer_seconds * (max(depths) + sum(depths))
        if measure.singular_values:  # of four Jacobians, multiplied out and decomposed
            seconds += (2 * max(depths) + 20 * len(depths)) * 4 * width**3 / self.flops_a_second
        return seconds

    def parts(self, sweep: Sweep) -> Iterator[Part]:
        """The parts of a sweep in a fixed order, made as they are asked for."""
        return self._batches(sweep) if sweep.train else self._passes(sweep)

    def _batches(self, sweep: Sweep) -> Iterator[Part]:
        """Networks to train together: of one activation, normalization, width and depth, else of all kinds.

        The first batch of each program comes first, then the second of each, so that parallel lanes compile
        different programs.
        """
        grid = sweep.grid
        readouts: Sequence[Scale | None] = grid.readout_scale or [None]
        learning = list(itertools.product(grid.learning_rate or [], readouts))
        by_draw = points_by_draw(sweep, self.draw_of)
        # Those whose scales depend on depth stand in jobs of their own.
        kinds = [
            (draw, [point for point in points if point.depends_on_depth == bound])
            for draw, points in by_draw.items()
            for bound in (False, True)
        ]

        def batches(
            block: str, width: int, depth: int, position: str, normalization: str, activation: str
        ) -> Iterator[Part]:
            networks = (
                (draw, seed, replace(point, learning_rate=rate, readout_scale=readout, described=at == 0))
                for draw, points in kinds
                for seed, point, (at, (rate, readout)) in itertools.product(grid.seed, points, enumerate(learning))
            )
            size = batch_size(sweep, self.together(width, depth))
            for batch in side_by_side(networks, size, self.devices):
                yield Part(
                    tuple(
                        Job(
                            activation,
                            draw.shape,
                            normalization,
                            width,
                            seed,
                            tuple(p for *_, p in same),
                            depth,
                            block,
                            position,
                            draw.biases,
                        )
                        for (draw, seed, _), same in itertools.groupby(
                            batch, key=lambda network: (*network[:2], network[2].depends_on_depth)
                        )
                    )
                )

        programs = itertools.product(
            grid.block, grid.width, grid.depth, grid.norm_position, grid.normalization, grid.activation
        )
        waiting = [batches(*program) for program in programs]
        while waiting:
            next_parts = [(program, part) for program in waiting if (part := next(program, None)) is not None]
            waiting = [program for program, _ in next_parts]
            yield from (part for _, part in next_parts)

    def _passes(self, sweep: Sweep) -> Iterator[Part]:
        """Parts of a forward sweep, about PART_SECONDS each."""
        grid, by_draw = sweep.grid, families_by_draw(sweep, self.draw_of)
        target = min(PART_SECONDS, self.passing_seconds(sweep) / self.least_parts)
        pending: list[Job] = []
        pending_seconds, pending_families = 0.0, 0
        depths_of = {draw: [depth for of, depth in by_draw if of == draw] for draw, _ in by_draw}
        draws = itertools.product(grid.block, grid.width, depths_of, grid.seed)
        functions = list(itertools.product(grid.dtype, grid.norm_position, grid.normalization, grid.activation))
        # Activations innermost: draws are made once for all, and parallel lanes compile different programs.
        for (block, width, draw, seed), depth, (dtype, position, normalization, activation) in (
            (drawn, depth, function) for drawn in draws for depth in depths_of[drawn[2]] for function in functions
        ):
            points, skip = by_draw[draw, depth], self.skip(block)
            pass_seconds = self.family_seconds(sweep, block, width, depth) * times(dtype)
            passes = len(points)
            if depth is None:
                passes = self.passes(sweep, activation, normalization, Count.of(points, skip), dtype)
            shared = passes < len(points)
            signal_mib = shapes.of_inputs(sweep.inputs, width).rows * width * 4 / 2**20
            most = max(1, int(min(PART_SECONDS / pass_seconds, SIGNAL_SHARE * sweep.compute.batch_mib / signal_mib)))
            most = MAX_FAMILIES if shared else min(MAX_FAMILIES, most)
            chunks = -(-len(points) // most)
            for i in range(chunks):  # of near-equal size, so that few shapes are compiled
                chunk = points[i * len(points) // chunks : (i + 1) * len(points) // chunks]
                seconds = pass_seconds * len(chunk)
                if shared:
                    seconds = pass_seconds * self.passes(sweep, activation, normalization, Count.of(chunk, skip), dtype)
                full = pending_seconds + seconds > target or pending_families + len(chunk) > MAX_FAMILIES
                if pending and full:
                    yield Part(tuple(pending))
                    pending, pending_seconds, pending_families = [], 0.0, 0
                of_job = (activation, draw.shape, normalization, width, seed, tuple(chunk))
                pending.append(Job(*of_job, depth, block, position, draw.biases, dtype))
                pending_seconds += seconds
                pending_families += len(chunk)
        if pending:
            yield Part(tuple(pending))

    def training_seconds(self, sweep: Sweep, block: str, width: int, depth: int) -> float:
        """Estimated time of training one network: two products a weight on the way forth and back, and one more."""
        if (train := sweep.train) is None:
            return 0.0
        data = shapes.of_training(train)
        weights = data.features * width + (depth - 1) * self.entries(block, width) + width * shapes.classes(train)
        units = (train.steps * train.batch_size * 3 + len(train.evaluated) * data.samples) * data.positions
        return units * (2 * weights + FLOPS_AN_ACTIVATION * width * depth / 10) / self.flops_a_second

    def seconds(self, sweep: Sweep) -> float:
        """Estimated time of a whole sweep, after compiling."""
        computing = self.measuring_seconds(sweep) + self.all_training_seconds(sweep) + self.predicting_seconds(sweep)
        return computing + self.writing_seconds(sweep)

    def writing_seconds(self, sweep: Sweep) -> float:
        """Of making columns of what was measured of each layer, and files of the tables' rows."""
        size = sum(count * BYTES_A_ROW[table] for table, count in self.rows(sweep).items())
        return (LAYER_SECONDS * self._layers(sweep) + BYTE_SECONDS * size) / self.lanes

    def predicting_seconds(self, sweep: Sweep) -> float:
        """Of theory, once for all seeds."""
        grid = sweep.grid
        counts = count_by_shape(sweep, self._shape_of, 0.0).values()
        bound = sum(count.bound for count in counts)
        free = sum(count.all for count in counts) - bound
        seconds = 0.0
        for activation, block in itertools.product(grid.activation, grid.block):
            if free:
                seconds += max(grid.depth) * self.predicting(activation, block, free)
            if bound:
                seconds += sum(grid.depth) * self.predicting(activation, block, bound)
        seconds *= len(grid.width) + grid.infinite
        seconds *= len(grid.norm_position) * sum(name != "batch" for name in grid.normalization)
        return seconds / self.lanes + max(map(self.tables, grid.block), default=0.0)

    def all_training_seconds(self, sweep: Sweep) -> float:
        """Of training every network."""
        if not sweep.train:
            return 0.0
        kinds = list(itertools.product(sweep.grid.block, sweep.grid.width, sweep.grid.depth))
        a_kind = sweep.n_networks // (len(kinds) or 1)
        return a_kind * sum(self.training_seconds(sweep, *kind) for kind in kinds)

    def measuring_seconds(self, sweep: Sweep) -> float:
        """Of measuring every network as it is initialized, in a training sweep once for all learning rates."""
        bound = any(self._passes_of_a_width(sweep, block)[1] for block in sweep.grid.block)
        jobs = self._functions(sweep) * len(sweep.grid.dtype) * len(sweep.grid.seed)
        jobs *= 1 + len(sweep.grid.depth) * bound
        return self.passing_seconds(sweep, whole_blocks=True) + JOB_SECONDS / self.lanes * jobs

    def passing_seconds(self, sweep: Sweep, whole_blocks: bool = False) -> float:
        """The passes alone of that. whole_blocks: networks as they are computed, side by side, and not one by one."""
        seconds = 0.0
        for block, width in itertools.product(sweep.grid.block, sweep.grid.width):
            in_a_block = self.in_a_block(shapes.of_inputs(sweep.inputs, width).rows, width) if whole_blocks else 1
            for dtype in sweep.grid.dtype:
                free, bound = self._passes_of_a_width(sweep, block, in_a_block, dtype)
                seconds += free * self.family_seconds(sweep, block, width) * times(dtype)
                if bound:
                    of_depths = (self.family_seconds(sweep, block, width, depth) for depth in sweep.grid.depth)
                    seconds += bound * sum(of_depths) * times(dtype)
        return seconds

    def _passes_of_a_width(
        self, sweep: Sweep, block: str, in_a_block: int = 1, dtype: str = FLOAT32
    ) -> tuple[int, int]:
        """Of one block, width and format: (passes that serve every depth, those that are made anew at each depth).

        in_a_block: networks that take as long as fewer of them, in whose multiples they are counted.
        """

        grid, by_shape = sweep.grid, count_by_shape(sweep, self._shape_of, self.skip(block))
        free = bound = 0
        for function in itertools.product(grid.activation, grid.normalization, by_shape.values()):
            *_, points = function
            passes = self.passes(sweep, *function, dtype)
            alone = passes < points.all - points.bound  # one network stands for all that it is rescaled to
            free += alone - (alone - passes) // in_a_block * in_a_block
            bound -= -points.bound // in_a_block * in_a_block
        each = len(grid.norm_position) * len(grid.seed)
        return free * each, bound * each

    def summary(self, sweep: Sweep) -> dict[str, Any]:
        """Counts and estimates by arithmetic alone, without making a part."""
        grid = sweep.grid
        programs, seconds = 0, 0.0
        of_blocks = [self._passes_of_a_width(sweep, *kind) for kind in itertools.product(grid.block, [1], grid.dtype)]
        passes = sum(free + bound * len(grid.depth) for free, bound in of_blocks) * len(grid.width)
        kinds = self.kinds(sweep)
        updates = sum(map(self.updates, grid.block)) / len(grid.block)
        for name, count in self.programs(sweep).items():
            programs += count * kinds
            seconds += count * kinds * COMPILE_SECONDS[name] * updates
        rows = self.rows(sweep)
        sizes = {table: count * BYTES_A_ROW[table] for table, count in rows.items()}
        return {
            "networks": sweep.n_networks,
            "families": sum(self._families(sweep)),
            "passes": passes,
            "compilations": programs,
            "draws": len(grid.seed) * len({self.draw_of(init).shape for init in grid.init}) * len(grid.width),
            "rows": sum(rows.values()),
            "rows_by_table": rows,
            "bytes": sum(sizes.values()),
            "bytes_by_table": sizes,
            "seconds": self.seconds(sweep),
            "measuring_seconds": self.measuring_seconds(sweep),
            "compile_seconds": seconds,
        }

    def kinds(self, sweep: Sweep) -> int:
        """How many functions of how many shapes are compiled, each for all that `programs` says.

        One program serves all formats but float32, which has its own.
        """
        return self._functions(sweep) * len({dtype == FLOAT32 for dtype in sweep.grid.dtype})

    def _functions(self, sweep: Sweep) -> int:
        """Functions of the draws, whatever their format, for each width."""
        grid = sweep.grid
        functions = len(grid.activation) * len(grid.normalization) * len(grid.norm_position) * len(grid.block)
        return functions * len(grid.width)

    def programs(self, sweep: Sweep) -> dict[str, int]:
        """Programs to compile for each kind, by what they do."""
        measure = sweep.measure
        return {
            "forward": 1,
            "gradients": int(measure.gradients),
            "singular_values": int(measure.singular_values),
            "training": len(sweep.grid.depth) if sweep.train else 0,
        }

    def _families(self, sweep: Sweep) -> tuple[int, int]:
        """(Families whose layers are those of every depth, networks that are a family by themselves at each depth)."""
        grid = sweep.grid
        counts = count_by_shape(sweep, self._shape_of, 0.0).values()
        points, bound = sum(count.all for count in counts), sum(count.bound for count in counts)
        of_training = [len(getattr(grid, axis) or [None]) for axis in OF_TRAINING]
        each = sweep.n_networks // len(grid.depth) // math.prod(of_training) // points if points else 0
        return each * (points - bound), each * bound * len(grid.depth)

    def _rows_of(self, sweep: Sweep, depth: int) -> int:
        """Of a network of each block: the stem, and every update of the layers behind it."""
        return sum(1 + self.updates(block) * (depth - 1) for block in sweep.grid.block)

    def _layers(self, sweep: Sweep) -> int:
        """Rows of layers that are measured, whether or not they are written: the deepest of each family."""
        grid = sweep.grid
        free, bound = (count // len(grid.block) for count in self._families(sweep))
        of_depths = sum(self._rows_of(sweep, depth) for depth in grid.depth)
        return free * self._rows_of(sweep, max(grid.depth)) + bound // len(grid.depth) * of_depths

    def rows(self, sweep: Sweep) -> dict[str, int]:
        """Rows of every table that a run writes."""
        grid, measure = sweep.grid, sweep.measure
        free, bound = self._families(sweep)
        a_layer = measure.histogram.bins + 3 if measure.histogram else 0
        free, bound = free // len(grid.block), bound // len(grid.depth) // len(grid.block)
        of_depths = sum(self._rows_of(sweep, depth) for depth in grid.depth)
        layers = self._layers(sweep)
        rows = {
            "networks": sweep.n_networks,
            "layers": layers if measure.layers else 0,
            "gradients": (free + bound) * of_depths if measure.gradients else 0,
            "histograms": layers * a_layer,
            "gradient_histograms": layers * a_layer if measure.gradients else 0,
            "training": sweep.n_networks * len(sweep.train.evaluated) if sweep.train else 0,
            "mean_field": self.fixed_points(sweep),
            "theory": sweep.n_predictions,
        }
        return {table: count for table, count in rows.items() if count}


# Measured with `du -b` on the tables of phase (120.4 and 120.5) and quickstart (1.4), compressed; rounded up.
BYTES_A_ROW = {
    "networks": 121, "layers": 121, "gradients": 22, "histograms": 2, "gradient_histograms": 3, "training": 30,
    "mean_field": 50, "theory": 30,
}  # fmt: skip
# CPU seconds, roughly: columns of a layer of a network, from profiles of small ones, and a byte of packed rows, from a
# file of 30,000.
LAYER_SECONDS, BYTE_SECONDS = 5e-7, 2.5e-8
# Of a job beside its passes: columns and tables.
JOB_SECONDS = 0.01
# Of one program of an update while another one compiles on the other of two cores, where nothing is cached yet.
COMPILE_SECONDS = {"forward": 5.0, "gradients": 4.0, "singular_values": 3.0, "training": 4.0}
