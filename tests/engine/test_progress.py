"""What is shown while a sweep runs: on a terminal, in a notebook, and in a file."""

import io
import sys
import types

import pytest

from support.runs import SMALL, run
from winit_jax.api import say_on_stderr
from winit_jax.engine.running import progress as showing
from winit_jax.engine.running.progress import Pace, progress


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (4, "compiling; 4 of 1,000 networks"),
        (4.4, "4 of 1,000 networks, 0.0 a second, 6 h 55 min left"),
        (54.9, "54 of 1,000 networks, 5.1 a second, 3.1 min left"),
        (904, "904 of 1,000 networks, 90 a second, 1.1 s left"),
        (1000, "1,000 of 1,000 networks, 100 a second"),
    ],
)
def test_whole_networks_are_counted_once_something_is_compiled(done, text):
    pace = Pace(started=0.0)
    assert pace.line(4, 1000, 0.0) == "compiling; 4 of 1,000 networks"
    assert pace.line(done, 1000, 10.0) == text


def test_a_run_that_was_done_before_compiles_nothing():
    assert Pace(started=0.0).line(7, 7, 0.0) == "7 of 7 networks, 0.0 a second"


def test_a_file_gets_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(showing, "PLAIN_LINE_SECONDS", 0.0)
    with progress(say_on_stderr) as show:
        show(0, 3)
        show(1.5, 3)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "compiling; 0 of 3 networks"
    assert second.startswith("1 of 3 networks, ")


def test_a_notebook_gets_one_line_that_changes(tmp_path, monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown[-1] = data["text/plain"]

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    said = run(tmp_path / "run", *SMALL)
    assert len(shown) == 1
    assert shown[0].startswith("96 of 96 networks, ")
    assert [line for line in said.splitlines() if "a second" in line] == []


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress(say_on_stderr) as show:
        show(0, 3)
        show(1.5, 3)
        show(3, 3)
    assert "networks" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
