"""The manual page and the shells' completions, made from the table of options: run it with ``make manual``.

Writes them below packaging/, or below the folder that is its only argument. What it writes stands in the repository,
for people who copy; a test compares.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence

from check_lync_presence import __version__
from check_lync_presence.cli import ACTIVITY_LABELS
from check_lync_presence.options import ABOUT, GROUPS, Group, Option
from check_lync_presence.plugin import FRONT_END_PERFDATA, PERFDATA

NAME = "check_lync_presence"
WRITTEN = "2026-11-29"  # when the texts here have changed last
WIDTH = 80  # of lines, as mandoc wants it
ALL = (*GROUPS, ABOUT)


def value_of(option: Option) -> str:
    """What stands behind the option's name, ``""`` for nothing."""
    return "|".join(option.choices) or option.metavar


def all_of(groups: Sequence[Group]) -> List[Option]:
    return [option for group in groups for option in group.options]


# ------------------------------------------------------------- manual page

PAGE_HEAD = f"""\
.\\" Made by `make manual` from the table of options: change it there, or in packaging/manual.py.
.TH {NAME.upper()} 1 {WRITTEN} "{NAME} {__version__}" "Monitoring plugins"
.SH NAME
{NAME} \\- Nagios and Icinga plugin: the presence round trip of Test\\-CsPresence
.SH SYNOPSIS
.B {NAME}
.B \\-H
.I FQDN
.RI [ options ]
.SH DESCRIPTION
Two test users sign in at a Lync or Skype for Business pool, or at any SIP presence server.
One asks for the other's presence, the other publishes, and the check verifies that this very publication arrives.
Both sign off.
It is OK only with that proof; when something fails the output names the activity, shows what the server said and tells
what to do.
.PP
Standard error stays empty, except that a person at a terminal sees there which activity is under way.
.SH OPTIONS
"""

PAGE_TAIL = """\
.SH RANGES
Ranges are those of the Monitoring Plugins guidelines: 5 alarms outside of 0 to 5, 10: below 10, \\(aq~:5\\(aq above 5
(in quotes, because the shell may expand the tilde), @5:10 inside of 5 to 10.
.SH ACCOUNTS FILE
An INI file with one section for each pool; [DEFAULT] holds what they share.
It must have no more than mode 0640 and belong to root, to the user that runs the check, or to a system account.
.PP
.nf
[pool01.contoso.example]
publisher                = sip:ann@contoso.example
publisher_user           = CONTOSO\\eann
publisher_password       = \\&...
subscriber               = sip:ben@contoso.example
subscriber_user          = CONTOSO\\eben
subscriber_password_file = /etc/check_lync_presence/ben
.fi
.PP
Values are literal.
A blank and a semicolon begin a comment: a password with these in it goes into a password file.
In place of a password there may be a command that prints it:
.BR publisher_password_command ,
.BR subscriber_password_command ,
.BR ldap_password_command .
.SH EXIT STATUS
.TP
.B 0
OK: the publication arrived, and all that has a threshold is inside its range.
.TP
.B 1
WARNING: it arrived, and something is outside of its warning range.
.TP
.B 2
CRITICAL: it did not arrive, or something is outside of its critical range.
.TP
.B 3
UNKNOWN: wrong options, an accounts file that cannot be used, a bug; also \\-\\-help and \\-\\-version.
.PP
Where the directory proves that the test account is at fault the state is that of \\-\\-account\\-state.
With \\-\\-self\\-test, what keeps the check from its verdict is CRITICAL, what it can do without (an address
beside others, the state folder, the directory) is WARNING.
"""

PAGE_END = f"""\
.SH ENVIRONMENT
.TP
.BR PUBLISHER_PASSWORD ", " SUBSCRIBER_PASSWORD ", " LDAP_PASSWORD
Passwords, where no password file is named on the command line.
.TP
.B CHECK_LYNC_PRESENCE_ACCOUNTS
The accounts file, where \\-\\-accounts is not given.
.SH FILES
.TP
.I /etc/{NAME}/accounts.ini
The accounts file of this machine.
.TP
.I /var/lib/{NAME}
Refused passwords, without the passwords, and the users' certificates for TLS\\-DSK with their private keys.
The folder belongs to the user that runs the check, and nobody else reads it.
.SH EXAMPLES
.nf
{NAME} \\-H pool01.contoso.example \\-w 5 \\-c 10 \\-\\-certificate\\-warning 30:
{NAME} \\-H pool01.contoso.example \\-\\-self\\-test
.fi
.SH SEE ALSO
.BR icinga2 (8),
.BR nagios4 (8)
"""


def page() -> str:
    """The manual page, in the macros of man(7)."""
    elsewhere = ", ".join(max(option.names, key=len) for option in all_of(ALL) if not option.in_file)
    parts = [PAGE_HEAD]
    parts.append(
        f"Every long option may stand in the accounts file too, by its name with _ for \\-, but {_roff(elsewhere)}.\n"
    )
    parts.append("There a flag is yes or no, and what is repeatable has its values separated by blanks.\n")
    parts.append("The command line beats the file.\n")
    for group in ALL:
        parts.append(f".SS {_quoted(group.title[0].upper() + group.title[1:])}\n")
        parts += [_entry(option) for option in group.options]
    parts.append(PAGE_TAIL)
    parts.append(".SH PERFORMANCE DATA\nSeconds in plain decimals; what was not measured is left out.\n")
    parts += [f".TP\n.B {_roff(label)}\n{_sentence(text)}\n" for label, text in PERFDATA.items()]
    parts.append(".PP\nWith \\-\\-all\\-front\\-ends, where 10.0.0.4 and 10.0.0.5 are front ends:\n")
    parts += [f".TP\n.B {_roff(label)}\n{_sentence(text)}\n" for label, text in FRONT_END_PERFDATA.items()]
    return "".join(f"{line}\n" for line in _filled("".join((*parts, PAGE_END)).splitlines()))


