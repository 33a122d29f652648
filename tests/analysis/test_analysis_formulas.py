"""Formulas in figures: one line and one name for each as it is written, whatever number it gave."""

import numpy as np
import pandas as pd
import pytest

from support.tables import network_rows
from winit_jax.analysis.axes import expand
from winit_jax.analysis.figures.lines import lines_of
from winit_jax.analysis.selection import keep
from winit_jax.analysis.tables import in_order, is_named, tidy, varying

FORMULA = "1/sqrt(depth)"


@pytest.fixture
def frame():
    """Networks of three depths with a branch_scale of 1, and as many of the formula."""
    rows = network_rows(("relu",), gains=(1.0,), depths=(1, 4, 16), seeds=(0, 1))
    by_number = rows.assign(branch_scale=1.0, branch_scale_rule=pd.Series([None] * len(rows), dtype=object))
    by_rule = rows.assign(branch_scale=1 / np.sqrt(rows["depth"]), branch_scale_rule=FORMULA)
    both = pd.concat([by_number, by_rule], ignore_index=True)
    return both.assign(branch_scale_rule=both["branch_scale_rule"].astype(pd.CategoricalDtype([FORMULA])))


def test_a_formula_is_one_value_whatever_number_it_gave(frame):
    ready = tidy(frame)
    assert in_order(ready, "branch_scale") == ["1", FORMULA]
    assert is_named(ready, "branch_scale")
    assert "branch_scale_rule" not in ready
    assert varying(ready) == ["branch_scale", "depth", "seed"]
    assert lines_of(ready, "branch_scale", None).values == ["1", FORMULA]
    assert tidy(ready)["branch_scale"].equals(ready["branch_scale"])


def test_an_axis_without_formulas_stays_one_of_numbers(frame):
    ready = tidy(frame[frame["branch_scale_rule"].isna()])
    assert not is_named(ready, "branch_scale")
    assert in_order(ready, "branch_scale") == [1.0]


def test_rows_are_chosen_by_the_formula_as_it_is_written_or_by_a_number(frame):
    assert set(keep(frame, {"branch_scale": [FORMULA]})["branch_scale"]) == {1.0, 0.5, 0.25}
    assert keep(frame, {"branch_scale": ["1"]})["branch_scale_rule"].isna().all()
    assert len(keep(frame, {"branch_scale": ["1", FORMULA]})) == len(frame)


def test_what_a_sweep_asks_for_may_be_a_formula(frame):
    assert expand([1.0, FORMULA]) == [1, FORMULA]
    assert in_order(tidy(frame), "branch_scale", {"branch_scale": [1, 0.5, FORMULA]}) == ["1", FORMULA, "0.5"]
    plain = tidy(frame[frame["branch_scale_rule"].isna()])
    assert in_order(plain, "branch_scale", {"branch_scale": [1.0, 2.0, FORMULA]}) == [1.0, 2.0]
