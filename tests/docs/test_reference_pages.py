"""The reference: every public name stands in it, and the site is built from it without a warning."""

import importlib
import re
import runpy
import subprocess
import sys

import pytest

from support.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
NAMES = re.compile(r"^<!-- names of ([\w.]+): ([\w, ]+) -->$", re.MULTILINE)
FACES = ("winit_jax", "winit_jax.analysis")
# Not explained by a docstring.
VALUES = {"__version__"}


def explained(module):
    """The names of a module that stand in the reference, with repetitions."""
    texts = [page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))]
    return [name for text in texts for of, names in NAMES.findall(text) if of == module for name in names.split(", ")]


@pytest.mark.parametrize("module", FACES)
def test_every_public_name_stands_in_the_reference_once(module):
    assert sorted(explained(module)) == sorted(set(importlib.import_module(module).__all__) - VALUES)


def test_an_entry_of_a_docstring_becomes_a_paragraph():
    pytest.importorskip("griffe")
    as_markdown = runpy.run_path(str(ROOT / "docs" / "site" / "docstrings.py"))["as_markdown"]
    text = "One thing.\n\n    q' = 1\n\nwidth, depth: so: many.\n    as it says. seed: of draws. "
    text += "Errors: none. other: stays."
    assert as_markdown(text, {"width", "depth", "seed"}) == (
        "One thing.\n\n    q' = 1\n\n`width`, `depth`: so: many.\nas it says. \n\n`seed`: of draws. "
        "\n\n*Errors:* none. other: stays.\n"
    )


def test_links_between_files_become_links_of_the_site():
    pytest.importorskip("mkdocs")
    relinked = runpy.run_path(str(ROOT / "docs" / "site" / "pages.py"))["relinked"]
    assert relinked("[a](../docs/definitions.md#keys)", "analysis/which-init.md") == "[a](../definitions.md#keys)"
    assert relinked("![a](figures/which-init.png)", "analysis/which-init.md") == "![a](figures/which-init.png)"
    assert relinked("[a](../sweeps/README.md)", "index.md") == "[a](sweeps/README.md)"
    assert relinked("[a](../definitions.md)", "reference/python.md") == "[a](../definitions.md)"
    assert relinked("[a](docs/performance.md)", "CONTRIBUTING.md") == "[a](performance.md)"
    assert relinked("[a](#here), [b](x:y)", "index.md") == "[a](#here), [b](x:y)"


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers.python")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    headings = {
        name.split(".")[-1]
        for page, text in pages.items()
        if "reference" in page.parts
        for name in re.findall(r'<h3 id="([\w.]+)"', text)
    }
    for module in FACES:
        assert set(explained(module)) <= headings
    for text in pages.values():
        assert not re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="?https?:', text)
        assert not re.findall(r'<link[^>]*rel="?stylesheet[^>]*href="?https?:', text)
