"""Tables to figures: load a run, draw heatmaps, histograms and profiles. Needs no jax."""

from analysis.figures import PlotError, plot, standard_figures
from analysis.heatmaps import heatmap
from analysis.histograms import histogram_figures, histograms
from analysis.load import Run, RunFolderError, load
from analysis.profiles import profiles

__all__ = [
    "PlotError",
    "Run",
    "RunFolderError",
    "heatmap",
    "histogram_figures",
    "histograms",
    "load",
    "plot",
    "profiles",
    "standard_figures",
]
