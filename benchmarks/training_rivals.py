"""What a user would write instead: the same networks, minibatches and SGD steps, in six ways.

Each takes the data, minibatches [steps, batch] and the weights of N networks (lists of [N, fan_in, fan_out], the
readout last; biases start at 0), and returns a function that trains all of them from the start and gives their mean
loss on the last minibatch after its step, so that all can be held against each other.
"""

import numpy as np

RATE = 0.01


def pytorch_loop(torch, x, y, batches, weights):
    """One network after another, autograd and torch.optim.SGD."""
    images, labels = torch.tensor(x), torch.tensor(y, dtype=torch.long)
    chosen = torch.tensor(batches, dtype=torch.long)

    def run():
        losses = []
        for n in range(len(weights[0])):
            layers = []
            for i, w in enumerate(weights):
                linear = torch.nn.Linear(*w.shape[1:])
                with torch.no_grad():
                    linear.weight.copy_(torch.tensor(w[n].T))
                    linear.bias.zero_()
                layers += [linear] + [torch.nn.ReLU()] * (i + 1 < len(weights))
            network = torch.nn.Sequential(*layers)
            optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
            for index in chosen:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(images[index]), labels[index])
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                losses.append(torch.nn.functional.cross_entropy(network(images[index]), labels[index]).item())
        return np.mean(losses)

    return run


def torch_func(torch, x, y, batches, weights):
    """All networks at once: torch.func.vmap over grad of one network, updates on stacked parameters."""
    images, labels = torch.tensor(x), torch.tensor(y, dtype=torch.long)
    chosen = torch.tensor(batches, dtype=torch.long)

    def loss_of(params, x, y):
        h = x
        for i, (w, b) in enumerate(params):
            h = h @ w + b
            if i + 1 < len(params):
                h = torch.relu(h)
        return torch.nn.functional.cross_entropy(h, y)

    gradients = torch.func.vmap(torch.func.grad_and_value(loss_of), in_dims=(0, None, None))

    def run():
        params = [(torch.tensor(w), torch.zeros(len(w), w.shape[2])) for w in weights]
        with torch.no_grad():
            for index in chosen:
                derivatives, losses = gradients(params, images[index], labels[index])
                for (w, b), (dw, db) in zip(params, derivatives, strict=True):
                    w -= RATE * dw
                    b -= RATE * db
            _, losses = gradients(params, images[index], labels[index])
        return float(losses.mean())

    return run


def _jax_step(weights_count):
    import jax
    import jax.numpy as jnp

    def loss_of(params, x, y):
        h = x
        for i, (w, b) in enumerate(params):
            h = h @ w + b
            if i + 1 < weights_count:
                h = jax.nn.relu(h)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], axis=1))

    def step(params, x, y):
        loss, derivatives = jax.value_and_grad(loss_of)(params, x, y)
        return jax.tree.map(lambda p, g: p - RATE * g, params, derivatives), loss

    return step


def jax_one_step(x, y, batches, weights):
    """One jitted step, called for each network and step."""
    import jax
    import jax.numpy as jnp

    step = jax.jit(_jax_step(len(weights)))
    x, y = jnp.asarray(x), jnp.asarray(y)
    minibatches = [(x[index], y[index]) for index in batches]

    def run():
        losses = []
        for n in range(len(weights[0])):
            params = [(jnp.asarray(w[n]), jnp.zeros(w.shape[2])) for w in weights]
            for images, labels in minibatches:
                params, _ = step(params, images, labels)
            losses.append(step(params, images, labels)[1])
        return float(np.mean(jax.device_get(losses)))

    return run


def jax_vmap(x, y, batches, weights):
    """The plain jit(vmap(one network)) with a scan over steps."""
    import jax
    import jax.numpy as jnp

    step, x, y = _jax_step(len(weights)), jnp.asarray(x), jnp.asarray(y)

    @jax.jit
    def train(params, batches):
        def network_step(params, index):
            return jax.vmap(step, in_axes=(0, None, None))(params, x[index], y[index])

        params, _ = jax.lax.scan(network_step, params, batches)
        return network_step(params, batches[-1])[1]

    batches = jnp.asarray(batches)

    def run():
        params = [(jnp.asarray(w), jnp.zeros((len(w), w.shape[2]))) for w in weights]
        return float(train(params, batches).mean())

    return run


def numpy_book(x, y, batches, weights):
    """The teaching texts' loop: layer by layer, float64, one network after another."""
    x, targets = x.astype(np.float64), np.eye(weights[-1].shape[2])[y]

    def run():
        losses = []
        for n in range(len(weights[0])):
            params = [[w[n].astype(np.float64), np.zeros(w.shape[2])] for w in weights]
            for index in batches:
                h, kept = x[index], []
                for i, (w, b) in enumerate(params):
                    a = h @ w + b
                    mask = a <= 0
                    kept.append((h, mask))
                    h = a
                    if i + 1 < len(params):
                        h = a.copy()
                        h[mask] = 0
                shifted = h - h.max(axis=1, keepdims=True)
                y_hat = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
                delta = (y_hat - targets[index]) / len(index)
                for i in reversed(range(len(params))):
                    if i + 1 < len(params):
                        delta = delta.copy()
                        delta[kept[i][1]] = 0
                    delta_below = delta @ params[i][0].T
                    params[i][0] -= RATE * (kept[i][0].T @ delta)
                    params[i][1] -= RATE * delta.sum(axis=0)
                    delta = delta_below
            h = x[index]
            for i, (w, b) in enumerate(params):
                h = h @ w + b
                h = np.maximum(h, 0) if i + 1 < len(params) else h
            shifted = h - h.max(axis=1, keepdims=True)
            chosen = np.sum(targets[index] * shifted, axis=1)
            losses.append(np.mean(np.log(np.exp(shifted).sum(axis=1)) - chosen))
        return np.mean(losses)

    return run


def bare_products(x, y, batches, weights):
    """The matrix products of the steps alone, in NumPy and float32; the first layer's for all networks at once."""
    count, features, width = weights[0].shape
    first = np.ascontiguousarray(np.moveaxis(weights[0], 0, 1)).reshape(features, count * width)
    minibatch = x[batches[0]]
    deltas = np.ones((len(minibatch), count * width), np.float32)
    h = np.ones((count, len(minibatch), width), np.float32)

    def run():
        for _ in batches:
            minibatch @ first
            minibatch.T @ deltas
            for w in weights[1:]:
                for n in range(count):
                    a = h[n] @ w[n]
                    h[n].T @ a
                    a @ w[n].T
        return np.nan

    return run
