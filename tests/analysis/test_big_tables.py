"""Tables that are put together over seeds as they are read: the same numbers as of all rows in pandas, to the bit."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.drawn import meshes, said
from support.tables import layer_rows, network_rows, write_run
from winit_jax.analysis import deviations, load, regimes
from winit_jax.analysis.figures import catalog
from winit_jax.analysis.scanning import points_of
from winit_jax.analysis.selection import keep, pushed
from winit_jax.analysis.statistics.cells import all_numbers, cells_of, n_seeds
from winit_jax.analysis.statistics.seeds import AGGREGATES, aggregate
from winit_jax.analysis.tables import tidy

KEYS = ["activation", "gain", "std", "std_rule", "depth"]
NUMBERS = st.one_of(st.floats(width=32), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300]))
NAMES = ["tanh", "relu", "sin"]


@st.composite
def tables(draw):
    """Rows of a table in parts: names, formulas of some rows, numbers of all kinds, and seeds that are missing."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.sampled_from([0.5, 1.0, 2.0]),
                st.sampled_from([None, "1/width", "2/width"]),
                st.integers(1, 3),
                st.integers(0, 4),
                NUMBERS,
                st.sampled_from([0.0, 0.0, 0.25, np.nan]),
            ),
            min_size=1,
            max_size=60,
        )
    )
    frame = pd.DataFrame(rows, columns=["activation", "gain", "std_rule", "depth", "seed", "value", "nonfinite"])
    frame["activation"] = pd.Categorical(frame["activation"], NAMES)
    frame["std_rule"] = pd.Categorical(frame["std_rule"], ["2/width", "1/width"])
    frame["std"] = frame["gain"] / 10
    cuts = sorted(draw(st.lists(st.integers(0, len(frame)), max_size=3)))
    return frame, [frame.iloc[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(frame)], strict=True)]


def written(folder, parts):
    paths = []
    for number, part in enumerate(parts):
        paths.append(folder / f"{number}.parquet")
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), paths[-1])
    return paths


def bits(values):
    """Of every NaN the same."""
    numbers = np.asarray(values, float)
    return np.where(np.isnan(numbers), np.nan, numbers).view(np.int64)


@settings(max_examples=30, deadline=None)
@given(table=tables())
def test_points_put_seeds_together_as_pandas_does(table, tmp_path_factory):
    frame, parts = table
    points = points_of(written(tmp_path_factory.mktemp("parts"), parts), [*KEYS, "seed"], ["value", "nonfinite"])
    plain, tidied = tidy(frame), tidy(points)
    shown = ["activation", "std", "depth"]
    for how in AGGREGATES:
        cells = aggregate(tidied, "value", shown, how)
        groups = plain.groupby(shown, observed=True)
        with np.errstate(invalid="ignore"):
            expected = groups["value"].agg(how).reset_index()
        assert bits(cells["value"]).tolist() == bits(expected["value"]).tolist(), how
        for key in shown:
            assert cells[key].tolist() == expected[key].tolist()
        assert cells["networks"].tolist() == groups.size().tolist()
        broken = plain.assign(broken=plain["nonfinite"] > 0).groupby(shown, observed=True)["broken"].any()
        assert cells["overflow"].tolist() == broken.tolist()
    assert n_seeds(points) == frame["seed"].nunique()
    some = tidied[tidied["activation"] == tidied["activation"].iloc[0]]
    rows = frame[frame["activation"] == tidied["activation"].iloc[0]]
    assert n_seeds(some) == rows["seed"].nunique()
    assert bits(all_numbers(some, "value")).tolist() == bits(rows["value"]).tolist()


@settings(max_examples=20, deadline=None)
@given(table=tables())
def test_points_have_the_values_and_types_that_rows_have(table, tmp_path_factory):
    _, parts = table
    paths = written(tmp_path_factory.mktemp("parts"), parts)
    points, rows = points_of(paths, [*KEYS, "seed"], apart=True), pd.read_parquet(paths)
    for key in (*KEYS, "seed"):
        kind, expected = points[key].dtype, rows[key].dtype
        names = rows[key].dropna().unique()
        assert kind == expected or set(names) <= set(kind.categories) <= set(expected.categories)
    there = rows[[*KEYS, "seed"]].drop_duplicates()
    order = [*KEYS, "seed"]
    words = [each.astype(str).sort_values(order).to_numpy().tolist() for each in (points[order], there)]
    assert words[0] == words[1]


