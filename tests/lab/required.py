"""What a test does that wants a real program which is not installed."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRED = "CHECK_LYNC_PRESENCE_LAB"


def without_lab(missing: str, packages: str) -> NoReturn:
    """Skip, or fail where the lab is required."""
    text = f"{missing}; get the lab with: apt-get install -y --no-install-recommends {packages}"
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(text)
    pytest.skip(text)
