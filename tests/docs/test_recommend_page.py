"""The page of recommendations shows what the commands print.

`PYTHONPATH=. python tests/docs/test_recommend_page.py` writes it anew.
"""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.pages import ROOT, blocks
from support.runs import winit

PAGE = ROOT / "docs" / "recommend.md"
SHOWN = re.compile(r"<!-- output: (?P<command>[^\n]*) -->\n```(?P<language>\w+)\n(?P<text>.*?)```\n", re.DOTALL)
# A number of the table, whose last digits may differ where float64 is summed in another order.
NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e[-+]\d+)?")


def printed(words):
    return winit(*words.split())[0]


def shown():
    return [(match["command"], match["text"]) for match in SHOWN.finditer(PAGE.read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "text"), shown(), ids=lambda value: value.partition("\n")[0])
def test_the_page_shows_what_the_command_prints(words, text):
    now = printed(words)
    assert NUMBER.sub("#", now) == NUMBER.sub("#", text)
    numbers = [[float(word) for word in NUMBER.findall(of)] for of in (now, text)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=0.02)


@pytest.mark.slow
def test_the_python_of_the_page_runs(capsys):
    exec(compile(blocks(PAGE, "python")[-1].text, "page", "exec"), {})
    assert "import equinox as eqx" in capsys.readouterr().out


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for match in SHOWN.finditer(page):
        block = f"<!-- output: {match['command']} -->\n```{match['language']}\n{printed(match['command'])}```\n"
        page = page.replace(match[0], block)
    PAGE.write_text(page, encoding="utf-8")
