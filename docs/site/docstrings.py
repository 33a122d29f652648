"""The docstrings of this package as Markdown: `name: what it is` begins a paragraph, with the name set as code.

The package writes what a thing takes and holds in running text, `width: units a layer. depth: layers.`; names are known by
being parameters or members of what the docstring is of.
"""

import re
from collections.abc import Collection
from typing import Any

from griffe import Class, Extension, Function, Object

SECTIONS = ("Errors", "Out", "Shapes", "Source", "Units", "Warns")
# At the start of a line, or of a sentence: `lowest, highest: ` or `Errors: `.
_ENTRY = re.compile(r"(?:^|(?<=[.:] ))(?P<names>\w+(?:, \w+)*): (?=\S)", re.MULTILINE)


class AsMarkdown(Extension):
    """Rewrites each docstring before it is rendered."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called by griffe for everything that it has read."""
        if not obj.docstring:
            return
        if isinstance(obj, Function):
            names = {parameter.name for parameter in obj.parameters}
        else:
            names = set(obj.members) if isinstance(obj, Class) else set()
        obj.docstring.value = as_markdown(obj.docstring.value, names)


def as_markdown(text: str, names: Collection[str]) -> str:
    """A docstring whose entries are paragraphs. names: those that its entries may have, beside SECTIONS.

    What stands indented after an empty line is code, as everywhere in Markdown; other lines are joined.
    """
    paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
    return "\n\n".join(each if each.startswith("    ") else _entries(each, names) for each in paragraphs) + "\n"


def _entries(paragraph: str, names: Collection[str]) -> str:
    lines = "\n".join(line.strip() for line in paragraph.splitlines())
    return _ENTRY.sub(lambda entry: _entry(entry, names), lines).strip()


def _entry(entry: re.Match[str], names: Collection[str]) -> str:
    words = entry["names"].split(", ")
    if words[0] in SECTIONS:
        return f"\n\n*{words[0]}:* "
    if not set(words) <= set(names):
        return entry[0]
    return "\n\n" + ", ".join(f"`{word}`" for word in words) + ": "
