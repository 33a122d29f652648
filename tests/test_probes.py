"""Probes of one's own networks: names, laws, findings, folders, and the command line over them."""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import winit_jax as winit
from support import nets
from support.mixed import FAULTY_MIXED
from support.runs import winit as command
from winit_jax.numerics.laws import law_of
from winit_jax.numerics.tapping.passes import Tapped

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.SOUND)
def test_of_a_sound_network_nothing_is_said(name):
    found = winit.probe(nets.SOUND[name], seed=[0, 1])
    assert [finding.text for finding in found.audit()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.FAULTY | FAULTY_MIXED)
def test_what_is_wrong_is_named_and_where(name):
    make, kind, where = (nets.FAULTY | FAULTY_MIXED)[name]
    findings = winit.probe(make).audit()
    said = {finding.kind: finding for finding in findings}
    assert kind in said, [finding.text for finding in findings]
    if where is not None:
        assert where in {finding.where for finding in findings if finding.kind == kind}
    for finding in findings:
        assert finding.text.endswith((".", "?"))
        assert finding.where in finding.text
    assert [finding.severity for finding in findings] == sorted((f.severity for f in findings), reverse=True)


@pytest.mark.slow
def test_sites_are_named_by_scopes_and_by_their_weights():
    def init(key):
        return {"stem": {"w": nets.lecun(key, 64, 64)}, "out": nets.lecun(key, 64, 256)}

    def apply(params, x):
        with jax.named_scope("encoder"):
            x = jnp.tanh(x @ params["stem"]["w"])
        return x @ params["out"]

    found = winit.probe(lambda: (init, apply, nets.X))
    assert list(zip(found.sites["site"], found.sites["op"], strict=True)) == [
        ("encoder", "dot_general"), ("encoder", "tanh"), ("out", "dot_general"),
    ]  # fmt: skip
    assert list(found.parameters["path"]) == ["out", "stem.w"]
    assert list(found.parameters["law"]) == ["lecun_normal", "lecun_normal or xavier_normal"]


def test_a_module_that_is_used_twice_has_two_rows():
    def apply(w, x):
        return jnp.tanh(jnp.tanh(x @ w) @ w)

    found = winit.probe(apply, nets.lecun(jax.random.key(0), 64, 64), nets.X, gradients=False)
    assert list(found.sites["site"]) == ["params", "params", "params#2", "params#2"]
    assert list(found.parameters["used"]) == [2]
    assert found.sites["log10_grad_rms"].isna().all()


def test_factors_and_seeds_are_axes():
    make = nets.SOUND["linear"]
    found = winit.probe(make, seed="int:0:2", scale={"layer1": [1, 10]})
    key = "scale.layer1"
    assert len(found.sites) == 4 * 3 * 2
    last = found.sites[found.sites["site"] == "layer3"].set_index(["seed", key])["log10_rms"]
    np.testing.assert_allclose(last.xs(10.0, level=key) - last.xs(1.0, level=key), 1.0, atol=1e-5)
    alone = winit.probe(make, seed=2).sites
    same = found.sites[(found.sites["seed"] == 2) & (found.sites[key] == 1)].drop(columns=key).reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone, rtol=1e-5)


@pytest.fixture(scope="module")
def of_a_sweep():
    """(Weights, inputs, the table of layers) of a dense network of a sweep."""
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.engine.computing.work import read_work
    from winit_jax.numerics.initializers import unit_weight_stack, unit_weights
    from winit_jax.spec.reading import load_sweep

    words = ["activation=tanh", "gain=1.2", "width=50", "depth=4", "seed=3", "inputs.samples=100"]
    run = winit.run(
        {"activation": "tanh", "gain": 1.2, "width": 50, "depth": 4, "seed": 3}, inputs={"samples": 100}, progress=False
    )
    x = jnp.asarray(read_work(load_sweep(None, words, vocabulary(), ())).inputs[50].rows)
    std = 1.2 / np.sqrt(50)
    weights = [std * unit_weights(3, "normal", 50, 1, 50), *(std * unit_weight_stack(3, "normal", 2, 3, 50, 50))]
    return weights, x, run.layers.sort_values("layer")


def check_is_the_sweeps(sites, layers):
    """The columns of a probe against those of a sweep, to 1e-5."""
    before, after = (sites[sites["kind"] == kind] for kind in ("contraction", "nonlinearity"))
    for table, column, ours in (
        (before, "mean", "preact_mean"), (before, "std", "preact_std"), (before, "log10_rms", "log10_preact_rms"),
        (before, "input_correlation", "input_correlation"), (after, "std", "act_std"),
        (after, "saturated", "saturated"), (after, "log10_rms", "log10_act_rms"), (after, "dead", "dead"),
        (after, "unit_similarity", "unit_similarity"),
    ):  # fmt: skip
        np.testing.assert_allclose(table[column], layers[ours], rtol=1e-5, atol=1e-5, err_msg=column)


