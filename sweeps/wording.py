"""Numbers as sentences say them: times and sizes."""


def duration(seconds: float) -> str:
    """A time in seconds up to a minute, then in minutes, hours or days: 12.3 s, 4.5 min, 3 h 20 min, 2 d 5 h."""
    if seconds < 59.95:
        return f"{seconds:,.1f} s"
    if seconds < 3570:
        return f"{seconds / 60:.1f} min" if seconds < 597 else f"{seconds / 60:.0f} min"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24:,} d {hours % 24} h"


def size(mib: float) -> str:
    """An amount of memory in MiB, or in GiB from 1024 of them."""
    if mib < 1024:
        return f"{mib:,.0f} MiB" if mib >= 10 else f"{mib:,.1f} MiB"
    return f"{mib / 1024:,.1f} GiB"
