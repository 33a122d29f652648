"""The measurements of a sweep in a model of one's own: `winit.probe`, and what `winit probe` does."""

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit_jax.columns.formats import FLOAT32, FORMATS
from winit_jax.errors import Refused
from winit_jax.spec.aliases import resolve
from winit_jax.spec.axes import expand
from winit_jax.spec.problems import Problem, SpecError, briefly, did_you_mean, unknown

if TYPE_CHECKING:
    from winit_jax.analysis.probed import Probed
    from winit_jax.engine.probing import Asked, Probe, Tuned
    from winit_jax.engine.torch_probing.probe import TorchProbe

MAX_SEED = 2**32 - 1
SCALE = "scale."
AXES_OF_PROBES = ("seed", "dtype")
KNOWN_FORMATS = (FLOAT32, *FORMATS)


def probe(
    network: Callable[..., Any] | str,
    params: Any = None,
    inputs: Any = None,
    *,
    seed: Any = 0,
    scale: Mapping[str, Any] | None = None,
    dtype: Any = FLOAT32,
    gradients: bool = True,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> "Probed":
    """Measure a JAX function or a PyTorch module at every contraction, nonlinearity and sum of its streams, and its
    parameters.

    network: apply(params, inputs), with `params` and `inputs` given; or what returns (init, apply, inputs), where
    init(key) -> params, as a function or as `package.module:function`. Of PyTorch a module, or a function that makes
    one, with `inputs` given, a tensor, a tuple of arguments or a dict of them; or what returns (make, inputs) or
    (module, inputs), where make() is called for each seed after `torch.manual_seed`. inputs: samples lie along the
    first axis. seed: of init or make, one or several, as an axis of a sweep. scale: patterns of parameter paths
    (`*.out.kernel`) -> factors that they are multiplied by, an axis each. dtype: formats of numbers, an axis: float32,
    the function as it is, and those of fewer bits that parameters, what goes into and comes out of each site, and
    gradients are rounded to; of JAX alone. gradients: also go back: of the loss, where the function returns one number,
    else of a mean over samples of <c_i, out_i> with a random unit direction c_i. out: a folder for the tables; what is
    there already is not computed again. say: is told in sentences what is going on.
    Errors: SpecError; Refused.
    """
    from winit_jax.engine.computing import compiled
    from winit_jax.engine.probing import Asked

    say = say or (lambda text: None)
    reader = _reader(network, params, inputs, Asked(*_asked(seed, scale or {}, gradients, dtype)), say)
    name = network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__)
    with compiled.kept(say):
        return _carried_out(reader, name, Path(out) if out is not None else None, say)


def tune(
    network: Callable[..., Any] | str,
    params: Any = None,
    inputs: Any = None,
    *,
    seed: Any = 0,
    say: Callable[[str], None] | None = None,
) -> "Tuned":
    """The factors that give each product of weights, biases apart, a root mean square of 1 on the inputs, in one pass.

    That is LSUV (Mishkin and Matas 2015) of any JAX function. network, params, inputs, say: as of `probe`. seed: one.
    Errors: SpecError; Refused.
    """
    from winit_jax.engine.probing import Asked, Probe

    seeds, *_ = _asked(seed, {}, False)
    if len(seeds) > 1:
        raise Refused(f"Factors are of one network, and seed says {len(seeds)}.")
    reader = _reader(network, params, inputs, Asked(seeds, {}, False), say or (lambda text: None))
    if not isinstance(reader, Probe):
        raise Refused("Factors are found for functions of JAX, and this is a module of PyTorch.")
    return reader.tuned(seeds[0])


def _reader(
    network: Callable[..., Any] | str, params: Any, inputs: Any, asked: "Asked", say: Callable[[str], None]
) -> "Probe | TorchProbe":
    """What reads and measures a network."""
    from winit_jax.engine.probing import Network, Probe

    if params is not None:
        if _is_module(network):
            raise Refused("A module of PyTorch has its parameters: call winit.probe(module, inputs=x).")
        if not callable(network):
            raise Refused("With params, give the function apply(params, inputs) itself.")
        return Probe(Network(lambda key: params, network, inputs), asked)
    if inputs is not None and (_is_module(network) or _makes(network)):
        return _of_torch(network, inputs, asked)
    return _made(network, asked, say)


def words_of(words: Sequence[str]) -> dict[str, Any]:
    """`AXIS=VALUES` of the command line as arguments of `probe`. Errors: SpecError, all problems at once."""
    found: dict[str, Any] = {"scale": {}}
    problems: list[Problem] = []
    for word in words:
        key, equals, text = word.rpartition("=")
        key = resolve("axis", key.strip(), AXES_OF_PROBES)
        if not equals:
            problems.append(Problem("", f"{briefly(word)} is not AXIS=VALUES."))
        elif key in AXES_OF_PROBES:
            found[key] = text
        elif key.startswith(SCALE):
            found["scale"][key.removeprefix(SCALE).strip("\"'")] = text
        else:
            unknown(key, "not an axis of a probe.", key, [*AXES_OF_PROBES, "scale.PATTERN"], problems, "axis")
    if problems:
        raise SpecError("probe", problems)
    return found


