"""Shared set-up: no test draws on a screen, and the files that take longest begin first."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What two workers compile on two cores is not cut into pieces; the code is the same.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

from winit_jax.engine.computing import programs

# Files that take longest, which begin first so that no worker is left alone with one at the end.
LONG = ["test_training_runs", "test_runs", "test_supervision", "test_faults", "test_reference", "test_training"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_runtest_teardown(item, nextitem):
    """A worker compiles more programs than a process has room for."""
    if nextitem is None or nextitem.path != item.path:
        programs.make_room()
