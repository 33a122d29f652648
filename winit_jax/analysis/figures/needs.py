"""What a kind of figure needs of its table, as its record says."""

import pandas as pd

from winit_jax.analysis.figures.catalog import kind_of
from winit_jax.analysis.tables import measured


def lacking(frame: pd.DataFrame, kind: str) -> list[str]:
    """The sentences about what a kind of figure needs and the table does not hold."""
    sentences = []
    for need in kind_of(kind).needs:
        there = [measured(frame, column) for column in need.columns]
        if not (any(there) if need.any_of_them else all(there)):
            sentences.append(need.sentence)
    return sentences


def require(frame: pd.DataFrame, kind: str) -> None:
    """Errors: ValueError in a sentence for what a kind of figure needs and the table does not hold."""
    if sentences := lacking(frame, kind):
        raise ValueError(" ".join(sentences))
