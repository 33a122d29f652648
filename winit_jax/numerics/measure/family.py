"""The networks that share one draw, by their scales."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from winit_jax.columns.formats import Format
from winit_jax.numerics import draws
from winit_jax.numerics.blocks import DENSE, Block, Scales, entries
from winit_jax.numerics.draws import Draws, Layer, Place
from winit_jax.numerics.initializers import UNIT_VARIANCE, drawn_as
from winit_jax.numerics.measure import comparison
from winit_jax.numerics.measure.networks import Layered
from winit_jax.numerics.narrow import Limits, limits
from winit_jax.numerics.normalization import NORM_EPSILON
from winit_jax.numerics.scaled import Scaled, as_scaled

# A stack of draws may take this share of the memory of a batch.
STACK_SHARE = 0.125
# What layers may have of their own.
LAYERED = ("hidden_std", "bias_std", "block_bias_std", "epsilon", "skip", "branch", "sharpness")

Places = tuple[tuple[Place, ...], ...]


@dataclass(frozen=True)
class Family:
    """N networks on one draw. first_std, bias_std: of the stem's weights and biases, and of those of blocks, [N] each.

    hidden_std: of the blocks' weights, [N], or [places, N] where a block has several (see `places`). block_bias_std: of
    the blocks' biases likewise; None where they are as the stem's. bias_init: how biases are drawn.
    epsilon: what normalization adds to the variance, [N]; None is `normalization.NORM_EPSILON` for all. skip, branch:
    skip_scale and branch_scale, [N]; None is the block's own skip, and 1, for all. sharpness: attention_gain, [N]; None
    is 1. format: the one that the networks are rounded to, None for float32.
    layers: where layers have scales of their own, how many there are; all of these but first_std then lead with an axis
    of layers, the stem's first. None where they are the same at all.
    """

    seed: int
    shape: str
    width: int
    first_std: np.ndarray
    hidden_std: np.ndarray
    bias_std: np.ndarray
    epsilon: np.ndarray | None = None
    block: Block = DENSE
    skip: np.ndarray | None = None
    branch: np.ndarray | None = None
    sharpness: np.ndarray | None = None
    layers: int | None = None
    block_bias_std: np.ndarray | None = None
    bias_init: str = "normal"
    format: Format | None = None

    @property
    def n_networks(self) -> int:
        return len(self.first_std)

    @property
    def is_scaled_by_inputs(self) -> bool:
        """Whether the forward pass scales its weights to unit variance on the inputs."""
        return self.shape == UNIT_VARIANCE

    def rescaled(self, factors: np.ndarray) -> "Family":
        """The same family with the weights that a forward pass found, which are then given.

        factors: of the weights at each place of each row, [rows, N, places] with NaN where a row has fewer.
        """
        updates = len(self.places)
        layers = 1 + (len(factors) - 1) // updates
        stacked: dict[str, list[np.ndarray]] = {}
        for number in range(1, layers + 1):
            of_layer = self.layer(number)
            hidden = of_layer.place_stds
            if number > 1:
                rows = factors[1 + updates * (number - 2) :][:updates]
                counts = map(len, self.places)
                hidden = hidden * np.concatenate([row[:, :n].T for row, n in zip(rows, counts, strict=True)])
            beside = {name: values for name in LAYERED if (values := getattr(of_layer, name)) is not None}
            for name, values in (beside | {"hidden_std": hidden}).items():
                stacked.setdefault(name, []).append(values)
        of_layers: dict[str, Any] = {name: np.stack(values) for name, values in stacked.items()}
        first_std = self.first_std * factors[0, :, 0]
        return replace(self, shape=drawn_as(self.shape), layers=layers, first_std=first_std, **of_layers)

    def layer(self, number: int) -> "Family":
        """The family by its scales at one layer, 1 for the stem."""
        if self.layers is None:
            return self
        of_layer = {name: values[number - 1] for name in LAYERED if (values := getattr(self, name)) is not None}
        return replace(self, layers=None, **of_layer)

    @property
    def places(self) -> Places:
        """Where the weights of a layer stand, of each of the block's updates."""
        return tuple(update.places(self.width) for update in self.block.updates)

    @property
    def place_stds(self) -> np.ndarray:
        """Standard deviations of the weights at each place of each update: [places, N]."""
        count = sum(map(len, self.places))
        return np.broadcast_to(self.hidden_std, (count, self.n_networks))

    @property
    def place_bias_stds(self) -> np.ndarray:
        """Standard deviations of the biases at each place of each update, 0 where there are none: [places, N]."""
        places = [place for of_update in self.places for place in of_update]
        stds = self.bias_std if self.block_bias_std is None else self.block_bias_std
        has_bias = np.array([[place.has_bias] for place in places])
        return np.where(has_bias, np.broadcast_to(stds, (len(places), self.n_networks)), 0.0)

    @property
    def skips(self) -> np.ndarray:
        """What the stream is multiplied by beside each update: [N]."""
        return np.full(self.n_networks, self.block.skip) if self.skip is None else self.skip

    @property
    def branches(self) -> np.ndarray:
        """What each update is multiplied by: [N]."""
        return np.ones(self.n_networks) if self.branch is None else self.branch

    @property
    def sharpnesses(self) -> np.ndarray:
        """What the logits of attention are multiplied by: [N]."""
        return np.ones(self.n_networks) if self.sharpness is None else self.sharpness

    def first_layer(self, features: int) -> Layer:
        return draws.first_layer(self.seed, self.shape, self.width, features, self.bias_init)

    def stack(self, first: int, count: int) -> Draws:
        """Layers first .. first + count - 1, stacked along a leading axis."""
        return draws.layer_stack(self.seed, self.shape, first, count, self.places, self.bias_init)

    def stacked_layers(self, layers: int, budget_mib: float) -> int:
        """How many of so many layers are drawn at a time."""
        return _stacked_layers(entries(self.block, self.width), layers, budget_mib)

    def first_layers(self, features: int, layers: int, budget_mib: float, most: int, room: int = 0) -> list[Draws]:
        """The first `most` layers of a network of so many, one by one, from the stack that `forward` begins with."""
        drawn: list[Draws] = [((self.first_layer(features),),)]
        if layers > 1:
            count = self.stacked_layers(max(room, layers) - 1, budget_mib)
            stack = jax.tree.map(lambda x: np.asarray(x[: most - 1]), self.stack(2, count))
            drawn += [jax.tree.map(lambda x, at=at: x[at], stack) for at in range(min(count, most - 1, layers - 1))]
        return drawn[:most]

    def hidden_layers(self, layers: int, room: int = 0) -> Draws | None:
        """Layers 2 .. room, of which networks of so many layers read the first; None if these have none of them."""
        return self.stack(2, max(room, layers) - 1) if layers > 1 else None

    def network(self, at: int) -> comparison.Network:
        """The scales of one of the networks."""
        epsilon = NORM_EPSILON if self.epsilon is None else self.epsilon[at]
        scales = (self.skips[at], self.branches[at], self.sharpnesses[at])
        return comparison.Network(
            self.first_std[at],
            self.bias_std[at],
            self.place_stds[:, at].tolist(),
            epsilon,
            *scales,
            self.place_bias_stds[:, at].tolist(),
        )

    def network_by_layer(self, at: int, layers: int) -> list[comparison.Network]:
        """The same at each of so many layers, the stem first."""
        return [self.layer(number).network(at) for number in range(1, layers + 1)]

    def layered(self, rows: np.ndarray, normalized: bool) -> Layered | None:
        """What some of the networks multiply by in each layer behind the stem; None where it is the same in all."""
        if self.layers is None:
            return None
        each = [self.layer(number) for number in range(min(2, self.layers), self.layers + 1)]
        of_layers = [
            Layered(
                layer.updates(rows),
                as_scaled(layer.skips[rows]),
                as_scaled(layer.epsilon[rows]) if normalized and layer.epsilon is not None else None,
                layer.branch_apart(rows),
            )
            for layer in each
        ]
        stacked: Layered = jax.tree.map(lambda *x: np.stack(x, axis=1), *of_layers)
        return stacked

    def branch_apart(self, rows: np.ndarray) -> Scaled | None:
        """branch_scale of some of the networks where it is not in the scales of weights."""
        return None if self.format is None else as_scaled(self.branches[rows])

    def limits(self, rows: np.ndarray) -> Limits | None:
        """The format of some of the networks, None for float32."""
        return None if self.format is None else limits(self.format, len(rows))

    def updates(self, rows: np.ndarray) -> tuple[Scales, ...]:
        """The scales of each update of some of the networks: those of its last place with branch_scale in them.

        But of networks that are rounded, which are multiplied by it after that (`branch_apart`).
        """
        stds, biases_stds, scales = iter(self.place_stds[:, rows]), iter(self.place_bias_stds[:, rows]), []
        for update, places in zip(self.block.updates, self.places, strict=True):
            weights, biases = [], []
            for place in places:
                branch = self.branches[rows] if place is places[-1] and self.format is None else 1.0
                weights.append(as_scaled(next(stds) * branch))
                biases.append(as_scaled(next(biases_stds) * branch))
            sharpness = as_scaled(self.sharpnesses[rows]) if update.attends else None
            scales.append(Scales(tuple(weights), tuple(biases), sharpness))
        return tuple(scales)


def _stacked_layers(entries: int, hidden: int, budget_mib: float) -> int:
    """How many layers' draws, of so many numbers each, are held at a time: as nearly as many each time as can be."""
    one_mib = entries * 4 / 2**20
    most = max(1, min(hidden, int(STACK_SHARE * budget_mib / one_mib)))
    stacks = -(-hidden // most)
    return -(-hidden // max(1, stacks)) or 1