def test_keys_with_more_values_than_a_cache_holds_are_told_apart(tmp_path):
    count = 40_000
    generator = np.random.default_rng(0)
    columns = {name: generator.integers(0, 10**9, count).astype(float) for name in ("gain", "std", "bias_std")}
    frame = pd.DataFrame(columns | {"seed": np.zeros(count, int), "value": np.arange(count) / 7})
    frame = pd.concat([frame, frame.assign(seed=1, value=-frame["value"])])
    points = points_of(written(tmp_path, [frame.iloc[:50_000], frame.iloc[50_000:]]), [*columns, "seed"], ["value"])
    assert len(points) == count
    assert (aggregate(points, "value", [*columns], "median")["value"] == 0).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    frame = network_rows(seeds=(0, 1, 2), depths=(1, 2, 3), widths=(10, 100))
    noise = np.random.default_rng(1).standard_normal(len(frame))
    frame["log10_act_rms"] += noise
    frame["theory_log10_act_rms"] = np.where(frame["gain"] > 0.5, frame["log10_act_rms"] - noise, np.nan)
    frame.loc[::7, "nonfinite"] = 0.5
    frame.loc[::11, ["log10_act_rms", "saturated"]] = np.nan
    frame.loc[5::13, "log10_act_rms"] = -np.inf
    frame = frame.drop(index=[3, 20])
    grid = {"gain": [0.1, 1.0, 10.0], "activation": ["tanh", "relu"], "depth": "int:1:3", "width": [10, 100]}
    return load(write_run(tmp_path_factory.mktemp("run") / "run", frame, layer_rows(frame), **grid))


OF_POINTS = [kind.name for kind in catalog.KINDS if kind.in_points and not kind.learnt]


@pytest.mark.parametrize("name", OF_POINTS)
def test_a_figure_of_points_is_that_of_rows(name, run, monkeypatch):
    chosen = {"where": {"width": 100}} if name in ("profiles", "lines") else {}
    drawn = run.plot(name, **chosen)
    monkeypatch.setattr("winit_jax.analysis.figures.sources._needs_rows", lambda *_: True)
    expected = run.plot(name, **chosen)
    assert said(drawn) == said(expected)
    for one, other in zip(drawn.axes, expected.axes, strict=True):
        for line, like in zip(one.lines, other.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), like.get_xydata())
    for one, other in zip(meshes(drawn), meshes(expected), strict=True):
        np.testing.assert_array_equal(one.get_array().filled(-9), other.get_array().filled(-9))
        assert (one.norm.vmin, one.norm.vmax) == (other.norm.vmin, other.norm.vmax)


def test_rows_are_left_to_the_reader_and_none_too_few(run):
    where = {"gain": "1", "activation": ["tanh"], "depth": 2, "seed": 1}
    only = pushed(run, "networks", where)
    frame = run._table("networks", only=only)
    pd.testing.assert_frame_equal(keep(frame, where), keep(run.networks, where).reset_index(drop=True))
    assert len(frame) == 2
    assert pushed(run, "networks", {"gain": 3}) is None  # which `keep` says is not there
    assert pushed(run, "networks", {}) is None


def test_deviations_and_regimes_of_points_are_those_of_rows(run):
    points = run.points("networks", ["log10_act_rms", "theory_log10_act_rms", "nonfinite", "saturated"])
    found = deviations(points)
    assert "rows" not in found.attrs
    pd.testing.assert_frame_equal(found, deviations(run.networks), check_exact=True)
    cells = cells_of(points, ["activation", "gain", "width", "depth"], ["log10_act_rms", "nonfinite", "saturated"])
    assert (
        regimes(cells.rows).value_counts().to_dict()
        == regimes(run.networks[["log10_act_rms", "nonfinite", "saturated"]]).value_counts().to_dict()
    )
