"""The models of docs/your-model.md: the audit is silent about each, and says what the page shows of what is changed."""

import re
import sys
import types

import pytest

import winit_jax as winit
from support.pages import ROOT, blocks

PAGE = ROOT / "docs" / "your-model.md"
MARKED = {block.mark: block.text for block in blocks(PAGE) if block.mark}
MODELS = [mark.removeprefix("model ") for mark in MARKED if mark.startswith("model ")]


def without_numbers(text):
    """Sentences whose numbers may be a little other ones under another release of a library."""
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "#", text)


@pytest.fixture
def module(request, monkeypatch):
    """A module of a framework's two blocks, in which classes find their names."""
    for library in {request.param.partition(".")[0]}:
        pytest.importorskip(library)
    module = types.ModuleType("own_model")
    monkeypatch.setitem(sys.modules, "own_model", module)
    for kind in ("model", "fault"):
        exec(compile(MARKED[f"{kind} {request.param}"], f"<{kind}>", "exec"), module.__dict__)
    return request.param, module


def test_the_page_has_a_model_of_every_kind():
    assert MODELS == ["flax.nnx", "flax.linen", "equinox", "jax", "torch"]


@pytest.mark.slow
@pytest.mark.parametrize("module", MODELS, indirect=True)
def test_a_model_of_the_page_is_sound_and_its_fault_is_named(module):
    name, functions = module
    assert [finding.text for finding in winit.probe(functions.make).audit()] == []
    said = "".join(f"{finding.text}\n" for finding in winit.probe(functions.faulty, gradients=False).audit())
    assert without_numbers(said) == without_numbers(MARKED[f"audit {name}"])


@pytest.mark.parametrize("module", ["torch"], indirect=True)
def test_the_page_s_example_of_pytorch_runs(module):
    _, functions = module
    exec(MARKED["example torch"], functions.__dict__)
    assert len(functions.found.sites) == 40
