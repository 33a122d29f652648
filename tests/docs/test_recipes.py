"""The recipes for clusters: the very lines of the pages, with stand-ins for the schedulers, fill a folder."""

import os
import re
import stat
import subprocess
import sys

import pytest

from support.pages import ROOT, blocks
from support.runs import assert_same_bits, in_tiny_parts, winit
from winit_jax.engine.computing.vocabulary import vocabulary
from winit_jax.engine.planning import planner as plan
from winit_jax.spec.reading import load_sweep

pytestmark = pytest.mark.slow
PAGE, TUTORIAL = ROOT / "sweeps" / "README.md", ROOT / "docs" / "clusters.md"
TINY = ["activation=tanh", "gain=0.5,1.5", "width=8", "depth=1,2", "seed=int:0:7", "inputs.samples=20"]
# Runs the command in place of an installed `winit`, every family its own part.
WINIT = f"""#!{sys.executable}
import winit_jax.engine.planning.planner as p; p.PART_SECONDS = 1e-12
from winit_jax.cli.main import main; main()
"""
# Puts each value behind `:::` in place of {{}}, one after another, as GNU parallel does with one job at a time.
PARALLEL = f"""#!{sys.executable}
import subprocess, sys
words = sys.argv[1:]
values, words = words[words.index(":::") + 1 :], words[: words.index(":::")]
while words[0].startswith("--"):
    words = words[2:]
codes = [subprocess.call([word.replace("{{}}", value) for word in words]) for value in values]
sys.exit(sum(code != 0 for code in codes))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return in_tiny_parts(tmp_path_factory.mktemp("recipes") / "whole", *TINY)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the recipes name: my.toml, .venv/bin/winit, and `winit` and `parallel` on the path."""
    monkeypatch.setattr(plan, "PART_SECONDS", 1e-12)
    (tmp_path / "my.toml").write_text(load_sweep(None, TINY, vocabulary()).to_toml())
    for name, text in ((".venv/bin/winit", WINIT), ("bin/winit", WINIT), ("bin/parallel", PARALLEL)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def bash(place, text, **variables):
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **variables}
    done = subprocess.run(["bash", "-c", text], cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


def block_with(page, word, language="bash"):
    (found,) = [block.text for block in blocks(page, language) if word in block.text]
    return found


def assert_filled(place, whole):
    assert_same_bits(whole, place / "runs" / "my", ("networks", "layers", "mean_field"))
    assert "state     done" in winit("status", place / "runs" / "my")[0]


def test_the_slurm_array_fills_a_folder_from_0_to_63(place, whole):
    script = block_with(PAGE, "#SBATCH --array")
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", script).groups())
    assert (first, last) == (0, 63)
    count = 3  # of an array of three tasks the script is the same
    for index in range(count):
        variables = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": str(count)}
        said = bash(place, script, SLURM_SUBMIT_DIR=str(place), **variables)
        assert f"of shard {index + 1}/{count}" in said
    assert_filled(place, whole)


def test_the_pbs_array_fills_a_folder(place, whole):
    script = block_with(PAGE, "#PBS -J")
    count = int(re.search(r"#PBS -J 1-(\d+)", script)[1])
    assert f"$PBS_ARRAY_INDEX/{count}" in script
    script = script.replace(f"/{count}", "/2")  # of two, for the time it takes
    for index in (2, 1):
        bash(place, script, PBS_ARRAY_INDEX=str(index), PBS_O_WORKDIR=str(place))
    assert_filled(place, whole)


def test_the_kubernetes_job_fills_a_folder(place, whole):
    manifest = block_with(PAGE, "completionMode", "yaml")
    count = int(re.search(r"completions: (\d+)", manifest)[1])
    command = re.search(r"args:\n\s+- (.*)\n", manifest)[1]
    assert command.endswith(f'/{count}"')
    command = command.replace(f"/{count}", "/2")
    for index in range(2):
        bash(place, command, JOB_COMPLETION_INDEX=str(index))
    assert_filled(place, whole)


def test_gnu_parallel_fills_a_folder(place, whole):
    command = block_with(PAGE, "parallel --jobs")
    numbers = command.partition(":::")[2].split()
    assert numbers == [str(number) for number in range(1, 9)]
    bash(place, command.replace("{}/8", "{}/3").partition(":::")[0] + "::: 1 2 3")
    assert_filled(place, whole)


def test_the_tutorial_s_script_fills_a_folder_and_goes_on_after_a_kill(place, whole):
    script = block_with(TUTORIAL, "#SBATCH --array")
    count = int(re.search(r"#SBATCH --array=1-(\d+)", script)[1])
    script = script.replace(f"/{count}", "/2")
    bash(place, script, SLURM_ARRAY_TASK_ID="1", SLURM_SUBMIT_DIR=str(place))
    (place / "runs" / "my" / "parts" / "000001.jsonl").write_bytes(b"")  # as if it had been killed at its start
    for index in ("2", "1"):
        bash(place, script, SLURM_ARRAY_TASK_ID=index, SLURM_SUBMIT_DIR=str(place))
    assert_filled(place, whole)


def test_two_folders_of_shards_are_merged(place, whole):
    text = block_with(PAGE, "winit merge")
    bash(place, text.replace("winit run", "winit run --no-figures"))
    assert_filled(place, whole)
