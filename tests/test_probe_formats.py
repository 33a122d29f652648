"""Probes in formats of fewer bits: against sweeps, their folder, what the audit says of them, and what is refused."""

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
from support.runs import winit as command
from winit_jax.columns.formats import FORMATS
from winit_jax.numerics import narrow
from winit_jax.numerics.tapping.passes import Tapped
from winit_jax.store.probe_folder import ProbeFolder

WIDTH = 16
X = jax.random.normal(jax.random.key(7), (20, WIDTH))
LOST = ["underflow", "subnormal", "overflow", "grad_underflow", "grad_subnormal", "grad_overflow"]
MODULE = """
import jax
from support import nets
from test_probe_formats import WIDTH, X
def sound(): return nets.stack(nets.he, jax.nn.relu, depth=3, width=WIDTH, x=X)
"""


def small(draw=nets.he, depth=3):
    return nets.stack(draw, jax.nn.relu, depth=depth, width=WIDTH, x=X)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("formats")
    (path / "format_nets.py").write_text(MODULE)
    sys.path.insert(0, str(path))
    yield "format_nets:sound"
    sys.path.remove(str(path))
    sys.modules.pop("format_nets", None)


@pytest.fixture(scope="module")
def both(module):
    return winit.probe(module, seed=[0, 1], dtype="float32,float16")


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_probe_of_a_dense_network_is_the_sweeps_in_a_format_too(dtype):
    """Its own columns, from the same weights and inputs."""
    from winit_jax.engine.computing.vocabulary import vocabulary
    from winit_jax.engine.computing.work import read_work
    from winit_jax.numerics.initializers import unit_weight_stack, unit_weights
    from winit_jax.spec.reading import load_sweep

    grid = {"activation": "tanh", "gain": 1.2, "width": 50, "depth": 4, "seed": 3, "dtype": dtype}
    layers = winit.run(grid, inputs={"samples": 100}, progress=False).layers.sort_values("layer")
    words = [*(f"{axis}={value}" for axis, value in grid.items()), "inputs.samples=100"]
    x = jnp.asarray(read_work(load_sweep(None, words, vocabulary(), ())).inputs[50].rows)
    std = 1.2 / np.sqrt(50)
    weights = [std * unit_weights(3, "normal", 50, 1, 50), *(std * unit_weight_stack(3, "normal", 2, 3, 50, 50))]

    def apply(weights, x):
        for matrix in weights:
            x = jnp.tanh(x @ matrix)
        return x

    sites = winit.probe(apply, weights, x, dtype=dtype, gradients=False).sites
    before, after = (sites[sites["kind"] == kind] for kind in ("contraction", "nonlinearity"))
    for table, column, ours in (
        (before, "mean", "preact_mean"), (before, "std", "preact_std"), (before, "log10_rms", "log10_preact_rms"),
        (before, "input_correlation", "input_correlation"), (after, "std", "act_std"),
        (after, "saturated", "saturated"), (after, "log10_rms", "log10_act_rms"), (after, "dead", "dead"),
        (after, "unit_similarity", "unit_similarity"), (before, "underflow", "underflow"),
        (before, "subnormal", "subnormal"), (before, "overflow", "overflow"),
    ):  # fmt: skip
        np.testing.assert_allclose(table[column], layers[ours], rtol=1e-5, atol=1e-5, err_msg=column)


def test_float32_is_what_it_is_alone_and_has_no_columns_of_formats(module, both):
    alone = winit.probe(module, seed=[0, 1], dtype="float32")
    assert not {"dtype", *LOST} & {*alone.sites, *alone.parameters}
    for name in ("sites", "parameters"):
        found, expected = getattr(both, name), getattr(alone, name)
        here = found[found["dtype"] == "float32"]
        assert here[LOST].isna().all(axis=None)
        pd.testing.assert_frame_equal(here[list(expected)].reset_index(drop=True), expected, check_exact=True)
        assert found[found["dtype"] == "float16"][["underflow", "grad_underflow"]].notna().all(axis=None)
    assert both.audit() == []


