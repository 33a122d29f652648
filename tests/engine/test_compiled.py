"""Compiled programs are read from disk, and a folder that is ill costs a sentence and nothing else."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import jax
import numpy as np
import pytest

from winit_jax.engine.computing import compiled

HITS = "/jax/compilation_cache/cache_hits"


@pytest.fixture
def said():
    return []


@pytest.fixture(autouse=True)
def no_cache_of_jax(monkeypatch, tmp_path):
    """As of a user who told JAX nothing; whatever else the tests of this process compile is kept as before."""
    before = jax.config.values["jax_compilation_cache_dir"]
    compiled._set({"jax_compilation_cache_dir": None})
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path / "cache"))
    yield
    compiled._set({"jax_compilation_cache_dir": before})


@contextmanager
def hits():
    """How many programs were read, counted while the context lasts."""
    found = []

    def count(event, **more):
        found.extend([event] if event == HITS else [])

    jax.monitoring.register_event_listener(count)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_listener(count)


def computed(number):
    """A program of its own for each number, compiled anew as in a new process."""
    jax.clear_caches()
    return np.asarray(jax.jit(lambda x: x * number + 1)(np.arange(3.0, dtype=np.float32)))


def files():
    return list(compiled.folder().iterdir())


def test_a_program_is_compiled_once_and_read_ever_after(said):
    with hits() as found, compiled.kept(said.append):
        first = computed(17)
        assert not found
        again = computed(17)
        assert len(found) == 1
    assert np.array_equal(first, again)
    assert files()
    assert not said


def test_what_is_kept_is_said_in_words(said, monkeypatch):
    assert compiled.described().startswith("0 compiled programs")
    with compiled.kept(said.append):
        computed(19)
    assert compiled.described().startswith(f"{len(files())} compiled programs")
    monkeypatch.setenv(compiled.VARIABLE, compiled.OFF)
    assert "not kept" in compiled.described()


def test_each_jaxlib_and_processor_has_a_folder_of_its_own(monkeypatch):
    here = compiled.folder()
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    assert compiled.folder() != here
    monkeypatch.setattr(compiled.metadata, "version", lambda name: "9.9.9")
    assert "9.9.9" in compiled.folder().name


def test_an_older_jaxlib_that_would_write_lines_on_stderr_is_left_alone_unless_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled.metadata, "version", lambda name: "0.10.1")
    monkeypatch.delenv(compiled.LOGS, raising=False)
    assert compiled.folder() is not None
    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled.folder() is None
    monkeypatch.setenv(compiled.LOGS, compiled.NO_LOGS)
    assert compiled.folder().parent == tmp_path / "winit-jax"


def test_a_damaged_file_costs_a_sentence(said):
    with compiled.kept(said.append):
        computed(23)
        jax.jit(jax.numpy.sinh)(1.0)
    whole = {file.name: file.read_bytes() for file in files()}
    damaged = {name for name in whole if "lambda" in name}
    assert damaged < whole.keys()
    for name in damaged:
        path = compiled.folder() / name
        path.write_bytes(whole[name][:20])
        os.utime(path, (1e9, 1e9))
    with compiled.kept(said.append):
        assert np.array_equal(computed(23), [1, 24, 47])
    (sentence,) = said
    assert "could not be read" in sentence
    assert {file.name for file in files()} == whole.keys() - damaged
    with compiled.kept(said.append):
        computed(23)
    assert len(said) == 1
    assert {file.name: file.read_bytes() for file in files()}.keys() == whole.keys()


def test_a_file_that_another_process_is_just_writing_is_left_to_it(said):
    with compiled.kept(said.append):
        computed(47)
    for file in files():
        file.write_bytes(file.read_bytes()[:20])
    names = {file.name for file in files()}
    with compiled.kept(said.append):
        assert np.array_equal(computed(47), [1, 48, 95])
    assert {file.name for file in files()} == names


def test_a_folder_that_vanishes_meanwhile_ends_no_run(said):
    place = compiled.folder()
    with compiled.kept(said.append):
        computed(53)
        shutil.rmtree(place)
        assert np.array_equal(computed(54), [1, 55, 109])


def test_without_a_home_nothing_is_kept(said, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(compiled.VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(compiled.metadata, "version", lambda name: "9.9.9")
    monkeypatch.setattr(compiled.Path, "home", nowhere)
    with compiled.kept(said.append):
        assert np.array_equal(computed(59), [1, 60, 119])
    assert not said


def test_where_jaxlib_rejects_what_it_wrote_it_is_asked_once(said, monkeypatch):
    def rejected(*arguments):
        raise RuntimeError("Machine type used for compilation doesn't match the machine type for execution")

    with monkeypatch.context() as patch, compiled.kept(said.append):
        patch.setattr("jax._src.lru_cache.LRUCache.get", rejected)
        assert np.array_equal(computed(43), [1, 44, 87])
    (sentence,) = said
    assert "none are kept any more" in sentence
    with compiled.kept(said.append):
        computed(43)
    assert len(said) == 1
    assert [file.name for file in files()] == [compiled.REJECTED]


def test_a_folder_that_cannot_be_made_costs_a_sentence(said, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(compiled.VARIABLE, str(tmp_path / "file"))
    with compiled.kept(said.append):
        assert np.array_equal(computed(29), [1, 30, 59])
    (sentence,) = said
    assert "are not kept in" in sentence
    assert compiled.VARIABLE in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_is_only_read_costs_a_sentence(said):
    compiled.folder().mkdir(parents=True)
    compiled.folder().chmod(0o500)
    with compiled.kept(said.append):
        assert np.array_equal(computed(31), [1, 32, 63])
    assert len(said) == 1


def test_a_program_that_cannot_be_written_costs_a_sentence(said, monkeypatch):
    with compiled.kept(said.append):
        compiled.folder()  # None within: it is in use
        monkeypatch.setattr("jax._src.lru_cache.LRUCache.put", _full)
        assert np.array_equal(computed(37), [1, 38, 75])
        assert np.array_equal(computed(38), [1, 39, 77])
    (sentence,) = said
    assert "No space left" in sentence


def _full(*arguments):
    raise OSError(28, "No space left on device")


def test_it_can_be_switched_off(said, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "OFF")
    with hits() as found, compiled.kept(said.append):
        computed(41)
        computed(41)
    assert (found, said) == ([], [])


def test_whoever_told_jax_of_a_cache_keeps_it(said, tmp_path):
    compiled._set({"jax_compilation_cache_dir": str(tmp_path / "own")})
    with compiled.kept(said.append):
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "own")
    assert not (tmp_path / "cache").exists()


def test_settings_are_as_before_afterwards_also_where_contexts_are_nested(said):
    names = [name for name in jax.config.values if "cache" in name]
    before = {name: jax.config.values[name] for name in names}
    with compiled.kept(said.append):
        inside = jax.config.values["jax_compilation_cache_dir"]
        with compiled.kept(said.append):
            pass
        assert jax.config.values["jax_compilation_cache_dir"] == inside
    assert {name: jax.config.values[name] for name in names} == before


def test_the_oldest_programs_go_where_there_are_too_many(said, monkeypatch):
    place = compiled.folder()
    place.mkdir(parents=True)
    for age, name in enumerate(["new", "old", "older"]):
        (place / name).write_bytes(bytes(100))
        os.utime(place / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(compiled, "MOST_BYTES", 250)
    with compiled.kept(said.append):
        pass
    assert [file.name for file in files()] == ["new"]


@pytest.mark.slow
def test_a_second_command_compiles_nothing_and_ends_with_the_same_bits(tmp_path):
    """Whatever is compiled is a file in the cache."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")}
    settings[compiled.VARIABLE] = str(tmp_path / "cache")
    words = ["activation=tanh,relu", "gain=1,2", "width=16", "depth=3", "seed=0", "inputs.samples=8", "--no-figures"]
    counted, rows = [], []
    for name in ("first", "second"):
        command = [sys.executable, "-m", "winit_jax", "run", *words, "--out", str(tmp_path / name)]
        subprocess.run(command, env=settings, check=True, capture_output=True)
        counted.append(len(list((tmp_path / "cache").rglob("*-cache"))))
        rows.append(sorted(file.read_bytes() for file in (tmp_path / name / "networks").iterdir()))
    assert counted[0] == counted[1] > 0
    assert rows[0] == rows[1]
