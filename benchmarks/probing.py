"""What a probe takes: all of it for a transformer of 10 million parameters, and its passes beside the plain ones.

    python -m benchmarks.probing [--layers 12] [--width 256]

Each figure is of a process of its own, for memory. `probe`: seconds from nothing compiled to tables, of one seed.
Passes: processor seconds of the plain jitted pass and of the tapped one, in turn, compiled before, and how many times
as much the tapped one takes, the median over pairs. Memory: the most that the process held beyond what it held with
the model made, of the plain jitted gradient and of a probe of that model (`given`); of `probe` beyond what it held
before, with its own making of the model.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

VOCABULARY, HEADS = 256, 4


def transformer(layers: int, width: int, samples: int, positions: int) -> Any:
    """A pre-norm causal transformer on bytes as (init, apply, inputs), in a loop of Python."""

    def init(key: jax.Array) -> Any:
        keys = iter(jax.random.split(key, 2 + 6 * layers))

        def matrix(fan_in: int, fan_out: int, scale: float = 1.0) -> jax.Array:
            return jax.random.normal(next(keys), (fan_in, fan_out)) * scale / fan_in**0.5

        deep = (2 * layers) ** -0.5
        blocks = [
            {
                "query": matrix(width, width),
                "key": matrix(width, width),
                "value": matrix(width, width),
                "out": matrix(width, width, deep),
                "up": matrix(width, 4 * width),
                "down": matrix(4 * width, width, deep),
            }
            for _ in range(layers)
        ]
        return {"embedding": jax.random.normal(next(keys), (VOCABULARY, width)), "blocks": blocks,
                "head": matrix(width, VOCABULARY)}  # fmt: skip

    def norm(x: jax.Array) -> jax.Array:
        return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)

    def attention(block: Any, u: jax.Array) -> jax.Array:
        q, k, v = (
            (u @ block[name]).reshape(*u.shape[:2], HEADS, -1).swapaxes(1, 2) for name in ("query", "key", "value")
        )
        logits = q @ k.swapaxes(2, 3) / (width / HEADS) ** 0.5
        mask = jnp.tril(jnp.ones((u.shape[1], u.shape[1]), bool))
        shares = jax.nn.softmax(jnp.where(mask, logits, -1e30), axis=-1)
        return (shares @ v).swapaxes(1, 2).reshape(u.shape) @ block["out"]

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        x = params["embedding"][tokens]
        for block in params["blocks"]:
            x = x + attention(block, norm(x))
            x = x + jax.nn.gelu(norm(x) @ block["up"]) @ block["down"]
        return norm(x) @ params["head"]

    return init, apply, jax.random.randint(jax.random.key(1), (samples, positions), 0, VOCABULARY)


def small() -> Any:
    """The network of the figure in docs/your-model.md, for `winit probe benchmarks.probing:small`."""
    return transformer(layers=4, width=64, samples=8, positions=16)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_probe(net: Any) -> dict[str, float]:
    import winit_jax as winit

    before, start = peak_mib(), time.perf_counter()
    found = winit.probe(lambda: net)
    return {"seconds": time.perf_counter() - start, "mib": peak_mib() - before, "sites": len(found.sites)}


def of_given(net: Any) -> dict[str, float]:
    import winit_jax as winit

    init, apply, x = net
    params = jax.block_until_ready(init(jax.random.key(0)))
    before, start = peak_mib(), time.perf_counter()
    winit.probe(apply, params, x)
    return {"seconds": time.perf_counter() - start, "mib": peak_mib() - before}


def of_gradient(net: Any) -> dict[str, float]:
    init, apply, x = net
    params = jax.block_until_ready(init(jax.random.key(0)))
    before, start = peak_mib(), time.perf_counter()
    jax.block_until_ready(jax.jit(jax.grad(lambda p: jnp.mean(jnp.square(apply(p, x)))))(params))
    return {"seconds": time.perf_counter() - start, "mib": peak_mib() - before}


def of_passes(net: Any, rounds: int) -> dict[str, float]:
    from winit_jax.numerics.tapping.passes import Tapped

    init, apply, x = net
    params = init(jax.random.key(0))
    tapped = Tapped(apply, params, x)
    key = jax.random.key(3)
    plain, grad = jax.jit(apply), jax.jit(jax.grad(lambda p, x: jnp.mean(jnp.square(apply(p, x)))))
    ways: dict[str, Any] = {
        "plain forward": lambda: plain(params, x),
        "tapped forward": lambda: tapped.forward(params, x),
        "plain gradient": lambda: grad(params, x),
        "tapped gradient": lambda: tapped.measured(params, x, key),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for pair in (["plain forward", "tapped forward"], ["plain gradient", "tapped gradient"]):
        for turn in range(rounds + 1):
            for name in pair:
                start = time.process_time()
                jax.block_until_ready(ways[name]())
                if turn:
                    times[name].append(time.process_time() - start)
    found = {name: median(taken) for name, taken in times.items()}
    for way in ("forward", "gradient"):
        pairs = zip(times[f"tapped {way}"], times[f"plain {way}"], strict=True)
        found[f"{way} ratio"] = median(tapped / plain for tapped, plain in pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 12), ("width", 256), ("samples", 8), ("positions", 64), ("rounds", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=["probe", "given", "gradient", "passes"])
    given = parser.parse_args()
    if given.only is None:
        for name in ("probe", "given", "gradient", "passes"):
            command = [sys.executable, "-m", "benchmarks.probing", *sys.argv[1:], "--only", name]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{name:<10}" + "   ".join(f"{key} {value:.3g}" for key, value in told.items()))
        return
    net = transformer(given.layers, given.width, given.samples, given.positions)
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(jax.eval_shape(net[0], jax.random.key(0))))
    of = {
        "probe": of_probe,
        "given": of_given,
        "gradient": of_gradient,
        "passes": lambda net: of_passes(net, given.rounds),
    }
    print(json.dumps(of[given.only](net) | {"million parameters": count / 1e6}))


if __name__ == "__main__":
    main()
