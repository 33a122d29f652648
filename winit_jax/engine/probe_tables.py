"""What a probe measured as rows of its two tables, whatever measured it."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from winit_jax.columns.formats import FLOAT32
from winit_jax.columns.probed import DTYPE, PROBED
from winit_jax.numerics.laws import law_of
from winit_jax.numerics.tapping.sites import Site, Use
from winit_jax.store.probe_folder import Point

# Columns by their names, each an array with an axis for every loop that a site stands in.
Measured = Mapping[str, Mapping[str, np.ndarray]]


def tables_of(
    sites: Sequence[Site],
    uses: Mapping[str, Use],
    shapes: Mapping[str, tuple[int, ...]],
    measured: tuple[Measured, Measured],
    point: Point,
    factor_columns: Sequence[str],
) -> dict[str, pa.Table]:
    """`sites` and `parameters` of one network. measured: of both. factor_columns: those that hold the point's factors.

    Columns about a format of fewer bits are there where the network is in one.
    """
    keys: dict[str, Any] = {"seed": point.seed, **dict(zip(factor_columns, point.factors, strict=True))}
    if point.dtype != FLOAT32:
        keys[DTYPE] = point.dtype
    of_sites, of_parameters = measured
    rows = {"sites": site_rows(sites, of_sites, keys), "parameters": parameter_rows(uses, shapes, of_parameters, keys)}
    return {name: table_of(name, these, factor_columns) for name, these in rows.items()}


def site_rows(sites: Sequence[Site], measured: Measured, keys: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `sites`, in the order of the computation: one a site and turn of its loops that was gone through.

    measured: by the keys of sites. keys: the columns that all rows have, such as the seed.
    """
    names, by_key = names_of(sites), {site.key: site for site in sites}
    rows, places = [], []
    for site in sites:
        columns = measured[site.key]
        for turn in np.ndindex(*(max(length, 1) for length in site.loops)):
            if not columns["executed"][turn] > 0:
                continue
            written = "".join(f"[{number}]" for number, length in zip(turn, site.loops, strict=True) if length)
            follows = names[site.follows] if site.follows else ""
            if follows and by_key[site.follows].loops == site.loops:
                follows += written
            row = {
                "site": names[site.key] + written,
                "op": site.op,
                "kind": site.kind,
                "parameter": site.parameter,
                "shape": shape_word(site.shape),
                "fan_in": site.fan_in,
                "fan_out": site.fan_out,
                "follows": follows,
            }
            places.append(site.place(turn))
            rows.append(row | {name: float(values[turn]) for name, values in columns.items()} | dict(keys))
    for order, place in enumerate(sorted(range(len(rows)), key=places.__getitem__)):
        rows[place]["order"] = order
    return sorted(rows, key=lambda row: row["order"])


def parameter_rows(
    uses: Mapping[str, Use], shapes: Mapping[str, tuple[int, ...]], measured: Measured, keys: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of `parameters`. uses, shapes, measured: by the paths of parameters."""
    rows = []
    for path, columns in measured.items():
        use = uses.get(path)
        fans = use.fans if use else []
        fan_in, fan_out = fans[0] if fans else (0, 0)
        values = {name: float(value) for name, value in columns.items()}
        std, mean, kurtosis, far = (values[name] for name in ("std", "mean", "kurtosis", "max_over_std"))
        rows.append(
            {
                "path": path,
                "shape": shape_word(shapes[path]),
                "fan_in": fan_in,
                "fan_out": fan_out,
                "used": len(fans),
                "read": int(use is not None and use.is_read),
                "gain": values["std"] * math.sqrt(fan_in) if fan_in else math.nan,
                "law": law_of(std, mean, kurtosis, far, math.prod(shapes[path]), fan_in, fan_out),
                **values,
                **keys,
            }
        )
    return rows


def table_of(name: str, rows: Sequence[Mapping[str, Any]], factor_columns: Sequence[str]) -> pa.Table:
    """Rows as the table `sites` or `parameters`, NaN where they lack a column; those about a format are there where the
    rows are of one. factor_columns: of factors, behind the seed."""
    arrays: dict[str, pa.Array] = {}
    is_rounded = any(DTYPE in row for row in rows)
    for column in PROBED[name]:
        if column.needs and not is_rounded:
            continue
        values = [row.get(column.name, math.nan) for row in rows]
        if column.holds is str:
            arrays[column.name] = pa.array(values, pa.string()).dictionary_encode()
        else:
            arrays[column.name] = pa.array(values, pa.int64() if column.holds is int else pa.float64())
        if column.name == "seed":
            for factor in factor_columns:
                arrays[factor] = pa.array([row[factor] for row in rows], pa.float64())
    return pa.table(arrays)


def names_of(sites: Sequence[Site]) -> dict[str, str]:
    """A name for each site by its key, which with its op is that of no other site.

    The names that the function gave the place, without what all begin with, unless weights of several paths stand in a
    place of these names; else the path of its weights without a last word such as `kernel`; else that of the
    contraction that it follows; else its op. The second of a name and op has `#2` behind it.
    """
    scopes = [site.scope.split("/") for site in sites if site.scope]
    shared = 0
    while scopes and len(scopes) == len(sites) and all(len(words) > shared + 1 for words in scopes):
        if len({words[shared] for words in scopes}) > 1:
            break
        shared += 1
    weights: dict[str, set[str]] = defaultdict(set)
    for site in sites:
        weights[site.scope] |= {site.parameter} - {""}
    names: dict[str, str] = {}
    counts: dict[tuple[str, str], int] = {}
    for site in sites:
        is_told = site.scope and not (site.parameter and len(weights[site.scope]) > 1)
        own = ".".join(site.scope.split("/")[shared:]) if is_told else ""
        if not own and site.parameter:
            head, _, last = site.parameter.rpartition(".")
            own = head if head and last in ("kernel", "weight", "weights", "w", "W", "embedding") else site.parameter
        own = own or names.get(site.follows, "") or site.op
        count = counts[own, site.op] = counts.get((own, site.op), 0) + 1
        names[site.key] = own if count == 1 else f"{own}#{count}"
    return names


def shape_word(shape: Sequence[int]) -> str:
    """`8x16x64`; empty of a scalar."""
    return "x".join(map(str, shape))


def few(words: Sequence[str], most: int = 8) -> str:
    """Words as a list, the first few of many."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
