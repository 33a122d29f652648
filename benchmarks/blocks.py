"""Sweeps of every block against what a user would write instead, as ratios in one run.

    python -m benchmarks.blocks                       # residual, mlp(4), gated(4), conv(3), attention and transformer
    python -m benchmarks.blocks --blocks residual     # one of them
    python -m benchmarks.blocks --planned             # estimated over measured seconds of each block's sweep

The others are a plain jit(vmap(one network)) and, where it is installed, a PyTorch loop, with the same statistics of
every layer: of the stream and of phi. In a round all ways run in turn, so a ratio compares neighbors in time; figures
are microseconds a network and layer, medians over rounds. Compiling is not counted.
"""

import argparse
import math
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.forward import Sweep, seconds, sgemm_peak
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.numerics.blocks import BLOCKS, multiplications
from winit_jax.system.provenance import cores, versions

# Layers, samples, positions and width of each block's sweep.
CASES = {
    "dense": (50, 1000, 1, 100),
    "residual": (50, 1000, 1, 100),
    "mlp(4)": (20, 1000, 1, 100),
    "gated(4)": (20, 1000, 1, 100),
    "conv(3)": (20, 64, 16, 100),
    "attention(4)": (10, 16, 64, 64),
    "transformer(4, 4)": (10, 16, 64, 64),
}
GAINS, SEEDS = 32, 4


def statistics(np, a, h, samples):
    """Of one update, in the words of NumPy and jax.numpy alike. a: [rows, n], h: phi's response [rows, m]."""
    flat = np.abs(1 - h * h) < 0.05
    square, stream_square = np.sum(h * h), np.sum(a * a)
    laid = a.reshape(samples, -1)
    return np.stack(
        [
            a.mean(),
            a.std(),
            np.log10(np.sqrt(stream_square / a.size)),
            h.mean(),
            h.std(),
            h.min(),
            h.max(),
            np.log10(np.sqrt(square / h.size)),
            flat.mean(),
            flat.all(axis=0).mean(),
            (h == 0).mean(),
            1 - np.isfinite(h).mean(),
            (np.sum(h.sum(axis=1) ** 2) - square) / ((h.shape[1] - 1) * square),
            (np.sum(laid.sum(axis=0) ** 2) - stream_square) / ((samples - 1) * stream_square),
        ]
    )


def plain_update(np, softmax, name, positions):
    """(stream, weights, tanh) -> (what is added, what phi of the update gives), of the updates of a block."""

    def affine(a, weights, phi):
        h = phi(a)
        return h @ weights[0], h

    def perceptron(a, weights, phi):
        h = phi(a @ weights[0])
        return h @ weights[1], h

    def gate(a, weights, phi):
        h = phi(a @ weights[0])
        return (h * (a @ weights[1])) @ weights[2], h

    def convolution(a, weights, phi):
        h = phi(a)
        laid = h.reshape(-1, positions, h.shape[1])
        read = [laid, np.roll(laid, 1, 1), np.roll(laid, -1, 1)]
        return np.concatenate(read, -1).reshape(len(h), -1) @ weights[0], h

    def attend(a, weights, phi):
        size = a.shape[1] // 4
        query, key, value = (np.swapaxes((a @ w).reshape(-1, positions, 4, size), 1, 2) for w in weights[:3])
        logits = query @ np.swapaxes(key, 2, 3) / math.sqrt(size)
        mixed = np.swapaxes(softmax(logits) @ value, 1, 2).reshape(a.shape)
        return mixed @ weights[3], a

    return {
        "dense": [affine],
        "residual": [affine],
        "mlp(4)": [perceptron],
        "gated(4)": [gate],
        "conv(3)": [convolution],
        "attention(4)": [attend],
        "transformer(4, 4)": [attend, perceptron],
    }[name]


def shapes_of(name, width):
    return [[(place.fan_in, place.fan_out) for place in update.places(width)] for update in BLOCKS.find(name).updates]


