"""Many classifiers trained at once: the compiled loop of optax steps and evaluations.

Each network has its own learning rate and optimizer state; all of a block share the minibatches. One program
serves any number of steps, so that whoever calls can watch, and stop, between two evaluations.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from winit_jax.numerics import meshes
from winit_jax.numerics.blocks import DENSE, Block, entries, measured_units
from winit_jax.numerics.training import beginning
from winit_jax.numerics.training import classifier as training
from winit_jax.numerics.training.beginning import Trainee
from winit_jax.numerics.training.classifier import (
    NORM_MOMENTUM,
    Architecture,
    Data,
    Evaluation,
    Moments,
    Parameters,
    Scales,
    network_axis,
)
from winit_jax.registry import Registry

_NAMES = (
    "sgd", "adam", "adamw", "adagrad", "adadelta", "adamax", "amsgrad", "adabelief", "lamb", "lion", "nadam", "radam",
    "rmsprop", "yogi",
)  # fmt: skip
OPTIMIZERS: Registry[Callable[..., optax.GradientTransformation]] = Registry(
    "an optimizer", {name: getattr(optax, name) for name in _NAMES}
)
# Options that are no numbers, or that sweeps set by an axis.
NOT_OPTIONS = ("learning_rate", "accumulator_dtype", "mu_dtype", "mask")
# Networks that are trained together on a CPU: enough to share a minibatch, few enough to stay in cache.
CPU_BLOCK = 16
# Steps run in stretches of about so long, each at most so many times the one before: whoever watches is soon heard.
STRETCH_SECONDS, STRETCH_GROWTH = 2.0, 8


@dataclass(frozen=True)
class Settings:
    """What a training is compiled for, beside its shapes. options: of the optimizer, in a fixed order.

    mesh: the devices that networks are dealt over, None for one.
    """

    network: Architecture
    optimizer: str = "sgd"
    options: tuple[tuple[str, Any], ...] = ()
    batch_size: int = 128
    data_seed: int = 0
    mesh: Mesh | None = field(default_factory=meshes.current)


class State(NamedTuple):
    """Of N networks. running: of batch normalization, else None. diverged_at: int32 [N], -1 where it did not."""

    parameters: Parameters
    optimizer: Any
    running: Moments | None
    diverged_at: jax.Array
    scales: Scales


def unknown_options(optimizer: str, options: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """The options that an optimizer does not have, each with those that it has."""
    known = tuple(key for key in inspect.signature(OPTIMIZERS[optimizer]).parameters if key not in NOT_OPTIONS)
    return [(option, known) for option in options if option not in known]


def training_mib(
    features: int, width: int, depth: int, classes: int, batch_size: int, block: Block = DENSE, positions: int = 1
) -> float:
    """Memory of one network in training: parameters, gradients, two moments of each, and the way forth."""
    parameters = features * width + (depth - 1) * entries(block, width) + (3 * depth + classes) * width + classes
    together = max(batch_size, training.EVALUATED_SAMPLES // depth // positions)
    held = width + (depth - 1) * measured_units(block, width)
    return float(4 * (4 * parameters + 4 * together * positions * held) / 2**20)


def block_size(one_mib: float, budget_mib: float, platform: str) -> int:
    """How many networks are trained together at most."""
    fitting = max(1, int(budget_mib / one_mib))
    return min(CPU_BLOCK, fitting) if platform == "cpu" else fitting


def begin(
    trainees: Sequence[Trainee], width: int, depth: int, features: int, classes: int, settings: Settings
) -> State:
    """The networks before training."""
    network = settings.network
    unit: dict[tuple[int, str, str], int] = {}
    of_trainees = ((trainee.seed, trainee.shape, trainee.bias_init) for trainee in trainees)
    index = np.array([unit.setdefault(drawn, len(unit)) for drawn in of_trainees])
    units = [beginning.drawn(*of_unit, width, depth, features, classes, network.block) for of_unit in unit]
    with np.errstate(over="ignore", under="ignore"):
        of_parameters = beginning.stds(trainees, network.block, width, depth)
        stds = {
            name: meshes.put(jnp.asarray(of.astype(np.float32)), settings.mesh, meshes.along(of.ndim - 1))
            for name, of in of_parameters.items()
        }
        kept = beginning.not_learnt(trainees, network.block)
    chosen = meshes.put(jnp.asarray(index), settings.mesh, meshes.DEALT)
    parameters = beginning.scaled(units, chosen, stds, settings.mesh)
    if network.before.joins_samples:  # which takes every offset of a unit of the stream out again
        outs = [place.name for update in network.block.updates for place in update.places(width) if place.role == "out"]
        for name in ("bias", *(f"bias.{place}" for place in outs)):
            parameters.pop(name, None)
    running, rows = None, network.rows(depth)

    def filled(value: float) -> jax.Array:  # a number for each unit of each row of each network
        units = jnp.full((rows, len(trainees), width), value, jnp.float32)
        return meshes.put(units, settings.mesh, meshes.along(1))

    if not network.normalization.is_none:
        parameters["scale"] = filled(1.0)
        if network.normalization.centers:
            parameters["shift"] = filled(0.0)
    if network.normalization.joins_samples:
        # Overwritten by the first minibatch; two arrays, because both are handed over to the loop.
        running = Moments(filled(0.0), filled(1.0))
    diverged_at = meshes.put(jnp.full(len(trainees), -1, jnp.int32), settings.mesh, meshes.DEALT)
    kept = meshes.put(kept, settings.mesh, meshes.DEALT)
    return State(parameters, _begin(parameters, settings), running, diverged_at, kept)


def _optimizer(settings: Settings, learning_rate: Any) -> optax.GradientTransformation:
    return OPTIMIZERS[settings.optimizer](learning_rate, **dict(settings.options))


def _axes(parameters: Parameters, settings: Settings) -> tuple[dict[str, int], Any]:
    """Axes of the networks in parameters and in the state of the optimizer."""
    axes = {name: network_axis(name) for name in parameters}
    of_one_network = jax.tree.map(
        lambda p, axis: jax.ShapeDtypeStruct(p.shape[:axis] + p.shape[axis + 1 :], p.dtype), parameters, axes
    )
    optimizer = _optimizer(settings, 1.0)
    state = jax.eval_shape(optimizer.init, of_one_network)
    return axes, optax.tree_utils.tree_map_params(
        optimizer, lambda _, axis: axis, state, axes, transform_non_params=lambda _: 0
    )


@partial(meshes.jit, static_argnames="settings")
def _begin(parameters: Parameters, settings: Settings) -> Any:
    axes, state_axes = _axes(parameters, settings)
    run = jax.vmap(_optimizer(settings, 1.0).init, in_axes=(axes,), out_axes=state_axes)
    given, found = (jax.tree.map(meshes.along, each) for each in (axes, state_axes))
    return meshes.on_each(run, settings.mesh, (given,), found)(parameters)


def _lying(parameters: Parameters, settings: Settings) -> Any:
    """How the state of networks lies on devices, as `meshes.on_each` wants to know it: a `State`."""
    lying: Any = [jax.tree.map(meshes.along, axes) for axes in _axes(parameters, settings)]
    lying += [meshes.along(1), meshes.DEALT, meshes.DEALT]
    return State(*lying)


@partial(meshes.jit, static_argnames="settings", donate_argnames="state")
def learn(state: State, learning_rates: jax.Array, data: Data, start: int, stop: int, settings: Settings) -> State:
    """Train from step `start` to step `stop`. learning_rates: [N]."""
    lying = _lying(state.parameters, settings)
    given = (lying, meshes.DEALT, meshes.SHARED, meshes.SHARED, meshes.SHARED)
    run = meshes.on_each(partial(_learn, settings=settings), settings.mesh, given, lying)
    learnt: State = run(state, learning_rates, data, start, stop)
    return learnt


def _learn(
    state: State, learning_rates: jax.Array, data: Data, start: jax.Array, stop: jax.Array, settings: Settings
) -> State:
    """`learn` on one device."""
    axes, state_axes = _axes(state.parameters, settings)

    def update(
        gradients: Parameters, optimizer: Any, parameters: Parameters, learning_rate: jax.Array
    ) -> tuple[Any, Any]:
        updates, optimizer = _optimizer(settings, learning_rate).update(gradients, optimizer, parameters)
        return optax.apply_updates(parameters, updates), optimizer

    updated: Callable[..., tuple[Any, Any]] = jax.vmap(
        update, in_axes=(axes, state_axes, axes, 0), out_axes=(axes, state_axes)
    )

    def step(number: jax.Array, state: State) -> State:
        loss, moments, gradients = _gradients(state, data, number, settings)
        parameters, optimizer = updated(gradients, state.optimizer, state.parameters, learning_rates)
        running = state.running and moments and _averaged(state.running, moments, number)
        return State(parameters, optimizer, running, _diverged(state.diverged_at, loss, number), state.scales)

    learnt: State = jax.lax.fori_loop(start, stop, step, state)
    return learnt


@partial(meshes.jit, static_argnames="settings")
def evaluate(state: State, data: Data, step: int, settings: Settings) -> tuple[jax.Array, Evaluation]:
    """(Where each network diverged or -1, how it stands at this step).

    Where it has diverged, losses and the like are NaN, and counts say nothing.
    """
    given = (_lying(state.parameters, settings), meshes.SHARED, meshes.SHARED)
    run = meshes.on_each(partial(_evaluate, settings=settings), settings.mesh, given, meshes.DEALT)
    found: tuple[jax.Array, Evaluation] = run(state, data, step)
    return found


def _evaluate(state: State, data: Data, step: jax.Array, settings: Settings) -> tuple[jax.Array, Evaluation]:
    """`evaluate` on one device."""
    _, moments, gradients = _gradients(state, data, step, settings)
    # Before training, batch normalization has seen the first minibatch alone.
    running = state.running and jax.tree.map(partial(jnp.where, step == 0), moments, state.running)
    network_settings = (settings.network, state.scales, running)
    train = training.evaluate(state.parameters, data.x_train, data.y_train, *network_settings)
    test = training.evaluate(state.parameters, data.x_test, data.y_test, *network_settings)
    _, last, _ = training.answer(state.parameters, data.x_train[: training.EVALUATED_SAMPLES], *network_settings)
    diverged_at = _diverged(state.diverged_at, train[0] + test[0], step)
    evaluation = Evaluation(*train, *test, training.log10_norm(gradients), training.unit_similarity(last))
    columns = evaluation._asdict()
    floats = {name: column for name, column in columns.items() if jnp.issubdtype(column.dtype, jnp.floating)}
    return diverged_at, evaluation._replace(
        **{name: jnp.where(diverged_at < 0, column, jnp.nan) for name, column in floats.items()}
    )


def _gradients(
    state: State, data: Data, step: jax.Array | int, settings: Settings
) -> tuple[jax.Array, Moments | None, Parameters]:
    """training.gradients on the minibatch of a step."""
    chosen = training.minibatch(settings.data_seed, step, len(data.x_train), settings.batch_size)
    minibatch = (data.x_train[chosen], data.y_train[chosen])
    return training.gradients(state.parameters, *minibatch, settings.network, state.scales)


def _averaged(running: Moments, moments: Moments, step: jax.Array) -> Moments:
    """Running statistics, which start as those of the first minibatch."""

    def average(earlier: jax.Array, now: jax.Array) -> jax.Array:
        return jnp.where(step == 0, now, NORM_MOMENTUM * earlier + (1 - NORM_MOMENTUM) * now)

    averages: Moments = jax.tree.map(average, running, moments)
    return averages


def _diverged(diverged_at: jax.Array, loss: jax.Array, step: jax.Array | int) -> jax.Array:
    return jnp.where((diverged_at < 0) & ~jnp.isfinite(loss), step, diverged_at)


def nothing(step: int, standing: Callable[[], dict[str, np.ndarray]]) -> None:
    """What happens between two stretches of steps where nobody watches."""


def train(
    trainees: Sequence[Trainee],
    data: Data,
    *,
    width: int,
    depth: int,
    classes: int,
    evaluated: Sequence[int],
    settings: Settings,
    padded_to: int = 0,
    between: Callable[[int, Callable[[], dict[str, np.ndarray]]], None] = nothing,
    resumed: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[Evaluation, np.ndarray]]:
    """Train N networks together; at each of the steps `evaluated`, (their evaluation, where each diverged or -1).

    evaluated: ascending, from 0. padded_to: networks that the compiled program is for, on all devices; the last one is
        repeated.
    between: told after every STRETCH_SECONDS or so, and at each evaluation, the step reached, with a function that
        copies how all stands to the host; it may raise to end the training.
    resumed: what that function gave, to go on from; its evaluations come first. What does not fit these networks is
        not used.
    Out: NumPy arrays of [N]; from the step on at which a network's loss is not finite its losses are NaN and its counts
    of right answers say nothing.
    """
    padded = [*trainees, *[trainees[-1]] * (padded_to - len(trainees))]
    rates = jnp.asarray([row.learning_rate for row in padded], jnp.float32)
    rates = meshes.put(rates, settings.mesh, meshes.DEALT)
    state = begin(padded, width, depth, data.x_train.shape[-1], classes, settings)
    evaluations: list[tuple[Evaluation, np.ndarray]] = []
    step, stretch = 0, 1
    if resumed is not None and (known := _restored(resumed, state, evaluated)) is not None:
        step, state, evaluations = known
    for row in evaluations:
        yield jax.tree.map(lambda x: x[: len(trainees)], row)

    def standing() -> dict[str, np.ndarray]:
        return _standing(step, state, evaluations)

    for stop in evaluated[len(evaluations) :]:
        while step < stop:
            until, started = min(stop, step + stretch), time.monotonic()
            state = jax.block_until_ready(learn(state, rates, data, step, until, settings))
            if until < stop or until - step == stretch:
                pace = STRETCH_SECONDS / max(time.monotonic() - started, 1e-9)
                stretch = max(1, int(stretch * min(pace, STRETCH_GROWTH)))
            step = until
            if step < stop:
                between(step, standing)
        diverged_at, evaluation = evaluate(state, data, stop, settings)
        state = state._replace(diverged_at=diverged_at)
        evaluations.append(jax.tree.map(np.asarray, (evaluation, diverged_at)))
        yield jax.tree.map(lambda x: x[: len(trainees)], evaluations[-1])
        between(step, standing)


def _standing(step: int, state: State, evaluations: Sequence[tuple[Evaluation, np.ndarray]]) -> dict[str, np.ndarray]:
    """A training as plain arrays: the step reached, every leaf of the state, every evaluation [evaluations, N]."""
    arrays = {"step": np.array(step)}
    # Copies, because the loop writes over the state that it is given.
    arrays |= {f"state/{i}": np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    if evaluations:
        of_all = jax.tree.map(lambda *x: np.stack(x), *evaluations)
        arrays |= {f"found/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(of_all))}
    return arrays


def _restored(
    arrays: Mapping[str, np.ndarray], state: State, evaluated: Sequence[int]
) -> tuple[int, State, list[tuple[Evaluation, np.ndarray]]] | None:
    """(Step, state, evaluations so far) from `_standing`; None where it is not of such networks."""
    leaves, structure = jax.tree.flatten(state)
    kept = [arrays.get(f"state/{i}") for i in range(len(leaves))]
    if any(
        array is None or array.shape != leaf.shape or array.dtype != leaf.dtype
        for array, leaf in zip(kept, leaves, strict=True)
    ):
        return None
    step, fields = int(arrays["step"]), len(Evaluation._fields)
    columns = [arrays[f"found/{i}"] for i in range(fields + 1) if f"found/{i}" in arrays]
    rows = {len(column) for column in columns} or {0}
    count = max(rows)
    due = sum(at < step for at in evaluated)
    if len(columns) not in (0, fields + 1) or len(rows) > 1 or not due <= count <= due + (step in evaluated):
        return None
    evaluations = [(Evaluation(*(c[i] for c in columns[:fields])), columns[fields][i]) for i in range(count)]
    restored = [_placed_as(array, leaf) for array, leaf in zip(kept, leaves, strict=True)]
    return step, jax.tree.unflatten(structure, restored), evaluations


def _placed_as(array: Any, leaf: jax.Array) -> jax.Array:
    """An array of the host where another one lies."""
    return jax.device_put(array, leaf.sharding) if len(leaf.devices()) > 1 else jnp.array(array)
