"""Activations: phi, its slope, and how it behaves near 0 and far out; by name or by import path."""

from winit_jax.numerics.activations.probing import probe
from winit_jax.numerics.activations.record import Activation
from winit_jax.numerics.activations.table import ENTRIES, PARAMETRIC
from winit_jax.registry import Registry

# An import path names a JAX function of one array, which is traced and then evaluated.
ACTIVATIONS: Registry[Activation] = Registry("an activation", ENTRIES, PARAMETRIC, probe)

__all__ = ["ACTIVATIONS", "Activation", "activation"]


def activation(name: str) -> Activation:
    """The activation of that name (see `Registry.find`): `tanh`, `leaky_relu(0.2)` or `package.module:function`.

    Errors: ValueError with one sentence.
    """
    return ACTIVATIONS.find(name)