def jax_networks(name, width, positions, layers):
    """Plain jit(vmap(one network)): (x, keys [N], gains [N]) -> statistics [N, layers, updates, k]."""
    updates, shapes = plain_update(jnp, lambda x: jax.nn.softmax(x, -1), name, positions), shapes_of(name, width)
    skip = BLOCKS.find(name).skip

    def network(x, key, gain):
        def layer(a, key):
            found = []
            for at, (update, of_update) in enumerate(zip(updates, shapes, strict=True)):
                keys = jax.random.split(jax.random.fold_in(key, at), len(of_update))
                weights = [
                    jax.random.normal(k, shape) * (gain / math.sqrt(shape[0]))
                    for k, shape in zip(keys, of_update, strict=True)
                ]
                added, h = update(a, weights, jnp.tanh)
                a = skip * a + added
                found.append(statistics(jnp, a, h, len(x) // positions))
            return a, jnp.stack(found)

        return jax.lax.scan(layer, x, jax.random.split(key, layers))[1]

    return jax.jit(jax.vmap(network, in_axes=(None, 0, 0)))


class Torch:
    """The words of NumPy that the updates and statistics use, for PyTorch's tensors."""

    def __init__(self, torch):
        self.abs, self.sum, self.sqrt, self.log10 = torch.abs, torch.sum, torch.sqrt, torch.log10
        self.isfinite, self.swapaxes, self.torch = torch.isfinite, torch.swapaxes, torch

    def stack(self, values):
        return self.torch.stack([value.float() for value in values])

    def concatenate(self, parts, axis):
        return self.torch.cat(parts, axis)


def torch_convolution(torch, positions):
    """The convolution as one writes it in PyTorch: of [samples, units, positions]. weights: [units, units, taps]."""

    def convolution(a, weights, phi):
        h = phi(a)
        laid = torch.nn.functional.pad(h.reshape(-1, positions, h.shape[1]).mT, (1, 1), mode="circular")
        return torch.nn.functional.conv1d(laid, weights[0]).mT.reshape(h.shape), h

    return convolution


def torch_network(torch, name, x, weights, positions):
    """One network in PyTorch, layer by layer, with its statistics taken by a hook behind every update."""
    words, skip = Torch(torch), BLOCKS.find(name).skip
    updates = plain_update(words, lambda logits: torch.softmax(logits, -1), name, positions)
    if name == "conv(3)":
        updates = [torch_convolution(torch, positions)]
    samples, found, a = len(x) // positions, [], x

    def hook(a, h):
        flat = torch.abs(1 - h * h) < 0.05
        square, stream_square = (h * h).sum(), (a * a).sum()
        laid = a.reshape(samples, -1)
        found.append(
            torch.stack(
                [
                    a.mean(),
                    a.std(),
                    (stream_square / a.numel()).sqrt().log10(),
                    h.mean(),
                    h.std(),
                    h.min(),
                    h.max(),
                    (square / h.numel()).sqrt().log10(),
                    flat.float().mean(),
                    flat.all(dim=0).float().mean(),
                    (h == 0).float().mean(),
                    1 - torch.isfinite(h).float().mean(),
                    (h.sum(dim=1).square().sum() - square) / ((h.shape[1] - 1) * square),
                    (laid.sum(dim=0).square().sum() - stream_square) / ((samples - 1) * stream_square),
                ]
            )
        )

    for layer in weights:
        for update, of_update in zip(updates, layer, strict=True):
            added, h = update(a, of_update, torch.tanh)
            a = skip * a + added
            hook(a, h)
    return torch.stack(found)


def words_of(name, layers, samples, positions, width):
    return (
        f"block={name}",
        "activation=tanh",
        f"gain=lin:0.5:1.5:{GAINS}",
        f"seed=int:0:{SEEDS - 1}",
        f"depth=int:1:{layers}",
        f"width={width}",
        f"inputs.samples={samples}",
        *([f"inputs.positions={positions}"] if positions > 1 else []),
        "measure.jacobian=false",  # the others have none either
    )


def compare(name: str, rounds: int) -> None:
    layers, samples, positions, width = CASES[name]
    sweep = Sweep(*words_of(name, layers, samples, positions, width))
    x = np.random.default_rng(0).standard_normal((samples * positions, width)).astype(np.float32)
    count = 4
    vmapped, keys = jax_networks(name, width, positions, layers), jax.random.split(jax.random.key(0), count)
    gains = np.full(count, 1.0, np.float32)
    ways = {
        "winit": (sweep, sweep.network_layers),
        "jit(vmap)": (lambda: jax.block_until_ready(vmapped(x, keys, gains)), count * layers),
    }
    try:
        import torch
    except ImportError:
        torch = None
    if torch:
        rng = np.random.default_rng(1)
        weights = [
            [
                [torch.from_numpy((rng.standard_normal(s) / math.sqrt(s[0])).astype(np.float32)) for s in of_update]
                for of_update in shapes_of(name, width)
            ]
            for _ in range(layers)
        ]
        if name == "conv(3)":
            weights = [
                [[w.reshape(3, width, width).permute(2, 1, 0).contiguous()] for (w,) in layer] for layer in weights
            ]
        tx = torch.from_numpy(x)
        ways["PyTorch loop"] = (lambda: torch_network(torch, name, tx, weights, positions), layers)
    for function, _ in ways.values():
        function()
    times: dict[str, list[float]] = {way: [] for way in (*ways, "bare products")}
    flops = 2 * samples * positions * multiplications(BLOCKS.find(name), width, positions)
    for _ in range(rounds):
        for way, (function, network_layers) in ways.items():
            times[way].append(seconds(function) / network_layers * 1e6)
        times["bare products"].append(flops / sgemm_peak() * 1e6)
    print(f"\n{name}, width {width}, {samples} inputs of {positions} positions: microseconds a network and layer")
    for way, taken in times.items():
        ratio = median(t / base for t, base in zip(taken, times["winit"], strict=True))
        print(f"  {way:14} {median(taken):9.1f}  {ratio:6.2f} of winit")


def planned(name: str) -> None:
    """The planner's estimate over what the sweep takes, both without compiling."""
    sweep = Sweep(*words_of(name, *CASES[name]))
    sweep()
    taken = median(seconds(sweep) for _ in range(3))
    print(f"{name:18} estimated {planner(cores()).measuring_seconds(sweep.sweep):8.3f} s, measured {taken:8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--planned", action="store_true")
    arguments = parser.parse_args()
    print(versions(), f"{cores()} cores")
    for name in arguments.blocks:
        planned(name) if arguments.planned else compare(name, arguments.rounds)


if __name__ == "__main__":
    main()
