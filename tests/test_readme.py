"""The generated parts of the README say what the code says. ``UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from check_lync_presence.options import ABOUT, GROUPS, Option, all_options
from check_lync_presence.plugin import FRONT_END_PERFDATA, PERFDATA
from check_lync_presence.simulator.faults import TABLE

from .commands import POOL, Simulator, normalised, write_accounts

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


# Real runs: the simulator's fault, and the options of the check.
RUNS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "healthy": ("", ("-v", "-w", "5", "-c", "10")),
    "not-notified": ("notification-never", ("--notify-timeout", "5")),
    "unknown": ("account-unknown", ()),
}


def _written(name: str) -> str:
    """What stands between the marks."""
    text = README.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->")[0]


def _rewrite(name: str, part: str) -> None:
    head, _, rest = README.read_text(encoding="utf-8").partition(f"<!-- {name}: begin -->\n")
    _, end, tail = rest.partition(f"<!-- {name}: end -->")
    assert end
    README.write_text(f"{head}<!-- {name}: begin -->\n{part}{end}{tail}", encoding="utf-8")


@pytest.mark.parametrize("name", PARTS)
def test_the_generated_part_of_the_readme_is_what_the_code_says(name: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        _rewrite(name, f"{PARTS[name]}\n")
    assert _written(name) == f"{PARTS[name]}\n"


def test_the_readme_names_the_options_that_no_accounts_file_takes() -> None:
    text = README.read_text(encoding="utf-8").partition("## The accounts file\n")[2].partition("A flag is")[0]
    elsewhere = [max(option.names, key=len) for option in (*all_options(), *ABOUT.options) if not option.in_file]
    assert re.findall(r"`(--[\w-]+)`", text) == elsewhere


@pytest.mark.parametrize("name", RUNS)
def test_the_output_in_the_readme_is_that_of_a_real_run(name: str, tmp_path: Path) -> None:
    fault, options = RUNS[name]
    simulator = Simulator(write_accounts(tmp_path / "accounts.ini"), *(("--fault", fault) if fault else ()))
    with simulator:
        done = simulator.check(*options)
    lines = [f"$ check_lync_presence {' '.join(('-H', POOL, *options))}", *done.lines]
    part = "\n" + "".join(f"    {line}".rstrip() + "\n" for line in lines) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        _rewrite(name, part)
    assert normalised(_written(name)) == normalised(part)
