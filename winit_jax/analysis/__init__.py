"""Tables to figures: load a run, draw heatmaps, curves, histograms and profiles. Needs no jax.

What is heavy is imported when first asked for, so that the names of figures can be listed without pandas.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "run": ("Run", "load"),
    "reading": ("RunFolderError",),
    "selection": ("PlotError",),
    "figures.files": ("plot", "standard_figures"),
    "figures.heatmap": ("heatmap",),
    "figures.training": ("curves",),
    "figures.histograms": ("histogram_figures", "histograms"),
    "figures.gradient_histograms": ("gradient_histograms",),
    "figures.profiles": ("profiles",),
    "figures.against": ("against",),
    "figures.isometry": ("isometry",),
    "figures.ranking": ("ranking",),
    "figures.regimes": ("regime_map",),
    "figures.deviations": ("deviation_map",),
    "figures.formats": ("format_map",),
    "statistics.formats": ("by_format", "shares"),
    "statistics.gradients": ("gradient_growth",),
    "statistics.ranking": ("best_learning_rate",),
    "statistics.regimes": ("Thresholds", "boundary", "counts", "regimes"),
    "statistics.deviations": ("deviations",),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
