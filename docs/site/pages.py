"""What the site needs beyond the pages in docs/: pages that stand elsewhere, links between them, and the reference.

A page links as its readers on a code host need it: relative to where it stands. The site is laid out like the
repository, but that what lies in docs/ lies at its top. So nothing is copied.
"""

import importlib
import inspect
import posixpath
import re
from pathlib import Path

from matplotlib.figure import Figure
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
ELSEWHERE = ("analysis/which-init.md", "analysis/figures/*.png", "sweeps/README.md", "CHANGELOG.md", "CONTRIBUTING.md")

_LINK = re.compile(r"(\]\()([^()\s#:]+)(#[^()\s]*)?(\))")
# A line of a page of the reference: the public names of a module, to be shown in this order.
NAMES = re.compile(r"^<!-- names of (?P<module>[\w.]+): (?P<names>[\w, ]+) -->$", re.MULTILINE)
# Likewise: the methods of a class that return a figure.
FIGURES = re.compile(r"^<!-- figures of (?P<module>[\w.]+): (?P<name>\w+) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of ELSEWHERE."""
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links of the site, and public names into what they mean."""
    return FIGURES.sub(_listed, NAMES.sub(_explained, relinked(markdown, page.file.src_uri)))


def relinked(markdown: str, place: str) -> str:
    """The text of a page with its links as the site needs them. place: of the page on the site."""
    folder = posixpath.dirname(in_repository(place))
    return _LINK.sub(lambda link: _relinked(link, folder, posixpath.dirname(place)), markdown)


def in_repository(place: str) -> str:
    """The path in the repository of what is at a place on the site."""
    return place if any(Path(place).match(pattern) for pattern in ELSEWHERE) else DOCS + place


def _relinked(link: re.Match[str], folder: str, below: str) -> str:
    opening, target, anchor, closing = link.groups(default="")
    path = posixpath.normpath(posixpath.join(folder, target))
    return f"{opening}{posixpath.relpath(path.removeprefix(DOCS), below or '.')}{anchor}{closing}"


def _explained(line: re.Match[str]) -> str:
    """Where each name is defined, for mkdocstrings: modules that import lazily do not say it in their text."""
    module = importlib.import_module(line["module"])
    objects = [getattr(module, name) for name in line["names"].split(", ")]
    return "\n\n".join(f"::: {each.__module__}.{each.__qualname__}" for each in objects)


def _listed(line: re.Match[str]) -> str:
    """A table of the methods: many are made when the class is, and stand in no text."""
    drawing = getattr(importlib.import_module(line["module"]), line["name"])
    rows = ["| method | shows |", "| --- | --- |"]
    for name, method in inspect.getmembers(drawing, inspect.isfunction):
        signature = inspect.signature(method)
        if signature.return_annotation in (Figure, "Figure"):
            takes = ", ".join(list(signature.parameters)[1:])
            rows.append(f"| `{name}({takes})` | {(inspect.getdoc(method) or '').splitlines()[0]} |")
    return "\n".join(rows)
