"""Draws docs/figures/house.svg: the rooms of the package, and the way of data through them.

    python docs/site/house.py

Text stands on boxes of its own color and lines are of a middle gray, so that it reads on light pages and on dark ones.
"""

from html import escape
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "figures" / "house.svg"
WIDTH, HEIGHT = 900, 560
GRAY = "#8a8f98"
# Fill and ink of each kind of room.
TOP, REQUEST, ENGINE, PURE, KEPT, SHOWN = (
    ("#e3e6ea", "#1f2328"),
    ("#ffe3b3", "#3d2a00"),
    ("#cfe0ff", "#0b2a5c"),
    ("#d6f0d8", "#123d18"),
    ("#eadcf7", "#381a57"),
    ("#ffd9d6", "#5a1411"),
)


def box(x: int, y: int, width: int, height: int, colors: tuple[str, str], name: str, *lines: str) -> str:
    """A room: its name, and what it does in lines below."""
    fill, ink = colors
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}"/>']
    middle = x + width / 2
    top = y + (height - 19 * len(lines)) / 2 + 6
    parts.append(f'<text x="{middle}" y="{top}" fill="{ink}" class="name">{escape(name)}</text>')
    for i, line in enumerate(lines, start=1):
        parts.append(f'<text x="{middle}" y="{top + 19 * i}" fill="{ink}">{escape(line)}</text>')
    return "\n".join(parts)


def arrow(*points: tuple[int, int], dashed: bool = False) -> str:
    """A line through points, with a head at its end."""
    path = " ".join(f"{'M' if i == 0 else 'L'}{x} {y}" for i, (x, y) in enumerate(points))
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{GRAY}" stroke-width="2"{dash} marker-end="url(#head)"/>'


def label(x: int, y: int, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" fill="{GRAY}" style="text-anchor:{anchor}">{escape(text)}</text>'


def house() -> str:
    """The picture as SVG."""
    parts = [
        box(20, 20, 860, 56, TOP, "cli and the Python face", "winit run, plan, status, verify, plot, theory"),
        # The way of data: down through the engine, and up again through the analysis.
        box(20, 126, 230, 84, REQUEST, "spec", "sweep file, words or dict", "to a Sweep"),
        box(310, 126, 280, 84, ENGINE, "engine/planning", "a Sweep to families, jobs", "and parts"),
        box(310, 254, 280, 84, ENGINE, "engine/running", "lanes, and a second process", "that watches"),
        box(310, 382, 280, 84, ENGINE, "engine/computing", "a part to tables:", "the bridge"),
        box(20, 330, 230, 72, PURE, "numerics", "arrays in, arrays out: JAX"),
        box(20, 446, 230, 72, PURE, "data", "samples by name or path"),
        box(650, 382, 230, 84, KEPT, "store", "journal, staging,", "parquet tables"),
        box(650, 254, 230, 84, SHOWN, "analysis", "tables to pandas:", "never JAX"),
        box(650, 126, 230, 84, SHOWN, "figures", "heatmaps, curves,", "histograms"),
        arrow((135, 76), (135, 122)),
        arrow((250, 168), (306, 168)),
        arrow((450, 210), (450, 250)),
        arrow((450, 338), (450, 378)),
        arrow((250, 366), (280, 366), (280, 410), (306, 410)),
        arrow((250, 482), (280, 482), (280, 440), (306, 440)),
        arrow((590, 424), (646, 424)),
        arrow((765, 382), (765, 342)),
        arrow((765, 254), (765, 214)),
        arrow((765, 126), (765, 80)),
        label(147, 104, "request", "start"),
        label(278, 158, "Sweep"),
        label(462, 236, "parts", "start"),
        label(462, 364, "one part", "start"),
        label(618, 414, "tables"),
        label(777, 366, "committed rows", "start"),
        label(777, 238, "DataFrames", "start"),
        label(450, 540, "Arrows: the way of data. Only numerics and engine/computing import JAX."),
    ]
    style = (
        "text{font:14px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;text-anchor:middle}"
        ".name{font-weight:600;font-size:16px}"
    )
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L10 5L0 10z" fill="{GRAY}"/></marker>'
    )
    title = "The rooms of winit_jax and the way of data through them"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n<title>{title}</title>\n'
        f"<style>{style}</style>\n<defs>{head}</defs>\n{body}\n</svg>\n"
    )


if __name__ == "__main__":
    FILE.write_text(house(), encoding="utf-8")
