"""The Date header (RFC 3261 20.17): always GMT, always in English.

Owns its reading; time.strptime would go by the locale.
"""

from __future__ import annotations

import re
from typing import Optional

from ..moment import unix_time

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Compiled where it is needed, which is not in every run.
_DATE = r"(?a)[A-Za-z]{3},\s+(\d{1,2})\s+([A-Za-z]{3})\s+(\d{4})\s+(\d{2}):(\d{2}):(\d{2})\s+GMT\Z"


def parse_date(value: str) -> Optional[float]:
    """A Date value as Unix time, None for what is not one."""
    match = re.match(_DATE, value.strip())
    if match is None or match.group(2).lower() not in _MONTHS:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return unix_time(int(year), _MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), int(second))
    except ValueError:
        return None
