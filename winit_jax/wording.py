"""Numbers as sentences say them: times and sizes."""

import math


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


def size(n_bytes: float) -> str:
    """A number of bytes as people say it: 512 bytes, 1.5 KiB, 350 MiB, 72.0 TiB."""
    if n_bytes < 1024:
        return f"{n_bytes:,.0f} bytes"
    units = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")
    power = min(int(math.log2(n_bytes) // 10), len(units))
    value, unit = n_bytes / 2 ** (10 * power), units[power - 1]
    return f"{value:,.0f} {unit}" if value >= 10 and power < 3 else f"{value:,.1f} {unit}"
