"""Many networks at once, on the way back: gradients for every depth, and singular values of Jacobians.

Like `forward`, this compiles; a program serves one block of networks, however many there are.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.columns import SINGULAR_VALUES
from winit_jax.numerics import meshes, narrow
from winit_jax.numerics.blocks import DENSE, Block, entries
from winit_jax.numerics.draws import Draws, Layer
from winit_jax.numerics.measure import loops
from winit_jax.numerics.measure.gradients import Gradients, Kept, Readout, way_back, way_forth
from winit_jax.numerics.measure.networks import Inputs, Networks, Settings
from winit_jax.numerics.measure.spectrum import spectrum, summary
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.scaled import EXPONENT_LIMIT, Scaled, log10_root

# The Jacobian of depth 1 is the identity.
AT_DEPTH_ONE = dict(zip(SINGULAR_VALUES, (1.0, 1.0, 1.0, 1.0, 0.0), strict=True))


def gradient_mib(layers: int, rows: int, width: int, normalization: str, block: Block = DENSE) -> float:
    """What the way back through one network holds: its draws, and two arrays an update (four if normalized).

    rows: samples, or samples and positions.
    """
    kept = 2 if NORMALIZATIONS[normalization].is_none else 4
    return layers * (kept * len(block.updates) * rows * width + entries(block, width)) * 4 / 2**20


def gradients(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Draws | None,
    loss: jax.Array | Readout,
    depths: Sequence[int],
    settings: Settings,
    *,
    block: int,
    edges: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """log10 RMS of the gradients of N networks, for every depth, in float64: [N, depths, rows] and [..., places].

    hidden: every hidden layer to the deepest, and maybe more, which nothing reads. loss: see `gradients.way_back`.
    edges: of histograms, in units of the RMS, of the deepest network: [N, rows, bins + 3], else None.
    block: networks at a time on a device.
    dLoss/da first, dLoss/dW at each place of an update second; NaN beyond the depth. Then the histograms, and of
    networks that are rounded the columns of what that loses of dLoss/da.
    """
    shifted = None if edges is None else jnp.asarray(edges, jnp.float32)
    wanted = jnp.asarray(depths, jnp.int32)
    turns = (jnp.int32(max(depths) - 1), jnp.int32(len(depths)))
    squares = _in_blocks(
        lambda chosen: _gradients(inputs, chosen, first, hidden, loss, wanted, shifted, settings, *turns),
        _beside(hidden, networks),
        block,
        settings,
    )
    rows = settings.rows(max(depths))
    squares = jax.tree.map(lambda x: x[:, :, :rows], squares._replace(histogram=None))._replace(
        histogram=None if squares.histogram is None else squares.histogram[:, :rows]
    )
    last = np.array([settings.rows(depth) for depth in depths])
    beyond = np.arange(1, squares.preact.value.shape[2] + 1) > last[:, None]
    # Of networks that are rounded it is in the gradients.
    samples = 1 if settings.rounds else inputs.samples.shape[0] // settings.layout.positions
    preact, weight = (
        np.where(outside | _is_beyond(square), np.nan, log10_root(square) - np.log10(samples))
        for outside, square in ((beyond, squares.preact), (beyond[:, :, None], squares.weight))
    )
    lost = narrow.shares(squares.lost, "grad_")
    return preact, weight, squares.histogram, {name: np.where(beyond, np.nan, of) for name, of in lost.items()}


@partial(meshes.jit, static_argnames="settings")
def _gradients(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Draws | None,
    loss: jax.Array | Readout,
    depths: jax.Array,
    edges: jax.Array | None,
    settings: Settings,
    layers: jax.Array,
    turns: jax.Array,
) -> Gradients:
    def of_network(network: Networks, shared: Any) -> Gradients:
        inputs, first, hidden, loss, depths, edges, layers, turns = shared
        kept = way_forth(inputs.signal, first, hidden, network, settings, layers)

        def back(depth: jax.Array, edges: jax.Array | None) -> Gradients:
            return way_back(depth, kept, inputs.signal, first, hidden, network, loss, settings, edges)

        of_depths: Gradients = loops.each(lambda depth: back(depth, None), depths, turns)
        if edges is None:
            return of_depths
        return of_depths._replace(histogram=back(jnp.max(depths), edges).histogram)

    of_all: Gradients = _of_each(
        of_network, networks, (inputs, first, hidden, loss, depths, edges, layers, turns), settings
    )
    return of_all


def singular_values(
    inputs: Inputs,
    networks: Networks,
    first: Layer,
    hidden: Draws | None,
    depths: Sequence[int],
    settings: Settings,
) -> dict[str, np.ndarray]:
    """Singular values of d a_L / d a_1 for the inputs given, as the columns SINGULAR_VALUES: arrays [depths, N].

    hidden: as in `gradients`. Not for batch normalization, which joins the inputs.
    """
    if hidden is None:
        return {name: np.zeros((len(depths), networks.size)) + value for name, value in AT_DEPTH_ONE.items()}
    networks, layers = _beside(hidden, networks), jnp.int32(max(depths) - 1)
    kept = _in_blocks(lambda chosen: _slopes(inputs, chosen, first, hidden, settings, layers), networks, 1, settings)
    weights = np.asarray(hidden[0][0].weights)
    summaries = []
    for network in range(networks.size):
        of_one, scales = (jax.tree.map(lambda x, n=network: x[n], of_all) for of_all in (kept, networks))
        summaries.append(summary(spectrum(of_one, weights, scales, depths, settings)))
    return {name: np.stack([columns[name] for columns in summaries], axis=1) for name in SINGULAR_VALUES}


@partial(meshes.jit, static_argnames="settings")
def _slopes(
    inputs: Inputs, networks: Networks, first: Layer, hidden: Draws, settings: Settings, layers: jax.Array
) -> Kept:
    def of_network(network: Networks, shared: Any) -> Kept:
        inputs, first, hidden, layers = shared
        return way_forth(inputs.signal, first, hidden, network, settings, layers)

    of_all: Kept = _of_each(of_network, networks, (inputs, first, hidden, layers), settings)
    return of_all


def _of_each(of_network: Callable[[Networks, Any], Any], networks: Networks, shared: Any, settings: Settings) -> Any:
    """What of_network(network, shared) gives of each of N networks, along a leading axis.

    One by itself on a device is computed as one: under `vmap` both branches of a condition would be computed, whichever
    holds.
    """

    def of_a_device(networks: Networks, shared: Any) -> Any:
        if networks.size > 1:
            return jax.vmap(lambda network: of_network(network, shared))(networks)
        return jax.tree.map(lambda x: x[None], of_network(jax.tree.map(lambda x: x[0], networks), shared))

    lying = (meshes.DEALT, meshes.SHARED)
    return meshes.on_each(of_a_device, settings.mesh, lying, meshes.DEALT)(networks, shared)


def _is_beyond(square: Scaled) -> np.ndarray:
    """Where the exponent of a mean square is no longer one that int32 holds for sure."""
    far: np.ndarray = (np.abs(square.exponent) > EXPONENT_LIMIT) & (np.asarray(square.value) != 0)
    return far


def _beside(stack: Draws | None, networks: Networks) -> Networks:
    """Networks whose layers have scales of their own, with as many as a stack has: the last ones again."""
    if stack is None or networks.layered is None:
        return networks
    count = stack[0][0].weights.shape[0]

    def padded(x: np.ndarray) -> np.ndarray:
        return x[:, np.minimum(np.arange(count), x.shape[1] - 1)]

    return networks._replace(layered=jax.tree.map(padded, networks.layered))


def _in_blocks(run: Callable[[Networks], Any], networks: Networks, block: int, settings: Settings) -> Any:
    """What `run` gives of N networks, a block on each device (the last ones padded), joined along the first axis."""
    count, mesh = networks.size, settings.mesh
    block *= meshes.count(mesh)
    blocks = [np.minimum(np.arange(start, start + block), count - 1) for start in range(0, count, block)]
    parts = [
        run(meshes.put(jax.tree.map(lambda x, chosen=chosen: x[chosen], networks), mesh, meshes.DEALT))
        for chosen in blocks
    ]
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *jax.device_get(parts))
