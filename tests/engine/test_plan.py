"""What is planned is what is written; times and sizes as sentences; memory is asked for before it is taken."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer

import winit_jax
from support.clocks import a_moment
from support.runs import run, winit
from winit_jax.api import say_on_stderr
from winit_jax.cli import saying
from winit_jax.engine.computing.vocabulary import draw_of, planner, vocabulary
from winit_jax.engine.planning import memory, report
from winit_jax.engine.planning import planner as plan
from winit_jax.engine.planning.points import Count, count_by_shape, points_by_draw
from winit_jax.numerics.schemes import shape_of
from winit_jax.spec.reading import load_sweep
from winit_jax.system import machine
from winit_jax.wording import duration, size

TINY = ["activation=tanh,relu", "gain=0.5,1", "width=4", "depth=1,3", "seed=0,1", "inputs.samples=5"]
TRAINED = [
    "train.steps=4",
    "train.eval_every=3",
    "train.batch_size=8",
    "train.train_samples=40",
    "train.test_samples=9",
]
ROOT = Path(__file__).parents[2]


def planned(*words):
    return json.loads(winit("plan", *words, "--json")[0])


def written(folder):
    """Rows of every table in a run folder."""
    rows = {}
    for file in Path(folder).glob("*/*.parquet"):
        rows[file.parent.name] = rows.get(file.parent.name, 0) + pq.read_metadata(file).num_rows
    return rows


@pytest.mark.parametrize(
    "words",
    [
        [*TINY, "init=normal,he_normal", "bias_std=0,0.1"],
        [*TINY[:1], "width=inf", "gain=1,2", "depth=int:1:4", "init=normal,constant"],
        [*TINY[1:], "activation=tanh,jax.numpy:arctan"],
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (
                [*TINY, "measure.layers=false", "normalization=none,batch"],
                [*TINY, "measure.gradients=true", "measure.histogram.bins=4"],
                [*TINY, "measure.histogram.bins=4", "init=orthogonal"],
                [*TINY, "measure.singular_values=true", "measure.jacobian=false"],
                [*TINY[:1], "width=4,inf", "gain=1,2", "depth=1,2", "inputs.samples=5", "bias_std=0.1,0.2"],
                [*TINY, "learning_rate=0.1,0.2", *TRAINED, "measure.gradients=true", "measure.histogram.bins=2"],
                [*TINY, "normalization=none,batch", "norm_epsilon=1e-5,1e-3", "measure.gradients=true"],
                [
                    *TINY,
                    "normalization=layer",
                    "learning_rate=0.1",
                    *TRAINED,
                    "measure.singular_values=true",
                ],
                [*TINY[1:], "activation=jax.numpy:arctan", "width=4,inf", "measure.histogram.bins=2"],
            )
        ),
    ],
    ids=[
        "forward",
        "inf alone",
        "import path",
        "no layers",
        "gradients",
        "histograms",
        "singular values",
        "inf too",
        "training",
        "normalizations",
        "normalizations and training",
        "import path and inf",
    ],
)
def test_the_rows_that_are_planned_are_the_rows_that_are_written(tmp_path, words):
    counted = planned(*words)
    run(tmp_path / "run", *words)
    assert counted["rows_by_table"] == written(tmp_path / "run")
    assert counted["rows"] == sum(counted["rows_by_table"].values())
    assert counted["bytes_by_table"].keys() == counted["rows_by_table"].keys()
    assert counted["bytes"] == sum(counted["bytes_by_table"].values())
    from_file = winit_jax.plan(tmp_path / "run" / "sweep.toml")
    assert dict(from_file.rows_by_table) == counted["rows_by_table"]
    assert dict(from_file.bytes_by_table) == counted["bytes_by_table"]


MILLIARD = ["activation=tanh,relu", "gain=log:0.1:10:100", "bias_std=lin:0:1:50", "depth=int:1:100", "seed=int:0:999"]


def test_a_grid_of_a_thousand_million_networks_is_planned_by_arithmetic_and_not_run(tmp_path):
    plan = planned(*MILLIARD, "width=4", "inputs.samples=8")
    assert plan["networks"] == plan["rows_by_table"]["networks"] == 10**9
    assert plan["seconds"] > 2 * plan["measuring_seconds"]  # of so small networks most is columns and rows
    words = winit("run", *MILLIARD, "width=4", "--out", tmp_path / "run", code=2)[1]
    assert "grid: 1,000,000,000 networks; a sweep may have 100,000,000. The longest axes: seed (1,000)" in words
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_bytes_that_are_planned_are_about_those_that_are_written(tmp_path):
    """In a sweep of thousands of rows a table: in a smaller one what every file has beside its rows is most of it."""
    words = ["activation=tanh", "gain=log:0.1:10:60", "width=8", "depth=int:1:6", "seed=0,1,2,3,4", "inputs.samples=5"]
    words += ["measure.gradients=true", "measure.histogram.bins=10"]
    counted = planned(*words)["bytes_by_table"]
    run(tmp_path / "run", *words)
    for name in ("networks", "layers", "gradients", "histograms", "gradient_histograms"):
        size_on_disk = sum(file.stat().st_size for file in (tmp_path / "run" / name).iterdir())
        assert size_on_disk / 3 < counted[name] < 3 * size_on_disk, name


def test_a_small_sweep_has_work_for_every_lane():
    words = ["activation=relu,tanh", "gain=1", "width=4", "depth=2", "inputs.samples=8"]
    parts = list(planner(2).parts(load_sweep(None, words, vocabulary(), ())))
    assert [[job.activation for job in part.jobs] for part in parts] == [["relu"], ["tanh"]]


def test_the_plan_counts_what_a_run_takes_beside_its_networks():
    plan = planned(*TINY, "learning_rate=0.1", "train.steps=4")
    assert plan["compilations"] == 2 * (1 + 2)  # a measurement and two depths for each activation
    assert plan["compile_seconds"] > 0
    assert 0 < plan["measuring_seconds"] < plan["seconds"]
    said = winit("plan", *TINY, "learning_rate=0.1", "train.steps=4")[0]
    assert "memory        about " in said
    assert " of it before training" in said
    assert "where none is cached" in said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1.0 min"),
        (270, "4.5 min"),
        (1200, "20 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (86_400, "24 h 0 min"),
        (190_800, "2 d 5 h"),
        (1e9, "11,574 d 2 h"),
    ],
)
def test_times_are_in_the_unit_that_one_would_say(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "words",
    [
        ["activation=relu", "init=normal,zeros,he_normal,orthogonal", "gain=0,0.5,1", "bias_std=0,0.1"],
        ["activation=relu", "init=uniform,lecun_normal", "std=0.1,1", "bias_std=0.1,0.2", "width=4"],
        ["activation=tanh", "gain=1,2", "normalization=layer", "norm_epsilon=1e-5,1e-3", "bias_std=0", "width=4"],
        ["activation=relu", "init=uniform,torch_linear,he_normal", "gain=1,2"],
        ["activation=relu", "init=uniform,torch_linear", "gain=1", "bias_std=0,1", "bias_init=normal,uniform"],
        ["activation=relu", "gain=1,1/depth", "skip_scale=0,1", "branch_scale=0,1,1/sqrt(depth)", "bias_std=0,0.1"],
    ],
)
@pytest.mark.parametrize("skip", [0.0, 1.0])
def test_points_are_counted_without_being_made(words, skip):
    sweep = load_sweep(None, [*words, "depth=2,3"], vocabulary())
    listed = {}
    for draw, points in points_by_draw(sweep, draw_of).items():
        listed.setdefault(draw.shape, []).extend(points)
    expected = {shape: Count.of(points, skip) for shape, points in listed.items()}
    assert count_by_shape(sweep, shape_of, skip) == expected


@pytest.mark.slow
def test_a_plan_of_ten_million_points_makes_none_and_counts_their_memory(monkeypatch):
    monkeypatch.setattr(plan, "points_by_draw", None)
    words = ["activation=tanh", "gain=lin:0.1:2:10000", "bias_std=lin:0:1:1000", "width=4", "depth=2"]
    found = json.loads(winit("plan", *words, "inputs.samples=4", "--json")[0])
    assert found["networks"] == 10**7
    assert found["memory_mib"] > 9000


def test_problems_of_data_come_with_all_others():
    words = ["activation=tahn", "gain=1", "inputs.source=digits", "inputs.samples=5000", "train.steps=1"]
    words += ["train.source=digits", "train.train_samples=1797"]
    for command in ("plan", "run"):
        said = winit(command, *words, code=2)[1]
        assert "grid.activation: 'tahn' is not an activation." in said
        assert said.count("inputs.samples: 5,000 asked for, digits has 1,797.") == 1
        assert said.count("train.train_samples: ") == 1


def test_sizes_are_in_the_unit_that_one_would_say():
    assert [size(x) for x in (0, 1023, 1536, 1.25 * 2**20, 12.4 * 2**20, 1023 * 2**20, 1.5 * 2**30, 72 * 2**40)] == [
        "0 bytes", "1,023 bytes", "1.5 KiB", "1.2 MiB", "12 MiB", "1,023 MiB", "1.5 GiB", "72.0 TiB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "lower"),
    [
        (["gain=1", "inputs.samples=1000000", "inputs.features=1000000"], "Lower inputs.samples or features."),
        (["gain=1", "width=65536"], "Lower the width."),
        (["gain=1", "width=1000", "inputs.samples=1000000"], "Lower inputs.samples or the width."),
        (["gain=lin:0.1:1:4000", "depth=100000"], "Lower the depth."),
        (["gain=1", "width=20000", "depth=50", "measure.singular_values=true", "inputs.samples=4"], "Lower the width."),
    ],
)
def test_a_sweep_beyond_the_memory_is_refused_before_anything_is_made(tmp_path, monkeypatch, words, lower):
    monkeypatch.setattr(report, "available_mib", lambda: 8192.0)
    words = ["activation=relu", *words]
    with a_moment():
        out, said = winit("run", *words, "--out", tmp_path / "run", code=2)
    assert out == ""
    assert said.startswith("This sweep needs about ")
    assert said.endswith(f"iB of it for {said.split(' of it for ')[1].split(',')[0]}, and 8.0 GiB are there. {lower}\n")
    assert not (tmp_path / "run").exists()
    assert ": more than the 8.0 GiB of this machine" in winit("plan", *words)[0]


def test_an_accelerator_s_memory_is_not_the_machine_s(monkeypatch):
    monkeypatch.setattr(report, "available_mib", lambda: 8192.0)
    wide = load_sweep(None, ["activation=tanh", "gain=1", "width=65536", "inputs.samples=10"], vocabulary())
    assert report.memory_problem(wide, planner(2), vocabulary(), on_cpu=True)
    assert report.memory_problem(wide, planner(2), vocabulary(), on_cpu=False) is None


def test_ready_sweeps_fit_an_ordinary_machine():
    for name in ("phase", "quickstart", "book-mnist", "which-init", "isometry", "trainability"):
        assert (
            memory.peak_mib(memory.shares(load_sweep(name, [], vocabulary()), planner(2), vocabulary().gradient_mib))
            < 8192
        )


def test_the_memory_of_a_container_is_the_memory_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    whole = memory.available_mib()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_mib() == whole
    (tmp_path / "memory.max").write_text(f"{100 * 2**20}\n")
    assert memory.available_mib() == 100


@pytest.mark.parametrize("answer", ["y\n", "n\n", ""])
def test_a_run_of_hours_is_agreed_to_on_a_terminal(monkeypatch, answer):
    from typer.testing import CliRunner

    app = typer.Typer()

    @app.command()
    def ask() -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        raise typer.Exit(0 if report.agreed(12_000, 2, saying.say, saying.agrees) else 7)

    result = CliRunner().invoke(app, [], input=answer)
    assert "about 3 h 20 min on 2 cores of this machine. Begin? [y/N]" in result.stderr
    assert result.exit_code == {"y\n": 0, "n\n": 7, "": 1}[answer]


def test_without_a_terminal_a_run_of_hours_begins_and_says_so(capsys):
    assert report.agreed(12_000, 2, say_on_stderr, saying.agrees)
    assert "about 3 h 20 min on 2 cores of this machine; going on, for there is no terminal" in capsys.readouterr().err
    assert report.agreed(12_000, 2, say_on_stderr)
    assert capsys.readouterr().err == "about 3 h 20 min on 2 cores of this machine\n"
    assert report.agreed(10, 2, say_on_stderr, saying.agrees)
    assert capsys.readouterr().err == ""
    assert report.agreed(120, 2, say_on_stderr, saying.agrees)
    assert capsys.readouterr().err == "about 2.0 min on 2 cores of this machine\n"


def test_the_command_line_has_a_version_a_short_help_and_completion():
    said = subprocess.run([sys.executable, "-m", "winit_jax", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert said.stdout.startswith("winit-jax ")
    assert (said.returncode, said.stderr) == (0, "")
    for words in (["-h"], ["plan", "-h"]):
        assert winit(*words)[0] == winit(*words[:-1], "--help")[0]
    assert "--install-completion" in winit("-h")[0]


def readme_sweep():
    """The README's sample file."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("```toml\n")[1].split("```")[0]


def test_the_readme_s_sample_file_is_read_and_takes_a_minute(tmp_path, monkeypatch):
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").touch()
    (tmp_path / "mypackage" / "acts.py").write_text(
        "import jax.numpy as jnp\n\n\ndef snake(a):\n    return a + jnp.sin(a) ** 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sample.toml").write_text(readme_sweep())
    assert set(tomllib.loads(readme_sweep())) == {"title", "grid", "inputs", "measure", "train"}
    plan = planned(tmp_path / "sample.toml")
    assert plan["seconds"] + plan["compile_seconds"] < 90
