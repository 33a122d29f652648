"""How a network is written in each framework: a whole one of dense layers, or its weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Framework:
    """functions: of activations, by our names; SLOPE stands for their argument. normalized: the function that
    normalizes, by the names of normalizations that are written here. biases: how they are drawn where they are 0, and
    where they are normal. network, weights: texts of `string.Template`."""

    functions: Mapping[str, str]
    normalized: Mapping[str, str]
    biases: tuple[str, str]
    network: str
    weights: str


_IN_JAX = {
    "identity": "lambda a: a",
    "sigmoid": "jax.nn.sigmoid",
    "tanh": "jnp.tanh",
    "relu": "jax.nn.relu",
    "leaky_relu": "lambda a: jax.nn.leaky_relu(a, SLOPE)",
    "elu": "jax.nn.elu",
    "selu": "jax.nn.selu",
    "gelu": "lambda a: jax.nn.gelu(a, approximate=False)  # JAX approximates by default",
    "silu": "jax.nn.silu",
    "softplus": "jax.nn.softplus",
    "erf": "jax.lax.erf",
    "hard_tanh": "jax.nn.hard_tanh",
    "sin": "jnp.sin",
    "mish": "jax.nn.mish",
}
_IN_TORCH = {
    "identity": "lambda a: a",
    "sigmoid": "torch.sigmoid",
    "tanh": "torch.tanh",
    "relu": "F.relu",
    "leaky_relu": "lambda a: F.leaky_relu(a, SLOPE)",
    "elu": "F.elu",
    "selu": "F.selu",
    "gelu": "F.gelu",
    "silu": "F.silu",
    "softplus": "F.softplus",
    "erf": "torch.erf",
    "hard_tanh": "F.hardtanh",
    "sin": "torch.sin",
    "mish": "F.mish",
}
_IN_KERAS = {
    "identity": "lambda a: a",
    "sigmoid": "ops.sigmoid",
    "tanh": "ops.tanh",
    "relu": "ops.relu",
    "leaky_relu": "lambda a: ops.leaky_relu(a, negative_slope=SLOPE)",
    "elu": "ops.elu",
    "selu": "ops.selu",
    "gelu": "lambda a: ops.gelu(a, approximate=False)",
    "silu": "ops.silu",
    "softplus": "ops.softplus",
    "erf": "ops.erf",
    "hard_tanh": "lambda a: ops.clip(a, -1, 1)",
    "sin": "ops.sin",
    "mish": "lambda a: a * ops.tanh(ops.softplus(a))",
}

_JAX_NORMS = {
    "none": "",
    "layer": """

def normalized(a):
    centered = a - a.mean(-1, keepdims=True)
    return centered / jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)

""",
    "rms": """

def normalized(a):
    return a / jnp.sqrt((a**2).mean(-1, keepdims=True) + 1e-5)

""",
}
_TORCH_NORMS = {
    "none": "",
    "layer": """

def normalized(a):
    return F.layer_norm(a, a.shape[-1:], eps=1e-5)

""",
    "rms": """

def normalized(a):
    return F.rms_norm(a, a.shape[-1:], eps=1e-5)

""",
}
_KERAS_NORMS = {
    "none": "",
    "layer": """

def normalized(a):
    centered = a - ops.mean(a, -1, keepdims=True)
    return centered / ops.sqrt(ops.mean(centered**2, -1, keepdims=True) + 1e-5)

""",
    "rms": """

def normalized(a):
    return a / ops.sqrt(ops.mean(a**2, -1, keepdims=True) + 1e-5)

""",
}

_SIZES = """
FEATURES, WIDTH, DEPTH, OUTPUTS = $features, $width, $depth, 10
$numbers
phi = $phi
"""

_TORCH = """
import torch
import torch.nn.functional as F
from torch import nn
$imports$sizes$normalized

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        fans = [FEATURES] + [WIDTH] * (DEPTH - 1)
        self.layers = nn.ModuleList(nn.Linear(fan_in, WIDTH) for fan_in in fans)
        self.readout = nn.Linear(WIDTH, OUTPUTS)
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=GAIN / layer.in_features**0.5)
            $bias
        nn.init.normal_(self.readout.weight, std=1 / WIDTH**0.5)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x):
        first, *rest = self.layers
        a = first(x)
        for layer in rest:
            a = ${beside}layer(phi($of_a))
        return self.readout(phi($of_a))


