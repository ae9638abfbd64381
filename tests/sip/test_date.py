"""The Date header: GMT, English, and nothing else."""

from __future__ import annotations

import datetime
import locale
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.sip.date import _MONTHS, parse_date

from ..strategies import HANG, any_text, made_of, many


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Sat, 13 Nov 2010 23:29:00 GMT", 1289690940),
        (" Sat, 13 Nov 2010 23:29:00 GMT ", 1289690940),
        ("sat, 13 nov 2010 23:29:00 GMT", 1289690940),
        ("Sun,  2 Jun 2013 12:00:05 GMT", 1370174405),
        ("Thu, 29 Feb 2024 23:59:59 GMT", 1709251199),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
    ],
)
def test_a_date_is_unix_time(value: str, seconds: float) -> None:
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "Sat, 13 Nov 2010 23:29:00",
        "Sat, 13 Nov 2010 23:29:00 CET",
        "Sat, 13 Nov 2010 23:29:00 +0100",
        "Sa, 13 Nov 2010 23:29:00 GMT",
        "Sat, 13 Non 2010 23:29:00 GMT",
        "Sam, 13 Dez 2010 23:29:00 GMT",
        "Sat, 13 Nov 10 23:29:00 GMT",
        "Sat, 13 Nov 2010 23:29 GMT",
        "Sat, 00 Nov 2010 23:29:00 GMT",
        "Wed, 31 Nov 2010 23:29:00 GMT",
        "Thu, 30 Feb 2023 00:00:00 GMT",
        "Sat, 99 Nov 2010 23:29:00 GMT",
        "Sat, 13 Nov 2010 24:00:00 GMT",
        "Sat, 13 Nov 2010 23:60:00 GMT",
        "Sat, 13 Nov 2010 23:29:61 GMT",
        "Sat, 13 Nov 0000 23:29:00 GMT",
        "Sat, ١٣ Nov 2010 23:29:00 GMT",
        "Sat, 13 Nov 2010 23:29:00 GMT\nx",
    ],
)
def test_what_is_no_date_is_none(value: str) -> None:
    assert parse_date(value) is None


def test_the_locale_does_not_matter() -> None:
    before = locale.setlocale(locale.LC_TIME)
    try:
        for name in ("de_DE.UTF-8", "C.UTF-8", "C"):
            try:
                locale.setlocale(locale.LC_TIME, name)
            except locale.Error:
                continue
            assert parse_date("Mon, 13 Dec 2010 23:29:00 GMT") == 1292282940
    finally:
        locale.setlocale(locale.LC_TIME, before)


@many
@given(st.datetimes(datetime.datetime(1601, 1, 1), datetime.datetime(9999, 12, 31)))
def test_every_date_is_read_as_it_was_written(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=datetime.timezone.utc)
    days, months = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), [month.capitalize() for month in _MONTHS]
    value = f"{days[moment.weekday()]}, {moment:%d} {months[moment.month - 1]} {moment:%Y %H:%M:%S} GMT"
    assert parse_date(value) == moment.timestamp()


@many
@given(any_text | made_of("Sat", ",", " ", "13", "Nov", "2010", "23", ":", "GMT", "0", "99", "\t", "\n"))
def test_any_text_is_a_date_or_none(value: str) -> None:
    assert parse_date(value) is None or isinstance(parse_date(value), float)


def test_reading_takes_no_more_time_than_the_text_is_long() -> None:
    started = time.monotonic()
    for hostile in ("Sat," + " " * 100_000, "Sat, 1" + " " * 100_000 + "x", " " * 100_000, "Sat," * 50_000):
        parse_date(hostile)
    assert time.monotonic() - started < HANG
