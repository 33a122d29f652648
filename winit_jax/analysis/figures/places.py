"""Which key goes where: along x and y, into the colors of lines, into the rows and columns of panels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from winit_jax.analysis.tables import (
    KEYS,
    SCALES,
    SHAPES,
    Expected,
    follows_init,
    init_words,
    is_named,
    sites_of,
    varying,
)
from winit_jax.spec.aliases import nearest

SAME = {"std": "gain", "gain": "std"}
# In an order of keys: every other key that still wants a place.
ANY = "any"
# A key of numbers with more values than this gets panels only if it is asked for.
MOST_PANELS = 12
MAX_LINES = 8

Given: TypeAlias = Mapping[str, str | None]


@dataclass(frozen=True)
class Places:
    """The key at each place of a figure. left: keys that take more than one value and have no place."""

    x: str | None = None
    y: str | None = None
    hue: str | None = None
    row: str | None = None
    col: str | None = None
    left: tuple[str, ...] = ()

    @property
    def shown(self) -> list[str]:
        return [key for key in (self.row, self.col, self.hue, self.y, self.x) if key]

    def checked(self) -> "Places":
        """The same. Errors: ValueError in a sentence for keys without a place."""
        if self.left:
            verb, each = ("takes", "it") if len(self.left) == 1 else ("take", "each")
            raise ValueError(
                f"{', '.join(self.left)} {verb} more than one value: make {each} an axis (x, y, hue, row or col, "
                f"where the figure has it), or keep one value of {each}."
            )
        return self


def arrange(
    keys: Sequence[str], asked_places: Given, orders: Mapping[str, Iterable[str]], crowded: Iterable[str]
) -> Places:
    """A place for each key, as far as there are places.

    keys: those that want one. asked_places: place -> the key asked for. orders: place -> the keys that it prefers,
    best first; places are filled in this order. crowded: keys with too many values for panels that nobody asked for.
    """
    places = {place: key for place, key in asked_places.items() if key}
    for place, order in orders.items():
        if place not in places:
            free = [key for key in keys if key not in _covered(places)]
            roomy = [key for key in free if key not in crowded]
            wanted = [key for each in order for key in (roomy if each == ANY else [each])]
            if key := next((key for key in wanted if key in free), None):
                places[place] = key
    left = tuple(key for key in keys if key not in _covered(places))
    return Places(**places, left=left)


def _covered(places: Mapping[str, str]) -> set[str]:
    """Keys that are placed, and scales that are the same as one that is."""
    return {*places.values(), *(SAME[key] for key in places.values() if key in SAME)}


def check_keys(asked_places: Given, more: Sequence[str] = ()) -> None:
    """Errors: ValueError in a sentence for what is no key, and for a key at two places. more: keys beside the axes."""
    keys = (*KEYS, *more)
    for place, key in asked_places.items():
        if key is not None and key not in keys:
            near = nearest(key, keys)
            guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ValueError(f"{place} = {key!r} is not a key.{guess} Keys: {', '.join(keys)}.")
    chosen = [key for key in asked_places.values() if key]
    if len({*chosen}) < len(chosen):
        *others, last = asked_places
        raise ValueError(f"{', '.join(others)} and {last} must be different keys.")


def _wanting(frame: pd.DataFrame, pooled: Iterable[str], expected: Expected | None = None) -> list[str]:
    """The keys that vary and want a place. pooled: those that need none. A scale that follows the init is none."""
    keys = [key for key in varying(frame, expected) if key not in pooled]
    if "init" in keys and follows_init(frame):
        keys = [key for key in keys if key not in SCALES]
    return keys


def _crowded(frame: pd.DataFrame, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if frame[key].dtype.kind in "iuf" and frame[key].nunique() > MOST_PANELS]


def on_a_map(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """Scale across, depth up, activations beside each other, the next key below.

    expected: key -> values that the sweep asks for, which vary a key although no row has them yet.
    """
    check_keys(asked_places)
    keys = _wanting(frame, ("seed",), expected)
    scale = [key for key in keys if key in SCALES]
    factors = ["branch_scale", "skip_scale", "attention_gain", "stem_scale", "readout_scale"]
    numbers = ["learning_rate", *factors, "bias_std", "width"]
    names = ["block", "normalization", "norm_position", "norm_epsilon", "dtype"]
    across, up = ["depth", *numbers, *names, "activation"], [*numbers, "init", *names]
    orders = {
        "x": [*scale, *([] if scale else ["init"]), *across],
        "y": ["depth", *scale, *up],
        "col": ["activation", ANY],
        "row": [ANY],
    }
    places = arrange(keys, asked_places, orders, _crowded(frame, keys))
    chosen = {role: getattr(places, role) for role in ("x", "y", "row", "col")}
    # A map has two axes, if need be of a key that does not vary; a table of predictions has no seeds.
    for role, spare in (("x", ("depth", "seed", "width")), ("y", ("seed", "depth", "bias_std", "width"))):
        if not chosen[role]:
            chosen[role] = next(key for key in spare if key in frame and key not in chosen.values())
    there = _wanting(frame, ("seed",))
    return Places(**chosen, left=tuple(key for key in places.left if key in there))


def of_profiles(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """A line a scale (else an init), a panel an activation (else another key); sites of a layer where asked for."""
    check_keys(asked_places, ["site"] if sites_of(frame) else [])
    keys = _wanting(frame, ("seed", "depth"))
    orders = {"hue": ["gain", "std", "init", ANY], "col": ["activation", ANY]}
    return _with_hue(arrange(keys, asked_places, orders, _crowded(frame, keys)))


# Lines of training unless told otherwise: what the figure compares first.
HUES = (
    "init", "block", "normalization", "norm_position", "learning_rate", "branch_scale", "skip_scale", "attention_gain",
    "stem_scale", "readout_scale", "std", "gain", "depth", "width", "bias_std", "norm_epsilon", "dtype",
)  # fmt: skip


def of_training(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """What is compared first as lines (see HUES), a panel an activation (else another key).

    With and without normalization are compared at each scale, where both vary: the 4 x 4 figure of the texts. Inits
    and their scales are lines together if they are no more than MAX_LINES: normal of two stds beside Xavier and He.
    """
    check_keys(asked_places)
    keys = _wanting(frame, ("seed",))
    hue, panels = asked_places.get("hue"), (asked_places.get("row"), asked_places.get("col"))
    if "init" in keys and hue in (None, "init") and _few_inits(frame, panels):
        keys = [key for key in keys if key not in SCALES]
    scale = next((key for key in SCALES if key in keys), None)
    if hue is None and panels[1] is None and "normalization" in keys and scale and "init" not in keys:
        asked_places = {**asked_places, "hue": "normalization", "col": scale}
    orders = {"hue": [*HUES, "activation"], "col": ["activation", ANY]}
    # The texts have a panel for each of sixteen scales.
    return _with_hue(arrange(keys, asked_places, orders, ()))


def _few_inits(frame: pd.DataFrame, panels: Iterable[str | None]) -> bool:
    """Whether each init with each of its scales may be a line of its own."""
    if {*SCALES, "init"} & {*panels}:
        return False
    scale = frame.attrs.get("scale_axis") or "std"
    shapes = frame["init"].isin(SHAPES)
    lines = len(frame.loc[shapes, ["init", scale]].drop_duplicates()) + frame.loc[~shapes, "init"].nunique()
    # Scales that read the same would be one line.
    return lines <= MAX_LINES and init_words(frame).nunique() == lines


def of_lines(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """Depth along x, else another number; lines for what is compared first (see HUES), a panel an activation."""
    check_keys(asked_places)
    keys = _wanting(frame, ("seed",))
    numbers = [key for key in ("depth", *SCALES, "width", *HUES) if key in keys and not is_named(frame, key)]
    orders = {"x": numbers, "hue": ["branch_scale", "skip_scale", *HUES, ANY], "col": ["activation", ANY], "row": [ANY]}
    places = _with_hue(arrange(keys, asked_places, orders, _crowded(frame, keys)))
    spare = next(key for key in ("depth", "width", "gain") if key not in places.shown)
    return Places(places.x or spare, places.y, places.hue, places.row, places.col, places.left)


def of_isometry(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """A line an init, the scale across and the activation down."""
    check_keys(asked_places)
    keys = _wanting(frame, ("seed", "depth"))
    # Numbers across are chosen by what they show, so there are never too many.
    orders = {"hue": ["init"], "col": [*SCALES, "activation", ANY], "row": [*SCALES, "activation", ANY]}
    return _with_hue(arrange(keys, asked_places, orders, ()))


def of_layers(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """An initialization a row and a layer a column."""
    keys = [key for key in varying(frame) if key not in ("init", *SCALES, "seed", "depth")]
    return Places(left=tuple(keys))


def of_formats(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """The scale across, beside the layer; a format a column, an activation (else another key) a row."""
    check_keys(asked_places)
    keys = _wanting(frame, ("seed", "depth"))
    orders = {"x": [*SCALES, "init", ANY], "col": ["dtype", ANY], "row": ["activation", ANY]}
    places = arrange(keys, asked_places, orders, _crowded(frame, keys))
    return Places(places.x or "depth", None, None, places.row, places.col, places.left)


def of_ranking(frame: pd.DataFrame, asked_places: Given, expected: Expected | None = None) -> Places:
    """A depth a row and an activation a column."""
    ranked = ("init", *SCALES, "learning_rate", "seed", "depth", "activation")
    return Places(row="depth", col="activation", left=tuple(key for key in varying(frame) if key not in ranked))


def _with_hue(places: Places) -> Places:
    """Lines are named by an init where nothing else tells them apart."""
    return Places(places.x, places.y, places.hue or "init", places.row, places.col, places.left)


Rule = Callable[[pd.DataFrame, Given, Expected | None], Places]
RULES: dict[str, Rule] = {
    "map": on_a_map,
    "profiles": of_profiles,
    "lines": of_lines,
    "training": of_training,
    "isometry": of_isometry,
    "layers": of_layers,
    "formats": of_formats,
    "ranking": of_ranking,
}
