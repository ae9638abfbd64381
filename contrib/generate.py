"""Icinga's definitions of the command, made from the table of options: run it with ``make contrib``.

Writes them to contrib/, or to the folder that is its only argument. What it writes stands in the repository too, for
people who copy; a test compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Sequence, Tuple

from check_lync_presence.options import Option, all_options

NAME = "check_lync_presence"
# Beyond the check's own limit (--timeout, 40 s): Icinga's limit must not be the one that ends a run.
TIMEOUT = 60
# Icinga Web does not show the values of custom variables whose name has "pass" in it.
PASSWORDS = {
    "PUBLISHER_PASSWORD": "lync_presence_publisher_password",
    "SUBSCRIBER_PASSWORD": "lync_presence_subscriber_password",
    "LDAP_PASSWORD": "lync_presence_ldap_password",
}
# What the service template of the Director begins with; that of Icinga 2 stands in lync_presence.conf.
THRESHOLDS = {
    "lync_presence_warning": "5",
    "lync_presence_critical": "10",
    "lync_presence_certificate_warning": "30:",
    "lync_presence_certificate_critical": "7:",
}


class Argument(NamedTuple):
    """An argument of the command: `condition` is when it is given; without one it has the value of `variable`."""

    name: str
    variable: str
    option: Option
    condition: str = ""


def arguments() -> Iterator[Argument]:
    """Every option of the check as an argument of the command."""
    for option in all_options():
        variable = f"lync_presence_{option.key}"
        name = max(option.names, key=len)
        if option.kind == "count":
            for count in (1, 2, 3):
                condition = f'string(macro("${variable}$")) == "{count}"'
                yield Argument("-" + min(option.names, key=len).lstrip("-") * count, variable, option, condition)
        elif option.kind == "flag":
            yield Argument(name, variable, option, f"${variable}$")
        else:
            yield Argument(name, variable, option)


def describe(option: Option) -> str:
    """The help, and what can be chosen."""
    return f"{option.help}; one of {', '.join(option.choices)}" if option.choices else option.help


# ---------------------------------------------------------------- Icinga 2

HEAD = """\
/* CheckCommand "check_lync_presence": every option as a custom variable. Made by `make contrib`: change nothing.
 *
 * Passwords never stand among the arguments, where everybody on the host could read them. Best is the accounts file
 * of the check on the machine that runs it: /etc/check_lync_presence/accounts.ini, root:nagios, mode 0640. Where they
 * must come from Icinga, the three custom variables below go into the environment; Icinga Web masks their names, the
 * API shows them to users who may read objects. Write $ in a password as $$.
 */
"""


def icinga2() -> str:
    """The CheckCommand."""
    lines = [HEAD + f'object CheckCommand "{NAME}" {{', f'  command = [ PluginDir + "/{NAME}" ]']
    lines += [f"  timeout = {TIMEOUT}s // above the 40 s of --timeout: raise both together", "", "  arguments = {"]
    for argument in arguments():
        lines += [f"    {quoted(argument.name)} = {{", *_icinga2_argument(argument), "    }"]
    lines += ["  }", ""]
    lines += [f'  env.{name} = "${variable}$"' for name, variable in PASSWORDS.items()]
    return "\n".join([*lines, "}", ""])


def _icinga2_argument(argument: Argument) -> Iterator[str]:
    if argument.option.kind == "count":
        yield f"      set_if = {{{{ {argument.condition} }}}}"
    elif argument.condition:
        yield f"      set_if = {quoted(argument.condition)}"
    else:
        yield f"      value = {quoted(f'${argument.variable}$')}"
    if argument.option.key == "target":
        yield "      required = true"
    if argument.option.repeatable:
        yield "      repeat_key = true // one value, or an array"
    yield f"      description = {quoted(describe(argument.option))}"


def quoted(text: str) -> str:
    """A string of Icinga's language."""
    return json.dumps(text, ensure_ascii=False)


# --------------------------------------------------------- Icinga Director

TYPES = "Icinga\\Module\\Director\\DataType\\DataType"
ORIGIN = f"{NAME} "  # what the names of our lists begin with


def director() -> str:
    """A configuration basket: the command, a field for every custom variable, lists of what can be chosen."""
    fields = {argument.variable: argument.option for argument in arguments()}
    numbers = {variable: number for number, variable in enumerate(fields, 1)}
    lists = {_list_name(option): _list(option) for option in fields.values() if _choices(option)}
    links = [
        {"datafield_id": number, "is_required": "y" if fields[variable].key == "target" else "n", "var_filter": None}
        for variable, number in numbers.items()
    ]
    command = {
        "arguments": {argument.name: _director_argument(argument) for argument in arguments()},
        "command": NAME,
        "disabled": False,
        "fields": links,
        "imports": [],
        "is_string": None,
        "methods_execute": "PluginCheck",
        "object_name": NAME,
        "object_type": "object",
        "timeout": str(TIMEOUT),
        "vars": {},
        "zone": None,
    }
    template = {
        "check_command": NAME,
        "check_interval": "60",
        "fields": [],
        "imports": [],
        "max_check_attempts": "3",
        "object_name": "lync-presence",
        "object_type": "template",
        "retry_interval": "30",
        "vars": THRESHOLDS,
    }
    basket = {
        "Command": {NAME: command},
        "ServiceTemplate": {"lync-presence": template},
        "Datafield": {str(number): _field(variable, fields[variable], number) for variable, number in numbers.items()},
        "DataList": lists,
    }
    return json.dumps(basket, ensure_ascii=False, indent=2) + "\n"


def _director_argument(argument: Argument) -> Dict[str, Any]:
    made: Dict[str, Any] = {"description": describe(argument.option)}
    if argument.option.kind == "count":
        made.update(set_if=f"return {argument.condition}", set_if_format="expression")
    elif argument.condition:
        made.update(set_if=argument.condition, set_if_format="string")
    else:
        made.update(value=f"${argument.variable}$")
    if argument.option.key == "target":
        made.update(required=True)
    if argument.option.repeatable:
        made.update(repeat_key=True)
    return made


def _choices(option: Option) -> Tuple[str, ...]:
    return ("1", "2", "3") if option.kind == "count" else option.choices


def _field(variable: str, option: Option, number: int) -> Dict[str, Any]:
    settings: Dict[str, Any] = {}
    if _choices(option):
        kind, settings = "Datalist", {"datalist": _list_name(option), "data_type": "string", "behavior": "strict"}
    elif option.kind == "flag":
        kind = "Boolean"
    elif option.repeatable:
        kind = "Array"
    else:
        kind, settings = "String", {"visibility": "visible"}
    return {
        "varname": variable,
        "caption": f"Lync presence: {option.key.replace('_', ' ')}",
        "description": option.help,
        "datatype": TYPES + kind,
        "format": None,
        "settings": settings,
        "category": None,
        "originalId": str(number),
    }


def _list_name(option: Option) -> str:
    return ORIGIN + option.key


def _list(option: Option) -> Dict[str, Any]:
    entries = [
        {"entry_name": choice, "entry_value": choice, "format": "string", "allowed_roles": None}
        for choice in _choices(option)
    ]
    return {"list_name": _list_name(option), "owner": NAME, "entries": entries}


FILES: Dict[str, Callable[[], str]] = {
    "icinga2/check_lync_presence.conf": icinga2,
    "icinga-director/basket.json": director,
}


def main(argv: Sequence[str]) -> int:
    folder = Path(argv[0]) if argv else Path(__file__).parent
    for name, make in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
