"""Run scenarios, undisturbed, and keep the tables of their parts: python record.py RECORDING FOLDER [SCENARIO ...]"""

import pickle
import sys
from pathlib import Path

from replay import SCENARIOS, Recording, cut_small
from typer.testing import CliRunner

from winit_jax.cli import main as cli
from winit_jax.engine.running import launch


def record(folder, names):
    """What every part of these scenarios computes."""
    cut_small()
    launch.Executor = Recording
    for name in names:
        for words in (words for words in SCENARIOS[name] if words[0] != "compact"):
            result = CliRunner().invoke(cli.app, ["run", *words, "--out", str(folder / name), "--no-figures"])
            assert result.exit_code == 0, result.output
    return Recording.kept


if __name__ == "__main__":
    kept = record(Path(sys.argv[2]), sys.argv[3:] or SCENARIOS)
    with open(sys.argv[1], "wb") as file:
        pickle.dump(kept, file)
