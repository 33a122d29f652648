"""Tangents, gradients and theory against what a user would write instead, as ratios in one run.

    python -m benchmarks.derivatives

tanh, width 100, 1000 inputs, 50 layers, unless said. Medians over rounds in which all ways run in turn;
compiling is not counted.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate

from benchmarks.forward import Sweep, seconds
from winit_jax.numerics import theory
from winit_jax.numerics.activations import activation
from winit_jax.system import machine
from winit_jax.system.provenance import cores, versions

WIDTH, SAMPLES, LAYERS, GAIN = 100, 1000, 50, 1.2
JACOBIAN_INPUTS = 10


def last_preactivation(a, weights):
    for w in weights:
        a = jnp.tanh(a) @ w
    return a


def rounds_of(ways: dict[str, tuple[Callable[[], object], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way over its count, round by round."""
    for function, _ in ways.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (function, count) in ways.items():
            times[name].append(seconds(function) / count)
    return times


def show(title: str, times: dict[str, list[float]], base: str, unit: float) -> None:
    print(f"\n{title}")
    for name, taken in times.items():
        ratio = median(t / base_time for t, base_time in zip(taken, times[base], strict=True))
        print(f"  {name:<58}{median(taken) * unit:12.1f}   {ratio:9.2f} times")


def tangents(rounds: int) -> None:
    words = ("activation=tanh", "gain=log:0.1:10:64", f"depth=int:1:{LAYERS}", f"inputs.samples={SAMPLES}", "seed=0")
    without, with_jacobian = Sweep(*words, "measure.jacobian=false"), Sweep(*words)
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((WIDTH, WIDTH)) * GAIN / WIDTH**0.5, jnp.float32) for _ in range(LAYERS)]
    a = jnp.asarray(rng.standard_normal((JACOBIAN_INPUTS, WIDTH)), jnp.float32)

    def of_inputs(jacobian):
        def rms(a):
            j = jax.vmap(lambda one: jacobian(last_preactivation)(one, weights[1:]))(a)
            return jnp.sqrt(jnp.mean(jnp.sum(j * j, axis=(1, 2)) / WIDTH))

        return jax.jit(rms)

    ways: dict[str, tuple[Callable[[], object], float]] = {
        "winit, without the Jacobian": (without, without.network_layers),
        "winit, with it": (with_jacobian, with_jacobian.network_layers),
    }
    for name, transform in (("jacfwd", jax.jacfwd), ("jacrev", jax.jacrev)):
        function = of_inputs(transform)
        ways[f"jax.{name} of one network, last layer, {JACOBIAN_INPUTS} inputs"] = (
            lambda function=function: jax.block_until_ready(function(a)),
            LAYERS,
        )
    show(
        f"Tangents: microseconds a network and layer; winit's for {SAMPLES} inputs and every depth",
        rounds_of(ways, rounds),
        "winit, without the Jacobian",
        1e6,
    )


def gradients(rounds: int) -> None:
    words = ("activation=tanh", "gain=log:0.5:2:4", f"inputs.samples={SAMPLES}", "seed=0,1", "measure.gradients=true")
    plain = (*words[:-1], f"depth=int:1:{LAYERS}", "measure.jacobian=false")
    forward, deepest = Sweep(*plain), Sweep(*words, f"depth={LAYERS}", "measure.jacobian=false")
    every = Sweep(*words, f"depth=int:1:{LAYERS}", "measure.jacobian=false")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((SAMPLES, WIDTH)), jnp.float32)
    weights = [jnp.asarray(rng.standard_normal((WIDTH, WIDTH)) * GAIN / WIDTH**0.5, jnp.float32) for _ in range(LAYERS)]
    cotangent = jnp.asarray(rng.standard_normal((SAMPLES, WIDTH)), jnp.float32)

    @jax.jit
    def plain_gradients(weights, nudges):
        def loss(weights, nudges):
            h = x
            for w, nudge in zip(weights, nudges, strict=True):
                h = jnp.tanh(h @ w + nudge)
            return jnp.mean(jnp.sum(cotangent * h, axis=1))

        by_parameter = jax.grad(loss, argnums=(0, 1))(weights, nudges)
        return [[jnp.sqrt(jnp.mean(g * g)) for g in part] for part in by_parameter]

    nudges = [jnp.zeros((SAMPLES, WIDTH))] * LAYERS
    networks = 8
    pairs = networks * LAYERS * (LAYERS + 1) / 2
    ways: dict[str, tuple[Callable[[], object], float]] = {
        "winit, forward only": (forward, networks * LAYERS),
        "winit, gradients of the deepest network": (deepest, networks * LAYERS),
        "winit, gradients of every depth (a layer of each depth)": (every, pairs),
        "jit(jax.grad) of one plain network, one depth": (
            lambda: jax.block_until_ready(plain_gradients(weights, nudges)),
            LAYERS,
        ),
    }
    times = rounds_of(ways, rounds)
    show(
        "Gradients at every layer: microseconds a network and layer",
        times,
        "winit, gradients of the deepest network",
        1e6,
    )


def by_scipy(q: float, c: float, weight_var: float) -> tuple[float, float, float]:
    """(q', c', chi) of tanh by SciPy's adaptive quadrature."""

    def density(z):
        return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

    second = integrate.quad(lambda z: np.tanh(q**0.5 * z) ** 2 * density(z), -10, 10)[0]
    slope = integrate.quad(lambda z: np.cosh(q**0.5 * z) ** -4.0 * density(z), -10, 10)[0]
    spread = (1 - c * c) ** 0.5
    both = integrate.dblquad(
        lambda y, z: np.tanh(q**0.5 * z) * np.tanh(q**0.5 * (c * z + spread * y)) * density(z) * density(y),
        -8,
        8,
        -8,
        8,
        epsabs=1e-7,
    )[0]
    return weight_var * second, both / second, weight_var * slope


def predictions(rounds: int) -> None:
    gains = np.geomspace(0.1, 10, 64)
    nothing = np.full(64, -np.inf)
    act = activation("tanh")

    def all_points():
        return theory.propagate(act, 2 * np.log10(gains), nothing, 2 * np.log10(gains), np.full(64, 0.3), LAYERS)

    started = time.perf_counter()
    all_points()
    cold = time.perf_counter() - started
    ways: dict[str, tuple[Callable[[], object], float]] = {
        f"winit theory, {64 * LAYERS:,} points": (all_points, 64 * LAYERS),
        "SciPy quad and dblquad, one point": (lambda: by_scipy(1.44, 0.3, 1.44), 1),
    }
    show("Theory: microseconds a point (q, c and chi)", rounds_of(ways, rounds), next(iter(ways)), 1e6)
    print(f"  the first call, compiling included: {cold:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    machine.keep_freed_memory()  # as `winit run` does
    installed = versions()
    print(f"{cores()} cores, Python {installed['python']}, jaxlib {installed['jaxlib']}, numpy {installed['numpy']}")
    tangents(rounds)
    gradients(rounds)
    predictions(rounds)


if __name__ == "__main__":
    main()
