"""Which key goes where: keys asked for stay, the rest follow an order, and what has no place is named."""

import numpy as np
import pandas as pd
import pytest

from support.tables import layer_rows, network_rows
from winit_jax.analysis.figures.page import facets
from winit_jax.analysis.figures.places import (
    MOST_PANELS,
    Places,
    arrange,
    of_isometry,
    of_layers,
    of_profiles,
    of_ranking,
    on_a_map,
)


def test_places_are_filled_in_their_order_by_what_they_prefer():
    orders = {"x": ["gain", "depth"], "y": ["depth"], "col": ["any"]}
    assert arrange(["gain", "depth", "width"], {}, orders, ()) == Places(x="gain", y="depth", col="width")
    assert arrange(["gain", "depth"], {"x": "depth"}, orders, ()) == Places(x="depth", col="gain")
    assert arrange(["std", "depth"], {"x": "gain"}, orders, ()) == Places(x="gain", y="depth")
    assert arrange(["depth", "width"], {}, orders, ["width"]) == Places(x="depth", left=("width",))


def test_a_map_keeps_its_scale_when_another_key_takes_x():
    frame = network_rows(inits=("normal", "uniform"))
    assert on_a_map(frame, {"x": "depth"}) == Places(x="depth", y="gain", col="activation", row="init")
    assert on_a_map(frame, {"y": "gain"}) == Places(x="depth", y="gain", col="activation", row="init")
    assert on_a_map(frame, {"x": "init"}) == Places(x="init", y="depth", col="activation", row="gain")


def test_a_key_of_many_numbers_gets_panels_only_if_asked_for():
    frame = network_rows(("tanh",), widths=tuple(range(1, MOST_PANELS + 2)))
    assert on_a_map(frame, {}).left == ("width",)
    assert on_a_map(frame, {"col": "width"}).left == ()


def test_a_scale_of_skips_that_is_the_own_of_each_block_wants_no_place():
    frame = network_rows(("tanh",)).assign(block="dense")
    frame = pd.concat([frame, frame.assign(block="mlp(4)", skip_scale=1.0)])
    assert on_a_map(frame, {}) == Places(x="gain", y="depth", col="block")
    given = pd.concat([frame, frame.assign(skip_scale=0.5)])
    assert {"block", "skip_scale"} <= {*on_a_map(given, {}).shown}
    assert "skip_scale" in on_a_map(frame, {}, {"skip_scale": [0.0, 1.0]}).shown


def test_a_map_of_one_point_has_axes_all_the_same():
    frame = network_rows(("tanh",), gains=(1.0,), depths=(3,), seeds=(0,))
    assert on_a_map(frame, {}) == Places(x="depth", y="seed")
    assert on_a_map(frame.drop(columns="seed"), {}) == Places(x="depth", y="bias_std")
    assert on_a_map(frame, {"y": "depth"}) == Places(x="seed", y="depth")


def test_lines_have_scales_and_panels_activations():
    frame = layer_rows(network_rows(inits=("normal", "uniform")))
    assert of_profiles(frame, {}) == Places(hue="gain", col="activation", left=("init",))
    assert of_profiles(frame, {"col": "gain"}) == Places(hue="init", col="gain", left=("activation",))
    assert of_isometry(frame, {}) == Places(hue="init", col="gain", row="activation")
    assert of_layers(frame, {}) == Places(left=("activation",))
    assert of_ranking(network_rows(widths=(1, 2)), {}) == Places(row="depth", col="activation", left=("width",))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"x": "gian"}, "x = 'gian' is not a key. Did you mean 'gain'? Keys: activation"),
        ({"x": "gain", "y": "gain"}, "x and y must be different keys."),
    ],
)
def test_what_is_no_key_gets_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=r"key") as caught:
        on_a_map(network_rows(), given)
    assert sentence in str(caught.value)


def test_keys_without_a_place_are_named_with_what_to_do():
    with pytest.raises(ValueError, match=r"width, seed take more than one value: make each an axis .* of each\."):
        Places(left=("width", "seed")).checked()
    with pytest.raises(ValueError, match=r"width takes more than one value: make it an axis .* of it\."):
        Places(left=("width",)).checked()


def test_panels_of_one_key_run_on_over_rows_of_about_equal_length():
    assert [len(row) for row in facets(None, (), "width", range(7))] == [4, 3]
    assert [len(row) for row in facets(None, (), "std", list(np.arange(16)))] == [4, 4, 4, 4]
    assert facets("depth", [1, 2], "width", [5]) == [[{"depth": 1, "width": 5}], [{"depth": 2, "width": 5}]]
    assert facets(None, (), None, ()) == [[{}]]
