"""How far positions of an input are from looking the same."""

import pandas as pd


def with_decorrelation(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with position_decorrelation = 1 - position_similarity, and the same of theory, where it has them.

    On a logarithmic axis it shows how fast positions come to look the same. Similarity is taken from a centered sum,
    so that the difference has its own digits down to about 1e-14, where the rounding of float32 signals ends.
    """
    apart = {
        f"{of}position_decorrelation": (1 - frame[f"{of}position_similarity"]).clip(lower=0)
        for of in ("", "theory_")
        if f"{of}position_similarity" in frame
    }
    table = frame.assign(**apart)
    table.attrs = frame.attrs
    return table
