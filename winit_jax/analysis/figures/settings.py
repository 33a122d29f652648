"""How figures are wanted: style, title, size, colors and axes, which hold for whatever is drawn within a context.

They are to a figure what rcParams are to matplotlib: no function of a figure takes them, and each obeys them. This
module imports nothing heavy.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES, DPI = (1.0, 60.0), (30, 2400)


@dataclass(frozen=True)
class Style:
    """Where a figure is looked at.

    type_scale: letters and lines, as a factor of those on a screen. panel_scale: panels likewise. widest: inches that a
    page has; panels become narrower where they would need more. dpi: dots an inch of a png. titled: whether figures
    have a title unless told.
    """

    type_scale: float = 1.0
    panel_scale: float = 1.0
    widest: float = inf
    dpi: int = 160
    titled: bool = True


STYLES = {
    "screen": Style(),
    # Letters of 8 points on the width of a page of text; what a title says belongs into the caption there.
    "paper": Style(type_scale=0.86, panel_scale=0.76, widest=7.0, dpi=300, titled=False),
    "slides": Style(type_scale=1.7, panel_scale=1.35, widest=13.3, dpi=150),
}


@dataclass(frozen=True)
class Settings:
    """What is wanted of a figure. None leaves it to the style, or to what is drawn.

    style: one of STYLES. title: words of its own, True or False for the usual one or none. size: inches of the page,
    width and height, two numbers or words as 6,4. dpi: dots an inch of a png. cmap: a map of matplotlib or seaborn.
    vmin, vmax: ends of the colors. ax: where the only panel is drawn, instead of on a page of its own.
    """

    style: str = "screen"
    title: str | bool | None = None
    size: Any = None
    dpi: int | None = None
    cmap: str | None = None
    vmin: float | None = None
    vmax: float | None = None
    ax: "Axes | None" = None

    @property
    def look(self) -> Style:
        return STYLES[self.style]

    @property
    def inches(self) -> tuple[float, float] | None:
        """Width and height of the page, where they are given."""
        return None if self.size is None else inches_of(self.size)

    @property
    def dots(self) -> int:
        return self.dpi or self.look.dpi

    def heading(self, usual: str) -> str:
        """The title of a figure, empty where it has none."""
        if isinstance(self.title, str):
            return self.title
        wanted = self.look.titled if self.title is None else self.title
        return usual if wanted else ""

    @property
    def of_colors(self) -> dict[str, Any]:
        """What is asked of colors, by name."""
        return {name: given for name in ("cmap", "vmin", "vmax") if (given := getattr(self, name)) is not None}


_NOW: ContextVar[Settings] = ContextVar("settings")
USUAL = Settings()
NAMES = tuple(field.name for field in fields(Settings))


def current() -> Settings:
    """The settings that hold here."""
    return _NOW.get(USUAL)


@contextmanager
def holding(settings: Settings) -> Iterator[None]:
    """A context in which figures are drawn and saved with these settings."""
    token = _NOW.set(settings)
    try:
        yield
    finally:
        _NOW.reset(token)


def problems(settings: Settings, colored: bool, kind: str | None) -> list[str]:
    """Sentences about settings that cannot be, one for each; none where all can.

    colored: whether the kind of figure has colors that follow numbers. kind: its name; None for several kinds.
    """
    found = []
    if settings.style not in STYLES:
        found.append(f"style: {settings.style!r} is not known.{_guess(settings.style, STYLES)} Known: {_all(STYLES)}.")
    if settings.size is not None and settings.inches is None:
        least, most = INCHES
        found.append(f"size: {settings.size!r} is not two numbers of inches from {least:g} to {most:g}, as 6,4.")
    if settings.dpi is not None and not DPI[0] <= settings.dpi <= DPI[1]:
        found.append(f"dpi: {settings.dpi} is not from {DPI[0]} to {DPI[1]}.")
    if settings.cmap is not None and not _is_map(settings.cmap):
        near = _guess(settings.cmap, _maps())
        found.append(f"cmap: {settings.cmap!r} is not a map of colors that matplotlib or seaborn knows.{near}")
    ends = [(name, getattr(settings, name)) for name in ("vmin", "vmax") if getattr(settings, name) is not None]
    found += [f"{name}: {end} is not a finite number." for name, end in ends if not isfinite(end)]
    if len(ends) == 2 and not found and ends[0][1] >= ends[1][1]:
        found.append(f"vmin: {settings.vmin:g} is not less than vmax, {settings.vmax:g}.")
    if settings.of_colors and not colored:
        which = (
            f"{kind} have no colors that follow numbers" if kind else "the standard figures have colors of their own"
        )
        found.append(f"{_all(settings.of_colors)}: {which}; a heatmap has.")
    return found


def of_words(**look: Any) -> Settings:
    """Settings of options by name. Errors: PlotError for an option that is none."""
    from winit_jax.analysis.selection import known

    for name in look:
        known("option", name, NAMES)
    return Settings(**{name: option for name, option in look.items() if option is not None})


def inches_of(size: Any) -> tuple[float, float] | None:
    """Width and height in inches, of two numbers or of words as 6,4; None for what is neither, or out of INCHES."""
    try:
        numbers = tuple(float(each) for each in (size.split(",") if isinstance(size, str) else size))
    except (TypeError, ValueError):
        return None
    if len(numbers) != 2 or not all(INCHES[0] <= number <= INCHES[1] for number in numbers):
        return None
    return numbers[0], numbers[1]


def _guess(word: str, known: Iterable[str]) -> str:
    from winit_jax.spec.aliases import nearest

    near = nearest(word, known)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _all(words: Iterable[Any]) -> str:
    return ", ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in words)


def _maps() -> list[str]:
    import matplotlib as mpl
    import seaborn  # noqa: F401  # its maps are matplotlib's then

    return [name for name in mpl.colormaps if not name.endswith("_r")]


def _is_map(name: str) -> bool:
    return name.removesuffix("_r") in _maps()
