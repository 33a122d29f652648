"""The constraints with which .ci/run tests the lowest versions of dependencies."""

import runpy
import tomllib

import pytest

from support.pages import ROOT

LOWEST = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["lowest"]


def test_constraints_are_the_lower_bounds():
    asked = ["jax>=0.10,!=0.10.2,!=0.11.0", "mkdocs>=1.6,<2", "jax[cuda13]>=0.10"]
    assert list(LOWEST(asked)) == ["jax==0.10", "mkdocs==1.6", "jax==0.10"]


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ("pandas", "has one lower bound"),
        ("pandas==2", "has one lower bound"),
        ("x>=1,!=1", "its own lower bound"),
        ("x>=2,<2", "its own lower bound"),
    ],
)
def test_a_dependency_without_a_usable_lower_bound_is_named(requirement, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(LOWEST([requirement]))


def test_every_dependency_of_the_package_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(list(LOWEST(project["dependencies"]))) == len(project["dependencies"])
