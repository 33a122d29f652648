"""What an accelerator makes of networks: rates, shares of its peak, and what a user would write instead on it.

    python -m benchmarks.accelerator                                # on the machine with the accelerator
    python -m benchmarks.accelerator --networks 50000 --rounds 1    # less of it
    python -m benchmarks.accelerator --platform cpu --networks 100  # on the cores: whether it runs

tanh, width 100, 1000 inputs, 50 layers, as in the ready sweep phase. All devices of the machine share the work of
winit; the alternatives have the first one, and multiply as JAX and PyTorch do by themselves. Medians over rounds in
which all ways run in turn; compiling is not counted. Shares of peaks are of the arithmetic of matrix products alone,
and of one write and one read of every activation: what a pass cannot do without.
"""

import argparse
import importlib
import itertools
import sys
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import alternatives
from benchmarks import training_rivals as rivals
from benchmarks.derivatives import rounds_of
from benchmarks.forward import Sweep
from winit_jax.engine.computing.vocabulary import planner
from winit_jax.engine.running.launch import ACCELERATOR_SPEEDUP
from winit_jax.numerics import meshes, pinned
from winit_jax.numerics.activations import activation
from winit_jax.numerics.measure.networks import PALLAS
from winit_jax.numerics.training import classifier, trainer
from winit_jax.numerics.training.beginning import Trainee
from winit_jax.system.provenance import cores, versions

WIDTH, SAMPLES, LAYERS = 100, 1000, 50
FEATURES, CLASSES, BATCH, STEPS, TRAINED_LAYERS = 784, 10, 128, 40, 4


class Peak(NamedTuple):
    """Of one device, as its maker says: float32 multiplications and additions a second, bytes a second of memory."""

    flops: float
    bandwidth: float


