"""A part is computed from a sweep, its data and the part alone, in whatever process."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from winit_jax.engine.computing.executor import Executor, compute
from winit_jax.engine.computing.vocabulary import planner, vocabulary
from winit_jax.engine.computing.work import read_work
from winit_jax.spec.reading import load_sweep

FORWARD = ["activation=jax.numpy:arctan", "gain=0.5,1.5", "bias_std=0.1", "width=8", "depth=1,3", "inputs.samples=20"]
TRAINING = ["activation=relu", "gain=1,2", "width=8", "depth=2", "learning_rate=0.1,0.5", "train.steps=4"]
TRAINING += ["train.eval_every=2", "train.batch_size=10", "train.train_samples=60", "train.test_samples=50"]


def computed(text: bytes):
    """The tables of pickled work, as plain frames."""
    work, part, depths = pickle.loads(text)
    return {name: table.to_pandas() for name, table in compute(work, part, depths).items()}


@pytest.mark.slow
@pytest.mark.parametrize("words", [FORWARD, TRAINING], ids=["forward", "training"])
def test_another_process_computes_the_same_bits_from_pickled_work(words):
    sweep = load_sweep(None, words, vocabulary(lambda path: None))
    work, depths = read_work(sweep), tuple(sweep.grid.depth)
    executor = Executor(work)
    parts = list(planner(2, together=executor.training.together if sweep.train else None, imports=True).parts(sweep))
    part = parts[-1]
    here = {name: table.to_pandas() for name, table in executor.run(part, depths).items()}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(computed, pickle.dumps((work, part, depths))).result(timeout=300)
    assert here.keys() == there.keys() >= {"networks", "layers"}
    assert all(there[name].equals(frame) for name, frame in here.items())  # NaN included
