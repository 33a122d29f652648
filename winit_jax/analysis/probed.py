"""A probe read back: its two tables as DataFrames, what is wrong with the network, and its figures.

What draws them is imported when a figure is asked for: it takes more memory and time than a small probe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from winit_jax.analysis.audit import audit
from winit_jax.analysis.findings import Finding
from winit_jax.analysis.reading import RunFolderError
from winit_jax.analysis.selection import PlotError, known
from winit_jax.columns.probed import DTYPE
from winit_jax.spec.aliases import resolve
from winit_jax.store.probe_folder import ProbeFolder, is_probe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("profile", "heatmap")


@dataclass(frozen=True, repr=False)
class Probed:
    """What a probe found. sites: a row a site, seed and factor. parameters: likewise. notes: sentences about what could
    not be measured. path: of the folder that holds the tables, if they were kept."""

    sites: pd.DataFrame
    parameters: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def audit(self) -> list[Finding]:
        """What is wrong with the network, as findings with a sentence each, the worst first; empty if nothing is."""
        return audit(self.sites, self.parameters)

    def profile(self, value: str | None = None, *, where: Mapping[str, Any] | None = None) -> "Figure":
        """Columns against the site, a line for each factor or format: `value`, or the sizes of signal and gradient.

        where: `site` patterns (`*.attention.*`), `kind`, `op`, `dtype`, `seed` and factors -> values to keep.
        Errors: PlotError.
        """
        from winit_jax.analysis.figures import of_probes

        return of_probes.profile(kept(self.sites, where or {}), value)

    def heatmap(self, value: str | None = None, *, where: Mapping[str, Any] | None = None) -> "Figure":
        """A column over sites and the factor that varies, or seeds, in colors: the signal's size by default.

        where, errors: as of `profile`.
        """
        from winit_jax.analysis.figures import of_probes

        return of_probes.heatmap(kept(self.sites, where or {}), value or of_probes.SIGNAL)

    def figures(
        self, kind: str | None = None, value: str | None = None, where: Mapping[str, Any] | None = None
    ) -> dict[str, "Callable[[], Figure]"]:
        """Name of a file -> what draws it: one of a kind, or without one those that belong to every probe."""
        from winit_jax.analysis.figures import of_probes

        if kind is None and value is None:
            return of_probes.standard(kept(self.sites, where or {}))
        kind = kind or KINDS[0]
        known("kind", kind, KINDS)
        name = f"{kind}-{value}" if value else kind
        if kind == "profile":
            return {name: lambda: self.profile(value, where=where)}
        return {name: lambda: self.heatmap(value, where=where)}

    def __repr__(self) -> str:
        return f"<Probed: {len(self.sites):,} sites, {len(self.parameters):,} parameters>"


def load_probe(path: str | Path) -> Probed:
    """The probe in a folder. Errors: RunFolderError where there is none, or it is damaged or empty; Refused."""
    folder = ProbeFolder(Path(path))
    if not is_probe(folder.path):
        raise RunFolderError(f"{path} is no folder of a probe.")
    whole, damage = folder.look()
    if damage:
        raise RunFolderError(f"{path} is damaged: {'; '.join(damage)}. The command that made it makes it anew.")
    if not whole:
        raise RunFolderError(f"{path} has no finished networks yet.")
    points = [commit.point for commit in whole]
    sites, parameters = (folder.read(name, points).to_pandas() for name in ("sites", "parameters"))
    return Probed(sites, parameters, folder.info().notes, folder.path)


def kept(sites: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with one of the values given of each key; of names, with a pattern among them.

    Errors: PlotError for a key that the table does not have, and where no row is left.
    """
    from winit_jax.analysis.figures import of_probes

    names = ["site", "op", "kind", *([DTYPE] if DTYPE in sites else [])]
    keys = [*names, "seed", *of_probes.factor_columns(sites)]
    for key, values in where.items():
        known("where", key, keys)
        words = [values] if isinstance(values, str | int | float) else list(values)
        if key == DTYPE:
            there = list(sites[DTYPE].astype(str).unique())
            meant = [resolve(DTYPE, str(word), there) for word in words]
            for name in meant:
                known(f"where {DTYPE}", name, there)
            words = [*meant]
        if key in names:
            fits = [any(fnmatchcase(name, str(word)) for word in words) for name in sites[key].astype(str)]
            sites = sites[fits]
        else:
            try:
                numbers = np.asarray([float(word) for word in words])
            except ValueError:
                raise PlotError(f"where {key}: {', '.join(map(str, words))} is no number.") from None
            sites = sites[np.isclose(sites[key].to_numpy(float)[:, None], numbers, rtol=5e-3, atol=0).any(axis=1)]
    if sites.empty:
        raise PlotError("where: no site has all of these.")
    return sites
