"""Commands on folders named on stdin, one a line, with parts that were recorded: python commands.py RECORDING

For each folder prints a JSON list of what was wrong: exit codes that are none, exceptions, long answers.
"""

import json
import pickle
import sys
import warnings

from inject import winit
from replay import SCENARIOS, replay

from winit_jax.analysis import RunFolderError, load


def troubles(folder):
    """What every command makes of a folder."""
    (words,) = SCENARIOS["gradients"]
    commands = [("status", folder), ("verify", folder), ("run", *words, "--out", folder, "--no-figures")]
    commands += [("verify", folder, "--repair"), ("run", f"{folder}/sweep.toml", "--out", folder, "--no-figures")]
    wrong = []
    for command in commands:
        code, said, odd = winit(*command)
        if odd or code not in (0, 1, 2) or (code and not said.strip()):
            wrong.append(f"{command[0]}: exit code {code}: {said}")
    try:
        run = load(folder)
        for table in ("networks", "layers", "gradients", "histograms", "gradient_histograms", "mean_field"):
            _ = getattr(run, table)
    except RunFolderError:
        pass
    except Exception as error:
        wrong.append(f"load: {error!r}")
    return wrong


def main():
    warnings.simplefilter("ignore")
    with open(sys.argv[1], "rb") as file:
        replay(pickle.load(file))
    for line in sys.stdin:
        print(json.dumps(troubles(line.rstrip("\n"))), flush=True)


if __name__ == "__main__":
    main()
