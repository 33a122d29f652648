"""Figures: what there is (`catalog`), which key goes where (`places`), the page (`page`), and one file a figure."""

from importlib import import_module
from typing import Any

from winit_jax.analysis.figures.catalog import NAMES as KINDS

_HOME = {
    "PlotError": "selection",
    "FORMATS": "figures.files",
    "plot": "figures.files",
    "save": "figures.files",
    "standard_figures": "figures.files",
}
__all__ = ["FORMATS", "KINDS", "PlotError", "plot", "save", "standard_figures"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"winit_jax.analysis.{_HOME[name]}"), name)