model = Network()
"""
_TORCH_WEIGHTS = """
from torch import nn

$numbers


def init_weights(layer):
    if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
        fan_in = layer.weight[0].numel()  # weights are [fan_out, fan_in, taps ...]
        nn.init.normal_(layer.weight, std=GAIN / fan_in**0.5)
        if layer.bias is not None:
            $bias


# model.apply(init_weights)
"""

_IN_JAX_KERNEL = """# variance_scaling takes a variance, not a standard deviation.
kernel_init = jax.nn.initializers.variance_scaling(GAIN**2, "fan_in", "normal")
bias_init = $bias
"""
_FLAX = """
import flax.linen as nn
import jax
import jax.numpy as jnp
$imports$sizes$kernel$normalized

class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        a = nn.Dense(WIDTH, kernel_init=kernel_init, bias_init=bias_init)(x)
        for _ in range(DEPTH - 1):
            layer = nn.Dense(WIDTH, kernel_init=kernel_init, bias_init=bias_init)
            a = ${beside}layer(phi($of_a))
        return nn.Dense(OUTPUTS, kernel_init=jax.nn.initializers.lecun_normal())(phi($of_a))


model = Network()
params = model.init(jax.random.key(0), jnp.zeros((1, FEATURES)))
"""
_NNX = """
import jax
import jax.numpy as jnp
from flax import nnx
$imports$sizes$kernel$normalized

class Network(nnx.Module):
    def __init__(self, rngs):
        fans = [FEATURES] + [WIDTH] * (DEPTH - 1)
        self.layers = nnx.List(
            nnx.Linear(fan_in, WIDTH, kernel_init=kernel_init, bias_init=bias_init, rngs=rngs) for fan_in in fans
        )
        self.readout = nnx.Linear(WIDTH, OUTPUTS, kernel_init=jax.nn.initializers.lecun_normal(), rngs=rngs)

    def __call__(self, x):
        first, *rest = self.layers
        a = first(x)
        for layer in rest:
            a = ${beside}layer(phi($of_a))
        return self.readout(phi($of_a))


model = Network(nnx.Rngs(0))
"""
_EQUINOX = """
import equinox as eqx
import jax
import jax.numpy as jnp
$imports$sizes$normalized

def linear(fan_in, fan_out, gain, bias_std, key):
    of_weights, of_biases = jax.random.split(key)
    weight = gain / fan_in**0.5 * jax.random.normal(of_weights, (fan_out, fan_in))  # as Equinox stores it
    bias = bias_std * jax.random.normal(of_biases, (fan_out,))
    layer = eqx.nn.Linear(fan_in, fan_out, key=key)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weight, bias))


class Network(eqx.Module):
    layers: list
    readout: eqx.nn.Linear

    def __init__(self, key):
        first, *keys, last = jax.random.split(key, DEPTH + 1)
        fans = [FEATURES] + [WIDTH] * (DEPTH - 1)
        self.layers = [linear(fan, WIDTH, GAIN, BIAS_STD, of) for fan, of in zip(fans, [first, *keys])]
        self.readout = linear(WIDTH, OUTPUTS, 1.0, 0.0, last)

    def __call__(self, x):  # of one sample
        first, *rest = self.layers
        a = first(x)
        for layer in rest:
            a = ${beside}layer(phi($of_a))
        return self.readout(phi($of_a))


model = Network(jax.random.key(0))
"""
_EQUINOX_WEIGHTS = (
    """
import equinox as eqx
import jax

$numbers


def init_weights(model, key):
    """
    + '"""A model with all Linear and Conv layers drawn anew."""'
    + """
    is_layer = lambda x: isinstance(x, (eqx.nn.Linear, eqx.nn.Conv))
    leaves, structure = jax.tree.flatten(model, is_leaf=is_layer)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [drawn(x, key) if is_layer(x) else x for x, key in zip(leaves, keys)])


