"""What the commands of `winit` do, as functions: `import winit_jax as winit` has them by these names.

A request is a dict of axes, a dict with the tables of a sweep file, the path of one, or the name of a ready sweep;
keyword arguments are axes and tables that are set over it. The same words hold as on the command line, and every
problem of a request is said at once, as `SpecError`. The working directory is searched for what import paths name.
"""

import math
import os
import shutil
import signal
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from winit_jax.errors import Refused

if TYPE_CHECKING:
    from winit_jax.analysis import Run
    from winit_jax.analysis.figures.studio import Studio
    from winit_jax.engine.computing.advice import Advice
    from winit_jax.engine.computing.stream_advice import StreamAdvice
    from winit_jax.engine.planning.report import Plan
    from winit_jax.engine.running.launch import Host
    from winit_jax.engine.running.outcome import Outcome
    from winit_jax.spec.problems import Problem
    from winit_jax.spec.sweep import Sweep

Request = Mapping[str, Any] | str | Path | None
Say = Callable[[str], None]


class FailedNetworks(UserWarning):
    """Some networks of a run failed; each is named, and the others are done."""


# Everything that computes is imported by the function that needs it: `catalog`, `load` and the command line's help
# do without JAX.


def run(
    request: Request = None,
    out: str | Path | None = None,
    *,
    figures: bool = False,
    progress: bool = True,
    allow_long: bool = True,
    shard: str | tuple[int, int] | None = None,
    cluster: Any = None,
    say: Say | None = None,
    **options: Any,
) -> "Run":
    """Run a sweep in this process, or go on with one, and return its tables.

    out: the run folder; with None a temporary one, which lasts as long as what is returned. figures: draw the standard
    figures into the folder. progress: show how far it is, on a terminal or in a notebook. allow_long: begin also what
    is estimated to take more than an hour. shard: "3/64" or (3, 64) computes the third of 64 shares, numbered from 1,
    in any number of processes that fill one folder; the last of them to end closes the run. cluster: have workers do
    it: "tcp://HOST:8786", "local:4", "slurm:16", or a client or cluster of dask's. say: is told in lines what
    happens; by default they go to stderr.
    options: axes and tables over the request, for example gain="log:0.5:2:9" or inputs={"samples": 100}.

    Works in any thread and beside a running event loop. Ctrl-C ends it as KeyboardInterrupt: what is finished is kept,
    and the text says how to go on. Networks that fail are named by a warning, `FailedNetworks`.
    Errors: SpecError; Refused; what else is a WinitError.
    """
    from winit_jax.analysis import load as read_run
    from winit_jax.engine.running.launch import Host
    from winit_jax.engine.running.outcome import Interrupted
    from winit_jax.spec.problems import Problem

    say = say or say_on_stderr
    needs_out = [Problem("shard", "several processes fill one folder, so say which: out=DIR.")]
    asked = asked_of(request, options)
    host = Host(say, None if allow_long else _refuse_what_is_long, progress)
    scratch = _Scratch() if out is None else None
    try:
        with importing_as_before():
            parent = scratch.path if scratch else Path()
            folder, outcome = carry_out(
                asked,
                host,
                out=out,
                parent=parent,
                shard=shard,
                cluster=cluster,
                problems=needs_out if shard is not None and out is None else [],
            )
        if figures and outcome.closes:
            draw_standard_figures(folder, say)
    except BaseException as error:
        if scratch is not None and scratch.holds_networks():
            scratch.keep()
        if isinstance(error, Interrupted):
            raise _interrupted(error) from None
        raise
    if failed := outcome.failed():
        more = f"; and {len(failed) - 3:,} more" if len(failed) > 3 else ""
        warnings.warn(f"{'; '.join(failed[:3])}{more} (failed; the rest is done)", FailedNetworks, stacklevel=2)
    return read_run(folder, owner=scratch)


def plan(request: Request = None, out: str | Path | None = None, **options: Any) -> "Plan":
    """Count a sweep's networks, rows, memory and time; it touches no device and runs no code of the sweep's.

    out: a run folder that the sweep should fit into. options: as in `run`. Errors: SpecError; Refused.
    """
    return plan_asked(asked_of(request, options), out=out)


def load(folder: str | Path) -> "Run":
    """The run in a folder; its tables are read when they are first asked for. Errors: RunFolderError."""
    from winit_jax.analysis import load

    return load(folder)


# How deep streams are looked at unless it is asked otherwise.
DEPTHS = [2, 10, 30, 100, 300, 1000]