def _asked(
    seed: Any, scale: Mapping[str, Any], gradients: bool, dtype: Any = FLOAT32
) -> tuple[list[int], dict[str, list[float]], bool, list[str]]:
    from winit_jax.spec.given import plain

    seeds, problems = expand(plain(seed), "seed", int, _wrong_seed)
    factors: dict[str, list[float]] = {}
    for pattern, values in scale.items():
        found, wrong = expand(plain(values), f"{SCALE}{pattern}", float, _wrong_factor)
        factors[str(pattern)] = [float(value) for value in found if not isinstance(value, str)]
        problems += wrong
    formats, wrong = expand(plain(dtype), "dtype", str, _wrong_format, KNOWN_FORMATS)
    problems += wrong
    if problems:
        raise SpecError("probe", problems)
    return [int(value) for value in seeds], factors, gradients, [str(name) for name in formats]


def _wrong_seed(value: Any) -> str | None:
    return None if 0 <= value <= MAX_SEED else f"{value} is not from 0 to {MAX_SEED}."


def _wrong_factor(value: Any) -> str | None:
    return f"{value!r} is a formula; a factor is a number." if isinstance(value, str) else None


def _wrong_format(name: Any) -> str | None:
    if name in KNOWN_FORMATS:
        return None
    return f"{briefly(name)} is not a format.{did_you_mean(name, KNOWN_FORMATS, 'dtype')}"


def _is_module(network: Any) -> bool:
    """Whether it is a module of PyTorch, which need not be installed."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(network, torch.nn.Module)


def _makes(network: Any) -> bool:
    """Whether it can be called without arguments, as what makes a module is."""
    return callable(network) and not _needed(network)


def _needed(function: Callable[..., Any]) -> list[str]:
    """The arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in parameters if each.default is each.empty and each.kind < 2]


def _of_torch(network: Any, inputs: Any, asked: "Asked") -> "TorchProbe":
    """Errors: Refused, where PyTorch is not installed too."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise Refused("PyTorch is not installed: pip install 'winit-jax[torch]'.") from error
    from winit_jax.engine.torch_probing.probe import TorchProbe

    return TorchProbe(network, inputs, asked)


def _made(network: Callable[..., Any] | str, asked: "Asked", say: Callable[[str], None]) -> "Probe | TorchProbe":
    from winit_jax.engine.probing import Probe, as_network
    from winit_jax.errors import described
    from winit_jax.user_code import contained, imported, is_import_path, pass_on

    if isinstance(network, str):
        if not is_import_path(network):
            raise Refused(f"{network!r} is not an import path: write package.module:function.")
        say(f"{network} is imported and called.")
        try:
            function = imported(network)
        except ValueError as error:
            raise Refused(str(error)) from error
        name = network
    else:
        function, name = network, getattr(network, "__name__", "the function")
        if not callable(function):
            raise Refused(f"{briefly(network)} is no function.")
    if needed := _needed(function):
        raise Refused(
            f"{name} takes {', '.join(needed)}: give params and inputs too, or a function without "
            "arguments that returns (init, apply, inputs), or (make, inputs) of PyTorch."
        )
    try:
        answer = contained(function, name)()
    except BaseException as error:
        pass_on(error)
        raise Refused(f"{name}() failed: {described(error)}") from error
    if isinstance(answer, tuple) and len(answer) == 2 and (_is_module(answer[0]) or _makes(answer[0])):
        return _of_torch(*answer, asked)
    return Probe(as_network(answer, name), asked)


def _carried_out(reader: "Probe | TorchProbe", name: str, out: Path | None, say: Callable[[str], None]) -> "Probed":
    from winit_jax.analysis.probed import Probed
    from winit_jax.store.probe_folder import TABLES, ProbeFolder, ProbeInfo, joined

    asked = reader.asked
    if out is None:
        parts = [tables for _, tables in reader.parts()]
        found = [joined([part[name] for part in parts]) for name in TABLES]
        sites, parameters = (table.to_pandas() for table in found)
        return Probed(sites, parameters, reader.notes)
    folder = ProbeFolder(out)
    with folder.lock():
        scale = {pattern: list(factors) for pattern, factors in asked.factors.items()}
        folder.begin(
            ProbeInfo(
                kind="probe",
                network=name,
                fingerprint=reader.fingerprint,
                seeds=list(asked.seeds),
                scale=scale,
                dtype=list(asked.formats),
                gradients=asked.gradients,
            )
        )
        start = time.monotonic()
        done = {commit.point for commit in folder.look()[0]}
        missing = [point for point in asked.points if point not in done]
        for number, (point, tables) in enumerate(reader.parts(missing), 1):
            folder.write(point, tables)
            say(f"{number} of {len(missing)} networks")
        folder.end(time.monotonic() - start, reader.notes)
        found = [folder.read(table, asked.points) for table in TABLES]
    sites, parameters = (table.to_pandas() for table in found)
    return Probed(sites, parameters, reader.notes, out)
