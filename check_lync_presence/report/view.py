"""What a report shows besides the Recording: the verdict as it was said."""

from __future__ import annotations

from typing import Tuple

from ..outcome import Diagnosis, Outcome
from ..value import NamedTuple


class View(NamedTuple):
    """`state` is ``"OK"``, `line` what the first line of the output says behind it; `sentences` are remarks and advice,
    cleaned.
    """

    state: str
    line: str
    outcome: Outcome
    diagnosis: Diagnosis
    sentences: Tuple[str, ...]
