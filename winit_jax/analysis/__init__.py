"""Tables to figures: load a run, draw heatmaps, curves, histograms and profiles. Needs no jax."""

from winit_jax.analysis.curves import curves
from winit_jax.analysis.figures import PlotError, plot, standard_figures
from winit_jax.analysis.gradients import gradient_growth, gradient_histograms
from winit_jax.analysis.heatmaps import heatmap
from winit_jax.analysis.histograms import histogram_figures, histograms
from winit_jax.analysis.isometry import isometry
from winit_jax.analysis.load import Run, RunFolderError, load
from winit_jax.analysis.profiles import profiles
from winit_jax.analysis.ranking import best_learning_rate, ranking
from winit_jax.analysis.regimes import Thresholds, boundary, counts, regime_map, regimes
from winit_jax.analysis.theory import deviation_map, deviations

__all__ = [
    "PlotError",
    "Run",
    "RunFolderError",
    "Thresholds",
    "best_learning_rate",
    "boundary",
    "counts",
    "curves",
    "deviation_map",
    "deviations",
    "gradient_growth",
    "gradient_histograms",
    "heatmap",
    "histogram_figures",
    "histograms",
    "isometry",
    "load",
    "plot",
    "profiles",
    "ranking",
    "regime_map",
    "regimes",
    "standard_figures",
]
