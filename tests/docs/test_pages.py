"""Pages and notebooks: their code runs, the paths that they name exist, and their tables agree with the package."""

import ast
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from support.pages import ROOT, blocks
from support.runs import winit
from winit_jax.spec.catalog import names

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "analysis/*.md", "sweeps/*.md")
    for path in ROOT.glob(pattern)
)
NOTEBOOKS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "analysis").glob("*.ipynb"))
OWN = ("winit_jax/", "analysis/", "benchmarks/", "docs/", "sweeps/", "tests/")
# What examples add to the package.
SHOWN = {"winit_jax/data/svmlight.py", "winit_jax/analysis/figures/reach.py"}


def cells(notebook):
    return json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]


def run_as_a_notebook_does(texts):
    """Run code cells in order in one namespace; the values of those that end with an expression."""
    namespace, values = {"__name__": "__main__"}, []
    for text in texts:
        tree = ast.parse(text)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<cell>", "exec"), namespace)
        if last is not None:
            values.append(eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace))
    plt.close("all")
    return values


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_and_draws(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = run_as_a_notebook_does("".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code")
    assert sum(isinstance(value, Figure) for value in values) >= 2
    assert not any(value is None for value in values)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_is_committed_without_its_outputs(notebook):
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells(notebook))


@pytest.mark.slow
def test_the_tour_runs_and_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = run_as_a_notebook_does(block.text for block in blocks(ROOT / "docs" / "index.md", "python"))
    assert any(isinstance(value, Figure) for value in values)


@pytest.mark.slow
def test_the_readme_s_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = ["activation=tanh,relu", "gain=0.25,2", "width=16", "depth=int:1:12", "inputs.samples=20"]
    winit("run", *grid, "--out", "runs/x", "--no-figures")
    shown = blocks(ROOT / "README.md", "python")
    assert shown
    run_as_a_notebook_does(block.text for block in shown)
    assert "0.25" in capsys.readouterr().out


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS])
def test_the_paths_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if path.startswith(OWN)}
    missing = {path for path in named - SHOWN if not (ROOT / path).exists()}
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^()\s#:]+)(?:#[^()\s]*)?\)", text)
    missing = [target for target in targets if not ((ROOT / page).parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_are_those_of_the_command_line(page):
    words = {word for block in blocks(ROOT / page, "bash") for word in re.findall(r"\bwinit ([a-z]+)", block.text)}
    said, _ = winit("--help")
    assert {word for word in words if not re.search(rf"^ +{word}\b", said, re.MULTILINE)} == set()


def test_the_page_of_sweeps_lists_each_with_its_networks():
    text = (ROOT / "sweeps" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \|", text, re.MULTILINE))
    assert sorted(rows) == names()
    for name, count in rows.items():
        assert json.loads(winit("plan", name, "--json")[0])["networks"] == int(count.replace(",", ""))


def test_the_picture_of_the_house_is_what_its_program_draws():
    script = "import runpy; print(runpy.run_path('docs/site/house.py')['house'](), end='')"
    drawn = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert drawn == (ROOT / "docs" / "figures" / "house.svg").read_text(encoding="utf-8")