def test_a_folder_grows_by_formats_and_is_read_back(module, both, tmp_path):
    """What was measured in float32 stays as it is, and what is missing is asked for by the format."""
    folder = tmp_path / "kept"
    winit.probe(module, seed=[0, 1], out=folder)
    files = {file: file.read_bytes() for file in folder.glob("sites/*.parquet")}
    command("probe", module, "seed=0,1", "dtype=fp32,half", "--out", folder, "--no-figures")
    assert len(files) == 2
    assert all(file.read_bytes() == data for file, data in files.items())
    found = winit.load_probe(folder)
    for name in ("sites", "parameters"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(both, name), check_exact=True)
        assert list(getattr(found, name))[:8] == list(getattr(both, name))[:8]
    assert str(winit.verify(folder)).endswith("4 networks with 20 rows of sites, 12 rows of parameters: all as written")
    commits, _ = ProbeFolder(folder).look()
    assert [commit.point.dtype for commit in commits] == ["float32"] * 2 + ["float16"] * 2
    next(folder.glob("sites/*.parquet")).unlink()
    go_on = winit.status(folder).go_on
    assert go_on == f"winit probe {module} seed=0,1 dtype=float32,float16 --out {folder}"
    command(*go_on.split()[1:], "--no-figures")
    assert winit.status(folder).state == "done"
    out, _ = command("plot", folder, "profile", "--value", "grad_underflow", "--where", "dtype=f16")
    assert out.strip().endswith("profile-grad_underflow-dtype-f16.png")
    _, said = command("plot", folder, "--where", "dtype=flaot16", code=2)
    assert "where dtype: 'flaot16' is not known. Did you mean 'float16'?" in said
    assert {name.rsplit("/", 1)[1] for name in command("plot", folder)[0].split()} == {
        "profile.png", "heatmap.png", "heatmap-gradient.png",
    }  # fmt: skip


def underflowing(scale=1.0):
    """A stack whose loss is one number, so small that float16 has no gradients of it, and `scale` times it."""

    def apply(params, x):
        for number in range(3):
            x = jnp.tanh(x @ params[number])
        return scale * 1e-5 * jnp.mean(jnp.square(x))

    return (lambda key: [nets.lecun(one, WIDTH, WIDTH) for one in jax.random.split(key, 3)]), apply, X


def test_the_audit_says_where_a_gradient_underflows_and_its_loss_scale_keeps_it():
    (finding,) = winit.probe(underflowing, dtype="float32,float16").audit()
    pattern = (
        r"In float16 the gradient underflows from 2 \(dot_general\) back: (.*)% of its values become 0; a loss scale "
        r"of 2\^(\d+) keeps gradients, by their sizes in float32\."
    )
    share, exponent = re.fullmatch(pattern, finding.text).groups()
    assert float(share) > 30
    assert (finding.kind, finding.where) == ("underflowing gradient (float16)", "2")
    assert winit.probe(lambda: underflowing(2.0 ** int(exponent)), dtype="float32,float16").audit() == []


def test_the_audit_says_what_overflows_and_what_float32_has_wrong_once():
    make = lambda: small(lambda *args: 60 * nets.he(*args))  # noqa: E731
    findings = {finding.kind: finding.text for finding in winit.probe(make, dtype="float32,float16,e4m3").audit()}
    assert {"exploding signal", "overflowing signal (float16)", "overflowing signal (float8_e4m3fn)"} <= set(findings)
    assert re.fullmatch(
        r"In float16 the signal overflows from layer2 \(dot_general\) on: [\d.]+% of its values lie beyond 65504 and "
        r"become infinite\.",
        findings["overflowing signal (float16)"],
    )
    assert findings["overflowing signal (float8_e4m3fn)"].endswith("lie beyond 448 and become 448.")
    assert not any("exploding signal (" in kind for kind in findings)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_without_float32_the_audit_says_what_is_wrong_anyhow(dtype):
    make = lambda: nets.changed(small(), lambda params: params | {"layer1": 0 * params["layer1"]})  # noqa: E731
    kinds = {finding.kind for finding in winit.probe(make, dtype=dtype).audit()}
    assert "zero weights" in kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.SOUND)
def test_of_a_sound_network_nothing_is_said_in_bfloat16(name):
    found = winit.probe(nets.SOUND[name], dtype="float32,bfloat16")
    assert [finding.text for finding in found.audit()] == []


def limits(name):
    return jax.tree.map(lambda array: jnp.asarray(array[0]), narrow.limits(FORMATS[name], 1))


