"""The same measurements in any JAX function: its jaxpr is read, tapped, and evaluated once.

`survey` says where a function's sites are, `passes` evaluates it with a tap at each, `statistics` says what a tap
measures. No hooks and no framework: contractions and elementwise functions are found by what they compute.
"""
