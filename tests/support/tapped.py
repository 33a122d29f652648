"""The same stack of layers in every kind of control flow."""

import jax
import jax.numpy as jnp
import numpy as np

SAMPLES, WIDTH, LAYERS = 40, 24, 3


def tapped_weights():
    return jax.random.normal(jax.random.key(1), (LAYERS, WIDTH, WIDTH)) * 1.3 / np.sqrt(WIDTH)


def tapped_inputs():
    return jax.random.normal(jax.random.key(2), (SAMPLES, WIDTH))


def plain(weights, x):
    for matrix in weights:
        x = jnp.tanh(x @ matrix)
    return x


def scanned(weights, x):
    return jax.lax.scan(lambda h, matrix: (jnp.tanh(h @ matrix), None), x, weights)[0]


def rematerialized(weights, x):
    layer = jax.checkpoint(lambda h, matrix: jnp.tanh(h @ matrix))
    for matrix in weights:
        x = layer(x, matrix)
    return x


def one_by_one(weights, x):
    return jax.vmap(lambda row: plain(weights, row))(x)


def chosen(weights, x):
    for matrix in weights:
        x = jax.lax.cond(matrix[0, 0] < 9, lambda h, m: jnp.tanh(h @ m), lambda h, m: jnp.sin(m.T @ h.T).T, x, matrix)
    return x


@jax.jit
def _layer(h, matrix):
    return jnp.tanh(h @ matrix)


def called(weights, x):
    for matrix in weights:
        x = _layer(x, matrix)
    return x


def rms(x):
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))
