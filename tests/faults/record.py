"""Run every scenario once, undisturbed, and keep the tables of its parts: python record.py RECORDING FOLDER"""

import pickle
import sys
from pathlib import Path

from replay import SCENARIOS, Recording, cut_small
from typer.testing import CliRunner

from sweeps import cli, execute


def record(folder):
    """What every part of every scenario computes."""
    cut_small()
    execute.Executor = Recording
    for name, steps in SCENARIOS.items():
        for words in steps:
            result = CliRunner().invoke(cli.app, ["run", *words, "--out", str(folder / name), "--no-figures"])
            assert result.exit_code == 0, result.output
    return Recording.kept


if __name__ == "__main__":
    kept = record(Path(sys.argv[2]))
    with open(sys.argv[1], "wb") as file:
        pickle.dump(kept, file)
