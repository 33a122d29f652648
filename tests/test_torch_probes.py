"""Probes of PyTorch modules as a user has them: findings, the command line, and what is refused."""

import sys

import pytest

import winit_jax as winit
from support.runs import winit as command

torch = pytest.importorskip("torch")

from support import torch_nets as nets  # noqa: E402
from support.marks import slow_but  # noqa: E402


@pytest.mark.parametrize("name", slow_but({"he_relu", "encoder_pre_norm"}, nets.SOUND))
def test_of_a_sound_module_nothing_is_said(name):
    make, x = nets.SOUND[name]
    found = winit.probe(make, inputs=x, seed=[0, 1])
    assert [finding.text for finding in found.audit()] == []
    assert (found.sites["nonfinite"] == 0).all()


@pytest.mark.parametrize("name", slow_but({"nan", "copied_layers"}, nets.FAULTY))
def test_what_is_wrong_with_a_module_is_named_and_where(name):
    make, x, kind, where = nets.FAULTY[name]
    findings = winit.probe(make, inputs=x).audit()
    assert kind in {finding.kind for finding in findings}, [finding.text for finding in findings]
    if where is not None:
        assert where in {finding.where for finding in findings if finding.kind == kind}, findings


MODULE = """
import torch
from torch import nn
from support import torch_nets as nets
def sound(): return lambda: nets.he(nets.mlp()), nets.X
def copies(): return lambda: nets.encoder(drawn_again=False), nets.SEQUENCES
def one(): return nets.he(nets.mlp()), nets.X
def wrong(): return (lambda: 3), nets.X
def raises(): return nets.mlp, torch.zeros(3, 5)
def alone(): return nets.mlp()
def fused(): return nn.GRU(64, 64), nets.SEQUENCES
def nobody(): return nets.mlp, nets.X[:0]
def empty(): return nn.Identity, nets.X
class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.calls = nn.Linear(64, 64), 0
    def forward(self, x):
        self.calls += 1
        return self.first(x).relu() if self.calls % 2 else self.first(x).tanh()
def random(): return Random, nets.X
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_modules.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_modules"
    sys.modules.pop("own_modules", None)


def test_the_command_measures_a_module(module, tmp_path):
    out, _ = command("probe", f"{module}:sound", "seed=0,1", "scale.0.weight=1,2", "--out", tmp_path / "kept")
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [["site", "op"], ["0", "dot_general"], ["1", "relu"]]
    assert len(winit.probe(f"{module}:sound", seed=[0, 1], scale={"0.weight": [1, 2]}).sites) == 4 * 7
    out, _ = command("probe", f"{module}:copies", "--audit", code=1)
    assert "hold the same numbers: they are copies, or were drawn with one key." in out
    assert command("probe", f"{module}:one", "--audit")[0] == "Nothing is wrong.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one", "seed=0,1"], "for several seeds give a function that makes it."),
        (["wrong"], "make() has to return a torch.nn.Module; it returned int."),
        (["raises"], "The module cannot be called with these inputs: RuntimeError: mat1 and mat2 shapes"),
        (["alone"], "own_modules:alone() has to return (init, apply, inputs)"),
        (["empty"], "The module has no contraction of its inputs"),
        (["fused"], "there is nothing to measure. gru is one step to PyTorch: what goes on in it is not measured."),
        (["nobody"], "The inputs hold no numbers"),
        (["sound", "scale.layer0=2"], "scale.layer0: no parameter has such a path. Known: 0.weight"),
        (
            ["one", "dtype=float32,bf16"],
            "dtype: a module of PyTorch is measured in the types that it has, and",
        ),
        (["random"], "does not do the same thing each time that it is called: step 1 was relu, and then tanh."),
    ],
)
def test_a_wrong_request_gets_a_sentence(module, words, sentence):
    _, said = command("probe", f"{module}:{words[0]}", *words[1:], code=2)
    assert sentence in " ".join(said.split())


class Checkpointed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = nets.Block(0.1), torch.nn.Linear(64, 4)

    def forward(self, x):
        return self.head(torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False))


def test_what_is_computed_twice_is_measured_once():
    found = winit.probe(Checkpointed, inputs=nets.SEQUENCES)
    assert list(found.sites["kind"]).count("contraction") == 7
    assert found.sites["log10_grad_rms"].notna().all()


def test_a_wrapped_module_is_measured_itself():
    for wrap in (torch.nn.DataParallel, lambda module: torch.compile(module, backend="eager")):
        assert winit.probe(wrap(nets.mlp()), inputs=nets.X).parameters["path"][0] == "0.weight"


def test_where_nothing_has_a_gradient_a_note_says_so():
    found = winit.probe(nets.mlp().requires_grad_(False), inputs=nets.X)
    assert found.notes == ["Nothing that the module returns has a gradient: log10_grad_rms is NaN."]
    assert found.audit() == []


def test_a_module_has_its_parameters():
    with pytest.raises(winit.Refused, match=r"winit\.probe\(module, inputs=x\)"):
        winit.probe(nets.mlp(), nets.X)
