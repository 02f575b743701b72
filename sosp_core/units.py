"""Formatting of counts, bytes and times for people: the only place that rounds."""

from __future__ import annotations

#: The unit of latencies that are whole numbers; people are told milliseconds, as recipes say.
NANOSECONDS = "nanoseconds of latency"


def count(value: float) -> str:
    """``1234567`` as ``1.23 M``."""
    for size, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"


def size(n_bytes: float) -> str:
    """Bytes with a binary prefix: ``1536`` as ``1.5 KiB``."""
    for unit, suffix in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(n_bytes) >= unit:
            return f"{n_bytes / unit:.1f} {suffix}"
    return f"{n_bytes:.0f} B"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with three significant digits; none of a whole number is lost."""
    value = seconds * 1e3
    return f"{value:,.0f} ms" if abs(value) >= 1000 else f"{value:.3g} ms"


def amount(value: int, unit: str) -> str:
    """``1500`` MACs as ``1,500 macs``, as many nanoseconds of latency as ``0.0015 ms of latency``."""
    return f"{milliseconds(value / 1e9)} of latency" if unit == NANOSECONDS else f"{value:,} {unit}"


def percent(share: float) -> str:
    """``0.5`` as ``50.0 %``."""
    return f"{share * 100:.1f} %"
