"""Moments as people read them: "5 minutes ago". The exact time is in the page as well, for hovering and for scripts."""

from datetime import datetime

_UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3600), ("minute", 60))
# Below this a difference says more about clocks than about people.
_NOW_SECONDS = 45


def ago(moment: datetime, now: datetime) -> str:
    """`just now`, `3 hours ago`, `in 2 days`; the largest unit alone, rounded."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < _NOW_SECONDS:
        return "just now"
    unit, length = next(((name, length) for name, length in _UNITS if size >= length), _UNITS[-1])
    count = max(1, round(size / length))
    text = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
