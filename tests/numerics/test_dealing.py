"""How networks are dealt over devices, and what they share is made once: arithmetic, and threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winit_jax.engine.planning.planner import side_by_side
from winit_jax.numerics.keeping import latest
from winit_jax.numerics.measure import batches

SMALL = st.integers(1, 9)


@given(st.integers(1, 60), SMALL, SMALL)
def test_every_block_is_computed_once_by_devices_that_have_as_many_as_can_be(blocks, room, devices):
    turns = batches.turns(blocks, room, devices)
    assert turns.shape == (-(-blocks // (room * devices)), devices)
    assert turns.sum() == blocks
    assert (turns[:-1] == room).all()
    assert turns.max() <= room
    assert turns[-1].max() - turns[-1].min() <= 1


@given(st.integers(0, 60), SMALL, SMALL)
def test_devices_train_the_batches_of_one_device_side_by_side(count, size, devices):
    alone = list(side_by_side(iter(range(count)), size, 1))
    together = list(side_by_side(iter(range(count)), size, devices))
    cut = [batch[at : at + size] for batch in together for at in range(0, len(batch), size)]
    assert cut == alone
    assert all(len(batch) <= size * devices for batch in together)
    # A last batch that has a program of its own on one device has it here.
    assert all(len(batch) <= size or 2 * (len(batch) % size or size) >= size for batch in together)


def test_what_two_threads_ask_for_is_made_once():
    made, begun, go_on = [], threading.Event(), threading.Event()

    @latest(2)
    def slow(number):
        made.append(number)
        begun.set()
        go_on.wait(10)
        return object()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow, 1)
        begun.wait(10)
        second = pool.submit(slow, 1)
        go_on.set()
        assert first.result(10) is second.result(10)
    assert made == [1]
    slow(2), slow(3), slow(2), slow(1)
    assert made == [1, 2, 3, 1]


def test_what_raises_is_tried_again():
    tried = []

    @latest(2)
    def fails_once():
        tried.append(1)
        if len(tried) == 1:
            raise ValueError("once")
        return "made"

    with pytest.raises(ValueError, match="once"):
        fails_once()
    assert fails_once() == "made"