def drawn(layer, key):
    of_weights, of_biases = jax.random.split(key)
    fan_in = layer.weight[0].size  # weights are [fan_out, fan_in, taps ...]
    weight = GAIN / fan_in**0.5 * jax.random.normal(of_weights, layer.weight.shape)
    layer = eqx.tree_at(lambda layer: layer.weight, layer, weight)
    if layer.bias is None:
        return layer
    return eqx.tree_at(lambda layer: layer.bias, layer, BIAS_STD * jax.random.normal(of_biases, layer.bias.shape))
"""
)
_IN_KERAS_KERNEL = """# Keras' own "normal" is a truncated one.
kernel = keras.initializers.VarianceScaling(GAIN**2, "fan_in", "untruncated_normal")
bias = $bias
"""
_KERAS = """
import keras
from keras import ops
$sizes$normalized

def dense(units, scale=GAIN**2, bias=$bias):
    # An initializer draws the same each time: each layer has its own. Keras' "normal" is truncated.
    kernel = keras.initializers.VarianceScaling(scale, "fan_in", "untruncated_normal")
    return keras.layers.Dense(units, kernel_initializer=kernel, bias_initializer=bias)


inputs = keras.Input((FEATURES,))
a = dense(WIDTH)(inputs)
for _ in range(DEPTH - 1):
    a = ${beside}dense(WIDTH)(phi($of_a))
outputs = dense(OUTPUTS, 1.0, "zeros")(phi($of_a))
model = keras.Model(inputs, outputs)
"""
_HAIKU = """
import haiku as hk
import jax
import jax.numpy as jnp
$imports$sizes
# Haiku's own default is a truncated normal without the correction that keeps its variance.
w_init = hk.initializers.VarianceScaling(GAIN**2, "fan_in", "normal")
b_init = $bias
readout_init = hk.initializers.VarianceScaling(1.0, "fan_in", "normal")
$normalized

def network(x):
    a = hk.Linear(WIDTH, w_init=w_init, b_init=b_init)(x)
    for _ in range(DEPTH - 1):
        layer = hk.Linear(WIDTH, w_init=w_init, b_init=b_init)
        a = ${beside}layer(phi($of_a))
    return hk.Linear(OUTPUTS, w_init=readout_init)(phi($of_a))


model = hk.without_apply_rng(hk.transform(network))
params = model.init(jax.random.key(0), jnp.zeros((1, FEATURES)))
"""


def _weights_of(imports: str, kernel: str) -> str:
    """Of a framework whose layers are given their initializers."""
    return f"\n{imports}\n$numbers\n{kernel}"


_BY_JAX = ("jax.nn.initializers.zeros", "jax.nn.initializers.normal(BIAS_STD)")
FRAMEWORKS = {
    "torch": Framework(
        _IN_TORCH,
        _TORCH_NORMS,
        ("nn.init.zeros_(layer.bias)", "nn.init.normal_(layer.bias, std=BIAS_STD)"),
        _TORCH,
        _TORCH_WEIGHTS,
    ),
    "flax": Framework(_IN_JAX, _JAX_NORMS, _BY_JAX, _FLAX, _weights_of("import jax\n", _IN_JAX_KERNEL)),
    "nnx": Framework(_IN_JAX, _JAX_NORMS, _BY_JAX, _NNX, _weights_of("import jax\n", _IN_JAX_KERNEL)),
    "equinox": Framework(_IN_JAX, _JAX_NORMS, ("", ""), _EQUINOX, _EQUINOX_WEIGHTS),
    "keras": Framework(
        _IN_KERAS,
        _KERAS_NORMS,
        ('"zeros"', "keras.initializers.RandomNormal(0.0, BIAS_STD)"),
        _KERAS,
        _weights_of("import keras\n", _IN_KERAS_KERNEL),
    ),
    "haiku": Framework(
        _IN_JAX,
        _JAX_NORMS,
        ("jnp.zeros", "hk.initializers.RandomNormal(BIAS_STD)"),
        _HAIKU,
        _weights_of(
            "import haiku as hk\nimport jax.numpy as jnp\n",
            'w_init = hk.initializers.VarianceScaling(GAIN**2, "fan_in", "normal")\nb_init = $bias\n',
        ),
    ),
}
KERNEL = _IN_JAX_KERNEL
SIZES = _SIZES
