"""Sweeps over inits: every one against the float64 reference, biases in tables, and inits by import path."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import winit_jax
from support.inits import DEPTH, FACTORS, MADE, RULES, VARIANCES, fourth_moment
from support.runs import module_of_ones_own, run, winit
from support.sweeps import problems, sweep
from winit_jax.analysis.tables import varying
from winit_jax.columns import SHAPES
from winit_jax.data.datasets import load_dataset
from winit_jax.engine.computing.measuring import Measuring
from winit_jax.engine.computing.verdicts import Verdicts
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.numerics.draws import Place
from winit_jax.numerics.initializers import unit_readout, unit_weights
from winit_jax.numerics.own_inits import OWN_INITS
from winit_jax.numerics.schemes import SCHEMES, shape_of
from winit_jax.spec.difference import difference
from winit_jax.store.asked import Asked
from winit_jax.store.schema import schema
from winit_jax.store.unfilled import never_filled

OF_NUMBERS = ("he_normal(0.2)", "variance_scaling(2, fan_avg, uniform)", "siren(30)", "identity(0.5)")
# Shapes whose mean square entry is no matter of chance.
NOT_RANDOM = ("constant", "identity", "lsuv", "orthogonal", "delta_orthogonal")
SMALL = ["width=8", "depth=3", "inputs.samples=12"]
MINE = """
import pathlib
import jax, jax.numpy as jnp, numpy as np

pathlib.Path("imported").touch()

def half(key, shape): return 0.5 * jax.random.normal(key, shape)
def by_fan(key, shape): return jax.random.uniform(key, shape) / shape[0]
def nothing_drawn(key, shape): return jnp.zeros(shape)
def several(key, shape): return jnp.zeros(shape), 1
def transposed(key, shape): return jnp.zeros(shape[::-1])
def whole(key, shape): return jnp.ones(shape, int)
def nothing(key, shape): pass
def branches(key, shape): return jnp.zeros(shape) if jax.random.normal(key) > 0 else jnp.ones(shape)
def takes_more(key, shape, gain): return gain * jax.random.normal(key, shape)
def infinite(key, shape): return jnp.full(shape, jnp.inf)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module of one's own in the working directory; a file `imported` appears when it is run."""
    yield from module_of_ones_own(MINE, tmp_path, monkeypatch)


@pytest.mark.parametrize("init", [*SHAPES, *SCHEMES, *OF_NUMBERS])
def test_every_init_agrees_with_the_float64_reference(init):
    """Each in a job of its own, of which the first network is compared with float64 NumPy."""
    scale = ["gain=1.5"] if init in SHAPES else []
    asked = sweep("activation=tanh", f"init={init}", *scale, *SMALL)
    work = read_work(asked)
    verdicts = Verdicts(lambda sentence: None, 512, "cpu")
    (part,) = planner(1).parts(asked)
    (job,) = part.jobs
    _, found = Measuring(work, "cpu", verdicts).measure(job, (3,))
    assert [line.split(": ")[1] for line in verdicts.agreed] == ["3 layers agree"]
    predicted = "theory_log10_preact_rms" in found.layers
    assert predicted == (init.partition("(")[0] not in ("constant", "zeros", "identity", "lsuv"))


SCHEMES_OF_PAPERS = {**RULES, **VARIANCES, **MADE}


def test_every_name_of_the_catalog_has_a_variance_that_it_is_held_against():
    assert {*vocabulary().inits} == {*SHAPES, *(name.partition("(")[0] for name in SCHEMES_OF_PAPERS)}


