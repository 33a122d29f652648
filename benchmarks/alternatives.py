"""What a user would write instead: the same networks and the same statistics, in three ways.

Each returns a dict of the design's columns for every layer of one network (one pass serves all depths).
`full` asks for all of them; otherwise the three that the teaching texts look at.
"""

import numpy as np


def numpy_sigmoid(a):
    return 1 / (1 + np.exp(-a))


NUMPY = {
    "sigmoid": (numpy_sigmoid, lambda h: h * (1 - h), 0.25),
    "tanh": (np.tanh, lambda h: 1 - h * h, 1.0),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype), 1.0),
}


def numpy_network(x, weights, activation, full=True):
    """The loop of the teaching texts, in the dtype of x."""
    phi, slope_of_h, max_slope = NUMPY[activation]
    samples, width = x.shape[0], weights[0].shape[1]
    h, rows = x, []
    for w in weights:
        a = h @ w
        h = phi(a)
        if not full:
            rows.append((h.mean(), h.std(), np.sqrt(np.mean(h * h))))
            continue
        flat = np.abs(slope_of_h(h)) < 0.05 * max_slope
        square, preact_square = np.sum(h * h), np.sum(a * a)
        rows.append(
            {
                "preact_mean": a.mean(),
                "preact_std": a.std(),
                "act_mean": h.mean(),
                "act_std": h.std(),
                "act_min": h.min(),
                "act_max": h.max(),
                "log10_act_rms": np.log10(np.sqrt(square / h.size)),
                "saturated": flat.mean(),
                "dead": flat.all(axis=0).mean(),
                "zero": (h == 0).mean(),
                "nonfinite": 1 - np.isfinite(h).mean(),
                "unit_similarity": (np.sum(h.sum(axis=1) ** 2) - square) / ((width - 1) * square),
                "input_correlation": (np.sum(a.sum(axis=0) ** 2) - preact_square) / ((samples - 1) * preact_square),
            }
        )
    return rows


def torch_network(torch, x, weights, activation, full=True):
    """The same in PyTorch, float32."""
    phi = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}[activation]
    slope = {
        "sigmoid": lambda h: h * (1 - h),
        "tanh": lambda h: 1 - h * h,
        "relu": lambda h: (h > 0).to(h.dtype),
    }[activation]
    max_slope = NUMPY[activation][2]
    samples, width = x.shape[0], weights[0].shape[1]
    h, rows = x, []
    for w in weights:
        a = h @ w
        h = phi(a)
        if not full:
            rows.append(torch.stack([h.mean(), h.std(), (h * h).mean().sqrt()]))
            continue
        flat = slope(h).abs() < 0.05 * max_slope
        square, preact_square = (h * h).sum(), (a * a).sum()
        rows.append(
            torch.stack(
                [
                    a.mean(),
                    a.std(),
                    h.mean(),
                    h.std(),
                    h.min(),
                    h.max(),
                    (square / h.numel()).sqrt().log10(),
                    flat.float().mean(),
                    flat.all(dim=0).float().mean(),
                    (h == 0).float().mean(),
                    1 - torch.isfinite(h).float().mean(),
                    (h.sum(dim=1).square().sum() - square) / ((width - 1) * square),
                    (a.sum(dim=0).square().sum() - preact_square) / ((samples - 1) * preact_square),
                ]
            )
        )
    return torch.stack(rows)


def jax_networks(activation, full=True):
    """Plain jit(vmap(one network)): (x, keys [N], gains [N], layers) -> statistics [N, layers, k]."""
    import jax
    import jax.numpy as jnp

    phi = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    slope = {
        "sigmoid": lambda h: h * (1 - h),
        "tanh": lambda h: 1 - h * h,
        "relu": lambda h: (h > 0).astype(h.dtype),
    }[activation]
    max_slope = NUMPY[activation][2]

    def network(x, key, gain, layers):
        width = x.shape[1]

        def layer(h, key):
            a = h @ (jax.random.normal(key, (width, width)) * (gain / jnp.sqrt(width)))
            h = phi(a)
            if not full:
                return h, jnp.stack([h.mean(), h.std(), jnp.sqrt(jnp.mean(h * h))])
            flat = jnp.abs(slope(h)) < 0.05 * max_slope
            square, preact_square = jnp.sum(h * h), jnp.sum(a * a)
            samples = x.shape[0]
            return h, jnp.stack(
                [
                    a.mean(),
                    a.std(),
                    h.mean(),
                    h.std(),
                    h.min(),
                    h.max(),
                    jnp.log10(jnp.sqrt(square / h.size)),
                    flat.mean(),
                    flat.all(axis=0).mean(),
                    (h == 0).mean(),
                    1 - jnp.isfinite(h).mean(),
                    (jnp.sum(h.sum(axis=1) ** 2) - square) / ((width - 1) * square),
                    (jnp.sum(a.sum(axis=0) ** 2) - preact_square) / ((samples - 1) * preact_square),
                ]
            )

        return jax.lax.scan(layer, x, jax.random.split(key, layers))[1]

    return jax.jit(jax.vmap(network, in_axes=(None, 0, 0, None)), static_argnums=3)
