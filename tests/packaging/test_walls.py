"""The rooms of the package, read from its source: who imports whom, who may import JAX, and how long a file may be."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "winit_jax"
MOST_LINES = 400

BASE = {"errors", "wording", "columns", "user_code", "registry"}
# A room, which is a folder or a file right below the package, and those that it may import.
MAY: dict[str, set[str]] = {
    "errors": set(),
    "wording": set(),
    "columns": set(),
    "user_code": {"errors"},
    "registry": {"user_code"},
    "system": BASE,
    "spec": BASE,
    "numerics": BASE,
    "data": BASE | {"spec", "system"},
    "store": BASE | {"spec", "system"},
    "engine": BASE | {"spec", "system", "numerics", "data", "store"},
    "analysis": BASE | {"spec", "system", "store"},
    "api": BASE | {"spec", "system", "data", "store", "engine", "analysis"},
    "folders": BASE | {"spec", "store", "engine"},
    "diagrams": {"api", "analysis", "engine"},
    "probes": BASE | {"spec", "store", "engine", "analysis"},
    "recommending": BASE | {"spec", "api", "engine"},
    "cli": {
        "",
        "api",
        "folders",
        "diagrams",
        "probes",
        "recommending",
        "analysis",
        "engine",
        "store",
        "spec",
        "system",
        "errors",
        "wording",
    },
    "__main__": {"cli"},
    "": {"errors"},  # the package itself: its names are imported when they are asked for
}
# Of the modules outside numerics, those that import JAX or optax at all.
JAX = ("jax", "jaxlib", "optax")
WITH_JAX = {f"winit_jax.engine.computing.{name}" for name in ("devices", "executor", "programs", "training")}
WITH_JAX |= {"winit_jax.engine.computing.compiled", "winit_jax.engine.probing"}
# Modules that import others of the package only when a function is called, and why.
LAZY = {
    "winit_jax.api": "catalog and load answer without JAX, and everything but run without figures",
    "winit_jax.folders": "the vocabulary needs JAX",
    "winit_jax.diagrams": "it needs both JAX and seaborn",
    "winit_jax.probes": "it needs JAX, and pandas for what it returns",
    "winit_jax.recommending": "it needs JAX",
    "winit_jax.cli": "help answers at once",
    "winit_jax.analysis": "a figure's code is imported when one is drawn",
    "winit_jax.data.sources": "readers of files are imported for files alone",
}
# What numerics may use beside the standard library, and what of that it may not.
OF_NUMERICS, NO_FILES = {"jax", "numpy", "optax"}, {"pathlib", "io", "shutil", "tempfile", "glob", "subprocess"}


@dataclass(frozen=True)
class Import:
    """That a module imports another one. lazily: inside a function."""

    module: str
    name: str
    lazily: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def name_of(path: Path) -> str:
    """winit_jax/spec/axes.py is winit_jax.spec.axes."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    return module.removeprefix("winit_jax").removeprefix(".").partition(".")[0]


def imports_of(module: str) -> Iterator[Import]:
    """All that a module imports, but for what only a type checker reads."""

    def below(node: ast.AST, lazily: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from (Import(module, alias.name, lazily) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{module} imports by a relative path"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield Import(module, whole if whole in FILES else str(child.module), lazily)
            yield from below(child, lazily or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from below(ast.parse(FILES[module].read_text(encoding="utf-8")), lazily=False)


IMPORTS = [each for module in FILES for each in imports_of(module)]
OWN = [each for each in IMPORTS if each.top == "winit_jax"]


def test_rooms_import_one_way():
    tuple(graphlib.TopologicalSorter(MAY).static_order())  # CycleError where what is allowed leads back
    assert {room(module) for module in FILES} <= MAY.keys()
    arrows = {(room(each.module), room(each.name)): each for each in OWN if room(each.module) != room(each.name)}
    wrong = [each for (source, target), each in arrows.items() if target not in MAY[source]]
    assert wrong == []


def test_modules_form_no_circle_not_even_inside_functions():
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for each in OWN:
        graph[each.module].add(each.name)
    tuple(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_only_those_that_say_why_import_inside_functions():
    lazy = {each.module for each in OWN if each.lazily}
    assert [module for module in lazy if not any(f"{module}.".startswith(f"{allowed}.") for allowed in LAZY)] == []


def test_jax_is_imported_by_numerics_and_by_what_computes_alone():
    outside = {each.module for each in IMPORTS if each.top in JAX and room(each.module) != "numerics"}
    assert outside == WITH_JAX


def test_pytorch_is_imported_by_its_room_alone_and_nobody_imports_that_before_it_is_asked_for():
    inside = "winit_jax.engine.torch_probing"
    outside = [each for each in IMPORTS if not each.module.startswith(inside)]
    asks = [each for each in outside if each.top == "torch" or each.name.startswith(inside)]
    assert {(each.module, each.lazily) for each in asks} == {("winit_jax.probes", True)}


def test_numerics_knows_no_files_and_no_tables():
    numerics = [each for each in IMPORTS if room(each.module) == "numerics" and each.top != "winit_jax"]
    allowed = (OF_NUMERICS | set(sys.stdlib_module_names)) - NO_FILES
    assert [each for each in numerics if each.top not in allowed] == []
    for module, path in FILES.items():
        if room(module) == "numerics":
            calls = (
                node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
            )
            assert "open" not in {ast.unparse(call.func) for call in calls}, module


def test_typer_stays_in_the_command_line():
    assert {room(each.module) for each in IMPORTS if each.top == "typer"} == {"cli"}


def test_tables_and_figures_need_no_jax():
    modules = [module for module in FILES if room(module) in ("spec", "data", "store", "analysis")]
    script = f"import sys, {', '.join(modules)}; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("folder", ["winit_jax", "benchmarks", "analysis", "tests"])
def test_no_file_is_longer_than_one_can_read(folder):
    lines = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
