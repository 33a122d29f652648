"""Small networks in plain JAX as `winit probe` takes them: sound ones, and what goes wrong with them."""

import jax
import jax.numpy as jnp
import numpy as np

WIDTH, SAMPLES = 64, 50
X = jax.random.normal(jax.random.key(99), (SAMPLES, WIDTH))
TOKENS = jax.random.randint(jax.random.key(98), (8, 16), 0, 50)


def normal(key, *shape, std):
    return std * jax.random.normal(key, shape)


def he(key, fan_in, fan_out):
    return normal(key, fan_in, fan_out, std=np.sqrt(2 / fan_in))


def lecun(key, fan_in, fan_out):
    return normal(key, fan_in, fan_out, std=np.sqrt(1 / fan_in))


def truncated(key, fan_in, fan_out, corrected=True):
    return (
        jax.random.truncated_normal(key, -2, 2, (fan_in, fan_out)) / np.sqrt(fan_in) / (0.87962566 if corrected else 1)
    )


def stack(draw, phi, depth=4, width=WIDTH, x=X, names=None):
    """A plain stack of `depth` products with phi between them."""

    def init(key):
        keys = jax.random.split(key, depth)
        return {f"layer{i}": draw(keys[i], width, width) for i in range(depth)}

    def apply(params, x):
        for i in range(depth - 1):
            x = phi(x @ params[f"layer{i}"])
        return x @ params[f"layer{depth - 1}"]

    return init, apply, x


def changed(net, change):
    """A network whose parameters are changed after they are drawn."""
    init, apply, x = net
    return (lambda key: change(init(key))), apply, x


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def torch_linear():
    def init(key):
        keys = jax.random.split(key, 6)
        bound = 1 / np.sqrt(WIDTH)
        return [
            {
                "w": jax.random.uniform(keys[2 * i], (WIDTH, WIDTH), minval=-bound, maxval=bound),
                "b": jax.random.uniform(keys[2 * i + 1], (WIDTH,), minval=-bound, maxval=bound),
            }
            for i in range(3)
        ]

    def apply(params, x):
        for layer in params:
            x = jnp.tanh(x @ layer["w"] + layer["b"])
        return x

    return init, apply, X


def language_model(layers=2, residual_std=None, repeated=False):
    """A small causal transformer: an embedding, pre-norm blocks in a loop of Python, a head."""
    width, heads = WIDTH, 4
    residual_std = 0.125 / np.sqrt(2 * layers) if residual_std is None else residual_std

    def init(key):
        keys = iter(jax.random.split(key, 2 + 6 * layers))
        blocks = [
            {
                "qkv": normal(next(keys), width, 3 * width, std=0.125),
                "out": normal(next(keys), width, width, std=residual_std),
                "up": normal(next(keys), width, 4 * width, std=0.125),
                "down": normal(next(keys), 4 * width, width, std=residual_std / 2),
            }
            for _ in range(layers)
        ]
        return {"embed": normal(next(keys), 50, width, std=1.0), "blocks": blocks, "head": lecun(next(keys), width, 50)}

    def attention(block, x):
        q, k, v = (
            part.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2) for part in jnp.split(x @ block["qkv"], 3, axis=-1)
        )
        logits = q @ k.swapaxes(2, 3) / np.sqrt(width / heads)
        mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        shares = jax.nn.softmax(jnp.where(mask, logits, -1e30), axis=-1)
        return (shares @ v).swapaxes(1, 2).reshape(x.shape) @ block["out"]

    def apply(params, tokens):
        x = params["embed"][tokens]
        for block in params["blocks"]:
            x = x + attention(block, layer_norm(x))
            x = x + jax.nn.gelu(layer_norm(x) @ block["up"]) @ block["down"]
        return layer_norm(x) @ params["head"]

    return init, apply, TOKENS


def residual(depth=12, branch=None, zero=False):
    branch = 1 / np.sqrt(depth) if branch is None else branch

    def init(key):
        keys = jax.random.split(key, 2 * depth)
        return [
            {
                "up": he(keys[2 * i], WIDTH, WIDTH),
                "down": lecun(keys[2 * i + 1], WIDTH, WIDTH) * (0 if zero else branch),
            }
            for i in range(depth)
        ]

    def apply(params, x):
        for layer in params:
            x = x + jax.nn.relu(layer_norm(x) @ layer["up"]) @ layer["down"]
        return x

    return init, apply, X


def scanned(same=False):
    def init(key):
        keys = jnp.broadcast_to(key, (6,)) if same else jax.random.split(key, 6)
        return {"layers": jax.vmap(lambda key: lecun(key, WIDTH, WIDTH) * 1.1)(keys)}

    def apply(params, x):
        return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params["layers"])[0]

    return init, apply, X


def convolutions():
    def init(key):
        keys = jax.random.split(key, 3)
        sizes = [(3, 3, 3, 16), (3, 3, 16, 16), (3, 3, 16, 16)]
        return [normal(k, *s, std=np.sqrt(2 / (9 * s[2]))) for k, s in zip(keys, sizes, strict=True)]

    def apply(params, x):
        for kernel in params:
            x = jax.nn.relu(
                jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            )
        return x.mean((1, 2))

    return init, apply, jax.random.normal(jax.random.key(97), (8, 12, 12, 3))


