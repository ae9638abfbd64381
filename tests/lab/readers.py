"""How monitoring systems read a plugin's output, worked out anew from what they are documented to do."""

from __future__ import annotations

import re
import shlex
from typing import Dict, List, NamedTuple, Optional, Tuple

NUMBER = r"[-+0-9.eE]+"


class Value(NamedTuple):
    """One value of the performance data; a threshold that the reader does not take is None."""

    value: float
    unit: str
    warning: Optional[float]
    critical: Optional[float]
    minimum: Optional[float]
    maximum: Optional[float]


def icinga2(output: str) -> Tuple[str, Dict[str, Value]]:
    """(text, performance data): what follows a ``|`` that has a ``=`` behind it, on any line; ranges are left out."""
    texts, data = [], []
    for line in output.splitlines():
        text, bar, rest = line.partition("|")
        measured = bool(bar) and "=" in rest
        texts.append(text if measured else line)
        if measured:
            data.append(rest)
    found = {}
    for label, fields in re.findall(r"\s*('[^']+'|[^=']+)=(\S*)", " ".join(data)):
        value, *limits = fields.split(";")
        number, unit = _number_and_unit(value)
        plain = [float(limit) if re.fullmatch(NUMBER, limit) else None for limit in limits]
        warning, critical, minimum, maximum = (plain + [None] * 4)[:4]
        found[label.strip("'")] = Value(number, unit, warning, critical, minimum, maximum)
    return "\n".join(texts), found


def _number_and_unit(text: str) -> Tuple[float, str]:
    match = re.fullmatch(rf"({NUMBER})(.*)", text)
    assert match is not None, text
    return float(match.group(1)), match.group(2)


Fields = Dict[str, object]


def telegraf(output: str, code: int) -> Tuple[Fields, Dict[str, Fields]]:
    """(fields of nagios_state, fields of nagios by the tag perfdata), of the parser ``data_format = "nagios"``."""
    first, *rest = output.splitlines()
    text, *data = first.split("|")
    assert len(data) < 2, "more than one | on the first line is an error"
    state: Fields = {"service_output": text.strip(), "state": code}
    if rest:
        state["long_service_output"] = "\n".join(line.strip() for line in rest)
    assert not any("|" in line for line in rest), "what follows would be performance data"
    metrics = {}
    for label, fields in re.findall(r"\s*([^=]+)=(\S+)", "".join(data)):
        value, *limits = fields.split(";")
        number, unit = _number_and_unit(value)
        told: Fields = {"value": number, **({"unit": unit} if unit else {})}
        for name, limit in zip(("warning", "critical"), limits):
            told.update(_telegraf_threshold(name, limit))
        told.update({name: float(limit) for name, limit in zip(("min", "max"), limits[2:]) if limit})
        metrics[label.strip("'")] = told
    return state, metrics


def _telegraf_threshold(name: str, text: str) -> Fields:
    """A range becomes two fields; inside-out ones end with le and ge."""
    if not text:
        return {}
    low, colon, high = text.lstrip("@").partition(":")
    if not colon:
        low, high = "0", low
    ends = ("le", "ge") if text.startswith("@") else ("lt", "gt")
    values = (float("-inf") if low == "~" else float(low or 0), float(high) if high else float("inf"))
    return {f"{name}_{end}": value for end, value in zip(ends, values)}


class Mrpe(NamedTuple):
    """A line of Checkmk's mrpe.cfg."""

    description: str
    interval: Optional[int]
    command: str


def mrpe_lines(text: str) -> List[Mrpe]:
    """The lines of mrpe.cfg: a name without blanks, perhaps ``(interval=seconds)``, a command for the shell."""
    found = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            match = re.fullmatch(r"(\S+)\s+(?:\((?:interval=(\d+))?[^)]*\)\s+)?(.*)", line)
            assert match is not None, line
            description, interval, command = match.groups()
            assert "'" not in command, "with an interval the agent puts the command between apostrophes"
            found.append(Mrpe(description, int(interval) if interval else None, command))
    return found


def mrpe_section(mrpe: Mrpe, output: str, code: int) -> str:
    """The agent's line for a result: the long output's line ends are octets 1."""
    name = shlex.split(mrpe.command)[0].rpartition("/")[2]
    return f"({name}) {mrpe.description} {code} {output.rstrip()}".replace("\n", "\1")


def checkmk(line: str) -> Tuple[str, str, int, str, List[str], Dict[str, str]]:
    """(plugin, service, state, text, long output, performance data) that Checkmk reads in a line of ``<<<mrpe>>>``."""
    match = re.fullmatch(r"\((\S+)\) (\S+) (\d+) (.*)", line, re.DOTALL)
    assert match is not None, line
    plugin, service, code, output = match.groups()
    first, *rest = output.split("\1")
    text, _, data = first.partition("|")
    assert not any("|" in line for line in rest), "what follows would be performance data"
    return plugin, service, int(code), text.strip(), rest, dict(item.split("=", 1) for item in shlex.split(data))
