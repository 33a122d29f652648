"""Many networks at once, on the way forward: the jit and vmap of the package, with `backward`.

Networks that share their draws and static shape run together: vmap stacks their rows into one tall
matrix product with Z, and a loop walks over blocks of them, so that a block's activations stay in
cache (CPU) or fill the device (accelerators) while it goes through all layers. Of several devices each walks over
blocks of its own.

On a CPU a network's bits do not depend on what runs beside it: the shape of a block follows from that of one
network, the last block is padded, and every loop stays one however few its turns (see `loops`).
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.numerics import meshes, narrow
from winit_jax.numerics.draws import Draws, Layer
from winit_jax.numerics.measure import batches, loops
from winit_jax.numerics.measure.definitions import OF_PHI
from winit_jax.numerics.measure.layers import descend, enter
from winit_jax.numerics.measure.networks import Inputs, Networks, Settings
from winit_jax.numerics.measure.states import Measured, State
from winit_jax.numerics.measure.statistics import columns
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled


def forward(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Iterable[Draws],
    tangents: jax.Array | None,
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
    platform: str = "cpu",
    layers: int | None = None,
) -> Measured:
    """Measure every layer of N networks that share their draws.

    hidden: stacks of layers (leading axis), in order, each drawn when its turn comes; several where one
        would not fit in memory.
    tangents: directions at the first pre-activations, [samples, width]; None measures no Jacobian.
    block: networks at a time on a device; N is padded to a multiple of it. edges: histogram edges of phi, or None.
    layers: of a network; the rest of the last stack is left out. All layers by default.
    Out: NumPy arrays of [rows, N]: the stem, and every update of the layers of `hidden`.
    """
    mesh, count = settings.mesh, networks.size
    needed, devices = -(-count // block), meshes.count(mesh)
    samples, width = inputs.samples.shape[0], first.weights.shape[1]
    room = batches.of_a_call(-(-needed // devices), block, samples, width, platform)
    turns_of_all = batches.turns(needed, room, devices)
    # Which places for blocks are taken: [calls, devices, room]; the others repeat a block, and nobody computes them.
    is_taken = np.arange(room) < turns_of_all[..., None]
    of_place = np.cumsum(is_taken).reshape(len(is_taken), devices * room, 1) - 1
    chosen = np.minimum(of_place * block + np.arange(block), count - 1)
    stacked = [meshes.put(jax.tree.map(lambda x, rows=rows: x[rows], networks), mesh, meshes.DEALT) for rows in chosen]
    plain = [blocks._replace(layered=None) for blocks in stacked]

    def at_layers(blocks: Networks, start: int, count: int) -> Networks:
        """The same with what is of these layers behind the stem, the last one again for those that are left out."""
        if blocks.layered is None:
            return blocks
        there = blocks.layered.updates[0].weights[0].value.shape[-1]
        chosen = np.minimum(np.arange(start, start + count), there - 1)
        return blocks._replace(layered=jax.tree.map(lambda x: x[..., chosen], blocks.layered))

    turns = [meshes.put(of_call if mesh else of_call[0], mesh, meshes.DEALT) for of_call in turns_of_all]
    at_zero = settings.activation.at_zero
    shifted = None if edges is None else jnp.asarray(np.asarray(edges) - at_zero, jnp.float32)
    stacks = iter(hidden)
    stack, following = next(stacks, None), next(stacks, None)
    # Of each stack of layers, what each call measured: arrays of [room, layers, block, ...].
    parts: list[list[Measured]] = []
    left = sys.maxsize if layers is None else layers - 1
    if following is None:
        length = np.int32(0 if stack is None else min(left, length_of(stack)))
        shared = (first, stack, tangents, shifted, settings)
        given = plain if stack is None else [at_layers(blocks, 0, length_of(stack)) for blocks in stacked]
        parts.append(
            [_all_layers(inputs, blocks, *shared, turn, length) for blocks, turn in zip(given, turns, strict=True)]
        )
    else:
        entered = [
            _first_layer(inputs, blocks, first, tangents, shifted, settings, turn)
            for blocks, turn in zip(plain, turns, strict=True)
        ]
        start = 0
        while True:
            states = [state for state, _ in entered]
            parts.append([measured for _, measured in entered])
            if stack is None:
                break
            count_of_stack = length_of(stack)
            length = np.int32(min(left, count_of_stack))
            left -= int(length)
            entered = [
                _next_layers(state, at_layers(blocks, start, count_of_stack), stack, shifted, settings, turn, length)
                for state, blocks, turn in zip(states, stacked, turns, strict=True)
            ]
            start += count_of_stack
            stack, following = following, next(stacks, None)

    rows = None if layers is None else settings.rows(layers)
    taken = slice(needed) if mesh is None else np.flatnonzero(is_taken)

    def join(*arrays: jax.Array) -> np.ndarray:  # [devices x room, layers, block, ...] of calls -> [layers, N, ...]
        x = np.moveaxis(np.concatenate([np.asarray(of_call)[:, :rows] for of_call in arrays])[taken], 1, 0)
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :count]

    of_stacks = [jax.tree.map(join, *jax.device_get(of_calls)) for of_calls in parts]
    joined: Measured = jax.tree.map(lambda *x: np.concatenate(x)[:rows], *of_stacks)
    return joined


@partial(meshes.jit, static_argnames="settings")
def _all_layers(
    inputs: Inputs,
    stacked: Networks,
    first: Layer,
    hidden: Draws | None,
    tangents: jax.Array | None,
    edges: jax.Array | None,
    settings: Settings,
    turns: jax.Array,
    layers: jax.Array,
) -> Any:
    def one_block(networks: Networks, shared: Any) -> Any:
        inputs, first, hidden, tangents, edges, layers = shared
        states, measured = enter(inputs, networks, first, tangents, edges, settings)
        measured = jax.tree.map(lambda x: x[None], measured)
        if hidden is None:
            return measured
        _, rest = descend(jax.lax.optimization_barrier(states), networks, hidden, edges, settings, layers)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, _row_by_row(b)]), measured, rest)

    return _each_block(one_block, stacked, turns, (inputs, first, hidden, tangents, edges, layers), settings)


@partial(meshes.jit, static_argnames="settings")
def _first_layer(
    inputs: Inputs,
    stacked: Networks,
    first: Layer,
    tangents: jax.Array | None,
    edges: jax.Array | None,
    settings: Settings,
    turns: jax.Array,
) -> Any:
    def one_block(networks: Networks, shared: Any) -> Any:
        inputs, first, tangents, edges = shared
        states, measured = enter(inputs, networks, first, tangents, edges, settings)
        return states, jax.tree.map(lambda x: x[None], measured)

    return _each_block(one_block, stacked, turns, (inputs, first, tangents, edges), settings)


@partial(meshes.jit, static_argnames="settings", donate_argnames="states")
def _next_layers(
    states: State,
    stacked: Networks,
    hidden: Draws,
    edges: jax.Array | None,
    settings: Settings,
    turns: jax.Array,
    layers: jax.Array,
) -> Any:
    def one_block(block: tuple[State, Networks], shared: Any) -> tuple[State, Measured]:
        hidden, edges, layers = shared
        states, measured = descend(block[0], block[1], hidden, edges, settings, layers)
        return states, jax.tree.map(_row_by_row, measured)

    return _each_block(one_block, (states, stacked), turns, (hidden, edges, layers), settings)


def _each_block(
    one_block: Callable[[Any, Any], Any], blocks: Any, turns: jax.Array, shared: Any, settings: Settings
) -> Any:
    """What one_block(block, shared) gives of the first blocks of each device, of each as many as its `turns`.

    blocks: arrays of [devices x room, ...]. turns: [devices], a number for one device. shared: by all blocks.
    """

    def of_a_device(blocks: Any, turns: jax.Array, shared: Any) -> Any:
        turns = turns if settings.mesh is None else turns[0]
        return loops.each(lambda block: one_block(block, shared), blocks, turns)

    lying = (meshes.DEALT, meshes.DEALT, meshes.SHARED)
    return meshes.on_each(of_a_device, settings.mesh, lying, meshes.DEALT)(blocks, turns, shared)


# A stream whose exponent has passed this has overflowed: gates cube it each layer, and exponents end at 2^31.
# No other block comes near it at a depth that a sweep may have.
FARTHEST = EXPONENT_LIMIT // 2


def length_of(stack: Draws) -> int:
    """How many layers a stack of draws is of."""
    return int(stack[0][0].weights.shape[0])


def _row_by_row(x: jax.Array) -> jax.Array:
    """[layers, updates, ...] -> [rows, ...]."""
    return x.reshape(-1, *x.shape[2:])


def to_columns(
    measured: Measured,
    settings: Settings,
    *,
    samples: int,
    width: int,
    log10_scale: np.ndarray | float = 0.0,
    log10_jacobian_scale: np.ndarray | float = 0.0,
) -> dict[str, np.ndarray]:
    """The measured columns of a pass as float64 arrays of [rows, N] (see statistics.columns).

    Those of phi are NaN in rows that speak of none. samples: with their positions, as rows.
    """
    sums = jax.tree.map(np.asarray, measured.sums)
    tangent = measured.tangent
    if tangent is not None:  # in units of the directions' own length
        tangent = Scaled(tangent.value / tangent.value[:1], tangent.exponent)
    positions = settings.layout.positions
    found = columns(
        sums,
        np.asarray(measured.nonfinite),
        tangent,
        samples=samples // positions,
        positions=positions,
        width=width,
        inner_width=settings.units_of_phi(width),
        activation=settings.activation,
        log10_scale=log10_scale,
        log10_jacobian_scale=log10_jacobian_scale,
    )
    found |= narrow.shares(measured.lost)
    if measured.entropy is not None:
        found["attention_entropy"] = np.asarray(measured.entropy, np.float64)
    speaks = settings.has_phi(len(found["nonfinite"]))
    if not speaks.all():
        units = np.where(speaks, settings.units_of_phi(width), width)[:, None]
        found["nonfinite"] = found["nonfinite"] * settings.units_of_phi(width) / units
        of_phi = [name for name in found if name in OF_PHI]
        found |= {name: np.where(speaks[:, None], found[name], np.nan) for name in of_phi}
    lost = np.logical_or.accumulate(np.abs(sums.stream.exponent) > FARTHEST, axis=0)
    if lost.any():  # as overflow everywhere, also of what int32 no longer holds
        found = {name: np.where(lost, 1.0 if name == "nonfinite" else np.nan, values) for name, values in found.items()}
    return found
