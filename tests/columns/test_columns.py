"""The records of columns and axes, and that everything takes them from there."""

import dataclasses
import subprocess
import sys
from typing import get_args

import pytest

from winit_jax import columns
from winit_jax.columns import AXES, COLUMNS, NEEDS, PREDICTIONS, RULES, SCALES, TABLES, Column, of_role, tables
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.spec.json_schema import json_schema
from winit_jax.spec.parts import Job, Point
from winit_jax.spec.problems import SpecError
from winit_jax.spec.reading import load_sweep
from winit_jax.spec.sweep import Grid
from winit_jax.store import schema
from winit_jax.store.unfilled import needs_met, never_filled

VOCABULARY = vocabulary()
NUMBERS = [axis for axis in AXES.values() if axis.holds is not str]


def sweep(*words):
    given = {word.partition("=")[0] for word in words}
    usual = [word for word in ("activation=tanh", "gain=1", "width=4") if word.partition("=")[0] not in given]
    return load_sweep(None, [*usual, *words], VOCABULARY)


def test_the_records_need_none_of_the_heavy_packages():
    script = (
        "import sys, winit_jax.columns, winit_jax.columns.page\n"
        "print(sorted({'jax', 'numpy', 'pandas', 'pyarrow', 'pydantic', 'matplotlib'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


@pytest.mark.parametrize("table", [*TABLES, *PREDICTIONS])
def test_a_table_has_a_name_once(table):
    names = [column.name for column in columns.columns_of(table)]
    assert len(set(names)) == len(names) > 0


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.name}-{'-'.join(column.tables)}")
def test_a_record_is_complete(column):
    assert column.definition.endswith(".")
    assert "|" not in column.definition  # it stands in a table of Markdown
    assert column.kind in columns.KINDS
    assert column.role in get_args(columns.Role)
    assert set(column.needs) <= set(NEEDS)
    assert set(column.tables) <= {*TABLES, *PREDICTIONS}
    assert bool(column.tables) == (column.role != "derived")
    assert not column.nullable or column.holds is not float  # which is NaN instead


def test_two_records_of_a_name_look_the_same_in_figures():
    for column in COLUMNS:
        for other in COLUMNS:
            if column.name == other.name:
                assert (column.words, column.kind) == (other.words, other.kind)


def test_figures_say_a_unit_after_the_label():
    words = columns.words_of()
    assert words["train_loss"] == "training loss (nats)"
    assert words["depth"] == "depth (layers)"
    assert words["test_accuracy"] == "test accuracy"


def test_a_new_statistic_is_one_record(monkeypatch):
    kurtosis = Column(
        "preact_kurtosis", "The kurtosis of `a`.", ("networks", "layers"), kind="growth", needs=("samples",)
    )
    monkeypatch.setattr(tables, "COLUMNS", (*COLUMNS, kurtosis))
    assert schema.schema("layers").names[-1] == "preact_kurtosis"
    assert "preact_kurtosis" not in schema.schema("training").names
    assert tables.words_of()["preact_kurtosis"] == "preact kurtosis"
    assert "preact_kurtosis" in tables.of_kind("growth")
    assert "preact_kurtosis" in tables.never_filled(met=())
    assert "preact_kurtosis" not in tables.never_filled(met=("samples",))


def test_a_sweep_that_asks_for_everything_fills_every_column():
    formulas = [f"{axis.name}=1/depth" for axis in AXES.values() if axis.holds is float and axis.name != "std"]
    asked = ["block=transformer(2, 1)", "init=normal,lsuv", "normalization=rms", "train.positions=rows"]
    measured = ["train.steps=1", "measure.gradients=true", "measure.singular_values=true"]
    everything = sweep(*formulas, *asked, *measured)
    # Formats are for what is not trained, has no singular values taken and no attention.
    assert needs_met(everything) == set(NEEDS) - {"formats"}
    lost = {column.name for column in COLUMNS if "formats" in column.needs}
    # One of std and gain is given.
    assert never_filled(everything) == {"std_rule", *lost}
    rounded = sweep("dtype=float32,float16", "measure.gradients=true")
    assert not lost & never_filled(rounded)
    assert "dtype" in lost & never_filled(sweep("dtype=float32"))


