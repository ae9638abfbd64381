"""The definitions for Icinga in contrib/ are those that the table of options makes, and nothing needs quoting."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Dict, List

import pytest

from check_lync_presence.options import SECRET_KEYS, all_options

CONTRIB = Path(__file__).parents[2] / "contrib"
COMMAND = "icinga2/check_lync_presence.conf"
BASKET = "icinga-director/basket.json"
# What Icinga Web does not show the values of, by default.
PROTECTED = ("*pw*", "*pass*", "community")


def read(name: str) -> str:
    return (CONTRIB / name).read_text(encoding="utf-8")


def variables() -> Dict[str, List[str]]:
    """The arguments of the CheckCommand by their custom variable."""
    found: Dict[str, List[str]] = {}
    for name, body in re.findall(r'^    "(-[\w-]+)" = \{\n(.*?)^    \}', read(COMMAND), re.MULTILINE | re.DOTALL):
        (variable,) = re.findall(r"(?:value|set_if) = .*?\$(\w+)\$", body)
        found.setdefault(variable, []).append(name)
    return found


@pytest.mark.parametrize("name", [COMMAND, BASKET])
def test_what_is_committed_is_what_make_contrib_writes(name: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(CONTRIB / "generate.py"), str(tmp_path)], check=True)
    assert read(name) == (tmp_path / name).read_text(encoding="utf-8")


def test_icingas_command_has_every_option() -> None:
    expected = {f"lync_presence_{option.key}": [max(option.names, key=len)] for option in all_options()}
    expected["lync_presence_verbose"] = ["-v", "-vv", "-vvv"]
    assert variables() == expected


def test_the_directors_command_has_the_same_arguments_and_a_field_for_each_variable() -> None:
    basket = json.loads(read(BASKET))
    command = basket["Command"]["check_lync_presence"]
    arguments = {name: re.findall(r"\$(\w+)\$", argument.get("value", "") + argument.get("set_if", ""))
                 for name, argument in command["arguments"].items()}  # fmt: skip
    assert arguments == {name: [variable] for variable, names in variables().items() for name in names}
    assert [field["varname"] for field in basket["Datafield"].values()] == list(variables())
    assert [str(field["datafield_id"]) for field in command["fields"]] == list(basket["Datafield"])


def test_passwords_go_into_the_environment_alone_and_icinga_web_masks_them() -> None:
    environment = dict(re.findall(r'^  env\.(\w+) = "\$(\w+)\$"$', read(COMMAND), re.MULTILINE))
    assert sorted(environment) == sorted(key.upper() for key in SECRET_KEYS if key.endswith("_password"))
    assert all(any(fnmatch(variable, pattern) for pattern in PROTECTED) for variable in environment.values())
    assert not set(environment.values()) & set(variables())


@pytest.mark.parametrize("name", ["nagios/lync_presence.cfg", "nrpe/check_lync_presence.cfg", "nrpe/nagios.cfg"])
def test_no_value_has_what_nagios_or_nrpe_would_take_for_something_else(name: str) -> None:
    lines = [line for line in read(name).splitlines() if not line.startswith("#")]
    values = [line.partition("]=")[2] if "]=" in line else line for line in lines]
    assert any("check_lync_presence" in value for value in values)
    assert not re.findall(r"[;\[<\\]", "\n".join(values))
