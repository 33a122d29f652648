"""Activations by import path: what only looks runs no code; what runs them says so, and traces before it computes."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.runs import module_of_ones_own, run, winit
from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS, activation
from winit_jax.numerics.activations.probing import probe
from winit_jax.system.signals import Stopped

SMALL = ["gain=1", "width=4", "depth=2", "inputs.samples=8"]
MINE = """
import os, pathlib, sys, time
import jax, jax.numpy as jnp, numpy as np

pathlib.Path("imported").touch()

def fine(a): return a * jax.nn.sigmoid(2 * a)
def half(a): return jnp.tanh(a.astype(jnp.float16))
def branches(a): return a if a > 0 else 0.0
def branches_on_all(a): return a if (a > 0).all() else 0 * a
def nothing(a): pass
def several(a): return a, a
def total(a): return a.sum()
def centred(a): return a - a.mean()
def exits(a): sys.exit(0)
def wanders(a):
    os.chdir("/")
    time.sleep(1 if a.shape[-2:] == (8, 4) else 0)  # while its neighbours are written
    return jnp.tanh(a)
def interrupts(a): raise KeyboardInterrupt
class Bare(BaseException): pass
class Mute(Exception):
    def __str__(self): raise RuntimeError("its text fails")
def bare(a): raise Bare("of its own")
def mute(a): raise Mute
def closes(a): raise GeneratorExit
def long_winded(a): raise ValueError("x" * 5000)
def for_ever(a): return for_ever(a)
def numpy_only(a): return jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(a.shape, a.dtype), a)
def naive_softplus(a): return jnp.log(1 + jnp.exp(a))
def ends_at_30(a): return jnp.where(jnp.abs(a) > 30, jnp.nan, jnp.tanh(a))
def strict(a):
    np.seterr(all="raise")
    return jnp.tanh(a)

@jax.custom_jvp
def calls_back(a):
    def fails(value): raise KeyError("mine")
    return jax.pure_callback(fails, jax.ShapeDtypeStruct(a.shape, a.dtype), a)
calls_back.defjvp(lambda a, t: (calls_back(*a), *t))

def spy(a):
    if not isinstance(a, jax.core.Tracer):
        pathlib.Path("given-values").touch()
    return False
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module of one's own in the working directory; a file `imported` appears when it is run."""
    yield from module_of_ones_own(MINE, tmp_path, monkeypatch)


def test_what_only_looks_imports_nothing(mine, tmp_path):
    words = [f"activation={mine}:fine,tanh", *SMALL]
    out, _ = winit("plan", *words)
    assert "networks      2" in out
    winit("schema")
    folder = tmp_path / "run"
    folder.mkdir()
    names = f"activation = ['{mine}:fine', 'tanh']"
    (folder / "sweep.toml").write_text(f"[grid]\n{names}\ngain = 1.0\nwidth = 4\ndepth = 2\n[inputs]\nsamples = 8\n")
    for table in ("networks", "layers"):
        (folder / table).mkdir()
    assert "done      0 of 2 networks" in winit("status", folder)[0]
    winit("plot", folder, "heatmap", code=2)
    winit("plan", folder / "sweep.toml", "--out", folder)
    assert not Path("imported").exists()
    assert mine not in sys.modules


@pytest.mark.parametrize("path", ["a..b:c", "a:b:c", ":c", "a:", "a b:c", "../a:c"])
def test_what_only_looks_still_holds_an_import_path_against_its_form(path):
    said = winit("plan", f"activation={path}", "gain=1", code=2)[1]
    assert f"'{path}' is not an import path: write 'package.module:function'." in said


@pytest.mark.slow
def test_run_and_theory_say_what_they_import(mine, tmp_path):
    said = run(tmp_path / "run", f"activation={mine}:fine", *SMALL)
    assert said.startswith(f"{mine}:fine is imported and run, as the request names it\n")
    assert Path("imported").exists()
    told, said = winit("theory", f"{mine}:naive_softplus", "--gain", "1")
    assert f"{mine}:naive_softplus is imported and run" in said
    assert "its slope is NaN at 128 in float32" in told


@pytest.mark.slow
def test_functions_that_only_the_folders_sweep_names_are_announced_and_named_where_they_are_gone(mine, tmp_path):
    run(tmp_path / "run", f"activation={mine}:fine,tanh", *SMALL)
    kept = (tmp_path / "run" / "sweep.toml").read_text()
    said = run(tmp_path / "run", "activation=tanh", *SMALL, "compute.batch_mib=100")
    assert said.startswith(f"{mine}:fine is imported and run")
    assert (tmp_path / "run" / "sweep.toml").read_text() == kept
    Path(f"{mine}.py").unlink()
    sys.modules.pop(mine)
    ACTIVATIONS.forget()
    said = run(tmp_path / "run", "activation=tanh", *SMALL, code=2)
    assert f"sweep.toml names {mine}:fine: " in said
    assert f"importing {mine} failed" in said


