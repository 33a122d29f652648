"""Things by name: listed ones, made ones, and those of a user's own."""

import sys

import pytest

from winit_jax.registry import Registry, UnknownName

THINGS = Registry(
    "a thing", {"one": 1.0, "half": 0.5}, {"power": lambda base, exponent: base**exponent}, lambda f, path: f()
)


def test_a_registry_is_a_mapping_of_what_has_a_name():
    assert dict(THINGS) == {"one": 1.0, "half": 0.5}
    assert "power" not in THINGS
    assert "power(2,3)" not in THINGS


def test_a_call_makes_a_thing_from_numbers_once():
    made = THINGS.find("power(2, 3)")
    assert made == 8
    assert THINGS.find("power(2, 3)") is made


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("two", "'two' is not a thing."),
        ("one(2)", "'one(2)': one takes no argument."),
        ("power(2)", "'power(2)': power takes 2 numbers."),
        ("power(2, x)", "'power(2, x)': 'x' is not a number."),
        ("power(2, inf)", "'power(2, inf)': the argument must be finite."),
        ("no.such.module:thing", "'no.such.module:thing': importing no.such.module failed"),
        ("math:nothing", "'math:nothing': math has no function 'nothing'."),
        ("a b:c", "'a b:c' is not an import path: write 'package.module:function'."),
    ],
)
def test_a_wrong_word_gets_one_sentence(word, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        THINGS.find(word)
    assert str(caught.value).startswith(sentence)


def test_an_unknown_name_is_told_from_a_name_that_is_wrongly_used():
    with pytest.raises(UnknownName):
        THINGS.find("two")
    with pytest.raises(ValueError, match="takes no argument") as caught:
        THINGS.find("one(2)")
    assert not isinstance(caught.value, UnknownName)


def test_the_working_directory_is_searched_for_import_paths(tmp_path, monkeypatch):
    (tmp_path / "things_of_mine.py").write_text("def three():\n    return 3.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert THINGS.find("things_of_mine:three") == 3.0


def test_a_kind_without_import_paths_takes_none():
    with pytest.raises(UnknownName):
        Registry("a thing", {}).find("math:sqrt")