def theory(
    activation: str | None = None,
    bias_std: float = 0.0,
    gain: float | str | None = None,
    *,
    start: float | None = None,
    inputs: str | Path | Mapping[str, Any] | None = None,
    say: Say | None = None,
    **axes: Any,
) -> "Advice | StreamAdvice":
    """What mean field says of an activation: which gain, and how deep signals and gradients then reach.

    gain: one, instead of several round the critical one. start: mean square pre-activation of the first layer, by
    default 1; or inputs: a source of a sweep file's, at whose mean square each gain starts. say: as in `run`, told of
    a function of the user's own that is imported.

    With a `block`, or any other axis of a sweep, it is of the stream of such networks: how it grows over `depth`, what
    becomes of two inputs, and how far a gradient goes. Each axis but depth has one value; the activation is relu, and
    the gain the critical one of dense layers, unless they are given. inputs: then a table of normal inputs.
    Errors: SpecError; Refused; InputError.

    winit.theory("gelu")
    winit.theory(block="residual", branch_scale="1/sqrt(depth)")
    """
    if axes:
        if start is not None:
            raise Refused("start is of an activation by itself; a stream starts from a mean square of 1.")
        given = {"inputs": inputs} if inputs is not None else {}
        return _theory_of_stream(activation or "relu", bias_std, gain, {**axes, **given}, say)
    return _theory_of_activation(activation, bias_std, gain, start, inputs, say)


def _theory_of_activation(
    activation: str | None, bias_std: float, gain: Any, start: float | None, inputs: Any, say: Say | None
) -> "Advice":
    from winit_jax.engine.computing import starts
    from winit_jax.engine.computing.theories import theory_of

    if activation is None:
        raise Refused("name an activation, such as tanh, or a block whose stream it shall be of.")
    numbers = [bias_std, *(value for value in (gain, start) if value is not None)]
    if not all(map(math.isfinite, numbers)) or bias_std < 0 or any(number <= 0 for number in numbers[1:]):
        raise Refused(
            "gain, bias_std and start must be finite, bias_std 0 or more, and the gain greater than 0, as the start."
        )
    if start is not None and inputs is not None:
        raise Refused("start is one q for all gains, and inputs start at each gain's own: give one of them.")
    with importing_as_before():
        asked = Asked(None, given=({"activation": activation, "gain": 1.0},))
        name = asked.sweep_to_run(announcing(say or say_on_stderr)).grid.activation[0]
        square = None
        if inputs is not None:
            square = starts.mean_square(starts.load(Asked(None, given=(starts.request(name, str(inputs)),)).sweep()))
        return theory_of(name, bias_std, gain, 1.0 if start is None else start, square)


def _theory_of_stream(
    activation: str, bias_std: float, gain: float | str | None, axes: Mapping[str, Any], say: Say | None
) -> "StreamAdvice":
    from winit_jax.engine.computing.stream_advice import stream_advice
    from winit_jax.engine.computing.theories import usual_gain

    usual = {"activation": activation, "bias_std": bias_std, "gain": 1.0 if gain is None else gain}
    usual |= {"depth": DEPTHS, "width": "inf"}
    with importing_as_before():
        sweep = Asked(None, given=(usual, axes)).sweep_to_run(announcing(say or say_on_stderr))
        several = [axis for axis, values in sweep.grid if isinstance(values, list) and len(values) > 1]
        if wrong := [axis for axis in several if axis not in ("depth", "seed")]:
            raise Refused(f"{', '.join(wrong)}: theory speaks of one value of each axis but depth.")
        if sweep.inputs.source != "normal":
            raise Refused("a stream starts from normal inputs; say how many positions and what correlation they have.")
        if gain is None:
            found = usual_gain(sweep.grid.activation[0], sweep.grid.block[0], bias_std)
            sweep = Asked(None, given=({**usual, "gain": found}, axes)).sweep()
        return stream_advice(sweep)


@overload
def catalog() -> dict[str, str]: ...


@overload
def catalog(name: str) -> str: ...


def catalog(name: str | None = None) -> dict[str, str] | str:
    """The ready sweeps: the title of each by its name; or the file of one. Errors: SpecError for an unknown name."""
    from winit_jax.spec.catalog import sweep_text, titles

    return titles() if name is None else sweep_text(name)


# What follows is shared with the command line, whose requests are words.


@dataclass(frozen=True)
class Asked:
    """A sweep as it is asked for: where it is read from, and what is set over that.

    source: a file or a ready sweep, or None. words: `AXIS=VALUES`. given: axes and tables as Python values.
    """

    source: str | Path | None
    words: Sequence[str] = ()
    given: Sequence[Mapping[str, Any]] = ()

    def sweep(self, announce: Say | None = None) -> "Sweep":
        """Read it. announce: as of `vocabulary`; without it no code of the sweep's is run. Errors: SpecError."""
        from winit_jax.engine.computing.vocabulary import vocabulary
        from winit_jax.spec.reading import load_sweep

        return load_sweep(self.source, self.words, vocabulary(announce), self.given)

    def sweep_to_run(self, announce: Say, problems: "Sequence[Problem]" = ()) -> "Sweep":
        """Read it where devices start; what is named by import path is imported once all else is right.

        problems: of what is asked for beside the sweep. Errors: SpecError; Refused for one problem alone that is not
        the sweep's; DeviceError.
        """
        from winit_jax.engine.computing import devices
        from winit_jax.engine.computing.vocabulary import import_paths
        from winit_jax.spec.problems import SpecError
        from winit_jax.spec.reading import check_run

        try:
            sweep = check_run(self.sweep())
        except SpecError as error:
            raise error.beside(problems) from None
        if len(problems) == 1:
            raise Refused(str(problems[0]))
        if problems:
            raise SpecError(sweep.name, problems)
        devices.of_this_process()
        return self.sweep(announce) if import_paths(sweep) else sweep