def _filled(lines: Sequence[str]) -> Iterator[str]:
    """`lines`, the longer ones of running text in pieces."""
    as_it_is = False
    for line in lines:
        as_it_is = line == ".nf" or (as_it_is and line != ".fi")
        if as_it_is or line.startswith("."):
            yield line
        else:
            yield from map(_no_request, textwrap.wrap(line, WIDTH - 2, break_on_hyphens=False, break_long_words=False))


def _entry(option: Option) -> str:
    names = ", ".join(rf"\fB{_roff(name)}\fR" for name in option.names)
    value = rf" \fI{_roff(value_of(option))}\fR" if value_of(option) else ""
    cmdlet = f"\nTest\\-CsPresence: {_roff(option.cmdlet)}." if option.cmdlet else ""
    return f".TP\n{names}{value}\n{_sentence(option.help)}{cmdlet}\n"


def _sentence(text: str) -> str:
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return _roff(text).rstrip(".") + "."


def _roff(text: str) -> str:
    """`text` so that roff prints it as it is, with hyphens that can be copied."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def _no_request(line: str) -> str:
    return "\\&" + line if line.startswith((".", "'")) else line


def _quoted(text: str) -> str:
    return '"' + _roff(text).replace('"', '""') + '"'


# ------------------------------------------------------------- completions


def bash() -> str:
    """Completion for bash, which needs nothing else."""
    names = " ".join(name for option in all_of(ALL) for name in option.names)
    lines = [
        f"# Completion of {NAME} for bash. Made by `make manual` from the table of options.",
        f"_{NAME}() {{",
        '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"',
        "    # --option=value comes as three words",
        '    if [ "$word" = "=" ]; then',
        '        word=""',
        '    elif [ "$before" = "=" ]; then',
        '        before="${COMP_WORDS[COMP_CWORD - 2]}"',
        "    fi",
        "    COMPREPLY=()",
        '    case "$before" in',
    ]
    lines += [f"        {names}) {action} ;;" for names, action in _bash_values().items()]
    lines += [
        f"        *) mapfile -t COMPREPLY < <(compgen -W '{names}' -- \"$word\") ;;",
        "    esac",
        "}",
        f"complete -F _{NAME} {NAME}",
    ]
    return "\n".join([*lines, ""])


def _bash_values() -> Dict[str, str]:
    """What to do behind an option that takes a value, by the options that have it in common."""
    by_action: Dict[str, List[str]] = {}
    for option in all_of(ALL):
        if not value_of(option):
            continue
        by_action.setdefault(_bash_value(option), []).extend(option.names)
    return {"|".join(names): action for action, names in by_action.items()}


def _bash_value(option: Option) -> str:
    if option.choices:
        return f"mapfile -t COMPREPLY < <(compgen -W '{' '.join(option.choices)}' -- \"$word\")"
    if option.kind == "named range":
        labels = " ".join(f"{label}=" for label in ACTIVITY_LABELS)
        return f"compopt -o nospace; mapfile -t COMPREPLY < <(compgen -W '{labels}' -- \"$word\")"
    if option.metavar in ("FILE", "DIR"):
        kind = "-f" if option.metavar == "FILE" else "-d"
        return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen {kind} -- "$word")'
    return ":"


def zsh() -> str:
    """Completion for zsh."""
    lines = [f"#compdef {NAME}", "# Made by `make manual` from the table of options.", "_arguments -s \\"]
    lines += [f"    {spec} \\" for option in all_of(ALL) for spec in _zsh_specs(option)]
    return "\n".join([*lines, "    && return 0", ""])


def _zsh_specs(option: Option) -> Iterator[str]:
    value = ""
    if option.choices:
        value = f":{option.metavar}:({' '.join(option.choices)})"
    elif value_of(option):
        action = {"FILE": "_files", "DIR": "_files -/"}.get(option.metavar, " ")
        if option.kind == "named range":
            action = f"compadd -S = {' '.join(ACTIVITY_LABELS)}"
        value = f":{re.sub(r'[^A-Z=]', ' ', option.metavar).strip()}:{action}"
    again = option.repeatable or option.kind == "count"
    excluded = "" if again else f"({' '.join(option.names)})"
    help_text = re.sub(r"([\[\]\\:])", r"\\\1", option.help)
    for name in option.names:
        yield _shell(f"{'*' if again else excluded}{name}[{help_text}]{value}")


def fish() -> str:
    """Completion for fish."""
    lines = ["# Made by `make manual` from the table of options.", f"complete -c {NAME} -f"]
    for option in all_of(ALL):
        words = [f"complete -c {NAME}"]
        words += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
        if option.choices:
            words.append(f"-x -a {_shell(' '.join(option.choices))}")
        elif option.kind == "named range":
            words.append(f"-x -a {_shell(' '.join(f'{label}=' for label in ACTIVITY_LABELS))}")
        elif option.metavar == "FILE":
            words.append("-r -F")
        elif option.metavar == "DIR":
            words.append("-x -a '(__fish_complete_directories)'")
        elif option.metavar:
            words.append("-x")
        text = option.help.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(" ".join([*words, f"-d '{text}'"]))
    return "\n".join([*lines, ""])


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


FILES: Dict[str, Callable[[], str]] = {
    f"man/{NAME}.1": page,
    f"completion/{NAME}.bash": bash,
    f"completion/_{NAME}": zsh,
    f"completion/{NAME}.fish": fish,
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
