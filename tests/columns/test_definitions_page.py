"""docs/definitions.md and docs/your-model.md say what the records say."""

from pathlib import Path

import pytest

from winit_jax.columns import COLUMNS
from winit_jax.columns.__main__ import main
from winit_jax.columns.page import BLOCKS, written_anew

PAGE = Path(__file__).parents[2] / "docs" / "definitions.md"


@pytest.mark.parametrize("name", ["definitions.md", "your-model.md"])
def test_the_page_is_what_the_records_say(name):
    page = PAGE.with_name(name).read_text(encoding="utf-8")
    assert page == written_anew(page), f"run: python -m winit_jax.columns docs/{name}"


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.name}-{'-'.join(column.tables)}")
def test_the_page_defines_every_column(column):
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{column.name}` |")]
    assert any(line.endswith(f"| {column.definition} |") for line in rows)


def test_what_stands_between_marks_is_written_and_the_rest_kept(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Prose.\n" + "".join(f"<!-- generated: {name} -->\nstale\n<!-- end -->\nMore.\n" for name in BLOCKS)
    )
    assert main([str(page)]) == 0
    text = page.read_text()
    assert text.startswith("Prose.\n<!-- generated: axes -->\n\n| axis | values |")
    assert text.count("More.\n") == len(BLOCKS)
    assert "stale" not in text
    assert main([str(page)]) == 0
    assert page.read_text() == text


def test_a_page_without_its_marks_gets_a_sentence_and_stays(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: axes -->\n<!-- end -->\n")
    assert main([str(page)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{page}: the page marks axes; it should mark axes, rules, rows, tables,")
    assert page.read_text() == "<!-- generated: axes -->\n<!-- end -->\n"
    assert main([str(tmp_path / "none.md")]) == 2
    assert main([]) == 2
    assert capsys.readouterr().err.endswith("usage: python -m winit_jax.columns PAGE\n")
