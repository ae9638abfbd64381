"""What can be fuzzed, by name: the readers one by one, and the whole check."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List

from .client import client
from .parsers import PARSERS

TARGETS: Dict[str, Callable[[bytes], None]] = {**PARSERS, "client": client}

_HERE = Path(__file__).parent


def corpus(name: str) -> Path:
    """The folder of the files that a target begins with."""
    return _HERE / "corpus" / name


def dictionary(name: str) -> Path:
    """The words that mean something to a target, as libFuzzer reads them."""
    return _HERE / "dictionaries" / name


def seeds(name: str) -> List[Path]:
    """The files that a target begins with."""
    return sorted(corpus(name).iterdir())
