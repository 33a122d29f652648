"""Which of many like cases are run when tests should take minutes only."""

import pytest


def slow_but(kept, values):
    """Parameters of which only those in `kept` are run without `-m slow`."""
    return [
        value
        if value in kept
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
