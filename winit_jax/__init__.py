"""The numerics of weight-initialisation sweeps: arrays in, arrays out, in JAX."""
