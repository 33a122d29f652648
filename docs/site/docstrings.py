"""The docstrings of this package as Markdown: `name: what it is` begins a paragraph, with the name set as code."""

import re
from typing import Any

from griffe import Extension, Object

# `bias_std: ...`, `lowest, highest: ...`, `Errors: ...`, `on_progress(done, total) ...` at the left margin.
_ENTRY = re.compile(r"(?P<names>[A-Za-z_][\w ,()]{0,60}?): (?=\S)")
_SECTIONS = ("Errors", "Shapes", "Units", "Source", "Warns")


class AsMarkdown(Extension):
    """Rewrites each docstring before it is rendered."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called by griffe for everything that it has read."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring whose entries are paragraphs; what is indented deeper than its entry's second line stays code."""
    lines: list[str] = []
    is_entry = False
    for line in text.splitlines():
        if entry := _entry(line):
            lines += ["", entry]
            is_entry = True
        elif is_entry and line.startswith(" "):
            lines.append(line.strip())
        else:
            is_entry = is_entry and bool(line)
            lines.append(line)
    return "\n".join(lines).strip() + "\n"


def _entry(line: str) -> str | None:
    found = _ENTRY.match(line)
    if found is None:
        return None
    names, rest = found["names"], line[found.end() :]
    if names in _SECTIONS:
        return f"*{names}:* {rest}"
    words = re.split(r", ", names)
    if not all(re.fullmatch(r"\w+(\([\w, ]*\))?", word) for word in words):
        return None
    return ", ".join(f"`{word}`" for word in words) + f": {rest}"
