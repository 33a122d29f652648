"""How many networks go through the layers together: arithmetic alone."""

import numpy as np

# (sample, unit) pairs of one block on a CPU: enough to hide what an operation costs by itself, few enough to stay in
# cache and to pad a lone network with; and the most networks, of which every layer leaves a row.
CPU_BLOCK_PAIRS, CPU_BLOCK_NETWORKS = 65_536, 128
# Two networks are faster together than one by one where so many pairs hold both.
CPU_CACHE_PAIRS = 262_144
# Pairs and networks of the blocks that one call of a program on a CPU has room for, which hides what a call costs.
CPU_CALL_PAIRS, CPU_CALL_NETWORKS = 1_048_576, 256


def size(networks: int, samples: int, width: int, budget_mib: float, platform: str, *, alone: bool = False) -> int:
    """How many networks go through the layers together.

    On a CPU it depends on the shape of a network alone, for matrix products and sums round otherwise in blocks of
    another shape; alone: the network never has others beside it. On an accelerator a block holds about five arrays
    of [samples, width] a network at a time, in float32, and no more networks than there are.
    """
    pairs = samples * width
    if platform == "cpu":
        if alone:
            return 1
        # A power of two, as the numbers of networks often are, so that little is padding.
        fitting = 1 << max(0, min(CPU_BLOCK_PAIRS // pairs, CPU_BLOCK_NETWORKS).bit_length() - 1)
        return max(fitting, min(2, CPU_CACHE_PAIRS // pairs), 1)
    return max(1, min(networks, int(budget_mib * 2**20 / (5 * 4 * pairs))))


def of_a_call(blocks: int, block: int, samples: int, width: int, platform: str) -> int:
    """How many blocks a program has room for; on a CPU whatever the number of networks (see `size`)."""
    if platform != "cpu":
        return blocks
    return max(1, round(min(CPU_CALL_PAIRS / (samples * width), CPU_CALL_NETWORKS) / block))


def turns(blocks: int, room: int, devices: int) -> np.ndarray:
    """How many blocks each device computes in each call that has room for so many on each: [calls, devices].

    The blocks of the last call are spread over the devices.
    """
    together = room * devices
    of_call = np.minimum(blocks - together * np.arange(-(-blocks // together)), together)
    return ((of_call[:, None] + devices - 1 - np.arange(devices)) // devices).astype(np.int32)
