"""stem_scale and readout_scale: factors of the first layer's weights, and of those that make the logits."""

import math

import numpy as np
import pytest

import winit_jax
from support.sweeps import problems, sweep
from winit_jax.engine.computing.scales import Sizes, places_of, stem
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.numerics.draws import Place
from winit_jax.spec.parts import Point
from winit_jax.store.asked import Asked
from winit_jax.store.schema import schema
from winit_jax.store.unfilled import never_filled

TRAINED = [
    "train.source=digits", "train.steps=2", "train.eval_every=2", "train.train_samples=40", "train.test_samples=10",
]  # fmt: skip


def columns_of(asked, table):
    return schema(table, never_filled(asked)).names


@pytest.mark.parametrize(("axis", "role"), [("stem_scale", "stem"), ("readout_scale", "readout")])
def test_a_factor_multiplies_the_std_of_its_layer_alone(axis, role):
    sizes = Sizes(width=64, depth=None, features=10)
    places = [stem(10, 64), *places_of("mlp(2)", 64), Place("readout", 64, 3, role="readout")]
    for init, scale in {"he_normal": None, "normal": 0.4}.items():
        bare, scaled = (Point(init, scale, 0.1, **{axis: value}) for value in (None, "4/sqrt(width)"))
        for place in places:
            before, after = (sizes.standard_deviation(point, "gain", place) for point in (bare, scaled))
            assert after == (before / 2 if place.role == role else before)
            assert sizes.bias_std(scaled, place) == 0.1


def test_the_columns_are_there_where_a_sweep_gives_the_axes():
    bare = sweep("activation=tanh", "gain=1", *TRAINED)
    asked = sweep("activation=tanh", "gain=1", "stem_scale=1,2/width", "readout_scale=0,1", *TRAINED)
    for table in ("networks", "layers", "training"):
        assert not {"stem_scale", "readout_scale", "stem_scale_rule"} & {*columns_of(bare, table)}
        of_readout = {"readout_scale"} if table != "layers" else set()
        assert {"stem_scale", "stem_scale_rule"} | of_readout <= {*columns_of(asked, table)}
    assert bare.grid.stem_scale is bare.grid.readout_scale is None
    assert {"stem_scale", "readout_scale"}.isdisjoint(bare.written)


def test_networks_that_differ_in_the_readout_are_described_once_before_training():
    asked = sweep(
        "activation=tanh", "gain=1,2", "stem_scale=1,2", "readout_scale=0,1,1/width", "learning_rate=0.1,1", *TRAINED
    )
    assert asked.n_networks == 2 * 2 * 3 * 2
    points = [point for part in planner(1).parts(asked) for job in part.jobs for point in job.points]
    assert len({*points}) == len(points) == 24
    assert sum(point.described for point in points) == 4
    assert len({point.untrained for point in points}) == 4
    assert planner(1).rows(asked)["layers"] == 4 * 5
    assert all(map(Asked(asked).point, points))
    assert not Asked(sweep("activation=tanh", "gain=1,2", "stem_scale=1", *TRAINED)).point(points[0])


def test_networks_of_another_stem_are_still_one_network_rescaled():
    words = ["activation=relu", "gain=1,2", "depth=3"]
    alone, several = (planner(1).summary(sweep(*words, *more)) for more in ([], ["stem_scale=0.5,1,1/width"]))
    assert several["passes"] == alone["passes"] == 1
    assert planner(1).summary(sweep(*words, "stem_scale=0,1"))["passes"] == 3  # of 0 nothing is another one rescaled


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["readout_scale=2"], "grid.readout_scale: nothing is trained: add a [train] table, or take it away."),
        (["stem_scale=1/layer"], "'1/layer': stem_scale is of one layer alone, which has no layer and no fans;"),
        (["stem_scale=fan_in"], "'fan_in': stem_scale is of one layer alone, which has no layer and no fans;"),
        (["readout_scale=sqrt(fan_out)", *TRAINED], "readout_scale is of one layer alone"),
        (["stem_scale=-1"], "-1 is less than 0."),
        (["stem_scal=2"], "Did you mean 'stem_scale'?"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words, sentence):
    (problem,) = problems("activation=tanh", "gain=1", *words)
    assert sentence in problem


@pytest.mark.slow
def test_the_first_layer_is_as_large_as_the_factor_says_and_theory_starts_there(tmp_path):
    axes = {"activation": ["relu", "tanh"], "init": "he_normal", "width": [16, "inf"], "depth": 3, "seed": [0, 1]}
    given = {"inputs": {"samples": 20, "features": 4}, "progress": False}
    run = winit_jax.run({**axes, "stem_scale": [1.0, 0.5]}, tmp_path / "run", **given)
    first = run.layers[run.layers["layer"] == 1].set_index(["activation", "seed", "stem_scale"]).sort_index()
    for column in ("log10_preact_rms", "theory_log10_preact_rms"):
        sizes = first[column].unstack("stem_scale")
        np.testing.assert_allclose(sizes[0.5] - sizes[1.0], math.log10(0.5), atol=1e-6)
    relu = run.networks[run.networks["activation"] == "relu"].set_index(["seed", "stem_scale"]).sort_index()
    sizes = relu["log10_act_rms"].unstack("stem_scale")
    np.testing.assert_allclose(sizes[0.5] - sizes[1.0], math.log10(0.5), atol=1e-6)
    starts = run.mean_field.groupby("activation", observed=True)["start"].agg(["min", "max"])
    np.testing.assert_allclose(starts["max"] / starts["min"], 4, rtol=0.5)
    wide = run.theory.set_index(["activation", "stem_scale"])["theory_log10_preact_rms"]
    assert wide["relu", 0.5] == pytest.approx(wide["relu", 1.0] + math.log10(0.5))
    assert winit_jax.verify(run.path).is_whole


@pytest.mark.slow
def test_a_readout_of_zeros_begins_by_guessing_and_its_factor_scales_the_logits(tmp_path):
    readouts = [0.0, 1e-3, "16/width"]
    axes = {"activation": "tanh", "init": "lecun_normal", "width": 16, "depth": 2, "readout_scale": readouts}
    train = {"source": "digits", "steps": 2, "eval_every": 2, "train_samples": 100, "test_samples": 20}
    run = winit_jax.run(axes, tmp_path / "run", train=train, progress=False)
    assert run.networks["readout_scale"].tolist() == [0.0, 1e-3, 1.0]
    assert len(run.layers) == 2
    assert "readout_scale" not in run.layers
    begun = run.training[run.training["step"] == 0].set_index("readout_scale")
    # Logits s z have losses ln 10 + O(s): of z = 0 exactly, to float32.
    assert begun.loc[0.0, "train_loss"] == pytest.approx(math.log(10), rel=1e-6)
    assert 0 < abs(begun.loc[1e-3, "train_loss"] - math.log(10)) < 1e-2
    assert abs(begun.loc[1.0, "train_loss"] - math.log(10)) > 1e-2
    assert winit_jax.verify(run.path).is_whole
