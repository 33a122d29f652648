"""How a run was made, as pairs of a word and what is to be said of it."""

from typing import Any

from winit_jax.analysis.reading import Tables


def facts(run: Tables) -> list[tuple[str, str]]:
    """State, counts, time, versions, devices, data with its SHA-256 and the self-check; only what run.json holds."""
    info = run.info
    rows = [("Folder", run.path.name), ("State", str(info.get("state", "")))]
    if "networks" in info:
        rows.append(("Networks", f"{info.get('networks_done', 0):,} of {info['networks']:,}"))
    rows.append(("Rows", ", ".join(f"{table} {count:,}" for table, count in run.row_counts.items())))
    if seconds := info.get("seconds"):
        rows.append(("Time", f"{seconds:,.1f} s"))
    rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items())))
    rows.append(("Devices", f"{', '.join(info.get('devices', []))} ({info.get('machine', '')})" * ("devices" in info)))
    rows += [("Precision", str(info.get("matmul_precision", ""))), ("Commit", str(info.get("commit") or ""))]
    environments = len(info.get("made_by", []))
    rows.append(("Made in", f"{environments} environments, named in run.json" if environments > 1 else ""))
    rows += [(f"Inputs, {name} features", _source(source)) for name, source in info.get("inputs", {}).items()]
    if train := info.get("train"):
        rows.append(("Trained on", _source(train)))
    rows.append(("Self-check", "; ".join(info.get("self_check", []))))
    return [(name, words) for name, words in rows if words]


def failures(run: Tables) -> list[str]:
    """A sentence for each job that failed."""
    return [f"{failure.get('part', '')}: {failure.get('reason', '')}" for failure in run.info.get("failures", [])]


def _source(source: dict[str, Any]) -> str:
    shape = " x ".join(map(str, source.get("shape", [])))
    return f"{source.get('source', '')}{f', {shape}' if shape else ''}, SHA-256 {source.get('sha256', '')}"
