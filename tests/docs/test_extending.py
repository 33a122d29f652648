"""docs/extending.md: each example is made in a copy of the package, and used there."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file

from support.pages import ROOT, copy_with_example

PAGE = ROOT / "docs" / "extending.md"


def python(copy, *words, timeout=280):
    """What Python says in a copy of the package."""
    path = os.pathsep.join([str(copy), str(copy / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=copy, capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sweep(copy, *words):
    """The networks of a small sweep, which is drawn too."""
    grid = ["width=64", "depth=2,4", "seed=0,1", "inputs.samples=50", *words]
    python(copy, "-m", "winit_jax", "run", *grid, "--out", copy / "run")
    assert list((copy / "run" / "figures").glob("*.png"))
    return pd.read_parquet(copy / "run" / "networks")


@pytest.fixture
def example(request, tmp_path):
    return copy_with_example(PAGE, request.param, tmp_path / "copy")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["activation"], indirect=True)
def test_a_new_activation_is_swept_and_predicted(example):
    networks = sweep(example, "activation=arctan,tanh", "gain=0.5,1,2")
    arctan = networks[networks["activation"] == "arctan"]
    assert len(arctan) == 12
    assert np.all(np.abs(arctan["log10_act_rms"] - arctan["theory_log10_act_rms"]) < 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("example", ["activation"], indirect=True)
def test_a_new_activation_is_covered_by_the_tests_of_all(example):
    said = python(
        example, "-m", "pytest", "-q", "-n", "0", "tests/numerics/test_activations.py", "-m", "", "-k", "arctan"
    )
    assert "5 passed" in said


@pytest.mark.slow
@pytest.mark.parametrize("example", ["activation"], indirect=True)
def test_a_new_activation_passes_every_test_of_the_numerics(example):
    python(example, "-m", "pytest", "-q", "-n", "0", "tests/numerics", "-k", "arctan", timeout=560)


@pytest.mark.slow
@pytest.mark.parametrize("example", ["init"], indirect=True)
def test_a_new_init_is_swept_and_predicted(example):
    networks = sweep(example, "activation=tanh", "init=laplace,normal,he_laplace", "gain=0.5,1.0")
    laplace = networks[networks["init"] == "laplace"]
    assert len(laplace) == 8
    assert np.all(np.abs(laplace["log10_act_rms"] - laplace["theory_log10_act_rms"]) < 0.1)
    assert set(networks[networks["init"] == "he_laplace"]["gain"]) == {np.sqrt(2)}


@pytest.mark.slow
@pytest.mark.parametrize("example", ["init"], indirect=True)
def test_a_new_shape_has_variance_one_and_the_tails_that_its_docstring_says(example):
    draw = "from winit_jax.numerics.initializers import unit_weights; z = unit_weights(0, 'laplace', 512, 1, 512)"
    moments = [float(word) for word in python(example, "-c", f"{draw}; print((z**2).mean(), (z**4).mean())").split()]
    n = 512**2
    # E[z^4] = 6 and E[z^8] = 8! / 2^4 of a unit Laplace variable.
    assert abs(moments[0] - 1) < 5 * np.sqrt((6 - 1) / n)
    assert abs(moments[1] - 6) < 5 * np.sqrt((40320 / 16 - 36) / n)


@pytest.mark.slow
@pytest.mark.parametrize("example", ["source"], indirect=True)
def test_a_new_format_is_read_and_swept(example):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 3, (30, 6)).astype(float), np.arange(30) % 2
    dump_svmlight_file(images, labels, str(example / "data.libsvm"))
    read = "from winit_jax.data.sources import read; s = read('data.libsvm'); "
    said = python(example, "-c", read + "print(s.images.sum(), s.images.shape, s.labels.sum(), s.files[0][0])")
    assert said.split("\n")[0] == f"{images.sum()} (30, 6) 15 data.libsvm"
    networks = sweep(example, "activation=tanh", "gain=0.5,1.0", "inputs.source=data.libsvm", "inputs.samples=30")
    assert networks["act_std"].notna().all()


@pytest.mark.slow
@pytest.mark.parametrize("example", ["source"], indirect=True)
def test_a_damaged_file_of_a_new_format_gets_a_sentence(example):
    (example / "data.libsvm").write_text("1 nothing\n")
    script = "from winit_jax.data.sources import InputError, read\ntry:\n    read('data.libsvm')\n"
    said = python(example, "-c", script + "except InputError as error:\n    print(error)\n")
    assert said.startswith("data.libsvm cannot be read as svmlight: ")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["statistic"], indirect=True)
def test_a_new_statistic_is_a_column_of_every_table_that_its_record_names(example):
    networks = sweep(example, "activation=tanh,sigmoid", "gain=0.5,1,2")
    np.testing.assert_allclose(networks["act_range"], networks["act_max"] - networks["act_min"], rtol=1e-12)
    assert "act_range" in pd.read_parquet(example / "run" / "layers")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["statistic"], indirect=True)
def test_a_new_statistic_is_held_against_its_definition(example):
    tests = ["tests/columns/test_columns.py", "tests/numerics/test_forward.py"]
    said = python(example, "-m", "pytest", "-q", "-n", "0", *tests, "-k", "act_range or tanh or complete")
    assert " passed" in said


@pytest.mark.slow
@pytest.mark.parametrize("example", ["figure"], indirect=True)
def test_a_new_kind_of_figure_is_drawn_by_its_name(example):
    sweep(example, "activation=tanh,relu", "gain=0.1,1,10", "depth=int:1:12")
    drawn = python(example, "-m", "winit_jax", "plot", "run", "reach", "--format", "svg")
    assert drawn.strip().endswith("run/figures/reach.svg")
    assert "Figure" in python(example, "-c", "from winit_jax.analysis import load; print(load('run').reach())")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["figure"], indirect=True)
def test_a_new_kind_of_figure_is_covered_by_the_tests_of_all(example):
    said = python(example, "-m", "pytest", "-q", "-n", "0", "tests/analysis/test_figure_kinds.py", "-k", "reach")
    assert " passed" in said


@pytest.mark.slow
@pytest.mark.parametrize("example", ["block"], indirect=True)
def test_a_new_block_passes_what_every_block_must(example):
    said = python(example, "-m", "pytest", "-q", "-n", "0", "tests/numerics/test_blocks.py", "-m", "", "-k", "grouped")
    assert "4 passed" in said