@pytest.mark.slow
def test_every_name_of_the_catalog_has_weights_of_its_std_at_every_place_of_a_network():
    """Of the stem, the weights inside a block and those that are added to the stream, within standard errors."""
    shapes = {shape: lambda fan_in, fan_out: 0.3**2 for shape in SHAPES}
    width, features = 64, 96
    for init, variance in (shapes | SCHEMES_OF_PAPERS).items():
        scale, block = ["std=0.3"] if init in SHAPES else [], "conv(2)" if init == "delta_orthogonal" else "mlp(2)"
        words = ["activation=tanh", f"init={init}", *scale, f"block={block}", f"width={width}", f"depth={DEPTH}"]
        asked = sweep(*words, "inputs.samples=2", f"inputs.features={features}", "inputs.positions=2")
        (part,) = planner(1).parts(asked)
        (job,) = part.jobs
        family = Measuring(read_work(asked), "cpu", Verdicts(print, 512, "cpu"))._family(job, features)
        ((places,),) = (family.places,)
        of_stem, of_block = family.first_layer(features).weights, family.stack(2, 1)[0]
        drawn = [(of_stem, float(family.first_std[0]), Place("", features, width, role="stem"))]
        drawn += [
            (layer.weights[0], float(std), place)
            for layer, (std,), place in zip(of_block, family.place_stds, places, strict=True)
        ]
        for weights, std, place in drawn:
            factor = FACTORS.get(init, {}).get(place.role, 1)
            expected = variance(*place.fans) * factor**2
            if init.startswith("siren") and place.role == "stem":
                expected = 1 / (3 * features**2)
            spread = fourth_moment(shape_of(init)) - 1
            realised = np.mean(np.square(std * np.asarray(weights, float)))
            error = 5 * np.sqrt(spread / weights.size) * (shape_of(init) not in NOT_RANDOM) + 1e-5
            assert abs(realised - expected) <= error * expected, (init, place)


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    axes = {
        "init": ["torch_linear", "he_normal"],
        "activation": "relu",
        "width": [8, 32],
        "depth": [1, 4],
        "seed": [0, 1],
    }
    given = {"inputs": {"samples": 10, "features": 5}, "measure": {"gradients": True}, "progress": False}
    return winit_jax.run(axes, tmp_path_factory.mktemp("torch") / "run", **given)


@pytest.mark.slow
def test_tables_have_the_biases_of_hidden_layers_to_the_digit(torch_run):
    for (init, width), rows in torch_run.networks.groupby(["init", "width"], observed=True):
        of_torch = init == "torch_linear"
        assert set(rows["bias_std"]) == {np.sqrt(1 / (3 * width)) if of_torch else 0.0}
        assert set(rows["bias_init"]) == {"uniform" if of_torch else "normal"}
        assert rows["theory_log10_preact_rms"].notna().all()


def test_biases_of_an_init_s_own_are_no_axis_of_a_figure_and_the_run_is_whole(torch_run):
    assert varying(torch_run.networks) == ["init", "gain", "width", "depth", "seed"]
    assert winit_jax.verify(torch_run.path).is_whole
    assert winit_jax.status(torch_run.path).state == "done"


def test_the_first_layer_of_a_run_is_that_of_torch_s_rule(torch_run):
    """q_1 = |x|^2 / (3 features) + 1 / (3 features), as predictions say of the first layer."""
    first = torch_run.networks[(torch_run.networks["depth"] == 1) & (torch_run.networks["init"] == "torch_linear")]
    he = torch_run.networks[(torch_run.networks["depth"] == 1) & (torch_run.networks["init"] == "he_normal")]
    squares = 10 ** (2 * he["theory_log10_preact_rms"].to_numpy()) / 2  # |x|^2 / features
    expected = 0.5 * np.log10(squares / 3 + 1 / (3 * 5))
    np.testing.assert_allclose(first["theory_log10_preact_rms"].to_numpy(), expected, rtol=1e-9)


def test_mean_field_rows_have_the_biases_and_starts_of_their_networks(torch_run):
    points = torch_run.mean_field
    for width in (8, 32):
        of_width = points[np.isclose(points["bias_std"], np.sqrt(1 / (3 * width)))]
        assert len(of_width) == 1
        row = of_width.iloc[0]
        networks = torch_run.networks
        first = networks[(networks["depth"] == 1) & (networks["init"] == "torch_linear") & (networks["width"] == width)]
        assert 0.5 * np.log10(row["start"]) == pytest.approx(first["theory_log10_preact_rms"].iloc[0], rel=1e-9)
        assert row["q_star"] == pytest.approx(0.4 / width)