def test_what_jax_cannot_trace_is_never_given_values(mine, tmp_path):
    said = run(tmp_path / "run", f"activation={mine}:spy", *SMALL, code=2)
    assert f"'{mine}:spy' does not act on each element alone: it returns shape () for (2, 3)." in said
    assert not Path("given-values").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("half", "returns float16 for float32; an activation keeps the type."),
        ("branches", "uses Python control flow (if, while, float() and the like) on its values"),
        ("branches_on_all", "uses Python control flow (if, while, float() and the like) on its values"),
        ("nothing", "returns nothing, not an array."),
        ("several", "returns tuple, not an array."),
        ("total", "does not act on each element alone: it returns shape () for (2, 3)."),
        ("centred", "does not act on each element alone."),
        ("exits", "is not a JAX function of one array: SystemExit: 0"),
        ("interrupts", "is not a JAX function of one array: KeyboardInterrupt"),
        ("bare", "is not a JAX function of one array: Bare: of its own"),
        ("calls_back", "CpuCallback error calling callback: KeyError: 'mine'"),
        ("mute", "is not a JAX function of one array: Mute"),
        ("closes", "is not a JAX function of one array: GeneratorExit"),
        ("long_winded", "is not a JAX function of one array: ValueError: xxx"),
        ("for_ever", "is not a JAX function of one array: RecursionError"),
        ("numpy_only", "has no derivative by jax.jvp: ValueError: Pure callbacks do not support JVP."),
    ],
)
def test_a_function_that_is_no_activation_gets_a_sentence(mine, name, sentence):
    with pytest.raises(ValueError, match=f"^'{mine}:{name}'") as error:
        activation(f"{mine}:{name}")
    assert sentence in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.slow
def test_a_function_that_goes_to_another_folder_takes_the_run_nowhere(mine, tmp_path):
    (tmp_path / "moving.py").write_text("import os, jax.numpy as jnp\nos.chdir('/')\ndef phi(a): return jnp.sin(a)\n")
    names = f"{mine}:wanders,tanh,moving:phi,relu"
    winit("run", f"activation={names}", *SMALL, "--no-figures", "--out", "here")
    assert Path.cwd() == tmp_path
    assert len(list((tmp_path / "here" / "networks").glob("*.parquet"))) == 4


@pytest.mark.slow
def test_a_function_that_makes_numpy_strict_takes_nothing_from_its_neighbours(mine, tmp_path):
    (tmp_path / "strict.py").write_text(f"import numpy\nnumpy.seterr(all='raise')\nfrom {mine} import fine\n")
    names = f"tanh,{mine}:strict,strict:fine"
    said = run(tmp_path / "run", f"activation={names}", "gain=1e-300,1,2", *SMALL[1:])
    assert "predictions" not in said
    found = pd.read_parquet(tmp_path / "run" / "mean_field")
    assert list(found["activation"].unique()) == names.split(",")
    assert found["chi1"].notna().all()
    assert np.geterr()["over"] == "warn"


@pytest.mark.slow
def test_a_function_that_fails_in_theory_leaves_its_own_rows_empty(mine, tmp_path, monkeypatch):
    known = theory.fixed_point_of_logs

    def fails(act, *scales):
        if ":" in act.name:
            raise ArithmeticError("not today")
        return known(act, *scales)

    monkeypatch.setattr(theory, "fixed_point_of_logs", fails)
    said = run(tmp_path / "run", f"activation=tanh,{mine}:fine", *SMALL)
    assert f"note: {mine}:fine has no predictions of mean field (ArithmeticError: not today)\n" in said
    found = pd.read_parquet(tmp_path / "run" / "mean_field").set_index("activation")["chi1"]
    assert found.notna().to_dict() == {"tanh": True, f"{mine}:fine": False}


def test_a_signal_of_the_users_is_passed_on_whatever_function_it_meets():
    def stopped(a):
        raise Stopped(2)

    with pytest.raises(Stopped):
        probe(stopped, "stopped")


def test_a_slope_that_is_nan_far_out_is_noted(mine):
    assert any("its slope is NaN at 128 in float32" in note for note in activation(f"{mine}:naive_softplus").notes)
    assert not activation(f"{mine}:fine").notes


@pytest.mark.slow
def test_of_values_that_are_nan_far_out_nothing_is_said_but_that(mine):
    assert any("its values are NaN at 32 in float32" in note for note in activation(f"{mine}:ends_at_30").notes)
    told, _ = winit("theory", f"{mine}:ends_at_30")
    assert "its values are NaN at 32 in float32; networks that pass there have no numbers" in told
    assert "stable" not in told
    assert json.loads(winit("theory", f"{mine}:ends_at_30", "--json")[0])["gains"][0]["fixed_points"] == []


def test_a_module_that_exits_does_not_end_the_process(tmp_path, monkeypatch):
    (tmp_path / "module_that_exits.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    said = run(tmp_path / "run", "activation=module_that_exits:act", *SMALL, code=2)
    assert "importing module_that_exits failed: SystemExit: 0" in said
