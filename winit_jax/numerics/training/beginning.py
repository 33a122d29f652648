"""Classifiers before training: their draws, and what scales them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from winit_jax.numerics import draws, meshes
from winit_jax.numerics.blocks import Block
from winit_jax.numerics.initializers import unit_readout
from winit_jax.numerics.normalization import NORM_EPSILON
from winit_jax.numerics.training.classifier import Parameters, Scales, network_axis


@dataclass(frozen=True)
class Trainee:
    """One network before training: its draws, the standard deviations that scale them, and what is not learnt.

    hidden_std: at each place of each update of the block; a number where it is the same at all. bias_std: of the stem,
    at each of those places and of the readout, likewise. bias_init: how biases are drawn. factors: what the weights at
    each place are multiplied by beside that, [layers behind the stem, places]; None where it is 1.
    """

    seed: int
    shape: str
    first_std: float
    hidden_std: float | tuple[float, ...]
    readout_std: float
    bias_std: float | tuple[float, ...]
    learning_rate: float
    norm_epsilon: float = NORM_EPSILON
    skip: float = 0.0
    branch: float = 1.0
    sharpness: float = 1.0
    bias_init: str = "normal"
    factors: np.ndarray | None = None


def drawn(
    seed: int, shape: str, law: str, width: int, depth: int, features: int, classes: int, block: Block
) -> dict[str, jax.Array]:
    """The unit draws of one network and its readout, by the names of `classifier.Parameters`. law: of the biases."""
    first = draws.first_layer(seed, shape, width, features, law)
    readout, readout_bias = unit_readout(seed, shape, width, classes, law)
    parameters = {"first": first.weights, "readout": readout, "readout_bias": readout_bias}
    places = tuple(update.places(width) for update in block.updates)
    if depth == 1:
        return parameters | {"bias": first.biases[None]}
    stack = draws.layer_stack(seed, shape, 2, depth - 1, places, law)
    if sum(map(len, places)) == 1:
        hidden = stack[0][0]
        return parameters | {"hidden": hidden.weights, "bias": jnp.concatenate([first.biases[None], hidden.biases])}
    for of_update, layers in zip(places, stack, strict=True):
        for place, layer in zip(of_update, layers, strict=True):
            parameters[f"hidden.{place.name}"] = layer.weights
            if place.has_bias:
                parameters[f"bias.{place.name}"] = layer.biases
    return parameters | {"bias": first.biases[None]}


def stds(trainees: Sequence[Trainee], block: Block, width: int, depth: int) -> dict[str, np.ndarray]:
    """What scales each parameter: [N] each, but [layers, N] where layers have others.

    Such are `bias`, where it holds those of every layer, and weights with factors of their own.
    """

    def of_all(name: str) -> np.ndarray:
        return np.array([getattr(trainee, name) for trainee in trainees], np.float64)

    names = [place.name for update in block.updates for place in update.places(width)]
    of_parameters = {"first": of_all("first_std"), "readout": of_all("readout_std")}
    biases = np.array([np.broadcast_to(trainee.bias_std, len(names) + 2) for trainee in trainees], np.float64).T
    of_parameters |= {"readout_bias": biases[-1], "bias": biases[:1]}
    hidden = np.array([np.broadcast_to(trainee.hidden_std, len(names)) for trainee in trainees], np.float64).T
    if any(trainee.factors is not None for trainee in trainees):
        ones = np.ones((depth - 1, len(names)))
        factors = [ones if trainee.factors is None else trainee.factors for trainee in trainees]
        hidden = hidden[:, None] * np.stack(factors, axis=-1).swapaxes(0, 1)
    if len(names) == 1:
        of_layers = np.concatenate([biases[:1], np.repeat(biases[1:2], depth - 1, axis=0)])
        return of_parameters | {"hidden": hidden[0], "bias": of_layers}
    for at, name in enumerate(names):
        of_parameters |= {f"hidden.{name}": hidden[at], f"bias.{name}": biases[1 + at]}
    return of_parameters


def not_learnt(trainees: Sequence[Trainee], block: Block) -> Scales:
    """The scales of networks in float32, without those that would change nothing."""

    def of_all(name: str) -> np.ndarray:
        return np.array([getattr(trainee, name) for trainee in trainees]).astype(np.float32)

    epsilon, skip, branch, sharpness = (of_all(name) for name in ("norm_epsilon", "skip", "branch", "sharpness"))
    return Scales(
        jnp.asarray(epsilon),
        jnp.asarray(skip) if np.any(skip) else None,
        jnp.asarray(branch) if np.any(branch != 1) else None,
        jnp.asarray(sharpness) if any(update.attends for update in block.updates) else None,
    )


@partial(meshes.jit, static_argnames="mesh")
def scaled(
    units: list[Parameters], index: jax.Array, stds: dict[str, jax.Array], mesh: Mesh | None = None
) -> Parameters:
    """Unit draws as parameters: each network's own, times its standard deviation. mesh: as of `trainer.Settings`."""

    def of_a_device(units: list[Parameters], index: jax.Array, stds: dict[str, jax.Array]) -> Parameters:
        parameters = {}
        for name in units[0]:
            axis = network_axis(name)
            chosen = jnp.take(jnp.stack([unit[name] for unit in units], axis), index, axis)
            shape = [1] * chosen.ndim
            shape[: stds[name].ndim - 1] = stds[name].shape[:-1]
            shape[axis] = len(index)
            parameters[name] = chosen * stds[name].reshape(shape)
        return parameters

    of_stds = {name: meshes.along(std.ndim - 1) for name, std in stds.items()}
    of_parameters = {name: meshes.along(network_axis(name)) for name in units[0]}
    given = (meshes.SHARED, meshes.DEALT, of_stds)
    found: Parameters = meshes.on_each(of_a_device, mesh, given, of_parameters)(units, index, stds)
    return found