def test_a_probe_of_a_dense_network_is_the_sweeps(of_a_sweep):
    """Its own columns, from the same weights and inputs."""
    weights, x, layers = of_a_sweep

    def apply(weights, x):
        for matrix in weights:
            x = jnp.tanh(x @ matrix)
        return x

    check_is_the_sweeps(winit.probe(apply, weights, x).sites, layers)


@pytest.mark.slow
def test_a_probe_of_the_same_network_in_flax_is_the_sweeps_too(of_a_sweep):
    linen = pytest.importorskip("flax.linen")
    weights, x, layers = of_a_sweep

    class Dense(linen.Module):
        @linen.compact
        def __call__(self, x):
            for number in range(4):
                x = linen.tanh(linen.Dense(50, name=f"layer{number}")(x))
            return x

    params = {f"layer{number}": {"kernel": w, "bias": jnp.zeros(50)} for number, w in enumerate(weights)}
    sites = winit.probe(Dense().apply, {"params": params}, x).sites
    assert list(sites["site"][sites["kind"] == "contraction"]) == [f"Dense.layer{number}" for number in range(4)]
    check_is_the_sweeps(sites, layers)


def test_without_pytorch_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(winit.Refused, match=r"PyTorch is not installed: pip install 'winit-jax\[torch\]'"):
        winit.probe(lambda: (lambda: None, nets.X))


def pooled_and_masked(params, x):
    x = jax.nn.relu(x @ params)
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    mask = jnp.where(jnp.tril(jnp.ones((4, 4), bool)), 0, -jnp.inf)
    return jax.nn.softmax(x @ x.swapaxes(1, 2) + mask) @ x


def test_what_goes_into_a_pool_is_a_site():
    tapped = Tapped(pooled_and_masked, nets.lecun(jax.random.key(1), 16, 16), jnp.ones((5, 8, 16)))
    assert [site.op for site in tapped.sites] == ["dot_general", "relu", "dot_general", "softmax", "dot_general"]


@pytest.mark.slow
def test_a_mask_is_no_bias():
    x = jax.random.normal(jax.random.key(0), (5, 8, 16))
    found = winit.probe(pooled_and_masked, nets.lecun(jax.random.key(1), 16, 16), x, gradients=False)
    assert (found.sites["nonfinite"] == 0).all()


