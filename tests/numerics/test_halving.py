"""What does not fit in a device's memory: halves of a batch, one sentence, the same bits."""

import jax
import numpy as np
import pytest

from winit_jax.numerics.activations import activation
from winit_jax.numerics.halving import HOST, Halving
from winit_jax.numerics.measure import backward, families
from winit_jax.numerics.measure import forward as forward_pass
from winit_jax.numerics.measure.family import Family
from winit_jax.numerics.measure.networks import Settings, as_inputs


def out_of_memory(*_):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")


def family(networks):
    stds = np.linspace(0.2, 0.6, networks)
    return Family(0, "normal", 8, stds, stds, np.zeros(networks))


def measured(halving, networks=7):
    inputs = as_inputs(np.random.default_rng(0).standard_normal((6, 8)))
    given = {"budget_mib": 16, "platform": "cpu", "halving": halving}
    settings = Settings(activation("tanh"))
    forth, _ = families.forward(family(networks), inputs, 3, settings, **given)
    back, _ = families.gradients(family(networks), inputs, None, (2, 3), settings, **given)
    return forth | back


def test_batches_are_halved_until_they_fit_to_the_same_bits_which_is_said_once(monkeypatch):
    whole, said = measured(Halving()), []
    for module, name in ((forward_pass, "forward"), (backward, "gradients")):
        run = getattr(module, name)

        def cramped(inputs, networks, *rest, run=run, **more):
            return run(inputs, networks, *rest, **more) if networks.size <= 2 else out_of_memory()

        monkeypatch.setattr(module, name, cramped)
    halved = measured(Halving(said.append))
    assert whole.keys() == halved.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(halved[name], values, err_msg=name)
    assert said == [
        "note: the device's memory does not hold 7 networks at once (6 inputs through dense layers of width 8): "
        "they are computed 4 at a time, or fewer. A lower compute.batch_mib begins there"
    ]


def test_what_was_found_to_fit_holds_for_the_next_batch_of_its_kind():
    halving, tried = Halving(), []

    def run(some):
        tried.append(some.stop - some.start)
        return out_of_memory() if tried[-1] > 3 else tried[-1]

    assert halving.in_pieces("kind", 10, run) == [3, 3, 3, 1]
    tried.clear()
    assert halving.in_pieces("kind", 5, run) == [3, 2]
    assert tried == [3, 2]


def test_one_network_that_does_not_fit_and_other_errors_are_raised():
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        Halving().in_pieces("kind", 4, out_of_memory)

    def broken(_):
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        Halving().in_pieces("kind", 4, broken)


def test_what_python_has_no_memory_for_is_halved_too():
    said = []

    def run(some):
        if some.stop - some.start > 2:
            raise MemoryError
        return some.stop - some.start

    assert Halving(said.append).in_pieces("training", 5, run) == [2, 2, 1]
    assert len(said) == 1
    assert said[0].startswith("note: this machine's memory does not hold 5 networks at once (training): ")
    with pytest.raises(MemoryError):
        Halving().in_pieces("kind", 1, lambda some: run(slice(0, 3)))


def test_a_batch_that_needs_more_than_is_free_is_not_begun():
    said, tried, free = [], [], [250.0, 1000.0, 50.0, 50.0]
    halving = Halving(said.append, memory=HOST, free_mib=lambda: free.pop(0))

    def run(some):
        tried.append(some.stop - some.start)

    halving.in_pieces("kind", 8, run, lambda count: 100.0 * count)
    assert tried == [2, 6]  # what others hold may be given back
    halving.in_pieces("kind", 2, run, lambda count: 100.0 * count)
    assert tried == [2, 6, 1, 1]  # one that does not fit is tried all the same
    assert len(said) == 1
    halving.in_pieces("kind", 9, run, lambda count: 1.0 * count)  # too small to be asked about
    assert tried[-1] == 9


def test_a_process_after_one_that_memory_did_not_hold_begins_with_smaller_batches():
    tried = []
    Halving(begin_with=0.25).in_pieces("kind", 8, lambda some: tried.append(some.stop - some.start))
    assert tried == [2, 2, 2, 2]
