"""The steps of the README that a test follows, as they stand there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import List, NamedTuple

README = Path(__file__).resolve().parents[2] / "README.md"
_STEP = re.compile(r"^ *<!-- (run|write)(?:: (\w+))?(?: (/\S+))? -->\n\n((?: {4}.*\n|\n(?= {4}))+)", re.MULTILINE)


class Step(NamedTuple):
    """Commands to run (`path` is empty), or the text of a file to write at `path`."""

    path: str
    text: str


def steps(of: str = "") -> List[Step]:
    """The marked blocks in their order: those that everybody follows, or those of one program (``run: icinga2``)."""
    found = _STEP.findall(README.read_text(encoding="utf-8"))
    wanted = [Step(path, textwrap.dedent(text)) for _, program, path, text in found if program == of]
    assert wanted, f"no block of the README is marked with <!-- run{of and ': '}{of} -->"
    return wanted