def asked_of(request: Request, options: Mapping[str, Any]) -> Asked:
    """What a request in Python asks for. Errors: SpecError where it is none of the things that a request may be."""
    from winit_jax.spec.problems import Problem, SpecError, briefly

    if request is None or isinstance(request, Mapping):
        return Asked(None, given=(request or {}, options))
    if isinstance(request, str | os.PathLike):
        return Asked(Path(request) if isinstance(request, os.PathLike) else request, given=(options,))
    what = "is neither axes in a dict, nor the path of a sweep file, nor the name of a ready sweep."
    raise SpecError("request", [Problem("", f"{briefly(request)} {what}")])


def carry_out(
    asked: Asked,
    host: "Host",
    *,
    out: str | Path | None,
    parent: Path,
    shard: Any = None,
    cluster: Any = None,
    problems: "Sequence[Problem]" = (),
) -> "tuple[Path, Outcome]":
    """(The run folder, how the run of what is asked for ended there).

    out: the run folder, by default the one of the sweep's name in `parent`. shard, cluster: as of `run`. problems: what
    is wrong with the request already, beside the sweep.
    Errors: SpecError, with all problems; DeviceError; Refused; Interrupted.
    """
    from winit_jax.engine.computing import compiled
    from winit_jax.engine.running.launch import launch
    from winit_jax.spec.machines import read_machines

    found = list(problems)
    machines = read_machines(shard, cluster, found)
    with compiled.kept(host.say):
        sweep = asked.sweep_to_run(host.announce, found)
        folder = parent / sweep.name if out is None else Path(out)
        return folder, launch(sweep, folder, host, machines)


def plan_asked(asked: Asked, *, out: str | Path | None = None, parent: Path | None = None) -> "Plan":
    """The plan of what is asked for. out, parent: as in `carry_out`; without both no folder is looked at."""
    from winit_jax.engine.computing.vocabulary import planner, vocabulary
    from winit_jax.engine.planning.report import plan_of
    from winit_jax.engine.running.launch import open_folder
    from winit_jax.system import provenance

    sweep, where = asked.sweep(), ""
    if out is not None or parent is not None:
        folder = open_folder(Path(out) if out is not None else Path(parent or "") / sweep.name, sweep)
        where = f"{folder}{' (exists)' if folder.exists() else ''}"
    cores = provenance.cores()
    return plan_of(sweep, planner(cores), vocabulary(), cores, where)


def draw_standard_figures(folder: Path, say: Say, studio: "Studio | None" = None) -> None:
    """Draw them into the run folder, say which, and then what was found.

    Where they cannot be drawn, it is said why: the run itself succeeded.
    studio: processes that draw them, where there are some.
    """
    if studio is not None and studio.draw(folder, say):
        return
    from winit_jax.analysis import PlotError, RunFolderError, load, standard_figures, summary

    try:
        for path in standard_figures(folder, report=say):
            say(f"drew {path}")
        summary.tell(load(folder), say)
    except (PlotError, RunFolderError, OSError) as error:
        say(f"no figures: {error}")


def say_on_stderr(text: str) -> None:
    """A line on stderr; where that cannot be written, nobody is told."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def announcing(say: Say) -> Say:
    """Says that code which an import path names is run."""
    from winit_jax.engine.running.launch import Host

    return Host(say).announce


def _refuse_what_is_long(text: str) -> bool:
    raise Refused(f"Nothing was run: it takes {text}, and allow_long is False.")


@contextmanager
def importing_as_before() -> Iterator[None]:
    """Where Python looks for modules is as it was before, though the working directory is searched meanwhile."""
    here = os.getcwd()
    is_searched = here in sys.path
    try:
        yield
    finally:
        if not is_searched and here in sys.path:
            sys.path.remove(here)


class _Scratch:
    """A temporary folder that is there as long as this object, unless it is kept."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="winit-"))
        self._end = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def holds_networks(self) -> bool:
        """Whether a run in it has finished any part."""
        return any(self.path.glob("*/networks/*.parquet"))

    def keep(self) -> None:
        """Leave the folder where it is."""
        self._end.detach()


def _interrupted(interruption: Any) -> KeyboardInterrupt:
    """Ctrl-C as Python has it, saying how to go on. Other signals do what they do when nothing is running."""
    folder = interruption.folder.path
    if interruption.signal_number != signal.SIGINT:
        signal.raise_signal(interruption.signal_number)
    shard = interruption.folder.shard
    words = f"{str(folder / 'sweep.toml')!r}, out={str(folder)!r}" + (f", shard={str(shard)!r}" if shard else "")
    return KeyboardInterrupt(f"{interruption} Go on with: winit.run({words})")
