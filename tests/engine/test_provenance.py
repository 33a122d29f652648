"""What decides a number is held: functions by their values, draws whatever JAX is set to, environments reported."""

import sys
import zlib

import jax
import numpy as np
import pytest

from support.runs import assert_same_bits, run, table
from winit_jax.numerics import draws, pinned
from winit_jax.numerics.initializers import stream_key
from winit_jax.system import provenance

WORDS = ["gain=1", "width=4", "depth=2", "inputs.samples=8"]


@pytest.mark.slow
def test_a_function_whose_code_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, name = tmp_path / "run", f"changing_{tmp_path.name}"
    from winit_jax.numerics.activations import ACTIVATIONS

    def write(text):
        (tmp_path / f"{name}.py").write_text(f"import jax.numpy as jnp\ndef act(a):\n    return {text}\n")
        sys.modules.pop(name, None)
        ACTIVATIONS.forget()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write("jnp.tanh(a)")
    run(folder, f"activation={name}:act", *WORDS)
    write("2 * jnp.tanh(a) / 2")  # other code, the same function
    run(folder, f"activation={name}:act", "seed=0,1", *WORDS)
    write("jnp.tanh(1.0001 * a)")
    said = run(folder, f"activation={name}:act", "seed=0,1,2", *WORDS, code=2)
    assert f"{name}:act is not the function that it was when {folder} was begun (" in said
    assert len(table(folder)) == 2


@pytest.mark.slow
def test_draws_do_not_depend_on_jax_settings(tmp_path):
    run(tmp_path / "usual", "activation=tanh", *WORDS)
    odd = {
        "jax_threefry_partitionable": False,
        "jax_default_prng_impl": "rbg",
        "jax_random_seed_offset": 5,
        "jax_default_matmul_precision": "bfloat16",
        "jax_numpy_dtype_promotion": "strict",
        "jax_disable_jit": True,
    }
    usual = {name: jax.config.values[name] for name in odd}
    for drawn in (draws.first_layer, draws.layer_stack, draws.directions):
        drawn.cache_clear()
    try:
        for name, value in odd.items():
            jax.config.update(name, value)
        run(tmp_path / "set", "activation=tanh", *WORDS)
    finally:
        for name, value in usual.items():
            jax.config.update(name, value)
    assert_same_bits(tmp_path / "usual", tmp_path / "set")


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5, 2**32 - 1])
def test_keys_are_those_of_threefry_seeds(seed):
    expected = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), zlib.crc32(b"biases"))
    got = stream_key(seed, "biases")
    np.testing.assert_array_equal(jax.random.key_data(got), jax.random.key_data(expected))


def test_settings_that_may_change_last_digits_are_listed():
    assert pinned.differing() == {}
    usual = jax.config.values["jax_optimization_level"]
    try:
        jax.config.update("jax_optimization_level", "O1")
        assert pinned.differing() == {"jax_optimization_level": "O1"}
    finally:
        jax.config.update("jax_optimization_level", usual)


def test_another_environment_is_reported(tmp_path, monkeypatch):
    run(tmp_path / "run", "activation=tanh", *WORDS)
    versions = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: versions | {"jaxlib": "9.9", "pandas": "9.9"})
    said = run(tmp_path / "run", "activation=tanh", "seed=0,1", *WORDS)
    line = f"note: {tmp_path / 'run'} was made with jaxlib {versions['jaxlib']} then, 9.9 now: last digits may differ\n"
    assert line in said
    assert "pandas" not in said


def test_differences_of_environments_are_phrases():
    now = {
        "versions": {"jax": "2", "numpy": "1"},
        "platform": "gpu",
        "xla_flags": "--x",
        "jax": {"jax_use_direct_linearize": "0"},
    }
    before = {"versions": {"jax": "1", "numpy": "1"}, "platform": "cpu", "xla_flags": "", "jax": {}}
    assert provenance.differences(before, now) == [
        "jax 1 then, 2 now",
        "platform cpu then, gpu now",
        "XLA_FLAGS none then, --x now",
        "jax_use_direct_linearize usual then, 0 now",
    ]
    assert provenance.differences({"versions": "broken"}, now) == []