def test_bias_std_replaces_the_biases_of_every_init(tmp_path):
    axes = {"init": ["torch_linear", "he_normal"], "activation": "tanh", "bias_std": [0.0, 0.4], "width": 8, "depth": 2}
    found = winit_jax.run(
        {**axes, "bias_init": ["normal", "uniform", "constant"]},
        tmp_path / "run",
        inputs={"samples": 5},
        progress=False,
    )
    counts = found.networks.groupby(["init", "bias_std", "bias_init"], observed=True).size()
    assert len(counts) == 12
    assert set(counts) == {1}
    predicted = found.networks["theory_log10_preact_rms"].notna()
    assert (predicted == ((found.networks["bias_std"] == 0) | (found.networks["bias_init"] == "normal"))).all()
    bare = found.networks[found.networks["bias_std"] == 0]
    assert bare.groupby("init", observed=True)["preact_std"].nunique().eq(1).all()
    biased = found.networks[found.networks["bias_std"] > 0]
    assert biased.groupby("init", observed=True)["preact_std"].nunique().eq(3).all()


def test_at_infinite_width_biases_of_an_init_s_own_are_gone(tmp_path):
    axes = {"init": ["torch_linear", "he_normal", "identity"], "activation": "relu", "width": "inf", "depth": 3}
    theory = winit_jax.run(axes, tmp_path / "run", progress=False).theory.set_index("init")
    assert theory["bias_std"].eq(0).all()
    assert theory["bias_init"].astype(str).to_dict() == {
        "torch_linear": "uniform", "he_normal": "normal", "identity": "normal",
    }  # fmt: skip
    # sqrt(1/3), then twice a factor of sqrt(1/6).
    assert theory.loc["torch_linear", "theory_log10_preact_rms"] == pytest.approx(0.5 * np.log10(1 / 108))
    assert np.isnan(theory.loc["identity", "theory_log10_preact_rms"])


def test_without_an_init_that_has_biases_a_sweep_is_what_it_was():
    bare = sweep("activation=tanh", "gain=1", "init=normal,he_normal")
    assert (bare.grid.bias_std, bare.grid.bias_init) == ([0.0], ["normal"])
    assert bare.written["bias_std"] == 0.0
    assert "bias_init" not in bare.written
    assert [*bare.written][:4] == ["activation", "init", "gain", "bias_std"]
    own = sweep("activation=tanh", "gain=1", "init=normal,torch_linear")
    assert (own.grid.bias_std, own.grid.bias_init) == (None, None)
    assert own.n_networks == 2
    asked = Asked(own)
    jobs = [job for part in planner(1).parts(own) for job in part.jobs]
    assert sorted((job.shape, job.bias_init) for job in jobs) == [("normal", "normal"), ("uniform", "uniform")]
    assert all(asked.job(job) and all(map(asked.point, job.points)) for job in jobs)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["bias_init=uniform"], "grid.bias_init: bias_std is not given, and without it biases are each init's own."),
        (["bias_init=uniforn", "bias_std=1"], "Did you mean 'uniform'?"),
        (
            ["init=variance_scaling", "gain="],
            "'variance_scaling' needs its arguments, as variance_scaling(2, fan_in, normal).",
        ),
        (["init=siren", "gain="], "'siren' needs its arguments, as siren(30)."),
        (["init=torch_liner", "gain="], "Did you mean 'torch_linear'?"),
        (
            ["init=variance_scaling(2, fan_im, normal)", "gain="],
            "the mode is fan_in, fan_out or fan_avg, not 'fan_im'.",
        ),
        (["init=normal(2)"], "'normal(2)' is not an init."),
        (["init=a b:c", "gain="], "'a b:c' is not an import path: write 'package.module:function'."),
    ],
)
def test_what_is_wrong_with_inits_and_biases_is_said_in_a_sentence(words, sentence):
    (problem,) = problems("activation=tanh", "gain=1", *words)
    assert sentence in problem


def test_names_of_libraries_are_understood_and_numbers_written_one_way():
    asked = sweep(
        "activation=tanh", "init=PyTorch-Linear,glorot_uniform,kaiming_normal(0.20),VarianceScaling(2.0,fan_in,normal)"
    )
    assert asked.grid.init == [
        "torch_linear", "xavier_uniform", "he_normal(0.2)", "variance_scaling(2, fan_in, normal)",
    ]  # fmt: skip
    again = sweep(
        "activation=tanh", "init=torch_linear,xavier_uniform,he_normal(0.2),variance_scaling(2,fan_in,normal)"
    )
    assert again.grid == asked.grid
    (problem,) = problems("activation=tanh", "init=siren(30),siren(30.0)")
    assert "mean the same" in problem


