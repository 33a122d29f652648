"""Networks that compute in a format of fewer bits by themselves, as most real ones do, and the same in float32.

Each is a function of the type that it computes in; parameters are float32 and cast where they are used.
"""

import jax
import jax.numpy as jnp
import numpy as np

from support.nets import (
    FAULTY,
    TOKENS,
    WIDTH,
    X,
    convolutions,
    he,
    language_model,
    lecun,
    normal,
    recurrent,
    residual,
    stack,
)

HEADS, LAYERS = 4, 2


def cast(tree, dtype):
    """A pytree with its floats in a type."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def computed_in(dtype, net):
    """A network all of whose parameters and inputs are cast before anything is computed."""
    init, apply, x = net
    return init, lambda params, x: apply(cast(params, dtype), cast(x, dtype)), x


def stored_in(dtype, net):
    """A network whose parameters are numbers of that type from the start."""
    init, apply, x = net
    return (lambda key: cast(init(key), dtype)), lambda params, x: apply(params, cast(x, dtype)), x


def normed(x, scale):
    """RMS norm in float32, given back in the type of x."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + 1e-6) * scale).astype(x.dtype)


def transformer(dtype, depth=LAYERS, qkv_std=0.125, residual_std=None):
    """Pre-norm, with norms, softmax and logits in float32, biases, a gated branch, and the stream in `dtype`."""
    residual_std = 0.125 / np.sqrt(2 * depth) if residual_std is None else residual_std

    def init(key):
        keys = iter(jax.random.split(key, 2 + 5 * depth))
        blocks = [
            {
                "qkv": normal(next(keys), WIDTH, 3 * WIDTH, std=qkv_std),
                "out": {"w": normal(next(keys), WIDTH, WIDTH, std=residual_std), "b": jnp.zeros(WIDTH)},
                "gate": normal(next(keys), WIDTH, 2 * WIDTH, std=0.125),
                "up": normal(next(keys), WIDTH, 2 * WIDTH, std=0.125),
                "down": normal(next(keys), 2 * WIDTH, WIDTH, std=residual_std),
                "norms": jnp.ones((2, WIDTH)),
            }
            for _ in range(depth)
        ]
        return {"embed": normal(next(keys), 50, WIDTH, std=1.0), "blocks": blocks, "head": lecun(next(keys), WIDTH, 50)}

    def attention(block, x):
        q, k, v = jnp.split(x @ block["qkv"].astype(dtype), 3, axis=-1)
        q, k, v = (part.reshape(*x.shape[:2], HEADS, -1) for part in (q, k, v))
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        return mixed @ block["out"]["w"].astype(dtype) + block["out"]["b"].astype(dtype)

    def apply(params, tokens):
        x = params["embed"].astype(dtype)[tokens]
        for block in params["blocks"]:
            before, between = block["norms"]
            x = x + attention(block, normed(x, before))
            h = normed(x, between)
            up = jnp.einsum("btd,df->btf", h, block["up"].astype(dtype), preferred_element_type=jnp.float32)
            gated = jax.nn.silu(h @ block["gate"].astype(dtype)) * up.astype(dtype)
            x = x + gated @ block["down"].astype(dtype)
        return (normed(x, 1.0) @ params["head"].astype(dtype)).astype(jnp.float32)

    return init, apply, TOKENS


def stacked(dtype):
    """Weights of all layers in one array, over which Python goes."""

    def init(key):
        return {"layers": jnp.stack([he(each, WIDTH, WIDTH) for each in jax.random.split(key, 3)])}

    def apply(params, x):
        x = x.astype(dtype)
        for matrix in params["layers"].astype(dtype):
            x = jax.nn.relu(x @ matrix)
        return x

    return init, apply, X


def softmax_by_hand(dtype):
    """Attention whose softmax is written out, all of it in `dtype`."""

    def init(key):
        keys = jax.random.split(key, 3)
        return {name: lecun(each, WIDTH, WIDTH) for name, each in zip("qkv", keys, strict=True)}

    def apply(params, x):
        x = x.reshape(5, 10, WIDTH).astype(dtype)
        q, k, v = (x @ params[name].astype(dtype) for name in "qkv")
        logits = q @ k.swapaxes(1, 2) / jnp.asarray(np.sqrt(WIDTH), dtype)
        exp = jnp.exp(logits - logits.max(-1, keepdims=True))
        return (exp / exp.sum(-1, keepdims=True)) @ v

    return init, apply, X


# Sound ones: name -> the network that computes in a type.
MIXED = {
    **{
        f"{phi.__name__}": lambda dtype, phi=phi: computed_in(dtype, stack(he, phi))
        for phi in (jax.nn.relu, jax.nn.gelu, jax.nn.silu)
    },
    "tanh": lambda dtype: computed_in(dtype, stack(lecun, jnp.tanh)),
    "language_model": lambda dtype: computed_in(dtype, language_model()),
    "transformer": transformer,
    "convolutions": lambda dtype: computed_in(dtype, convolutions()),
    "residual": lambda dtype: computed_in(dtype, residual()),
    "recurrent": lambda dtype: computed_in(dtype, recurrent()),
    "stacked": stacked,
    "softmax_by_hand": softmax_by_hand,
    "stored": lambda dtype: stored_in(dtype, stack(he, jax.nn.gelu)),
}

BFLOAT16 = jnp.bfloat16
# What is wrong with a network that computes in bfloat16 -> (it, the kind of the finding, where), as of `nets.FAULTY`.
FAULTY_MIXED = {
    **{
        f"{name}_in_bfloat16": (lambda make=FAULTY[name][0]: computed_in(BFLOAT16, make()), *FAULTY[name][1:])
        for name in ("one_key", "saturated", "sharp_attention", "dead", "collapsed", "no_gradient", "growing_stream")
    },
    "sharp_transformer": (lambda: transformer(BFLOAT16, qkv_std=1.0), "sharp attention", None),
    "stored_nan": (lambda: stored_in(BFLOAT16, FAULTY["nan"][0]()), "nonfinite parameter", "layer1"),
}
