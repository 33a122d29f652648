"""Which init for an activation, a block and a depth: `winit.recommend`, and what `winit recommend` does."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit_jax.spec.problems import Problem, SpecError, briefly

if TYPE_CHECKING:
    from winit_jax.engine.advising.recommendation import Recommendation

DEPTH, WIDTH = 20, 256
MOST_DEPTH = 10_000
# Of normal inputs, where a block needs positions.
POSITIONS, SAMPLES = 16, 64


def recommend(
    activation: str,
    *,
    block: str = "dense",
    depth: int | str = DEPTH,
    width: int | str = WIDTH,
    bias_std: float | str = 0.0,
    normalization: str = "none",
    inputs: str | Path | Mapping[str, Any] | None = None,
    measure: bool = True,
    code: str | None = None,
    say: Callable[[str], None] | None = None,
) -> "Recommendation":
    """Which standard deviation or scheme the weights of a network should have, and why.

    Theory of infinite width, started at the mean square and the correlation of these inputs, chooses a gain; a few
    networks of several gains round it are then run (measure), in seconds. activation, block, depth, width, bias_std,
    normalization: as in a sweep, one value each. inputs: a source (`digits`, a path), or the table of a sweep file;
    normal ones by default. code: a framework whose name is checked with the rest; `Recommendation.code` prints it. say:
    is told of a function of the user's own that is imported.
    Errors: SpecError, all problems at once; InputError; Refused.

    winit.recommend("gelu", depth=50).gain
    print(winit.recommend("relu", block="residual").code("torch"))
    """
    from winit_jax import api
    from winit_jax.engine.advising.pasting import wrong_framework
    from winit_jax.engine.advising.recommending import recommend as recommended
    from winit_jax.engine.computing import compiled

    axes = {"activation": activation, "block": block, "depth": depth, "width": width, "bias_std": bias_std}
    axes |= {"normalization": normalization, "gain": 1.0, "seed": 0}
    problems = [problem for axis, value in axes.items() for problem in _several(axis, value)]
    if (deep := _number(depth)) > MOST_DEPTH:
        problems.append(Problem("grid.depth", f"{deep:,.0f} is more than {MOST_DEPTH:,}."))
    if code is not None and (wrong := wrong_framework(code, str(activation))):
        problems.append(Problem("code", wrong))
    given: list[Mapping[str, Any]] = [axes, {"inputs": {"samples": SAMPLES}}, *_inputs(inputs, str(block))]
    with api.importing_as_before():
        try:
            sweep = api.Asked(None, given=given).sweep_to_run(api.announcing(say or api.say_on_stderr))
        except SpecError as error:
            raise SpecError("recommend", [*error.problems, *problems]) from None
        if sweep.grid.bias_std and isinstance(sweep.grid.bias_std[0], str):
            problems.append(Problem("grid.bias_std", f"{bias_std!r} is a formula; here it is a number."))
        if problems:
            raise SpecError("recommend", problems)
        with compiled.kept(say or api.say_on_stderr):
            return recommended(sweep, measure=measure)


def _several(axis: str, value: Any) -> list[Problem]:
    """A problem where an axis has several values. Commas in brackets, as of transformer(4, 4), part none."""
    if isinstance(value, str):
        outside = re.sub(r"\([^()]*\)", "", value)
        several = "," in outside or outside.startswith(("lin:", "log:", "int:"))
    else:
        several = not isinstance(value, int | float)
    what = f"{briefly(value)} is several values; a recommendation is for one."
    return [Problem(f"grid.{axis}", what)] if several else []


def _number(value: Any) -> float:
    """A number as it is written; 0 for what is none, which is said elsewhere."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _inputs(inputs: str | Path | Mapping[str, Any] | None, block: str) -> list[dict[str, Any]]:
    """The table of inputs, with positions where the block needs some and nobody says how many."""
    table = dict(inputs) if isinstance(inputs, Mapping) else {} if inputs is None else {"source": str(inputs)}
    if table.get("source", "normal") != "normal":
        return [{"inputs": {"samples": None, **table}}]
    needs = any(name in block for name in ("conv", "attention", "transformer"))
    return [{"inputs": {**({"positions": POSITIONS} if needs else {}), **table}}]