def test_what_only_looks_at_an_init_by_import_path_imports_nothing(mine, tmp_path):
    words = [f"init={mine}:half,torch_linear", "activation=tanh", *SMALL]
    assert "networks      2" in winit("plan", *words)[0]
    folder = tmp_path / "run"
    for table in ("networks", "layers"):
        (folder / table).mkdir(parents=True)
    grid = f"activation = 'tanh'\ninit = ['{mine}:half']\nwidth = 8\ndepth = 3"
    (folder / "sweep.toml").write_text(f"[grid]\n{grid}\n[inputs]\nsamples = 8\n")
    assert "done      0 of 1 networks" in winit("status", folder)[0]
    assert not Path("imported").exists()
    assert mine not in sys.modules


@pytest.mark.slow
def test_an_init_by_import_path_is_said_run_and_measured(mine, tmp_path):
    words = ["activation=tanh", *SMALL]
    said = run(tmp_path / "run", f"init={mine}:half,{mine}:by_fan,{mine}:nothing_drawn", *words, "seed=0,1")
    assert said.count("is imported and run, as the request names it\n") == 3
    found = pd.read_parquet(tmp_path / "run" / "networks").astype({"init": str}).set_index(["init", "seed"])
    # The root mean square of what is drawn, the same for both seeds: of U(0, 1) / 8 it is 1 / sqrt(192).
    for name, std, error in (("half", 0.5, 5e-4), ("by_fan", 192**-0.5, 5e-4), ("nothing_drawn", 0.0, 0.0)):
        assert found.loc[f"{mine}:{name}", "std"].nunique() == 1
        assert found.loc[(f"{mine}:{name}", 0), "std"] == pytest.approx(std, rel=5 * error)
        assert found.loc[(f"{mine}:{name}", 0), "gain"] == pytest.approx(std * np.sqrt(8), rel=5 * error)
    assert "theory_log10_preact_rms" not in found or found["theory_log10_preact_rms"].isna().all()
    assert found.loc[(f"{mine}:nothing_drawn", 0), "preact_std"] == 0
    with jax.enable_x64(False):
        key = jax.random.key(0)
        own = OWN_INITS.find(f"{mine}:half")
        drawn = own.unit(key, 8, 8) * np.sqrt(own.mean_square(8, 8))
        np.testing.assert_allclose(drawn, 0.5 * jax.random.normal(key, (8, 8)), rtol=3e-7)


def test_an_init_whose_code_has_changed_is_told_from_what_it_was(mine, tmp_path):
    words = [f"init={mine}:half", "activation=tanh", *SMALL]
    run(tmp_path / "run", *words)
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert f"{mine}:half" in json.dumps(kept)
    Path(f"{mine}.py").write_text(MINE.replace("0.5 *", "0.25 *"))
    sys.modules.pop(mine)
    OWN_INITS.forget()
    SCHEMES.forget()
    said = run(tmp_path / "run", *words, "seed=0,1", code=2)
    assert f"{mine}:half is not the function that it was when" in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("several", "returns tuple for a key and a shape, not an array."),
        ("transposed", "returns an array of shape (2, 3) where (3, 2) is asked for."),
        ("whole", "returns int32; weights are float32."),
        ("nothing", "returns nothing for a key and a shape, not an array."),
        ("branches", "uses Python control flow (if, while, float() and the like)"),
        ("takes_more", "is not a JAX function of a key and a shape: TypeError"),
        ("infinite", "draws weights of 3 rows and 2 columns that are not finite."),
        ("missing", "has no function 'missing'."),
    ],
)
def test_a_function_that_is_no_init_gets_a_sentence(mine, tmp_path, name, sentence):
    said = run(tmp_path / "run", f"init={mine}:{name}", "activation=tanh", *SMALL, code=2)
    assert sentence in said
    assert not (tmp_path / "run").exists()


def test_factors_stand_in_the_layers_of_sweeps_that_have_lsuv_and_those_inside_where_a_block_has_such():
    def factors(*words):
        asked = sweep("activation=tanh", *words)
        there = set(schema("layers", never_filled(asked)).names) & {"lsuv_factor", "lsuv_inner_factor"}
        assert not {"lsuv_factor", "lsuv_inner_factor"} & set(schema("networks", never_filled(asked)).names)
        return there

    assert factors("init=he_normal") == set()
    assert factors("init=he_normal,lsuv") == {"lsuv_factor"}
    assert factors("init=lsuv", "block=dense,mlp(2)") == {"lsuv_factor", "lsuv_inner_factor"}
    assert planner(1).summary(sweep("activation=relu", "init=lsuv,lecun_normal,he_normal"))["passes"] == 2


