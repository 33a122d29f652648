"""The Pallas kernel of a dense layer: product, bias, phi and statistics of a tile, read and written once.

A program has a tile of the rows and units of ONE network. It multiplies, adds the bias, applies phi, and reduces what
statistics need while the tile is in registers, so that of an array of [rows, width] there is one read and one write a
layer, where XLA makes several. Sums are of a tile by itself, about the tile's own means; `OfTiles` is put together in
`fused`.

It is written for Pallas' Triton backend, in whose arrays every side is a power of two: tiles reach over the edges, and
masks keep out what lies there. Pallas' other backend for GPUs, Mosaic GPU, has no products of float32. On a CPU Pallas
interprets it, which tests do. Pallas is imported where a program is built, for it takes a while.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from winit_jax.numerics.activations import Activation

# Sides of a tile: as many as one warp group holds in registers, and no fewer than Triton multiplies.
LEAST_SIDE, MOST_UNITS, PAIRS, DEPTH = 16, 128, 4096, 32
WARPS, STAGES = 4, 2


class Scalars(NamedTuple):
    """What a network's layer multiplies by, float32 [N].

    factor: of a product, beside the offset, for phi's argument. lower: what psi is divided by to be at the clipped
    scale, as a factor, and `raise_again` the inverse. change: of the product with the change of h.
    """

    factor: jax.Array
    lower: jax.Array
    raise_again: jax.Array
    change: jax.Array


class OfTiles(NamedTuple):
    """What the kernel writes. T tiles of rows, C of units.

    response: psi at the clipped scale, [N, rows, width]. sums: of each unit, [N, T, width]. within: about the tile's
    own means; stream_within: of the product about `product_mean`; least, most: of psi; least_argument: of u;
    change_square: sum of squares of the change; float32 [N, T, C]. rows: sums over the tile's units, [N, C, rows].
    saturated: int32 [N, T, width]. zero, nonfinite: int32 [N, T, C]. change: that of psi, [N, rows, width]; it and its
    square are None where none is carried.
    """

    response: jax.Array
    sums: jax.Array
    within: jax.Array
    stream_within: jax.Array
    least: jax.Array
    most: jax.Array
    least_argument: jax.Array
    rows: jax.Array
    saturated: jax.Array
    zero: jax.Array
    nonfinite: jax.Array
    change: jax.Array | None = None
    change_square: jax.Array | None = None


class Tile(NamedTuple):
    """How many rows and units a program has, and how many terms of a product it adds at a time."""

    rows: int
    units: int
    terms: int


def tile_of(rows: int, width: int) -> Tile:
    """The tile for a layer: powers of two, all units of one row together where there are few of them."""
    units = min(MOST_UNITS, _side(width))
    return Tile(min(PAIRS // units, _side(rows), 64), units, min(DEPTH, _side(width)))


def _side(length: int) -> int:
    return int(max(LEAST_SIDE, 1 << (length - 1).bit_length()))


def through_layer(
    response: jax.Array,
    change: jax.Array | None,
    draw: jax.Array,
    scalars: Scalars,
    product_mean: jax.Array,
    offset: jax.Array,
    activation: Activation,
    saturation_threshold: float,
    precision: str,
    *,
    interpret: bool,
) -> OfTiles:
    """psi(factor response Z + offset) of N networks, and its statistics by tiles.

    response: [N, rows, width]; change: of it, likewise, or None. draw: Z, [width, width]. product_mean: of response Z
    over rows, and offset, both [N, width]. precision: of products, in JAX's words.
    Errors: what Pallas raises where it has no such operation on the device.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    networks, rows, width = response.shape
    tile = tile_of(rows, width)
    down, across = pl.cdiv(rows, tile.rows), pl.cdiv(width, tile.units)

    # Units run fastest, so that programs side by side read the same rows.
    def place(program: Any) -> tuple[Any, Any, Any]:
        return program // (across * down), program // across % down, program % across

    def spec(shape: tuple[int | None, ...], *axes: str) -> Any:
        def index(program: Any) -> tuple[Any, ...]:
            at = dict(zip(("network", "down", "across"), place(program), strict=True))
            return tuple(at.get(axis, 0) for axis in axes)

        return pl.BlockSpec(shape, index)

    whole = tile.terms * pl.cdiv(width, tile.terms)
    of_rows = spec((None, tile.rows, whole), "network", "down", "")
    of_units = spec((None, tile.units), "network", "across")
    given = [response, draw, jnp.stack(scalars, axis=1), product_mean, offset]
    given_as = [of_rows, spec((whole, tile.units), "", "across"), spec((None, 4), "network", ""), of_units, of_units]
    array: Any = jax.ShapeDtypeStruct
    by_tile = (networks, down, across)
    of_pairs = spec((None, tile.rows, tile.units), "network", "down", "across")
    of_tile = spec((None, None, None), "network", "down", "across")
    of_unit_sums = spec((None, None, tile.units), "network", "down", "across")
    of_row_sums = spec((None, None, tile.rows), "network", "across", "down")
    pairs, number = (array(response.shape, jnp.float32), of_pairs), (array(by_tile, jnp.float32), of_tile)
    count = (array(by_tile, jnp.int32), of_tile)
    made = {
        "response": pairs,
        "sums": (array((networks, down, width), jnp.float32), of_unit_sums),
        "within": number,
        "stream_within": number,
        "least": number,
        "most": number,
        "least_argument": number,
        "rows": (array((networks, across, rows), jnp.float32), of_row_sums),
        "saturated": (array((networks, down, width), jnp.int32), of_unit_sums),
        "zero": count,
        "nonfinite": count,
    }
    if change is not None:
        given.append(change)
        given_as.append(of_rows)
        made |= {"change": pairs, "change_square": number}
    kernel = partial(
        _kernel,
        place=place,
        shape=(rows, width),
        tile=tile,
        activation=activation,
        saturation_threshold=saturation_threshold,
        precision=precision,
    )
    found = pl.pallas_call(
        kernel,
        grid=(networks * down * across,),
        in_specs=given_as,
        out_specs=[lies for _, lies in made.values()],
        out_shape=[shape for shape, _ in made.values()],
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        name="dense_layer_with_statistics",
    )(*given)
    return OfTiles(*found)