def test_a_rule_stands_beside_each_axis_of_numbers_where_the_grid_has_a_formula():
    assert [rule.name for rule in RULES] == [f"{axis.name}_rule" for axis in AXES.values() if axis.holds is float]
    assert {rule.role for rule in RULES} == {"rule"}
    assert of_role("rule", "mean_field") == ()
    rules = {rule.name for rule in RULES}
    assert rules & never_filled(sweep()) == rules
    assert rules - never_filled(sweep("bias_std=0,1/depth")) == {"bias_std_rule"}


@pytest.mark.parametrize(
    ("words", "lacking"),
    [
        (["block=dense"], {"site", "attention_entropy", "position_similarity"}),
        (["block=residual_conv(3)", "inputs.positions=4"], {"site", "attention_entropy"}),
        (["block=dense, attention(2)", "inputs.positions=4"], {"site"}),
        (["block=attention(2)", "inputs.positions=4"], {"site", "act_std", "saturated", "theory_log10_act_rms"}),
        (["block=transformer(2, 1)", "inputs.positions=4"], set()),
    ],
)
def test_what_a_block_cannot_fill_is_left_out(words, lacking):
    told = {"site", "attention_entropy", "position_similarity", "act_std", "saturated", "theory_log10_act_rms"}
    assert told & never_filled(sweep(*words)) == lacking


def test_a_sweep_that_measures_nothing_beside_lacks_what_nothing_fills():
    least = sweep("normalization=batch", "measure.jacobian=false", "inputs.samples=1", "width=1")
    assert needs_met(least) == {"phi"}
    lacking = {column.name for column in COLUMNS if set(column.needs) - {"phi"}}
    assert never_filled(least) == lacking | {rule.name for rule in RULES}


def test_the_grid_has_a_field_for_each_axis():
    assert [name for name in Grid.model_fields if name != "infinite"] == list(AXES)


def test_what_an_axis_changes_says_where_a_piece_of_work_holds_it():
    job, point = ({field.name for field in dataclasses.fields(kind)} for kind in (Job, Point))
    for axis in AXES.values():
        if axis.changes in ("scale", "weights"):
            assert axis.name in point or axis.changes == "weights"
            assert axis.name not in job
        elif axis.name != "init":  # a job holds the shape that it draws, its points the init
            assert axis.name in job
    assert "scale" in point  # the value of whichever axis scales the weights
    ours = [field.name for field in dataclasses.fields(Point) if field.name in SCALES]
    assert ours == list(SCALES)


@pytest.mark.parametrize("axis", NUMBERS, ids=lambda axis: axis.name)
def test_a_number_beyond_its_bounds_gets_a_sentence(axis):
    others = {"training": ["train.steps=1"], "normalization": ["normalization=layer"]}.get(axis.given_with, [])
    if axis.name == "std":
        others = ["gain="]
    with pytest.raises(SpecError, match=rf"grid\.{axis.name}: {axis.low - 1:g} is less than {axis.low:g}\."):
        sweep(*others, f"{axis.name}={axis.low - 1}")
    if axis.holds is int:
        with pytest.raises(SpecError, match=rf"grid\.{axis.name}: {axis.high + 1:,} is more than {axis.high:,}\."):
            sweep(*others, f"{axis.name}={axis.high + 1}")


def test_a_default_is_what_a_grid_has_that_does_not_give_the_axis():
    grid = load_sweep(None, ["activation=tanh", "gain=1", "train.steps=1"], VOCABULARY).grid
    for axis in AXES.values():
        if axis.default is not None:
            assert getattr(grid, axis.name) == [axis.default]


def test_the_json_schema_describes_each_axis_and_its_bounds():
    described = json_schema(VOCABULARY)["properties"]["grid"]["properties"]
    assert {name: axis["description"] for name, axis in described.items()} == {
        name: axis.definition for name, axis in AXES.items()
    }
    number = described["width"]["anyOf"][0]["anyOf"]
    assert number[0] == {"type": "integer", "minimum": 1, "maximum": 65_536}
    assert {"const": "inf"} in number
    assert described["norm_epsilon"]["default"] == 1e-5
    assert "default" not in described["gain"]
