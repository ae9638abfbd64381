"""Moments of the calendar as Unix time.

Owns the arithmetic: datetime does the same, and its import costs 1 ms at every start.
"""

from __future__ import annotations


def unix_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    """The Unix time of a moment in GMT. Raises ValueError for one that does not exist; leap seconds do not."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        raise ValueError("no such day")
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        raise ValueError("no such time of day")
    before = year - 1
    days = 365 * before + before // 4 - before // 100 + before // 400 + sum(lengths[: month - 1]) + day - _EPOCH
    return float(((days * 24 + hour) * 60 + minute) * 60 + second)


_EPOCH = 719163  # 1 January 1970, counted from 1 January of the year 1
