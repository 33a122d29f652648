"""The room of figures: reading, statistics, figures beside findings, then the run over all of them; and no circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import winit_jax.analysis

ROOM = Path(winit_jax.analysis.__file__).parent
# A module imports those of its own floor and of floors below.
FLOORS = (
    ("columns", "tables", "axes", "scanning", "reading", "selection"),
    ("statistics",),
    ("figures", "audit", "audit_of_formats", "findings", "probed", "summary", "exporting", "comparison"),
    ("report",),
    ("run",),
)


def imports():
    """Module -> the modules of the room that it imports, wherever in it."""
    graph = {}
    for path in ROOM.rglob("*.py"):
        name = ".".join(path.relative_to(ROOM).with_suffix("").parts)
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        wanted = set()
        for node in nodes:
            if node.module and node.module.startswith("winit_jax.analysis"):
                base = node.module.removeprefix("winit_jax.analysis").lstrip(".")
                wanted |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names} | {base}
        graph[name] = wanted
    return {name: {other for other in wanted if other in graph} - {name} for name, wanted in graph.items()}


def test_no_module_imports_one_that_imports_it():
    assert len([*TopologicalSorter(imports()).static_order()]) > 25


def test_floors_are_built_on_those_below():
    floor = {part: height for height, parts in enumerate(FLOORS) for part in parts}
    for name, others in imports().items():
        own = floor.get(name.split(".")[0])
        assert own is not None or name == "__init__", name
        assert all(floor[other.split(".")[0]] <= own for other in others if own is not None), name
