"""By whom a sweep is computed: this process, one of many shards, or the workers of a cluster."""

from dataclasses import dataclass
from typing import Any

from winit_jax.spec.clusters import read_cluster
from winit_jax.spec.problems import Problem
from winit_jax.spec.shards import Shard, read_shard


@dataclass(frozen=True)
class Machines:
    """shard: the share that this process computes; cluster: whose workers do, a `Cluster` or an object of dask's. With
    both None this process computes all."""

    shard: Shard | None = None
    cluster: Any = None


def read_machines(shard: Any, cluster: Any, problems: list[Problem]) -> Machines:
    """From what was asked for, None where it was not; every problem is added. cluster: text, or an object of dask's."""
    read = Machines(
        None if shard is None else read_shard(shard, problems),
        read_cluster(cluster, problems) if isinstance(cluster, str) else cluster,
    )
    if shard is not None and cluster is not None:
        problems.append(
            Problem("shard and cluster", "a launcher gives all parts out by itself. Choose one of the two.")
        )
    return read
