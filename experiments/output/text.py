"""Numbers as text, the same in the terminal, in reports and on the pages of results."""


def range_text(low: float, high: float) -> str:
    """Write a range of percentages without decimals, such as "3 to 8%"; "0%" if both ends are that."""
    ends = dict.fromkeys((f"{low:.0f}", f"{high:.0f}"))
    return f"{' to '.join(ends)}%"


def interval_text(value: float, low: float, high: float) -> str:
    """Return a value with its 95% interval, such as "4.00 [3.50, 4.50]"."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units: "2 d 3 h", "1 h 5 min", "3 min 20 s", "4.2 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)
