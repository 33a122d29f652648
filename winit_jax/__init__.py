"""What does a weight initialization do to a network? Grid sweeps in JAX, tables for pandas, heatmaps.

    import winit_jax as winit

    run = winit.run({"activation": ["tanh", "relu"], "gain": "log:0.5:4:32", "depth": "int:1:30", "seed": "int:0:3"})
    run.networks  # a pandas DataFrame, a row a network

Everything is imported when it is first asked for, so that importing this package takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winit_jax.analysis import PlotError, Run, RunFolderError
    from winit_jax.analysis.findings import Finding
    from winit_jax.analysis.probed import Probed, load_probe
    from winit_jax.api import FailedNetworks, catalog, load, plan, run, theory
    from winit_jax.data.bounded import InputError
    from winit_jax.engine.advising.recommendation import Recommendation
    from winit_jax.engine.computing.advice import Advice
    from winit_jax.engine.computing.devices import DeviceError
    from winit_jax.engine.computing.stream_advice import StreamAdvice
    from winit_jax.engine.planning.report import Plan
    from winit_jax.engine.probing import Tuned
    from winit_jax.errors import Refused, WinitError
    from winit_jax.folders import compact, merge, status, verify
    from winit_jax.probes import probe, tune
    from winit_jax.recommending import recommend
    from winit_jax.spec.problems import SpecError
    from winit_jax.store.compacting import Compacted
    from winit_jax.store.journal import FolderError
    from winit_jax.store.merging import Merged
    from winit_jax.store.status import Status
    from winit_jax.store.verify import Verdict

    __version__: str

# Where each public name is defined.
_MODULES = {
    "Advice": "winit_jax.engine.computing.advice",
    "Compacted": "winit_jax.store.compacting",
    "DeviceError": "winit_jax.engine.computing.devices",
    "FailedNetworks": "winit_jax.api",
    "FolderError": "winit_jax.store.journal",
    "InputError": "winit_jax.data.bounded",
    "Finding": "winit_jax.analysis.findings",
    "Merged": "winit_jax.store.merging",
    "Plan": "winit_jax.engine.planning.report",
    "PlotError": "winit_jax.analysis",
    "Probed": "winit_jax.analysis.probed",
    "Recommendation": "winit_jax.engine.advising.recommendation",
    "Refused": "winit_jax.errors",
    "Run": "winit_jax.analysis",
    "RunFolderError": "winit_jax.analysis",
    "SpecError": "winit_jax.spec.problems",
    "Status": "winit_jax.store.status",
    "StreamAdvice": "winit_jax.engine.computing.stream_advice",
    "Tuned": "winit_jax.engine.probing",
    "Verdict": "winit_jax.store.verify",
    "WinitError": "winit_jax.errors",
    "catalog": "winit_jax.api",
    "compact": "winit_jax.folders",
    "load": "winit_jax.api",
    "load_probe": "winit_jax.analysis.probed",
    "merge": "winit_jax.folders",
    "plan": "winit_jax.api",
    "probe": "winit_jax.probes",
    "recommend": "winit_jax.recommending",
    "run": "winit_jax.api",
    "status": "winit_jax.folders",
    "theory": "winit_jax.api",
    "tune": "winit_jax.probes",
    "verify": "winit_jax.folders",
}

__all__ = [
    "Advice",
    "Compacted",
    "DeviceError",
    "FailedNetworks",
    "Finding",
    "FolderError",
    "InputError",
    "Merged",
    "Plan",
    "PlotError",
    "Probed",
    "Recommendation",
    "Refused",
    "Run",
    "RunFolderError",
    "SpecError",
    "Status",
    "StreamAdvice",
    "Tuned",
    "Verdict",
    "WinitError",
    "__version__",
    "catalog",
    "compact",
    "load",
    "load_probe",
    "merge",
    "plan",
    "probe",
    "recommend",
    "run",
    "status",
    "theory",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Of the installed package; of a checkout that is not installed nobody knows it."""
    from importlib import metadata

    try:
        return metadata.version("winit-jax")
    except metadata.PackageNotFoundError:
        return "0+unknown"
