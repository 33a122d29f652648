"""Networks of Flax that compute in a type while their parameters are float32, as its `dtype` has it."""

import jax
from flax import linen, nnx

from support.nets import TOKENS

WIDTH = 32


class LinenBlock(linen.Module):
    dtype: object

    @linen.compact
    def __call__(self, x):
        out = linen.initializers.normal(0.05)
        y = linen.LayerNorm(dtype=self.dtype)(x)
        x = x + linen.MultiHeadDotProductAttention(4, dtype=self.dtype, out_kernel_init=out)(y, y)
        y = linen.gelu(linen.Dense(2 * WIDTH, dtype=self.dtype)(linen.RMSNorm(dtype=self.dtype)(x)))
        return x + linen.Dense(WIDTH, dtype=self.dtype, kernel_init=out)(y)


class LinenModel(linen.Module):
    dtype: object

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(50, WIDTH, dtype=self.dtype, embedding_init=linen.initializers.normal(1.0))(tokens)
        return linen.Dense(10, dtype=self.dtype)(LinenBlock(self.dtype)(x))


def in_linen(dtype):
    """A transformer of one block."""
    model = LinenModel(dtype)
    return lambda key: model.init(key, TOKENS), model.apply, TOKENS


class NnxBlock(nnx.Module):
    def __init__(self, dtype, rngs):
        given = {"dtype": dtype, "rngs": rngs}
        out = nnx.initializers.normal(0.05)
        self.embed = nnx.Embed(50, WIDTH, embedding_init=nnx.initializers.normal(1.0), **given)
        self.before, self.between = nnx.LayerNorm(WIDTH, **given), nnx.RMSNorm(WIDTH, **given)
        self.attention = nnx.MultiHeadAttention(4, WIDTH, decode=False, out_kernel_init=out, **given)
        self.up = nnx.Linear(WIDTH, 2 * WIDTH, **given)
        self.down = nnx.Linear(2 * WIDTH, WIDTH, kernel_init=out, **given)

    def __call__(self, tokens):
        x = self.embed(tokens)
        x = x + self.attention(self.before(x))
        return x + self.down(nnx.silu(self.up(self.between(x))))


class NnxImages(nnx.Module):
    def __init__(self, dtype, rngs):
        given = {"dtype": dtype, "kernel_init": nnx.initializers.he_normal(), "rngs": rngs}
        self.first, self.second = nnx.Conv(3, 16, (3, 3), **given), nnx.Conv(16, 16, (3, 3), **given)
        self.norm = nnx.BatchNorm(16, dtype=dtype, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.norm(self.first(x))), (2, 2), strides=(2, 2))
        return nnx.relu(self.second(x))


def in_nnx(module, x):
    def of(dtype):
        graph, _, others = nnx.split(module(dtype, nnx.Rngs(0)), nnx.Param, ...)

        def apply(params, x):
            return nnx.merge(graph, params, others, copy=True)(x)

        return lambda key: nnx.split(module(dtype, nnx.Rngs(key)), nnx.Param, ...)[1], apply, x

    return of


IN_FLAX = {
    "linen": in_linen,
    "nnx": in_nnx(NnxBlock, TOKENS),
    "nnx_images": in_nnx(NnxImages, jax.random.normal(jax.random.key(97), (8, 8, 8, 3))),
}