def _kernel(
    response: Any,
    draw: Any,
    scalars: Any,
    product_mean: Any,
    offset: Any,
    *rest: Any,
    place: Any,
    shape: tuple[int, int],
    tile: Tile,
    activation: Activation,
    saturation_threshold: float,
    precision: str,
) -> None:
    """One program: references to blocks of what `through_layer` is given, and of what `OfTiles` holds."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    carries = len(rest) > len(OfTiles._fields) - 2
    change = rest[0] if carries else None
    out: Any = OfTiles(*rest[carries:])
    rows, width = shape
    _, down, across = place(pl.program_id(0))
    row_is_there = down * tile.rows + jnp.arange(tile.rows) < rows
    unit_is_there = across * tile.units + jnp.arange(tile.units) < width
    is_there = row_is_there[:, None] & unit_is_there[None, :]

    def product(left: Any) -> jax.Array:
        def add(step: Any, total: jax.Array) -> jax.Array:
            chosen = pl.ds(step * tile.terms, tile.terms)
            term_is_there = step * tile.terms + jnp.arange(tile.terms) < width
            mask = row_is_there[:, None] & term_is_there[None, :]
            h = triton.load(left.at[:, chosen], mask=mask, other=0.0)
            mask = term_is_there[:, None] & unit_is_there[None, :]
            z = triton.load(draw.at[chosen, :], mask=mask, other=0.0)
            return total + jnp.dot(h, z, precision=precision)

        nothing, steps = jnp.zeros((tile.rows, tile.units)), math.ceil(width / tile.terms)
        found: jax.Array = jax.lax.fori_loop(0, steps, add, nothing)
        return found

    def there(x: jax.Array, otherwise: float | int = 0) -> jax.Array:
        return jnp.where(is_there, x, jnp.asarray(otherwise, x.dtype))

    def total(x: jax.Array, combine: Any = jnp.sum) -> jax.Array:
        """Of all pairs: first of each unit."""
        of_all: jax.Array = combine(combine(x, axis=0), axis=0)
        return of_all

    factor, lower, raise_again, of_change = (scalars[at] for at in range(4))
    made = product(response)
    # Centre first: a mean square less a squared mean loses every digit where units differ much.
    mean = triton.load(product_mean, mask=unit_is_there, other=0.0)
    out.stream_within[...] = total(jnp.square(there(made - mean)))

    u = factor * made + triton.load(offset, mask=unit_is_there, other=0.0)
    psi = activation.response(u) * lower
    unlowered = psi * raise_again
    triton.store(out.response, psi, mask=is_there)
    sums = jnp.sum(there(psi), axis=0)
    triton.store(out.sums, sums, mask=unit_is_there)
    triton.store(out.rows, jnp.sum(there(psi), axis=1), mask=row_is_there)
    height = jnp.minimum(tile.rows, rows - down * tile.rows).astype(jnp.float32)
    out.within[...] = total(jnp.square(there(psi - sums / height)))
    out.least[...] = total(there(psi, math.inf), jnp.min)
    out.most[...] = total(there(psi, -math.inf), jnp.max)
    out.least_argument[...] = total(there(u, math.inf), jnp.min)

    def ones(mask: jax.Array) -> jax.Array:
        return jnp.where(mask & is_there, 1, 0).astype(jnp.int32)

    saturated = ones(activation.is_saturated(u, unlowered, saturation_threshold))
    triton.store(out.saturated, jnp.sum(saturated, axis=0), mask=unit_is_there)
    out.zero[...] = total(ones(activation.is_zero(u, psi)))
    out.nonfinite[...] = total(ones(~jnp.isfinite(psi)))
    if change is None:
        return
    of_response = activation.slope_of_response
    slope = of_response(unlowered) if of_response else activation.slope(u)
    pushed = of_change * product(change)
    out.change_square[...] = total(jnp.square(there(pushed)))
    triton.store(out.change, slope * pushed, mask=is_there)