def test_weights_that_the_inputs_scale_learn_those_inputs():
    trained = ["activation=tanh", "init=lsuv", "train.source=digits", "train.steps=2"]
    assert sweep(*trained).inputs.source == "digits"
    (problem,) = problems(*trained, "inputs.source=normal", "inputs.features=64")
    assert problem == (
        "inputs.source: 'lsuv' scales weights by what is measured, and the networks learn other data. Take it away, so "
        "that it is what [train] has."
    )


def test_a_folder_s_bias_std_and_biases_of_each_init_differ_in_words():
    given, own = (sweep("activation=tanh", f"init={init}") for init in ("lecun_normal", "torch_linear,lecun_normal"))
    (one,) = difference(given, own)
    assert one == (
        "grid.bias_std: 0.0 in the folder, each init's own in the new sweep; give bias_std = 0.0 to add networks with "
        "such biases"
    )
    (other,) = difference(own, sweep("activation=tanh", "init=torch_linear,lecun_normal", "bias_std=0.1,0.2"))
    assert other == "grid.bias_std: each init's own in the folder, 0.1, 0.2 in the new sweep"


@pytest.mark.slow
def test_inits_with_biases_of_their_own_join_a_folder_whose_sweep_gives_bias_std_where_they_have_that(tmp_path):
    winit("run", "activation=tanh", "init=lecun_normal", *SMALL, "--out", tmp_path / "run", "--no-figures")
    words = ["activation=tanh", "init=lecun_normal,torch_linear", *SMALL, "--out", tmp_path / "run", "--no-figures"]
    said = " ".join(winit("run", *words, code=2)[1].split())
    assert (
        "grid.bias_std: 0.0 in the folder, each init's own in the new sweep; give bias_std = 0.0 to add networks with "
        "such biases" in said
    )
    winit("run", *words, "bias_std=0")
    networks = winit_jax.load(tmp_path / "run").networks
    assert networks["init"].tolist() == ["lecun_normal", "torch_linear"]
    assert networks["bias_std"].tolist() == [0, 0]


@pytest.mark.slow
def test_networks_under_lsuv_learn_from_the_weights_that_were_measured(tmp_path):
    """The loss before training, by a float64 network of the factors in `layers`; the readout is orthonormal."""
    axes = {"activation": "tanh", "init": ["lsuv", "lecun_normal"], "width": 12, "depth": [1, 3], "seed": [0, 1]}
    train = {"source": "digits", "steps": 4, "eval_every": 2, "train_samples": 60, "test_samples": 20}
    found = winit_jax.run(axes, tmp_path / "run", train=train, progress=False)
    layers = found.layers[found.layers["init"] == "lsuv"]
    np.testing.assert_allclose(layers["preact_std"], 1, rtol=1e-5)
    begun = found.training[(found.training["init"] == "lsuv") & (found.training["step"] == 0)]
    data = load_dataset(sweep("activation=tanh", "init=lsuv", *(f"train.{key}={train[key]}" for key in train)).train)
    assert len(begun) == 4
    for (depth, seed), rows in begun.groupby(["depth", "seed"]):
        factors = layers[layers["seed"] == seed].sort_values("layer")["lsuv_factor"].to_numpy()
        units = [unit_weights(seed, "orthogonal", 12, layer, 64 if layer == 1 else 12) for layer in range(1, depth + 1)]
        h = np.asarray(data.x_train, float)
        for factor, unit in zip(factors, units, strict=False):
            h = np.tanh(h @ (factor / np.sqrt(max(unit.shape)) * np.asarray(unit, float)))
        logits = h @ np.asarray(unit_readout(seed, "orthogonal", 12, 10)[0], float) / np.sqrt(12)
        losses = logsumexp(logits, axis=1) - logits[np.arange(len(h)), data.y_train]
        assert rows["train_loss"].tolist() == pytest.approx([np.mean(losses)], rel=1e-5)
    assert winit_jax.verify(found.path).is_whole
