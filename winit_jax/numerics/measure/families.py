"""All networks that share one draw: which of them run, which are another one rescaled, and their columns.

Networks of a positively homogeneous activation without bias are all the same network of unit gain, rescaled:
one of them runs, and the logarithms of the others follow from the ratios of their standard deviations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from winit_jax.columns import SINGULAR_VALUES
from winit_jax.numerics import draws, meshes
from winit_jax.numerics.blocks import DENSE, Block, Scales
from winit_jax.numerics.halving import Halving
from winit_jax.numerics.initializers import UNIT_VARIANCE
from winit_jax.numerics.measure import backward, batches, comparison
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.gradients import Readout
from winit_jax.numerics.measure.networks import Inputs, Networks, Settings, as_inputs
from winit_jax.numerics.measure.spectrum import is_one_product, spectrum_by_directions, summary
from winit_jax.numerics.measure.states import Measured
from winit_jax.numerics.scaled import as_scaled

# Beside the columns of a pass: what orthonormal weights were multiplied by at each place of each row.
FACTORS = "factors"
# Singular values are taken of the Jacobians of so many inputs, the first ones.
SPECTRUM_INPUTS = 4

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Group:
    """Networks that run together: as they are, or all as one network of unit gain and rescaled.

    positions: in the family. networks: what runs, as many or one. *_log10_ratio: [positions], of the std of the
    first and of the hidden layers over those that run. is_rescaled: whether one network stands for all.
    """

    positions: np.ndarray
    networks: Networks
    first_log10_ratio: np.ndarray
    hidden_log10_ratio: np.ndarray
    is_rescaled: bool = False

    @property
    def n_networks(self) -> int:
        return self.networks.size

    def some(self, chosen: slice) -> Networks:
        """Some of the networks that run."""
        if chosen == slice(0, self.n_networks):
            return self.networks
        of_them: Networks = jax.tree.map(lambda x: x[chosen], self.networks)
        return of_them


def of_draws(settings: Settings, shape: str, block: Block = DENSE, rounds: bool = False) -> Settings:
    """The settings of networks of such draws and blocks; one program for all shapes where none is special."""
    constant = shape == "constant" and not settings.normalization.is_none
    unit_variance = shape == UNIT_VARIANCE
    return replace(settings, constant=constant, unit_variance=unit_variance, block=block, rounds=rounds)


def can_share(family: Family) -> np.ndarray:
    """Which networks of a positively homogeneous activation are another one rescaled: [N]. None that is rounded is."""
    if family.format is not None:
        return np.zeros(family.n_networks, bool)
    without_biases = (family.bias_std == 0) & np.all(family.place_bias_stds == 0, axis=0)
    drawn = (family.first_std != 0) & (family.hidden_std != 0) & (family.branches != 0)
    can_share: np.ndarray = without_biases & drawn & (family.skips == 0)
    return can_share


def groups(family: Family, features: int, settings: Settings, shared: bool) -> Iterator[Group]:
    """The networks of a family as groups that run together. shared: whether rescaling gives all that is asked."""
    one_pass = np.zeros(family.n_networks, bool)
    can = shared and family.layers is None and settings.block.shares_gains and not family.is_scaled_by_inputs
    if can and settings.activation.homogeneous and settings.normalization.is_none:
        one_pass = can_share(family)
    if one_pass.any():
        unit = (features**-0.5, family.width**-0.5)
        of_stem, of_hidden, nothing = (as_scaled([value]) for value in (*unit, 0.0))
        networks = Networks(of_stem, nothing, (Scales((of_hidden,), (nothing,)),))
        hidden_std = family.hidden_std * family.branches
        first, hidden = (
            np.log10(stds[one_pass] / unit_std)
            for stds, unit_std in zip((family.first_std, hidden_std), unit, strict=True)
        )
        yield Group(np.flatnonzero(one_pass), networks, first, hidden, is_rescaled=True)
    if not one_pass.all():
        rest = np.flatnonzero(~one_pass)
        epsilon, skip = None, None
        stem, normalized = family.layer(1), not settings.normalization.is_none
        if stem.epsilon is not None and normalized:
            epsilon = as_scaled(stem.epsilon[rest])
        if np.any(family.skips[..., rest]):
            skip = as_scaled(stem.skips[rest])
        of_stem, bias = (as_scaled(values[rest]) for values in (stem.first_std, stem.bias_std))
        layered = family.layered(rest, normalized)
        if layered is not None and skip is None:
            layered = layered._replace(skip=None)
        networks = Networks(of_stem, bias, stem.updates(rest), epsilon, skip, layered)
        networks = networks._replace(branch=stem.branch_apart(rest), format=stem.limits(rest))
        yield Group(rest, networks, np.zeros(len(rest)), np.zeros(len(rest)))


def forward(
    family: Family,
    inputs: Inputs,
    layers: int,
    settings: Settings,
    *,
    budget_mib: float,
    platform: str,
    jacobian: bool = True,
    edges: np.ndarray | None = None,
    room: int = 0,
    halving: Halving | None = None,
) -> tuple[Columns, np.ndarray | None]:
    """(The measured columns of every row, [rows, N]; counts of a histogram, [rows, N, bins + 3], or None).

    Rows are the stem and every update of the layers behind it. room: layers of the deepest networks of the sweep, whose
    draws and programs then serve those of fewer layers too. halving: what fits in memory, as it is found out. Where the
    weights are scaled to unit variance on the inputs, FACTORS are among the columns, [rows, N, places]: see
    `Family.rescaled`.
    """
    settings = of_draws(settings, family.shape, family.block, family.format is not None)
    samples, features = inputs.samples.shape
    measured_columns: Columns = {}
    histogram = None
    for group in groups(family, features, settings, shared=edges is None):
        count = family.stacked_layers(max(room, layers) - 1, budget_mib)

        def measured_of(some: slice, group: Group = group, count: int = count) -> Measured:
            networks = group.some(some)
            on_a_device = -(-networks.size // meshes.count(settings.mesh))
            return forward_pass.forward(
                inputs,
                networks,
                family.first_layer(features),
                (
                    # The last one as long as the others, which are then one program.
                    family.stack(start, count)
                    for start in range(2, layers + 1, count)
                ),
                draws.directions(family.seed, "tangents", samples, family.width) if jacobian else None,
                settings,
                block=batches.size(on_a_device, samples, family.width, budget_mib, platform, alone=group.is_rescaled),
                edges=edges,
                platform=platform,
                layers=layers,
            )

        kind = f"{samples:,} inputs through {family.block.name} layers of width {family.width:,}"
        results = settings.rows(layers) * len(Measured._fields) * 8
        mib = partial(_mib, samples * family.width * 4 + results)
        pieces = (halving or Halving()).in_pieces(kind, group.n_networks, measured_of, mib)
        measured: Measured = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *pieces)
        jacobian_scale = (settings.layer_of(settings.rows(layers)) - 1)[:, None] * group.hidden_log10_ratio
        columns = forward_pass.to_columns(
            measured,
            settings,
            samples=samples,
            width=family.width,
            log10_scale=group.first_log10_ratio + jacobian_scale,
            log10_jacobian_scale=jacobian_scale,
        )
        if measured.factors is not None:
            columns[FACTORS] = np.ldexp(np.asarray(measured.factors.value, np.float64), measured.factors.exponent)
        _put(measured_columns, columns, group.positions, family.n_networks)
        histogram = measured.histogram  # with edges, there is one group
    return measured_columns, None if histogram is None else np.asarray(histogram)


def _mib(of_one: int, networks: int) -> float:
    """Signals and results of so many networks, at least. of_one: bytes."""
    return networks * of_one / 2**20


def gradients(
    family: Family,
    inputs: Inputs,
    labels: np.ndarray | None,
    depths: Sequence[int],
    settings: Settings,
    *,
    budget_mib: float,
    platform: str,
    edges: np.ndarray | None = None,
    room: int = 0,
    halving: Halving | None = None,
) -> tuple[Columns, np.ndarray | None]:
    """(Columns of the gradients, [N, depths, rows]; counts of a histogram, [N, rows, bins + 3], or None).

    labels: classes of the samples, for the cross-entropy of a readout; else the loss is linear. room, halving: as in
    `forward`.
    """
    settings = of_draws(settings, family.shape, family.block, family.format is not None)
    samples, features = inputs.samples.shape
    loss: Any = draws.directions(family.seed, "cotangents", samples, family.width)
    if labels is not None:
        classes, codes = np.unique(labels, return_inverse=True)
        loss = Readout(draws.readout(family.seed, family.width, len(classes)), np.asarray(codes, np.int32))
    measured_columns: Columns = {}
    deepest, counts = max(depths), None
    of_normalization = settings.normalization.name
    one_mib = backward.gradient_mib(deepest, samples, family.width, of_normalization, family.block)
    layer = settings.layer_of(settings.rows(deepest))
    for group in groups(family, features, settings, shared=labels is None and edges is None):

        def found_of(some: slice, group: Group = group) -> Any:
            networks = group.some(some)
            on_a_device = -(-networks.size // meshes.count(settings.mesh))
            return backward.gradients(
                inputs,
                networks,
                family.first_layer(features),
                family.hidden_layers(deepest, room),
                loss,
                tuple(depths),
                settings,
                block=1 if platform == "cpu" else max(1, min(on_a_device, int(budget_mib / one_mib))),
                edges=edges,
            )

        kind = f"gradients in {deepest:,} {family.block.name} layers of width {family.width:,}"
        pieces = (halving or Halving()).in_pieces(kind, group.n_networks, found_of)
        preact, weight, counts, lost = jax.tree.map(lambda *x: np.concatenate(x), *pieces)
        weight = _together(weight, family, group)
        # A gradient at layer l of a network of depth L comes back through L - l layers of weights.
        hidden = group.hidden_log10_ratio[:, None, None]
        back = (np.array(depths)[:, None] - layer) * hidden
        below = np.where(layer == 1, 0.0, group.first_log10_ratio[:, None, None]) + np.maximum(layer - 2, 0) * hidden
        of_weights = weight + back + below
        columns = {"log10_preact_grad_rms": preact + back, "log10_weight_grad_rms": of_weights, **lost}
        _put(measured_columns, columns, group.positions, family.n_networks, axis=0)
    return measured_columns, counts


def _together(weight: np.ndarray, family: Family, group: Group) -> np.ndarray:
    """log10 RMS of dLoss/dW over all weights of each row, [N, depths, rows], from those at each place.

    weight: [N or 1, depths, rows, places], of the last place of an update with branch_scale in the weights.
    """
    layers = (weight.shape[2] - 1) // len(family.places)
    of_layers = [family.layer(number).branches[group.positions] for number in range(2, layers + 2)]
    with np.errstate(divide="ignore"):
        branch = np.log10(np.abs(np.reshape(of_layers, (layers, len(group.positions))))).T[:, None]
    if family.format is not None:  # whose weights are without it
        branch = np.zeros_like(branch)
    joined = np.empty((len(branch), *weight.shape[1:3]))
    joined[:, :, 0] = weight[:, :, 0, 0]
    for at, places in enumerate(family.places):
        of_update = weight[:, :, 1 + at :: len(family.places), : len(places)]
        of_update = np.broadcast_to(of_update, (len(branch), *of_update.shape[1:])).copy()
        of_update[..., -1] += branch
        sizes = np.array([place.fan_in * place.fan_out for place in places], float)
        largest = np.max(of_update, axis=-1, keepdims=True)
        largest = np.where(np.isneginf(largest), 0.0, largest)
        with np.errstate(divide="ignore"):
            mean = np.sum(sizes * 10.0 ** (2 * (of_update - largest)), axis=-1) / sizes.sum()
            joined[:, :, 1 + at :: len(family.places)] = largest[..., 0] + 0.5 * np.log10(mean)
    return joined


def singular_values(family: Family, x: np.ndarray, depths: Sequence[int], settings: Settings, room: int = 0) -> Columns:
    """The sv_* columns, [depths, N], at the first inputs of x [samples x positions, features]. room: see `forward`."""
    settings = of_draws(settings, family.shape, family.block, family.format is not None)
    if not is_one_product(family.block):
        return _singular_values_by_directions(family, x, depths, settings)
    measured_columns: Columns = {}
    for group in groups(family, x.shape[1], settings, shared=True):
        columns = backward.singular_values(
            as_inputs(x[:SPECTRUM_INPUTS]),
            group.networks,
            family.first_layer(x.shape[1]),
            family.hidden_layers(max(depths), room),
            tuple(depths),
            settings,
        )
        log10_scale = (np.array(depths)[:, None] - 1) * group.hidden_log10_ratio
        powers = {"sv_mean_square": 2, "sv_var_square": 4}
        with np.errstate(over="ignore"):
            columns = {name: values * 10.0 ** (powers.get(name, 1) * log10_scale) for name, values in columns.items()}
        _put(measured_columns, columns, group.positions, family.n_networks)
    return measured_columns


def _singular_values_by_directions(family: Family, x: np.ndarray, depths: Sequence[int], settings: Settings) -> Columns:
    """The same for blocks that are more than one product."""
    inputs = np.asarray(x[: SPECTRUM_INPUTS * settings.layout.positions], np.float64)
    first, hidden = family.first_layer(x.shape[1]), family.hidden_layers(max(depths))
    summaries = []
    for at in range(family.n_networks):
        networks = family.network_by_layer(at, max(depths))
        stem, layers = comparison.scaled(networks, first, hidden)
        scales = comparison.of_layers(networks)
        summaries.append(summary(spectrum_by_directions(inputs, stem, layers, depths, settings, scales)))
    return {name: np.stack([columns[name] for columns in summaries], axis=1) for name in SINGULAR_VALUES}


def _put(target: Columns, columns: Columns, positions: np.ndarray, count: int, axis: int = 1) -> None:
    """Columns of some positions into those of all networks, along an axis."""
    for name, values in columns.items():
        shape = list(values.shape)
        shape[axis] = count
        whole = target.setdefault(name, np.empty(shape, values.dtype))
        whole[(slice(None),) * axis + (positions,)] = values
