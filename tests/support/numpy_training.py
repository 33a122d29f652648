"""One classifier trained in NumPy and float64, as the definitions read: loops over layers, derivatives by hand.

It shares nothing with the fast trainer but the numbers that it starts from. Parameters are a dict of lists:
`weights` and `biases` (the readout last), `scales` and `shifts` of normalised layers.
"""

import numpy as np
from scipy import special

EPSILON, MOMENTUM = 1e-5, 0.9


def _gelu_slope(a):
    return special.ndtr(a) + a * np.exp(-a * a / 2) / np.sqrt(2 * np.pi)


# phi and phi'
ACTIVATIONS = {
    "tanh": (np.tanh, lambda a: 1 / np.cosh(a) ** 2),
    "relu": (lambda a: np.where(a > 0, a, 0.0), lambda a: np.where(a > 0, 1.0, 0.0)),
    "sigmoid": (special.expit, lambda a: special.expit(a) * special.expit(-a)),
    "gelu": (lambda a: a * special.ndtr(a), _gelu_slope),
}


def forward(params, x, activation, normalization, running=None):
    """(logits, what the way back needs of each layer, (mean, variance) of each layer under batch normalisation)."""
    phi, _ = ACTIVATIONS[activation]
    h, kept, moments = np.asarray(x, np.float64), [], []
    for layer, weight in enumerate(params["weights"][:-1]):
        a = h @ weight
        if normalization != "batch":
            a = a + params["biases"][layer]
        u, normalized, spread = a, None, None
        if normalization != "none":
            axis = 0 if normalization == "batch" else 1
            mean, variance = a.mean(axis, keepdims=True), a.var(axis, keepdims=True)
            moments.append((mean, variance))
            if running is not None and normalization == "batch":
                mean, variance = running[layer]
            spread = np.sqrt(variance + EPSILON)
            normalized = (a - mean) / spread
            u = params["scales"][layer] * normalized + params["shifts"][layer]
        kept.append((h, u, normalized, spread))
        h = phi(u)
    kept.append((h, None, None, None))
    return h @ params["weights"][-1] + params["biases"][-1], kept, moments


def cross_entropy(logits, y):
    """(Mean loss, its derivative with respect to the logits)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, y])
    delta = probabilities.copy()
    delta[rows, y] -= 1
    return loss, delta / len(y)


def gradients(params, x, y, activation, normalization):
    """(Loss, gradients in the form of the parameters, moments)."""
    _, slope = ACTIVATIONS[activation]
    logits, kept, moments = forward(params, x, activation, normalization)
    loss, delta = cross_entropy(logits, y)
    found = {name: [np.zeros_like(value) for value in values] for name, values in params.items()}
    for layer in reversed(range(len(kept))):
        h, u, normalized, spread = kept[layer]
        if u is not None:
            delta = delta * slope(u)
            if normalized is not None:
                axis = 0 if normalization == "batch" else 1
                found["scales"][layer] = np.sum(delta * normalized, axis=0)
                found["shifts"][layer] = np.sum(delta, axis=0)
                delta = delta * params["scales"][layer]
                centred = delta - delta.mean(axis, keepdims=True)
                delta = (centred - normalized * np.mean(delta * normalized, axis, keepdims=True)) / spread
            if normalization != "batch":
                found["biases"][layer] = np.sum(delta, axis=0)
        else:
            found["biases"][layer] = np.sum(delta, axis=0)
        found["weights"][layer] = h.T @ delta
        delta = delta @ params["weights"][layer].T
    return loss, found, moments


class Sgd:
    """v <- momentum v + g; p <- p - rate v."""

    def __init__(self, rate, momentum=0.0):
        self.rate, self.momentum, self.velocity = rate, momentum, {}

    def step(self, key, g):
        self.velocity[key] = self.momentum * self.velocity.get(key, 0.0) + g
        return -self.rate * self.velocity[key]


class Adam:
    """Kingma and Ba 2015 (arXiv:1412.6980)."""

    def __init__(self, rate, b1=0.9, b2=0.999, eps=1e-8):
        self.rate, self.b1, self.b2, self.eps, self.first, self.second, self.count = rate, b1, b2, eps, {}, {}, {}

    def step(self, key, g):
        self.count[key] = count = self.count.get(key, 0) + 1
        self.first[key] = self.b1 * self.first.get(key, 0.0) + (1 - self.b1) * g
        self.second[key] = self.b2 * self.second.get(key, 0.0) + (1 - self.b2) * g * g
        first, second = self.first[key] / (1 - self.b1**count), self.second[key] / (1 - self.b2**count)
        return -self.rate * first / (np.sqrt(second) + self.eps)


def train(params, x, y, batches, optimizer, activation, normalization):
    """Train in place; (losses and gradient norms of each minibatch before its step, running moments)."""
    losses, norms, running = [], [], None
    for chosen in batches:
        loss, found, moments = gradients(params, x[chosen], y[chosen], activation, normalization)
        losses.append(loss)
        norms.append(np.sqrt(sum(np.sum(g**2) for values in found.values() for g in values)))
        if running is None:
            running = moments
        running = [
            tuple(MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(before, now, strict=True))
            for before, now in zip(running, moments, strict=True)
        ]
        for name, values in found.items():
            for layer, g in enumerate(values):
                params[name][layer] = params[name][layer] + optimizer.step((name, layer), g)
    return np.array(losses), np.array(norms), running


def evaluate(params, x, y, activation, normalization, running):
    """(Mean loss, share of right answers)."""
    logits, _, _ = forward(params, x, activation, normalization, running or None)
    return cross_entropy(logits, y)[0], np.mean(logits.argmax(axis=1) == y)
