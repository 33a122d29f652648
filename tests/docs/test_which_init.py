"""The program behind analysis/which-init.md: it imports, and writes into its page between the marks alone."""

import runpy

import pandas as pd
import pytest

from support.pages import ROOT


@pytest.fixture
def program():
    return runpy.run_path(str(ROOT / "analysis" / "which_init.py"))


def test_tables_go_between_the_marks_of_the_page(program, tmp_path, capsys):
    page = program["PAGE"].read_text(encoding="utf-8")
    begin, end = (program["MARKER"].format(word) for word in ("output", "end"))
    copy = tmp_path / "page.md"
    copy.write_text(page, encoding="utf-8")
    program["write"].__globals__["PAGE"] = copy
    program["write"]("New tables.")
    written = copy.read_text(encoding="utf-8")
    assert f"{begin}\n\nNew tables.\n\n{end}" in written
    assert (written.split(begin)[0], written.split(end)[1]) == (page.split(begin)[0], page.split(end)[1])
    assert capsys.readouterr().out == "New tables.\n"


def test_the_best_of_each_activation_is_named_with_those_that_are_not_told_apart(program):
    rows = [
        ("relu", 2, "he", 0.98, 0.99, 0.1),
        ("relu", 2, "lecun", 0.97, 0.985, 0.3),
        ("relu", 2, "std", 0.3, 0.4, 1.0),
    ]
    best = pd.DataFrame(rows, columns=["activation", "depth", "name", "mean", "high", "learning_rate"])
    assert program["winners"](best).splitlines()[-1] == "| relu | 2 | he | 98.0 | 0.1 | 1 | lecun |"