def test_types_of_the_users_own_are_kept():
    """Values that a function has in bfloat16 stay in bfloat16, of which float16 has all but the smallest."""
    weights = nets.lecun(jax.random.key(0), WIDTH, WIDTH)

    def apply(w, x):
        return jnp.tanh((x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)).astype(jnp.float32))

    tapped = Tapped(apply, weights, X)
    found = tapped.rounded(weights, X, jax.random.key(0), limits("float16"))
    exact = tapped.measured(weights, X, None)[0]
    columns, expected = tapped.columns(found.sites), tapped.columns(exact)
    first = tapped.sites[0]
    # The operands were rounded to float16 before, which moves their bfloat16 by a place in few of them.
    assert columns[first.key]["std"] == pytest.approx(expected[first.key]["std"], rel=1e-3)
    assert tapped.jaxpr.jaxpr.eqns[0].outvars[0].aval.dtype == jnp.bfloat16


def test_what_goes_into_a_contraction_is_rounded_whatever_made_it():
    """A normalization and a factor of weights are steps of their own only at their end."""

    def apply(w, x):
        x = x - x.mean(-1, keepdims=True)
        return (x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True))) @ (0.3 * w)

    weights = nets.lecun(jax.random.key(0), WIDTH, WIDTH)
    tapped = Tapped(apply, weights, X)
    found = tapped.rounded(weights, X, jax.random.key(0), limits("float8_e4m3fn"))

    def near(x):
        return np.asarray(x, np.float32).astype(jnp.float8_e4m3fn).astype(np.float64)

    x = near(X)
    x = x - x.mean(-1, keepdims=True)
    expected = near(near(x / np.sqrt(np.mean(x * x, -1, keepdims=True))) @ near(0.3 * near(weights)))
    (columns,) = tapped.columns(found.sites).values()
    assert columns["std"] == pytest.approx(expected.std(), rel=1e-5)


def test_a_custom_derivative_holds_in_a_format():
    """What is inside is rounded on the way forth; the gradient is by its own rule, rounded on both sides of it."""

    @jax.custom_vjp
    def doubled(x, w):
        return jnp.tanh(x @ w)

    doubled.defvjp(lambda x, w: (doubled(x, w), w), lambda w, g: (3 * g @ w.T, jnp.zeros_like(w)))
    weights = [nets.lecun(key, WIDTH, WIDTH) for key in jax.random.split(jax.random.key(0))]
    tapped = Tapped(lambda w, x: doubled(x @ w[0], w[1]), weights, X)
    key = jax.random.key(0)
    found = tapped.rounded(weights, X, key, limits("bfloat16"))
    exact = tapped.measured(weights, X, key)
    ours, theirs = tapped.columns(found.sites), tapped.columns(exact[0])
    assert len(tapped.sites) == 3
    for site in tapped.sites:
        assert ours[site.key]["std"] == pytest.approx(theirs[site.key]["std"], rel=1e-2)
        assert ours[site.key]["std"] != theirs[site.key]["std"]
        assert ours[site.key]["underflow"] == 0
    first = tapped.sites[0].key
    assert ours[first]["log10_grad_rms"] == pytest.approx(theirs[first]["log10_grad_rms"], abs=2e-3)
    assert np.isnan(ours[tapped.sites[1].key].get("grad_underflow", np.nan))


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["dtype=bflaot16"], ["dtype: 'bflaot16' is not a format. Did you mean 'bfloat16'?"]),
        (
            ["dtype=float16,half", "seed=-1", "scale.layer0=a"],
            ["'float16' and 'half' mean the same, 'float16'", "seed: -1 is not from 0 to 4294967295.", "3 problems"],
        ),
        (["dtype=int8,flaot16"], ["'int8' is not a format.", "'flaot16' is not a format. Did you mean 'float16'?"]),
        (["--tune", "dtype=float16"], ["--tune is of the network as it is: leave out dtype."]),
    ],
)
def test_a_wrong_format_gets_a_sentence(module, words, sentences):
    _, said = command("probe", module, *words, code=2)
    for sentence in sentences:
        assert sentence in said


def test_the_page_s_example_says_what_the_page_shows(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "your-model.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    said = re.search(r"<!-- in formats -->\n```text\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "nets.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    words = "dtype=float32,float16,float8_e4m3fn"
    assert f"winit probe nets:make {words} --audit" in page
    assert command("probe", "nets:make", words, "--audit", code=1)[0] == said
    sys.modules.pop("nets", None)
