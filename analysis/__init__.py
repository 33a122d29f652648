"""Tables to figures: load a run, draw heatmaps, curves, histograms and profiles. Needs no jax."""

from analysis.curves import curves
from analysis.figures import PlotError, plot, standard_figures
from analysis.gradients import gradient_growth, gradient_histograms
from analysis.heatmaps import heatmap
from analysis.histograms import histogram_figures, histograms
from analysis.isometry import isometry
from analysis.load import Run, RunFolderError, load
from analysis.profiles import profiles
from analysis.ranking import best_learning_rate, ranking
from analysis.regimes import Thresholds, boundary, counts, regime_map, regimes
from analysis.theory import deviation_map, deviations

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
