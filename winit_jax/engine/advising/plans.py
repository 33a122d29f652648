"""The recommended network as code makes it: no numbers but its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """A network with its init. features: of an input, for the first layer. branch: what blocks are multiplied by."""

    activation: str
    block: str
    normalization: str
    depth: int
    width: int
    features: int
    gain: float
    bias_std: float
    branch: float
    skip: float
