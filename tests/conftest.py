"""Shared set-up: one compiled program is used by many tests, and no test draws on a screen."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
