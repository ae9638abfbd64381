"""The generated parts of the README say what the code says. ``UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List

import pytest

from check_lync_presence.options import GROUPS, Option
from check_lync_presence.plugin import FRONT_END_PERFDATA, PERFDATA
from check_lync_presence.simulator.faults import TABLE

README = Path(__file__).parent.parent / "README.md"


def _table(head: List[str], rows: List[List[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _names(option: Option) -> str:
    value = f" {option.metavar}" if option.metavar else ""
    if option.choices:
        value = " " + "|".join(option.choices)
    return (
        ", ".join(f"`{name}`" for name in option.names[:-1])
        + (", " if option.names[1:] else "")
        + (f"`{option.names[-1]}{value}`")
    )


def _options() -> str:
    rows = []
    for group in GROUPS:
        rows.append([f"**{group.title}**", "", ""])
        rows += [[_names(option), option.help, option.cmdlet] for option in group.options]
    return _table(["option", "meaning", "Test-CsPresence"], rows)


def _perfdata(labels: Dict[str, str]) -> str:
    return _table(["label", "what it measures"], [[f"`{label}`", text] for label, text in labels.items()])


def _faults() -> str:
    return _table(
        ["`--fault`", "dialect", "what the pool does", "what the check says"],
        [[f"`{fault.usage}`", ", ".join(fault.dialects), fault.what, fault.check] for fault in TABLE],
    )


PARTS: Dict[str, str] = {
    "options": _options(),
    "perfdata": _perfdata(PERFDATA),
    "front-ends": _perfdata(FRONT_END_PERFDATA),
    "faults": _faults(),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_generated_part_of_the_readme_is_what_the_code_says(name: str) -> None:
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    text = README.read_text(encoding="utf-8")
    wanted = pattern.sub(lambda found: f"{found.group(1)}{PARTS[name]}\n{found.group(2)}", text)
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(wanted, encoding="utf-8")
        text = wanted
    assert f"<!-- {name}: begin -->" in text
    assert text == wanted
