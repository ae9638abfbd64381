"""Moments as Unix time, held against the standard library's calendar."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.moment import unix_time


@given(st.datetimes(timezones=st.just(datetime.timezone.utc)))
def test_it_is_what_datetime_says(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert unix_time(*moment.timetuple()[:6]) == moment.timestamp()


@pytest.mark.parametrize(
    "moment",
    [
        (0, 1, 1, 0, 0, 0),
        (10000, 1, 1, 0, 0, 0),
        (2026, 0, 1, 0, 0, 0),
        (2026, 13, 1, 0, 0, 0),
        (2026, 4, 31, 0, 0, 0),
        (2026, 2, 29, 0, 0, 0),
        (2100, 2, 29, 0, 0, 0),
        (2026, 1, 0, 0, 0, 0),
        (2026, 1, 1, 24, 0, 0),
        (2026, 1, 1, 0, 60, 0),
        (2016, 12, 31, 23, 59, 60),
    ],
)
def test_what_does_not_exist_has_no_time(moment: tuple[int, int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such"):
        unix_time(*moment)
