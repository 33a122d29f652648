"""Several devices as one: networks are dealt over them, and what networks share is on each.

Every device runs the program of one device on networks of its own, so that there is one compilation and one draw for
all of them, and a network has the bits that it has on one. With one device there is no mesh, and nothing here does
anything.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")

AXIS = "devices"
# How an array lies on a mesh: whole on every device, or dealt along its first axis.
SHARED, DEALT = PartitionSpec(), PartitionSpec(AXIS)

# XLA looks for common subexpressions of what lies on a mesh before it simplifies, and of other programs after: where
# two divisions share what they divide by, it then rounds otherwise. Without that pass bits are those of one device.
AS_ON_ONE = {"xla_disable_hlo_passes": "cse"}

_current: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


def mesh_of(devices: Sequence[jax.Device]) -> Mesh | None:
    """So many devices in a row; None for one."""
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


@contextmanager
def across(mesh: Mesh | None) -> Iterator[None]:
    """A context, of this thread, in which networks are dealt over a mesh."""
    token = _current.set(mesh)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Mesh | None:
    """The mesh that networks are dealt over in this thread."""
    return _current.get()


def count(mesh: Mesh | None) -> int:
    """How many devices there are."""
    return 1 if mesh is None else mesh.size


def along(axis: int) -> PartitionSpec:
    """An array that is dealt along this axis."""
    return PartitionSpec(*[None] * axis, AXIS)


def put(tree: T, mesh: Mesh | None, lying: PartitionSpec = SHARED) -> T:
    """Arrays on the devices of a mesh; without one as they are. lying: how, of all of them."""
    if mesh is None:
        return tree
    if lying != SHARED:  # in NumPy, for JAX would compile how to cut what lies on a device
        tree = jax.tree.map(np.asarray, tree)
    placed: T = jax.device_put(tree, NamedSharding(mesh, lying))
    return placed


def on_each(run: Callable[..., Any], mesh: Mesh | None, given: Any, found: Any) -> Callable[..., Any]:
    """`run` as every device does it with what lies there; without a mesh as it is.

    given, found: how the arguments and the result lie, as trees of PartitionSpec that may end before theirs do.
    """
    if mesh is None:
        return run
    # Loops of our own begin with zeros, of which JAX would want to know that they differ from device to device.
    dealt: Callable[..., Any] = jax.shard_map(run, mesh=mesh, in_specs=given, out_specs=found, check_vma=False)
    return dealt


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` of a function that may run on a mesh. options: of `jax.jit`.

    On CPUs its bits are then those of one device; elsewhere they depend on how many networks run side by side anyway.
    """
    alone = jax.jit(function, **options)
    on_cpus = jax.jit(function, compiler_options=AS_ON_ONE, **options)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        mesh = current()
        return (on_cpus if mesh is not None and mesh.devices.flat[0].platform == "cpu" else alone)(*args, **kwargs)

    return run
