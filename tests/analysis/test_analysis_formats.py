"""What formats would lose of signals of a known size: against numbers that are drawn and cast."""

import ml_dtypes
import numpy as np
import pandas as pd
import pytest

from support.tables import gradient_rows
from winit_jax.analysis import by_format, shares
from winit_jax.analysis.statistics.formats import LOST, log2_range
from winit_jax.columns.formats import FORMATS

EACH = pytest.mark.parametrize("name", list(FORMATS))
# FACTS: shares of N(0, 1) below the least normal number.
BELOW_NORMAL = {"float16": 4.869901e-5, "float8_e4m3fn": 1.246644e-2, "float8_e5m2": 4.869901e-5}


@pytest.mark.parametrize(("name", "share"), BELOW_NORMAL.items())
def test_below_the_least_normal_number_lies_the_known_share(name, share):
    found, to = shares(0.0, name).iloc[0], FORMATS[name]
    # Less what rounds up to the least normal number: half a place of 2^fraction_bits below it, of a flat density.
    last = share * 2.0 ** -(to.fraction_bits + 1)
    assert found["underflow"] + found["subnormal"] + last == pytest.approx(share, rel=1e-4)
    assert found["overflow"] == 0


@EACH
@pytest.mark.parametrize("place", ["least", "largest", "between"])
def test_shares_are_those_of_numbers_that_are_drawn_and_cast(name, place):
    to, count = FORMATS[name], 400_000
    size = {"least": 8 * to.least_subnormal, "largest": to.largest / 2, "between": 1.0}[place]
    x = size * np.random.default_rng(3).standard_normal(count)
    held = np.clip(x, -to.largest, to.largest) if not to.has_infinity else x
    with np.errstate(over="ignore"):
        cast = np.abs(held.astype(getattr(ml_dtypes, name, name)).astype(np.float64))
    measured = {
        "underflow": np.mean(cast == 0),
        "subnormal": np.mean((cast > 0) & (cast < to.least_normal)),
        "overflow": np.mean(np.abs(x) > to.overflow),
    }
    predicted = shares(np.log10(size), name).iloc[0]
    for column, share in measured.items():
        error = np.sqrt(predicted[column] * (1 - predicted[column]) / count)  # of a count of independent numbers
        assert abs(share - predicted[column]) <= 5 * error + 1e-12, column


def test_a_column_keeps_its_index_and_what_has_no_size_has_no_shares():
    column = pd.Series([0.0, -np.inf, np.nan, -400.0, 400.0], index=[3, 1, 4, 8, 9])
    found = shares(column, "bfloat16")
    assert list(found.index) == [3, 1, 4, 8, 9]
    assert found.loc[[1, 4]].isna().all(axis=None)
    assert found.loc[8].tolist() == [1, 0, 0]
    assert found.loc[9, "overflow"] == pytest.approx(1)
    pd.testing.assert_frame_equal(shares(column.tolist(), "bfloat16"), found.reset_index(drop=True))


@EACH
def test_the_range_of_a_format_loses_no_more_than_is_called_lost(name):
    low, high = log2_range(FORMATS[name])
    assert shares(low * np.log10(2), name)["underflow"].iloc[0] == pytest.approx(LOST)
    assert shares(high * np.log10(2), name)["overflow"].iloc[0] == pytest.approx(LOST)


def layers(signal, gradient):
    """A layers table of one network a gain, of layers of these sizes in powers of ten."""
    rows = gradient_rows(activations=("tanh",), gains=(0.5, 2.0), depths=(len(signal),), seeds=(0,))
    at = rows["layer"].to_numpy() - 1
    sizes = {"log10_preact_rms": np.take(signal, at), "log10_preact_grad_rms": np.take(gradient, at)}
    return rows.assign(**{name: values.astype(float) for name, values in sizes.items()})


@pytest.mark.parametrize(
    ("signal", "gradient", "verdicts"),
    [
        ((0, -9, 6), (-2, -2, -2), ["fits", "signal underflows", "signal overflows"]),
        ((0, 0, 0), (-9, 6, -2), ["gradient lost", "gradient overflows", "fits"]),
        ((0, 0, 0), (-9, -3, -2), ["gradient underflows", "fits", "fits"]),
    ],
)
def test_a_layer_is_judged_by_what_is_lost_first(signal, gradient, verdicts):
    found = by_format(layers(signal, gradient))
    assert list(found["dtype"].unique()) == list(FORMATS)
    of_float16 = found[(found["dtype"] == "float16") & (found["gain"] == 2)].sort_values("layer")
    assert of_float16["verdict"].tolist() == verdicts
    assert set(found.loc[found["dtype"] == "bfloat16", "verdict"]) == {"fits"}


def test_a_loss_scale_is_the_least_power_of_two_that_saves_a_gradient():
    found = by_format(layers((0, 0, 0), (-9, -3, -2)))
    first = found[(found["dtype"] == "float16") & (found["layer"] == 1)].iloc[0]
    scale = first["log2_loss_scale"]
    assert scale == int(scale) > 0
    lost = [shares(-9 + power * np.log10(2), "float16")["underflow"].iloc[0] for power in (scale - 1, scale)]
    assert lost[0] > LOST >= lost[1]
    rest = found[(found["dtype"] == "float16") & (found["layer"] > 1)]
    assert (rest["log2_loss_scale"] == 0).all()


def test_only_networks_of_float32_say_how_large_signals_are():
    table = layers((0, 0), (-2, -2))
    both = pd.concat([table.assign(dtype="float32"), table.assign(dtype="float16", log10_preact_rms=-np.inf)])
    pd.testing.assert_frame_equal(by_format(both), by_format(table))
    with pytest.raises(ValueError, match="has no float32 networks"):
        by_format(both[both["dtype"] == "float16"])


def test_without_gradients_the_signal_is_judged_alone():
    found = by_format(layers((0, -9), (-9, -9)).drop(columns="log10_preact_grad_rms"))
    of_float16 = found[found["dtype"] == "float16"].sort_values(["gain", "layer"])
    assert of_float16["verdict"].tolist() == ["fits", "signal underflows"] * 2
    assert found["log2_loss_scale"].isna().all()