MODULE = """
import jax
from support import nets
def sound(): return nets.stack(nets.he, jax.nn.relu)
def faulty(): return nets.FAULTY["nan"][0]()
def wrong(): return 3
def raises(): raise RuntimeError("out of ideas")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def test_the_command_prints_sites_and_keeps_tables(module, tmp_path):
    out, _ = command("probe", f"{module}:sound", "seed=0,1", "--out", tmp_path / "kept")
    assert out.splitlines()[0].split()[:2] == ["site", "op"]
    sites = pd.read_parquet(tmp_path / "kept" / "sites")
    parameters = pd.read_parquet(tmp_path / "kept" / "parameters")
    assert len(sites) == 2 * 7
    assert len(parameters) == 2 * 4
    assert set(parameters["law"]) == {"he_normal"}
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").glob("*/*.parquet")}
    command("probe", f"{module}:sound", "seed=0,1,2", "--out", tmp_path / "kept")
    assert all(file.stat().st_mtime_ns == at for file, at in files.items())
    assert len(pd.read_parquet(tmp_path / "kept" / "sites")) == 3 * 7
    _, said = command("probe", f"{module}:faulty", "--out", tmp_path, code=2)
    assert "is not empty, and no folder of a probe" in said


def test_another_init_or_other_inputs_are_another_network(tmp_path):
    make, x = nets.SOUND["linear"], nets.X
    init, apply, _ = make()
    winit.probe(make, out=tmp_path / "kept")
    others = [
        lambda: (lambda key: jax.tree.map(lambda w: 2 * w, init(key)), apply, x),
        lambda: (init, apply, x + 1),
        lambda: (init, lambda params, x: apply(params, x) + x, x),
    ]
    for other in others:
        with pytest.raises(winit.Refused, match="is of another network or of other inputs"):
            winit.probe(other, out=tmp_path / "kept")
    with pytest.raises(winit.Refused, match="is of another network or of other inputs"):
        winit.probe(apply, jax.tree.map(lambda w: 3 * w, init(jax.random.key(0))), x, out=tmp_path / "kept")


def test_each_seed_is_drawn_once(tmp_path):
    """Though a folder is known again by the parameters of seed 0, and shapes are read of the first."""
    init, apply, x = nets.SOUND["linear"]()
    drawn = []

    def untraceable(key):
        drawn.append(int(jax.random.key_data(key)[-1]))
        return jax.tree.map(np.asarray, init(key))

    winit.probe(lambda: (untraceable, apply, x), out=tmp_path / "kept", seed=(0, 1))
    assert drawn == [0, 1]


def test_of_a_loop_of_unknown_length_the_gradients_are_not_known_and_a_note_says_so():
    def apply(w, x):
        return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.tanh(s[1] @ w)), (0, x))[1]

    found = winit.probe(apply, nets.lecun(jax.random.key(0), 64, 64), nets.X)
    assert found.notes == ["A loop of unknown length has no gradient: log10_grad_rms is NaN."]
    assert found.sites["log10_grad_rms"].isna().all()
    assert found.sites["log10_rms"].notna().all()


@pytest.mark.slow
def test_the_page_s_example_says_what_the_page_shows(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")
    example, said = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "text"))
    (tmp_path / "nets.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    assert command("probe", "nets:make", "--audit", code=1)[0] == said
    sys.modules.pop("nets", None)


def test_the_audit_exits_with_one_where_something_is_wrong(module):
    out, _ = command("probe", f"{module}:faulty", "--audit", code=1)
    assert "layer1: 0.0244% of its entries are NaN or infinite." in out
    out, _ = command("probe", f"{module}:sound", "--audit", "--json")
    assert json.loads(out) == {"findings": []}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sound"], "'sound' is not an import path"),
        (["own_nets:nothing"], "own_nets has no function 'nothing'"),
        (["own_nets:wrong"], "has to return (init, apply, inputs)"),
        (["own_nets:raises"], "own_nets:raises() failed: RuntimeError: out of ideas"),
        (["own_nets:sound", "sead=1"], "sead: not an axis of a probe. Did you mean 'seed'?"),
        (["own_nets:sound", "seed=-1", "scale.layer0=a"], "seed: -1 is not from 0 to 4294967295."),
        (["own_nets:sound", "seed=0", "scale.layr0=2"], "scale.layr0: no parameter has such a path. Known: layer0"),
    ],
)
def test_a_wrong_request_gets_a_sentence(module, words, sentence):
    _, said = command("probe", *words, code=2)
    assert sentence in said


@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (lambda key: nets.he(key, 400, 300), "he_normal"),
        (lambda key: nets.lecun(key, 400, 300), "lecun_normal"),
        (lambda key: nets.normal(key, 400, 300, std=np.sqrt(2 / 700)), "xavier_normal"),
        (lambda key: nets.normal(key, 400, 300, std=0.02), "normal(0.02)"),
        (lambda key: nets.truncated(key, 400, 300), "lecun_truncated"),
        (lambda key: nets.truncated(key, 400, 300, corrected=False), "lecun_truncated uncorrected"),
        (lambda key: jax.random.uniform(key, (400, 300), minval=-0.05, maxval=0.05), "torch_linear"),
        (lambda key: nets.normal(key, 400, 300, std=np.sqrt(2 / 300)), "he_normal of fan_out"),
        (lambda key: nets.normal(key, 400, 300, std=0.0637), ""),
        (lambda key: jnp.zeros((400, 300)), "zeros"),
        (lambda key: jnp.full((400, 300), 0.5), "constant(0.5)"),
        (lambda key: jax.random.laplace(key, (400, 300)) / 20, ""),
    ],
)
def test_laws_are_known_by_size_and_form(draw, law):
    for seed in range(3):
        w = np.asarray(draw(jax.random.key(seed)), np.float64)
        std, mean = w.std(), w.mean()
        with np.errstate(all="ignore"):
            kurtosis, far = np.mean((w - mean) ** 4) / std**4, np.abs(w - mean).max() / std
        assert law_of(std, mean, kurtosis, far, w.size, 400, 300) == law


@pytest.mark.slow
def test_a_tuned_network_has_products_of_unit_size():
    make = lambda: nets.language_model(layers=2)  # noqa: E731
    tuned = winit.tune(make, seed=3)
    init, apply, tokens = make()
    sites = winit.probe(apply, tuned.params, tokens, gradients=False).sites
    products = sites[(sites["kind"] == "contraction") & (sites["parameter"] != "")]
    assert len(products) == len(tuned.by_path) == 9
    np.testing.assert_allclose(products["log10_rms"], 0, atol=1e-5)
    again = jax.tree.map(lambda factor, leaf: factor * leaf, tuned.factors, init(jax.random.key(3)))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), again, tuned.params)


@pytest.mark.slow
def test_the_command_prints_factors(module):
    out, _ = command("probe", f"{module}:sound", "--tune")
    assert [line.split()[0] for line in out.splitlines()] == [f"layer{number}" for number in range(4)]
    as_json, _ = command("probe", f"{module}:sound", "--tune", "--json")
    assert [f"{factor:.4g}" for factor in json.loads(as_json).values()] == [
        line.split()[1] for line in out.splitlines()
    ]
    for words, sentence in (
        (["seed=0,1"], "Factors are of one network, and seed says 2."),
        (["--audit"], "--tune prints factors and measures nothing: leave out --out and --audit."),
        (["scale.layer0=2"], "--tune is of the network as it is: leave out scale."),
    ):
        _, said = command("probe", f"{module}:sound", "--tune", *words, code=2)
        assert sentence in said