def recurrent():
    def init(key):
        of_input, of_state = jax.random.split(key)
        return {"input": lecun(of_input, WIDTH, WIDTH), "state": 0.9 * lecun(of_state, WIDTH, WIDTH)}

    def apply(params, x):
        def step(h, x):
            return jnp.tanh(x @ params["input"] + h @ params["state"]), None

        return jax.lax.scan(step, jnp.zeros((10, WIDTH)), x.swapaxes(0, 1))[0]

    return init, apply, jax.random.normal(jax.random.key(96), (10, 7, WIDTH))


def gated():
    def init(key):
        gate, up, down = jax.random.split(key, 3)
        return {"gate": lecun(gate, WIDTH, 256), "up": lecun(up, WIDTH, 256), "down": lecun(down, 256, WIDTH)}

    def apply(params, x):
        return x + (jax.nn.silu(x @ params["gate"]) * (x @ params["up"])) @ params["down"]

    return init, apply, X


SOUND = {
    "he_relu": lambda: stack(he, jax.nn.relu),
    "lecun_tanh": lambda: stack(lecun, jnp.tanh),
    "lecun_selu": lambda: stack(lecun, jax.nn.selu, depth=8),
    "truncated_gelu": lambda: stack(truncated, jax.nn.gelu),
    "torch_linear": torch_linear,
    "language_model": language_model,
    "residual": residual,
    "zero_branches": lambda: residual(zero=True),
    "scanned": scanned,
    "convolutions": convolutions,
    "recurrent": recurrent,
    "gated": gated,
    "linear": lambda: stack(lecun, lambda a: a),
}


def _with(name, value):
    return lambda params: {**params, name: value(params)}


# What is wrong -> (a network with it, the kind of the finding, where).
FAULTY = {
    "nan": (
        lambda: changed(stack(he, jax.nn.relu), _with("layer1", lambda p: p["layer1"].at[0, 0].set(jnp.nan))),
        "nonfinite parameter",
        "layer1",
    ),
    "zeros": (
        lambda: changed(stack(he, jax.nn.relu), _with("layer1", lambda p: 0 * p["layer1"])),
        "zero weights",
        "layer1",
    ),
    "constant": (
        lambda: changed(stack(he, jax.nn.relu), _with("layer1", lambda p: 0 * p["layer1"] + 0.1)),
        "constant weights",
        "layer1",
    ),
    "one_key": (
        lambda: changed(stack(he, jax.nn.relu), _with("layer2", lambda p: p["layer1"])),
        "identical parameters",
        "layer1",
    ),
    "one_key_in_a_loop": (lambda: scanned(same=True), "identical slices", "layers"),
    "unused": (
        lambda: changed(stack(he, jax.nn.relu), _with("extra", lambda p: p["layer1"] * 1.1)),
        "unused parameter",
        "extra",
    ),
    "truncation": (
        lambda: stack(lambda *sizes: truncated(*sizes, corrected=False), jnp.tanh),
        "truncation uncorrected",
        "layer0",
    ),
    "vanishing": (lambda: stack(lambda *sizes: 0.01 * he(*sizes), jax.nn.relu), "vanishing signal", "layer1"),
    "exploding": (
        lambda: stack(lambda *sizes: 4 * he(*sizes), jax.nn.relu, depth=6),
        "exploding signal",
        "layer3",
    ),
    "heavy_tails": (
        lambda: changed(stack(he, jax.nn.relu), _with("layer1", lambda p: p["layer1"].at[3, 4].set(5.0))),
        "heavy tails",
        "layer1",
    ),
    "saturated": (lambda: stack(lambda *sizes: 20 * lecun(*sizes), jnp.tanh), "saturated units", None),
    "collapsed": (
        lambda: stack(lambda *sizes: 0.5 * lecun(*sizes), lambda a: jax.nn.sigmoid(a), depth=12),
        "collapsed inputs",
        None,
    ),
    "growing_stream": (lambda: residual(depth=32, branch=1.5), "growing stream", None),
    "sharp_attention": (
        lambda: changed(
            language_model(),
            lambda p: {**p, "blocks": [{**block, "qkv": 12 * block["qkv"]} for block in p["blocks"]]},
        ),
        "sharp attention",
        None,
    ),
    "no_gradient": (
        lambda: (
            (net := stack(he, jax.nn.relu))[0],
            lambda params, x: net[1]({**params, "layer1": jax.lax.stop_gradient(params["layer1"])}, x),
            X,
        ),
        "no gradient",
        "layer1",
    ),
    "dead": (
        lambda: (
            stack(he, jax.nn.relu)[0],
            lambda params, x: jax.nn.relu(jax.nn.relu(x @ params["layer0"]) @ params["layer1"] - 5) @ params["layer2"],
            X,
        ),
        "dead units",
        None,
    ),
}


def swapped_fans():
    def init(key):
        up, down = jax.random.split(key)
        # Drawn as [fan_out, fan_in] by one who has the fans the other way around.
        return {"up": normal(up, 64, 256, std=np.sqrt(2 / 256)), "down": normal(down, 256, 64, std=np.sqrt(2 / 64))}

    def apply(params, x):
        return jax.nn.relu(x @ params["up"]) @ params["down"]

    return init, apply, X


FAULTY["swapped_fans"] = (swapped_fans, "fans swapped", "up")
