"""What attention weights are made of: heads beside each other, what a position sees, and a softmax of sharp logits."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

# Attention weights of so many numbers are held at a time, a head and sample after another.
HELD = 2**20


@dataclass(frozen=True)
class Heads:
    """How the units and rows of a signal are cut. count: of heads. causal: whether a position sees none behind it."""

    count: int
    positions: int
    causal: bool = False

    def split(self, x: jax.Array) -> jax.Array:
        """[rows, width] -> [samples, heads, positions, units of a head]."""
        rows, width = x.shape
        laid = x.reshape(rows // self.positions, self.positions, self.count, width // self.count)
        return jnp.moveaxis(laid, 2, 1)

    def join(self, x: jax.Array) -> jax.Array:
        """The heads side by side again: [rows, width]."""
        samples, heads, positions, units = x.shape
        return jnp.moveaxis(x, 1, 2).reshape(samples * positions, heads * units)

    def together(self, samples: int) -> int:
        """How many samples' attention weights are held at a time."""
        return max(1, min(samples, HELD // (self.count * self.positions**2)))

    @property
    def seen(self) -> jax.Array:
        """How many positions each sees: [positions]."""
        return jnp.arange(1, self.positions + 1) if self.causal else jnp.full(self.positions, self.positions)

    @property
    def within(self) -> jax.Array:
        """Which positions each sees: boolean, against [positions, positions]."""
        return jnp.tril(jnp.ones((self.positions,) * 2, bool)) if self.causal else jnp.ones((), bool)

    def largest(self, products: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(The largest of what each row sees, [..., positions, 1]; where the first of these is, boolean)."""
        among = jax.lax.stop_gradient(jnp.where(self.within, products, -jnp.inf))
        largest = jnp.max(among, axis=-1, keepdims=True)
        return largest, jnp.arange(self.positions) == jnp.argmax(among, axis=-1, keepdims=True)


@jax.custom_jvp
def _below(products: jax.Array, largest: jax.Array, at_largest: jax.Array) -> jax.Array:
    """products - largest, and exactly 0 for the largest: XLA may fuse a product into the difference, unrounded.

    at_largest: where the (first) largest of each row is, boolean.
    """
    return jnp.where(products < largest, jnp.minimum(products - largest, 0.0), 0.0)


@_below.defjvp
def _change_below(
    values: tuple[jax.Array, jax.Array, jax.Array], changes: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Taken off the change of the largest: what all share cancels here, and not behind a softmax of sharp logits."""
    at_largest, change = values[2], changes[0]
    return _below(*values), off_the_largest(change, at_largest)


def off_the_largest(change: jax.Array, at_largest: jax.Array) -> jax.Array:
    """What a row's changes are beside that of its largest logit."""
    common = jnp.sum(jnp.where(at_largest, change, 0.0), axis=-1, keepdims=True)
    return jnp.where(at_largest, 0.0, change - common)


def attention_weights(products: jax.Array, factor: jax.Array, heads: Heads) -> tuple[jax.Array, jax.Array]:
    """(softmax(factor * products) over what each position sees; its mean entropy over that of uniform weights).

    Shapes: products [heads, positions, positions] of one sample, factor a scalar; the same shape and a scalar out.
    """
    positions = products.shape[-1]
    seen, within = heads.seen, heads.within
    largest, at_largest = heads.largest(products)
    # Scaled after the largest is taken off: what rounding a large logit leaves of it would be an exponent.
    logits = jnp.where(within, _below(products, largest, at_largest) * factor, -jnp.inf)
    exponentials = jnp.exp(logits)
    total = jnp.sum(exponentials, axis=-1, keepdims=True)
    weights = exponentials / total
    if positions == 1:
        return weights, jnp.float32(jnp.nan)
    held = jax.lax.stop_gradient(weights)
    of_logits = jnp.where(held > 0, held * jax.lax.stop_gradient(logits), 0.0)
    entropy = jnp.log(jax.lax.stop_gradient(total))[..., 0] - jnp.sum(of_logits, axis=-1)
    told = seen > 1  # what sees itself alone has no choice
    shares = jnp.where(told, entropy / jnp.log(jnp.where(told, seen, 2.0)), 0.0)
    return weights, jnp.sum(shares) / (heads.count * jnp.sum(told))
