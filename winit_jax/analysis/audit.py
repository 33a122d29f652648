"""What is wrong with a probed network, as sentences with evidence, the worst first."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from winit_jax.analysis.audit_of_formats import Measured, of_format
from winit_jax.analysis.findings import Finding, percent, power
from winit_jax.columns.formats import FLOAT32
from winit_jax.columns.probed import DTYPE

# A signal whose RMS leaves these (in log10) vanishes or explodes; over a stack, one that shrinks or grows as much.
VANISHING, EXPLODING = -2.0, 2.0
# How many powers of ten gradients of weights may lie apart between sites of one network.
GRADIENT_SPAN = 3.0
# Inputs are all the same to a network beyond this correlation, where they were not at its first site.
COLLAPSED, DISTINCT = 0.999, 0.99
SATURATED, DEAD, SHARP = 0.9, 0.5, 0.1
# A stream that grows by more than this factor over branches whose last weights are as large as all others.
STREAM_GROWTH, LEAST_BRANCHES = 4.0, 8
# Standard errors of a normal's kurtosis, and how far beyond the extremes of as many normals an entry is no accident.
HEAVY_ERRORS, BEYOND = 8.0, 3.0
Rule = Callable[["_Network"], Iterator[Finding]]


def audit(sites: pd.DataFrame, parameters: pd.DataFrame) -> list[Finding]:
    """What is wrong, the worst first; empty where nothing is.

    sites, parameters: the tables of a probe. Of several seeds and factors each finding is told once, as first met. Of
    formats that numbers are rounded to that is told which they lose, and what else float32 does not have wrong.
    """
    found: dict[tuple[str, str], Finding] = {}
    keys = [name for name in parameters if name == "seed" or str(name).startswith("scale.")]
    for point, of_point in parameters.groupby(keys, sort=False, observed=True):
        values = point if isinstance(point, tuple) else (point,)
        here = sites
        for key, value in zip(keys, values, strict=True):
            here = here[here[key] == value]
        for finding in _of_point(here, of_point):
            found.setdefault((finding.kind, finding.where), finding)
    return sorted(found.values(), key=lambda finding: -finding.severity)


def _of_point(sites: pd.DataFrame, parameters: pd.DataFrame) -> Iterator[Finding]:
    """Of one network in all formats."""
    if DTYPE not in parameters:
        yield from _of_one(Measured(sites.sort_values("order"), parameters), RULES)
        return
    by_format = {
        dtype: Measured(sites[sites[DTYPE] == dtype].sort_values("order"), parameters[parameters[DTYPE] == dtype])
        for dtype in dict.fromkeys(parameters[DTYPE])
    }
    exact = by_format.pop(FLOAT32, None)
    of_exact = list(_of_one(exact, RULES)) if exact is not None else []
    yield from of_exact
    for dtype, narrow in by_format.items():
        lost = list(of_format(dtype, narrow, exact))
        yield from lost
        if exact is None:
            yield from _of_one(narrow, OF_PARAMETERS if lost else RULES)
        elif not lost:
            known = {finding.kind for finding in of_exact}
            for finding in _of_one(narrow, [rule for rule in RULES if rule not in OF_PARAMETERS]):
                if finding.kind not in known:
                    yield replace(finding, kind=f"{finding.kind} ({dtype})", text=f"In {dtype}: {finding.text}")


def _of_one(measured: Measured, rules: Sequence[Rule]) -> Iterator[Finding]:
    network = _Network(measured.sites, measured.parameters)
    for rule in rules:
        yield from rule(network)


@dataclass(frozen=True)
class _Network:
    sites: pd.DataFrame
    parameters: pd.DataFrame

    @property
    def weights(self) -> pd.DataFrame:
        """Parameters that are the weights of a contraction."""
        return self.parameters[self.parameters["fan_in"] > 0]

    @property
    def branch_ends(self) -> set[str]:
        """Parameters of contractions that end a branch, or that nothing follows: zeros are usual there."""
        ends = set(self.sites.loc[self.sites["kind"] == "sum", "follows"])
        contractions = self.sites[self.sites["kind"] == "contraction"]
        ends |= set(contractions["site"].tail(1))
        return set(contractions.loc[contractions["site"].isin(ends), "parameter"]) - {""}

    @property
    def has_zero_ends(self) -> bool:
        """Whether weights that begin as 0 keep gradients from what comes before them, as is meant."""
        zeros = self.weights.loc[self.weights["law"] == "zeros", "path"]
        return bool(set(zeros) & self.branch_ends)


def _nonfinite(network: _Network) -> Iterator[Finding]:
    for _, row in network.parameters[network.parameters["nonfinite"] > 0].iterrows():
        text = f"{row['path']}: {percent(row['nonfinite'])} of its entries are NaN or infinite."
        yield Finding("nonfinite parameter", row["path"], text, 3)
    sites = network.sites[network.sites["nonfinite"] > 0]
    if len(sites) and not (network.parameters["nonfinite"] > 0).any():
        first = sites.iloc[0]
        share = percent(first["nonfinite"])
        text = f"{first['site']} ({first['op']}) is the first place with NaN or infinite values, {share} of them."
        yield Finding("nonfinite signal", first["site"], text, 3)


def _constant(network: _Network) -> Iterator[Finding]:
    for _, row in network.weights.iterrows():
        if row["std"] != 0 or not np.isfinite(row["mean"]) or row["shape"].replace("x", "") in ("", "1"):
            continue
        if row["mean"] == 0:
            if row["path"] not in network.branch_ends:
                text = f"{row['path']}: all weights are 0, so that nothing passes and nothing before it can learn."
                yield Finding("zero weights", row["path"], text, 3)
        else:
            text = f"{row['path']}: all weights are {row['mean']:.4g}, so that its units are all the same and stay so."
            yield Finding("constant weights", row["path"], text, 3)


def _identical(network: _Network) -> Iterator[Finding]:
    same = ["shape", "mean", "std", "min", "max", "kurtosis"]
    drawn = network.parameters[(network.parameters["std"] > 0) & (network.parameters["shape"].str.contains("x"))]
    for _, group in drawn.groupby(same, sort=False):
        if len(group) > 1:
            paths = list(group["path"])
            more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
            text = (
                f"{paths[0]} and {paths[1]}{more} hold the same numbers: they are copies, or were drawn with one key."
            )
            yield Finding("identical parameters", paths[0], text, 2)
    for _, row in network.parameters[network.parameters["repeated"] == 1].iterrows():
        text = f"{row['path']}: all {row['shape'].split('x')[0]} slices along its first axis hold the same numbers."
        yield Finding("identical slices", row["path"], text, 2)


def _unread(network: _Network) -> Iterator[Finding]:
    for _, row in network.parameters[network.parameters["read"] == 0].iterrows():
        yield Finding("unused parameter", row["path"], f"{row['path']}: nothing that is computed reads it.", 2)


def _laws(network: _Network) -> Iterator[Finding]:
    for _, row in network.weights.iterrows():
        law, path = row["law"], row["path"]
        laws = law.split(" or ")
        if law and all(one.endswith("uncorrected") for one in laws):
            text = (
                f"{path}: std {row['std']:.4g} is {laws[0].removesuffix(' uncorrected')}'s times 0.8796: a normal cut "
                "off at two standard deviations, and not made up for."
            )
            yield Finding("truncation uncorrected", path, text, 1)
        elif (
            law
            and all("of fan_out" in one for one in laws)
            and network.sites.loc[network.sites["parameter"] == path, "op"].eq("dot_general").all()
        ):
            text = (
                f"{path}: std {row['std']:.4g} is {laws[0]}, and its fan_out is {row['fan_out']} where its fan_in is "
                f"{row['fan_in']}: are the fans swapped?"
            )
            yield Finding("fans swapped", path, text, 2)


def _tails(network: _Network) -> Iterator[Finding]:
    for _, row in network.weights[network.weights["std"] > 0].iterrows():
        count = math.prod(int(length) for length in row["shape"].split("x"))
        if count < 100:
            continue
        expected = math.sqrt(2 * math.log(count))
        heavy = row["kurtosis"] > 3 + HEAVY_ERRORS * math.sqrt(24 / count) and row["kurtosis"] > 3.5
        if heavy or row["max_over_std"] > expected + BEYOND:
            text = (
                f"{row['path']}: kurtosis {row['kurtosis']:.3g} and an entry at {row['max_over_std']:.3g} standard "
                f"deviations; a normal has 3, and of {count:,} entries none beyond {expected + 1:.2g}."
            )
            yield Finding("heavy tails", row["path"], text, 1)


def _signals(network: _Network) -> Iterator[Finding]:
    signals = network.sites[network.sites["kind"].isin(("contraction", "sum", "lookup"))]
    signals = signals[~signals["parameter"].isin(network.branch_ends) | (signals["log10_rms"] > EXPLODING)]
    for kind, wrong, word in (
        ("vanishing signal", signals["log10_rms"] < VANISHING, "vanishes"),
        ("exploding signal", signals["log10_rms"] > EXPLODING, "explodes"),
    ):
        if not wrong.any():
            continue
        first = signals[wrong].iloc[0]
        weights = network.parameters[network.parameters["path"] == first["parameter"]]
        of = f"; its weights have gain {weights.iloc[0]['gain']:.3g}" if len(weights) else ""
        text = (
            f"The signal {word}: {first['site']} ({first['op']}) is the first of {int(wrong.sum())} places with an RMS "
            f"of {power(first['log10_rms'])}{of}."
        )
        yield Finding(kind, first["site"], text, 3 if len(signals[wrong]) > 1 else 2)


def _gains(network: _Network) -> Iterator[Finding]:
    """Weights that are far larger or smaller than those of all others, by no usual law."""
    weights = network.weights[(network.weights["law"] == "") & (network.weights["std"] > 0)]
    usual = network.weights.loc[network.weights["std"] > 0, "gain"].median()
    for _, row in weights.iterrows():
        ratio = row["gain"] / usual
        if (row["gain"] > 4 and ratio > 4) or (row["gain"] < 0.1 and ratio < 0.1):
            text = (
                f"{row['path']}: std {row['std']:.4g} with fan_in {row['fan_in']} is a gain of {row['gain']:.3g}, "
                f"{ratio:.3g} times the usual one here, and no init that we know."
            )
            yield Finding("unusual scale", row["path"], text, 2)


def _collapse(network: _Network) -> Iterator[Finding]:
    signals = network.sites[network.sites["input_correlation"].notna() & (network.sites["kind"] != "softmax")]
    if len(signals) < 2 or signals.iloc[0]["input_correlation"] > DISTINCT:
        return
    wrong = signals[signals["input_correlation"] > COLLAPSED]
    if len(wrong):
        first = wrong.iloc[0]
        text = (
            f"All inputs look the same from {first['site']} ({first['op']}) on: their correlation is "
            f"{first['input_correlation']:.6f}, and was {signals.iloc[0]['input_correlation']:.3f} at first."
        )
        yield Finding("collapsed inputs", first["site"], text, 3)


def _units(network: _Network) -> Iterator[Finding]:
    phis = network.sites[network.sites["kind"] == "nonlinearity"]
    dead = phis[phis["dead"] > DEAD]
    if len(dead):
        worst = dead.sort_values("dead").iloc[-1]
        text = (
            f"{percent(worst['dead'])} of the units of {worst['site']} ({worst['op']}) are dead: flat for every "
            f"input; more than {percent(DEAD)} at {len(dead)} of {len(phis)} nonlinearities."
        )
        yield Finding("dead units", worst["site"], text, 2)
    flat = phis[(phis["saturated"] > SATURATED) & ~(phis["dead"] > DEAD)]
    if len(flat):
        worst = flat.sort_values("saturated").iloc[-1]
        text = (
            f"{percent(worst['saturated'])} of what goes through {worst['site']} ({worst['op']}) is where it is flat."
        )
        yield Finding("saturated units", worst["site"], text, 2)
    sharp = network.sites[network.sites["attention_entropy"] < SHARP]
    if len(sharp):
        first = sharp.iloc[0]
        text = (
            f"The attention of {first['site']} looks at one position alone: its entropy is "
            f"{percent(first['attention_entropy'])} of that of uniform weights."
        )
        yield Finding("sharp attention", first["site"], text, 2)


def _gradients(network: _Network) -> Iterator[Finding]:
    known = network.weights[network.weights["log10_grad_rms"].notna() & (network.weights["read"] == 1)]
    none = known[known["log10_grad_rms"] == -np.inf]
    if len(none) and not network.has_zero_ends and not (network.weights["std"] == 0).any():
        for _, row in none.iterrows():
            yield Finding(
                "no gradient", row["path"], f"{row['path']}: its gradient is exactly 0, so it cannot learn.", 3
            )
    some = network.sites[(network.sites["kind"] == "contraction") & np.isfinite(network.sites["log10_grad_rms"])]
    if len(some) > 1 and not len(none):
        span = some["log10_grad_rms"].max() - some["log10_grad_rms"].min()
        if span > GRADIENT_SPAN:
            first, last = some.iloc[0], some.iloc[-1]
            word = "vanish" if first["log10_grad_rms"] < last["log10_grad_rms"] else "explode"
            text = (
                f"Gradients {word} on their way back: {power(last['log10_grad_rms'])} at {last['site']}, "
                f"{power(first['log10_grad_rms'])} at {first['site']}."
            )
            yield Finding(f"{word[:-1] if word == 'explode' else word}ing gradients", first["site"], text, 3)


def _stream(network: _Network) -> Iterator[Finding]:
    sums = network.sites[network.sites["kind"] == "sum"]
    if len(sums) < LEAST_BRANCHES or not np.isfinite(sums["log10_rms"]).all():
        return
    growth = sums["log10_rms"].iloc[-1] - sums["log10_rms"].iloc[0]
    if growth > math.log10(STREAM_GROWTH):
        text = (
            f"The stream grows {10**growth:.3g} times over {len(sums)} branches, to an RMS of "
            f"{power(sums['log10_rms'].iloc[-1])} at {sums['site'].iloc[-1]}: the last weights of the branches are "
            "not scaled down with depth "
            f"(1/sqrt({len(sums)}) = {1 / math.sqrt(len(sums)):.2g} would keep it)."
        )
        yield Finding("growing stream", sums["site"].iloc[-1], text, 1)


RULES: tuple[Rule, ...] = (
    _nonfinite, _constant, _collapse, _signals, _gradients, _identical, _unread, _units, _laws, _gains, _tails, _stream,
)  # fmt: skip
# What is wrong with these is wrong in every format.
OF_PARAMETERS: tuple[Rule, ...] = (_constant, _identical, _unread, _laws, _gains, _tails)