# By jax.Device.device_kind. Of TPUs a sixth of what they do in bfloat16, for `highest` takes six products of these.
PEAKS = {
    "NVIDIA H200": Peak(67e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": Peak(67e12, 3.35e12),
    "NVIDIA A100-SXM4-80GB": Peak(19.5e12, 2.04e12),
    "NVIDIA A100-SXM4-40GB": Peak(19.5e12, 1.555e12),
    "NVIDIA L4": Peak(30.3e12, 0.3e12),
    "Tesla V100-SXM2-16GB": Peak(15.7e12, 0.9e12),
    "Tesla T4": Peak(8.1e12, 0.32e12),
    "TPU v4": Peak(275e12 / 6, 1.2e12),
    "TPU v5 lite": Peak(197e12 / 6, 0.82e12),
    "TPU v5p": Peak(459e12 / 6, 2.765e12),
    "TPU v6 lite": Peak(918e12 / 6, 1.64e12),
}


class Way(NamedTuple):
    """Something to time. count: networks that it computes, or steps of them. flops, traffic: of each, at least.

    devices: that it has.
    """

    run: Callable[[], object]
    count: float
    flops: float
    traffic: float
    devices: int = 1


def forward_ways(networks: int, together: int, torch) -> dict[str, Way]:
    """Every statistic of so many points of a grid: networks of each depth, a pass to the deepest serving them all."""
    gains = max(2, min(400, networks // LAYERS))
    seeds = max(1, networks // LAYERS // gains)
    words = (f"gain=log:0.1:10:{gains}", f"seed=int:0:{seeds - 1}", f"depth=int:1:{LAYERS}", "measure.jacobian=false")
    sweep = on_accelerator(*words)
    of_one = (2 * SAMPLES * WIDTH**2, 8 * SAMPLES * WIDTH)  # per network of the grid: a layer of a pass
    x = jnp.asarray(np.random.default_rng(0).standard_normal((SAMPLES, WIDTH)), jnp.float32)
    plain, keys = alternatives.jax_networks("tanh"), jax.random.split(jax.random.key(0), together)
    gains_of_all = jnp.geomspace(0.1, 10, together)
    ways = {
        "winit": Way(sweep, sweep.sweep.n_networks, *of_one, jax.local_device_count()),
        f"jit(vmap(one network)), {together} at a time": Way(
            lambda: jax.block_until_ready(plain(x, keys, gains_of_all, LAYERS)), together * LAYERS, *of_one
        ),
    }
    if (by_pallas := pallas_beside(*words)) is not None:
        ways["winit, dense layers by Pallas' kernel"] = Way(
            by_pallas, by_pallas.sweep.n_networks, *of_one, jax.local_device_count()
        )
    if torch is not None:
        rows = torch.tensor(np.array(x))
        weights = [torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(LAYERS)]
        ways["PyTorch, one network after another"] = Way(
            lambda: alternatives.torch_network(torch, rows, weights, "tanh").cpu(), LAYERS, *of_one
        )
    return ways


def gradient_ways(networks: int, together: int, torch) -> dict[str, Way]:
    """dLoss/da and dLoss/dW at every layer of networks of one depth."""
    count = max(2, networks // (20 * LAYERS))
    sweep = on_accelerator(
        f"gain=log:0.5:2:{count}", "seed=0", f"depth={LAYERS}", "measure.jacobian=false", "measure.gradients=true"
    )
    of_one = (3 * 2 * SAMPLES * WIDTH**2 * LAYERS, 2 * 8 * SAMPLES * WIDTH * LAYERS)
    rng = np.random.default_rng(0)
    x, cotangent = (jnp.asarray(rng.standard_normal((SAMPLES, WIDTH)), jnp.float32) for _ in range(2))
    weights = jnp.asarray(rng.standard_normal((together, LAYERS, WIDTH, WIDTH)) / WIDTH**0.5, jnp.float32)

    def loss(weights, nudges):
        def layer(h, of_layer):
            return jnp.tanh(jnp.matmul(h, of_layer[0], precision="highest") + of_layer[1]), None

        h, _ = jax.lax.scan(layer, x, (weights, nudges))
        return jnp.mean(jnp.sum(cotangent * h, axis=1))

    @jax.jit
    def plain(weights):
        nudges = jnp.zeros((LAYERS, SAMPLES, WIDTH))
        found = jax.vmap(lambda one: jax.grad(loss, argnums=(0, 1))(one, nudges))(weights)
        return [jnp.sqrt(jnp.mean(g * g, axis=(2, 3))) for g in found]

    ways = {
        "winit": Way(sweep, sweep.sweep.n_networks, *of_one, jax.local_device_count()),
        f"jit(vmap(grad)), {together} at a time": Way(lambda: jax.block_until_ready(plain(weights)), together, *of_one),
    }
    if torch is not None:
        rows, direction = (torch.tensor(np.array(of)) for of in (x, cotangent))
        matrices = [torch.tensor(np.array(w)).requires_grad_() for w in weights[0]]

        def by_autograd():
            h, kept = rows, []
            for w in matrices:
                a = h @ w
                h = torch.tanh(a)
                kept.append(a)
            value = (direction * h).sum(dim=1).mean()
            return [g.square().mean().sqrt().item() for g in torch.autograd.grad(value, [*matrices, *kept])]

        ways["PyTorch, autograd of one network"] = Way(by_autograd, 1, *of_one)
    return ways


def training_ways(networks: int, torch) -> dict[str, Way]:
    """Steps of SGD on minibatches of 128, of ReLU networks of four layers."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4000, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, 4000).astype(np.int32)
    stds = np.geomspace(0.7, 1.6, networks)
    sizes = [FEATURES, *[WIDTH] * TRAINED_LAYERS, CLASSES]
    weights = [
        (stds[:, None, None] * rng.standard_normal((networks, *of)) / of[0] ** 0.5).astype(np.float32)
        for of in itertools.pairwise(sizes)
    ]
    batches = rng.integers(0, len(x), (STEPS, BATCH))
    per_weight = sum(w[0].size for w in weights)
    of_one = (6 * BATCH * per_weight, 3 * 4 * per_weight)
    trainees = [
        Trainee(0, "normal", std / FEATURES**0.5, std / WIDTH**0.5, std / WIDTH**0.5, 0.0, rivals.RATE)
        for std in stds.tolist()
    ]
    mesh = meshes.mesh_of(jax.local_devices())
    padded = meshes.count(mesh) * -(-networks // meshes.count(mesh))

    def ours() -> object:
        with pinned.settings(), meshes.across(mesh):
            data = meshes.put(classifier.Data(*map(jnp.asarray, (x, y, x[:1], y[:1]))), mesh)
            network = classifier.Architecture(activation("relu"))
            shape = {"width": WIDTH, "depth": TRAINED_LAYERS, "classes": CLASSES}
            settings = trainer.Settings(network, batch_size=BATCH)
            given = {"evaluated": [0, STEPS], "settings": settings, "padded_to": padded}
            return list(trainer.train(trainees, data, **shape, **given))

    ways = {
        "winit, with two evaluations": Way(ours, networks * STEPS, *of_one, jax.local_device_count()),
        "jit(vmap(one network)) with a scan": Way(rivals.jax_vmap(x, y, batches, weights), networks * STEPS, *of_one),
    }
    if torch is not None:
        few = [w[:4] for w in weights]
        ways["PyTorch loop"] = Way(rivals.pytorch_loop(torch, x, y, batches, few), 4 * STEPS, *of_one)
        ways["PyTorch, torch.func.vmap"] = Way(
            rivals.torch_func(torch, x, y, batches, weights), networks * STEPS, *of_one
        )
    return ways


def on_accelerator(*words: str) -> Sweep:
    """A sweep of such networks, cut into parts as `winit run` cuts it on these devices."""
    sweep = Sweep("activation=tanh", "bias_std=0.05", f"width={WIDTH}", f"inputs.samples={SAMPLES}", *words)
    devices = sweep.executor.devices
    speedup = 1.0 if devices[0].platform == "cpu" else ACCELERATOR_SPEEDUP * len(devices)
    sweep.parts = list(planner(cores(), speedup, devices=len(devices)).parts(sweep.sweep))
    return sweep


def pallas_beside(*words: str) -> Sweep | None:
    """The same sweep with dense layers by Pallas' kernel, whether faster or not; None where there is no GPU for it."""
    sweep = on_accelerator(*words)
    if sweep.executor.devices[0].platform != "gpu":
        return None
    sweep.executor.measuring.kernel = PALLAS
    try:
        sweep()
    except Exception as error:  # of Pallas, Triton or the driver
        print(f"Pallas' kernel does not run here and is left out: {error}")
        return None
    return sweep


def show(title: str, ways: dict[str, Way], rounds: int, peak: Peak | None) -> None:
    print(f"\n{title}")
    times = rounds_of({name: (way.run, way.count) for name, way in ways.items()}, rounds)
    base = next(iter(times))
    for name, way in ways.items():
        taken = median(times[name])
        ratio = median(one / other for one, other in zip(times[name], times[base], strict=True))
        shares = "peak unknown"
        if peak is not None:
            of_flops = way.flops / taken / (way.devices * peak.flops)
            shares = (
                f"{of_flops:6.1%} of FLOP/s, {way.traffic / taken / (way.devices * peak.bandwidth):6.1%} of bytes/s"
            )
        rate = f"{1 / taken:,.4g} a second"
        print(f"  {name:<44}{rate:>24}{ratio:9.2f} times   {shares}", flush=True)


def torch_beside(platform: str):
    """PyTorch where it has the same device, else None, and a line that says so."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("PyTorch is not installed: its ways are left out.")
        return None
    if platform != "cpu":
        if not torch.cuda.is_available():
            print("PyTorch has no CUDA here: its ways are left out.")
            return None
        torch.set_default_device("cuda")
    return torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=1_000_000, help="points of the grid of the forward sweep")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--platform", help="as JAX names it; by default whatever accelerator there is")
    chosen = parser.parse_args()
    if chosen.platform:
        jax.config.update("jax_platforms", chosen.platform)
    devices = jax.local_devices()
    kind, platform = devices[0].device_kind, devices[0].platform
    if platform == "cpu" and chosen.platform != "cpu":
        sys.exit("JAX finds no accelerator on this machine; --platform cpu runs the same on its cores.")
    installed, peak = versions(), PEAKS.get(kind)
    known = f"{peak.flops / 1e12:.1f} TFLOP/s, {peak.bandwidth / 1e12:.2f} TB/s each" if peak else "peak unknown"
    print(f"Python {installed['python']}, jaxlib {installed['jaxlib']}, {len(devices)} x {kind} ({known})")
    torch = torch_beside(platform)
    together = 4 if platform == "cpu" else 128
    trained = max(4, chosen.networks // 2000)
    at_depths = f"networks of 1 to {LAYERS} layers"
    show(f"Forward, every statistic: {at_depths}", forward_ways(chosen.networks, together, torch), chosen.rounds, peak)
    of_gradients = gradient_ways(chosen.networks, max(1, together // 8), torch)
    show(f"Gradients at every layer: networks of {LAYERS} layers", of_gradients, chosen.rounds, peak)
    show("Training: steps of networks", training_ways(trained, torch), chosen.rounds, peak)


if __name__ == "__main__":
    main()
