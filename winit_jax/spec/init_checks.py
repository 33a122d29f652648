"""Blocks and inits of a grid by the names that tables have, and what inits are beside the axes that scale them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from winit_jax.columns import AXES, WEIGHT_SCALES
from winit_jax.spec.axes import Value, split_words
from winit_jax.spec.problems import Problem
from winit_jax.spec.sweep import BlockKind, InitKind, Inputs, Train

Kind = TypeVar("Kind", BlockKind, InitKind)


def kinds_of(names: Sequence[Any], check: Callable[[str], str | Kind]) -> dict[str, Kind]:
    """What is known of the blocks or inits of a grid, without those that are none."""
    return {name: kind for name in names if not isinstance(kind := check(str(name)), str)}


def no_kind(found: str | BlockKind | InitKind) -> str | None:
    """The sentence that says what is wrong with a name, None where it is one."""
    return found if isinstance(found, str) else None


def name_of(check: Callable[[str], str | Kind]) -> Callable[[str], str]:
    """What makes of a word its name as tables have it, as `mlp(4)`; what is none stays."""

    def named(word: str) -> str:
        found = check(word)
        return word if isinstance(found, str) else found.name

    return named


def by_name(expression: Any, named: Callable[[str], str], between: str = ", ") -> Any:
    """An axis with each of its words as `named` makes it, to be checked where it stands."""

    def each(item: Any) -> Any:
        return between.join(map(named, split_words(item))) if isinstance(item, str) else item

    return [each(item) for item in expression] if isinstance(expression, list) else each(expression)


def settle_biases(
    raw: dict[str, Any],
    written: dict[str, Any],
    values: dict[str, Any],
    inits: Mapping[str, InitKind],
    problems: list[Problem],
) -> None:
    """Put in what biases are where the sweep does not say: 0, or each init's own, which are None."""
    if "bias_std" in raw:
        values.setdefault("bias_init", [AXES["bias_init"].names[0]])
        return
    if "bias_init" in raw:
        what = "bias_std is not given, and without it biases are each init's own. Give it, or take this away."
        problems.append(Problem("grid.bias_init", what))
        return
    if not any(kind.has_biases for kind in inits.values()):
        values["bias_std"], values["bias_init"] = [0.0], [AXES["bias_init"].names[0]]
        rest = {axis: written.pop(axis) for axis in [*written][[*written].index("init") + 1 :]}
        scales = {axis: rest.pop(axis) for axis in WEIGHT_SCALES if axis in rest}
        written |= {**scales, "bias_std": 0.0, **rest}


def check_what_scales(inits: Iterable[InitKind], inputs: Inputs, train: Train | None) -> Iterator[Problem]:
    """A problem where weights that are scaled by the inputs would learn from other data than those."""
    same = ("source", "standardize", "positions", "encoding")
    others = [] if train is None else [key for key in same if getattr(inputs, key) != getattr(train, key)]
    for kind in inits if others else ():
        if kind.is_scaled_by_inputs:
            what = f"{kind.name!r} scales weights by what is measured, and the networks learn other data."
            yield Problem(f"inputs.{others[0]}", f"{what} Take it away, so that it is what [train] has.")


def check_scale(
    raw: dict[str, Any], inits: list[Value], kinds: Mapping[Any, InitKind], problems: list[Problem]
) -> None:
    scale_axes = [axis for axis in WEIGHT_SCALES if axis in raw]
    if len(scale_axes) == 2:
        problems.append(Problem("grid.std", "std and gain are both given; they scale the same weights, so give one."))
    shapes = [init for init, kind in kinds.items() if not kind.is_scheme]
    if shapes and not scale_axes:
        problems.append(Problem("grid", f"init {shapes[0]!r} is scaled by std or gain, and neither is given."))
    if inits and scale_axes and len(kinds) == len(inits) and not shapes:
        problems.append(
            Problem(
                f"grid.{scale_axes[0]}",
                f"no init of this grid is scaled by it ({', '.join(map(str, inits))}). "
                f"Take it away ({scale_axes[0]}= on the command line), or add a shape such as normal.",
            )
        )
