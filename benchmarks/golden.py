"""Tables of small sweeps that touch every activation, init, normalization, measurement and kind of training.

    python -m benchmarks.golden make /tmp/before            # in the old checkout
    python -m benchmarks.golden make /tmp/after             # in the new one, with the same jaxlib on the same machine
    python -m benchmarks.golden compare /tmp/before /tmp/after

A change of shape alone must leave every bit where it was. `compare` names the columns that differ, how many rows
of them, and the largest difference; it exits with 1 if there is one. Bits depend on the processor, so that golden
tables are made anew on each machine instead of being kept.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from winit_jax.api import Asked, carry_out, say_on_stderr
from winit_jax.engine.running.launch import Host

ACTIVATIONS = (
    "identity,sigmoid,tanh,relu,leaky_relu,leaky_relu(0.2),elu,selu,gelu,silu,softplus,erf,hard_tanh,sin,mish,"
    "jax.numpy:arctan,jax.nn:celu"
)
SHAPES = "normal,uniform,truncated_normal,orthogonal,constant"
SCHEMES = "zeros,lecun_normal,lecun_uniform,xavier_normal,xavier_uniform,he_normal,he_uniform"
MEASURED = (
    "measure.gradients=true measure.singular_values=true "
    "measure.histogram.bins=7 measure.histogram.low=-1 measure.histogram.high=1"
)
SMALL = "width=16 depth=1,2,6 seed=0,1 inputs.samples=20"
TRAINED = (
    "width=12 depth=2,4 seed=0,1 init=he_normal,uniform gain=1 learning_rate=0.05,0.5 train.source=digits "
    "train.steps=60 train.eval_every=20 train.batch_size=16 train.test_samples=100"
)

SWEEPS: dict[str, str] = {
    "activations": f"activation={ACTIVATIONS} gain=0.5,1.5 bias_std=0.1 {SMALL} {MEASURED}",
    "inits": f"activation=tanh,relu init={SHAPES},{SCHEMES} gain=0.7,1.4 {SMALL} {MEASURED}",
    "normalized": "activation=tanh,gelu,relu normalization=none,batch,layer norm_epsilon=1e-5,1e-2 gain=1,30 "
    f"{SMALL} {MEASURED}",
    "extremes": "activation=tanh,relu,gelu,jax.nn:relu6 gain=1e-30,1e-3,1e3,1e30 bias_std=0,1e-20 width=7 depth=1,9 "
    f"inputs.samples=5 {MEASURED}",
    "stds": "activation=sigmoid,silu std=0.01,1 width=9,33 depth=int:1:4 seed=int:0:2 inputs.samples=11 "
    "inputs.features=5",
    "infinite": "activation=sigmoid,silu gain=0.5,2 width=9,inf depth=int:1:4 bias_std=0,0.3 inputs.samples=11",
    "digits": "activation=tanh,gelu gain=1,2 init=normal,orthogonal depth=1,8 width=20 inputs.source=digits "
    "inputs.samples=40 measure.gradients=true",
    "alone": "activation=gelu gain=1.3 width=24 depth=5 inputs.samples=30 measure.gradients=true",
    "trained": f"activation=tanh,relu normalization=none,batch,layer {TRAINED}",
    "optimized": f"activation=gelu train.optimizer=adam {TRAINED}",
    "watched": f"activation=sigmoid {TRAINED} measure.gradients=true measure.histogram.bins=5",
}


def make(folder: Path) -> None:
    """Run every sweep into a folder of its own."""
    for name, words in SWEEPS.items():
        print(name, flush=True)
        _, outcome = carry_out(Asked(None, words.split()), Host(say_on_stderr), out=folder / name, parent=folder)
        if outcome.failures:
            raise SystemExit("\n".join(outcome.failed()))


def tables(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every table of every sweep below a folder, its rows in the order of its keys."""
    for table in sorted({file.parent for file in folder.glob("*/*/*.parquet")}):
        frame = pd.read_parquet(table)
        for column in frame.select_dtypes("category"):
            frame[column] = frame[column].astype(str)
        yield str(table.relative_to(folder)), frame.reset_index(drop=True)


def difference(old: pd.Series, new: pd.Series) -> str:
    """How two columns differ, or nothing where they are the same to the bit, NaN beside NaN."""
    if old.dtype != new.dtype:
        return f"{old.dtype} was, {new.dtype} is"
    differ = ~((old == new) | (old.isna() & new.isna()))
    if not differ.any():
        return ""
    said = f"{differ.sum():,} of {len(old):,} rows"
    if pd.api.types.is_float_dtype(old):
        with np.errstate(all="ignore"):
            said += f", by up to {np.nanmax(np.abs(old - new)[differ]):.2g}"
    return said


def compare(old_folder: Path, new_folder: Path) -> list[str]:
    """One sentence for each table or column that is not the same."""
    olds, news = dict(tables(old_folder)), dict(tables(new_folder))
    said = [
        f"{name}: only in {old_folder if name in olds else new_folder}" for name in sorted(olds.keys() ^ news.keys())
    ]
    for name in sorted(olds.keys() & news.keys()):
        old, new = olds[name], news[name]
        if list(old) != list(new) or len(old) != len(new):
            said.append(f"{name}: {len(old)} rows of {list(old)} were, {len(new)} rows of {list(new)} are")
            continue
        said += [f"{name}.{column}: {text}" for column in old if (text := difference(old[column], new[column]))]
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("folder", type=Path)
    both = commands.add_parser("compare")
    both.add_argument("before", type=Path)
    both.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.folder)
        return
    said = compare(arguments.before, arguments.after)
    counted = list(tables(arguments.after))
    print("\n".join(said) or f"{len(counted)} tables, {sum(len(frame) for _, frame in counted):,} rows: the same bits")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
