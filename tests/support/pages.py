"""The code blocks of the documentation, as tests run them."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("winit_jax", "tests", "sweeps")

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_EDIT = re.compile(r'example (?P<example>\w+): (?P<file>[\w./]+), (?P<how>after|before|instead of) "(?P<line>.*)"')
_NEW_FILE = re.compile(r"example (?P<example>\w+): new file (?P<file>[\w./]+)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. mark: the comment on the line above it, or nothing."""

    language: str
    text: str
    mark: str = ""


def blocks(page: Path, language: str = "") -> list[Block]:
    """The fenced blocks of a page, all of them or those of a language."""
    found = [
        Block(block["language"], block["text"], block["mark"] or "")
        for block in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]
    return [block for block in found if not language or block.language == language]


def copy_with_example(page: Path, example: str, folder: Path) -> Path:
    """A copy of the package and its tests in `folder`, with the edits that a page shows as one of its examples."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    edits = [block for block in blocks(page) if block.mark.startswith(f"example {example}: ")]
    assert edits, f"{page} has no example {example}"
    for block in edits:
        if new := _NEW_FILE.fullmatch(block.mark):
            (folder / new["file"]).write_text(block.text, encoding="utf-8")
            continue
        edit = _EDIT.fullmatch(block.mark)
        assert edit, f"{page}: {block.mark!r} is no edit"
        path = folder / edit["file"]
        path.write_text(
            _edited(path.read_text(encoding="utf-8"), block.text, edit["how"], edit["line"]), encoding="utf-8"
        )
    return folder


def _edited(text: str, block: str, how: str, start: str) -> str:
    """A file's text with a block before, after or instead of its only line that starts so.

    Below a line that opens a bracket the block is an entry: indented, and with a comma at its end.
    """
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.lstrip().startswith(start)]
    assert len(places) == 1, f"{len(places)} lines start with {start!r}"
    (place,) = places
    if how == "after" and lines[place].rstrip().endswith(("(", "{", "[")):
        margin = " " * (len(lines[place]) - len(lines[place].lstrip()) + 4)
        block = indent(block.rstrip().removesuffix(",") + ",\n", margin)
    first, last = {"before": (place, place), "after": (place + 1, place + 1), "instead of": (place, place + 1)}[how]
    return "".join([*lines[:first], block, *lines[last:]])
