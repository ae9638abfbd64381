"""Which Kerberos realms this host is configured for (krb5.conf).

Owns the reading of these files as far as the names of realms stand in them, so that a host without Kerberos pays for
nothing else. Must not know the environment (cli) nor what a realm is wanted for.
"""

from __future__ import annotations

import os
import re
from typing import Iterator, Sequence

from .lync.ntlm import split_logon_name

MAX_FILE = 256 * 1024  # of one file; a real one has a few lines a realm
MAX_DEPTH = 4  # of files that include files

_SECTION = r"\[([^\]]+)\]"
_SETTING = r"([^\s=]+)\s*=\s*(\S+)"
_INCLUDED_NAME = r"[A-Za-z0-9_-]+\Z|(?!\.).*\.conf\Z"  # krb5.conf(5), includedir


def realm_of(user: str, paths: Sequence[str]) -> str:
    """The one realm of these files that a logon name belongs to, ``""`` where there is none.

    It is that of the name itself: of ``ann@contoso.example`` or ``CONTOSO.EXAMPLE\\ann``; of ``CONTOSO\\ann`` the
    one that begins with it.
    """
    _, domain = split_logon_name(user)
    name, _, suffix = user.rpartition("@")
    wanted = (suffix if name else domain).lower()
    if not wanted:
        return ""
    known = dict.fromkeys(realm for path in paths for realm in _realms(path, MAX_DEPTH))
    found = [realm for realm in known if realm.lower() == wanted]
    if not found and not name:
        found = [realm for realm in known if realm.lower().partition(".")[0] == wanted]
    return found[0] if len(found) == 1 else ""


def _realms(path: str, depth: int) -> Iterator[str]:
    section, inside = "", 0
    for line in _lines(path):
        directive, _, rest = line.partition(" ")
        header = re.match(_SECTION, line)
        if header is not None:
            section, inside = header.group(1).strip().lower(), 0
        elif directive in ("include", "includedir") and depth:
            for included in _included(directive, rest.strip()):
                yield from _realms(included, depth - 1)
        else:
            setting = re.match(_SETTING, line)
            if setting is not None and not inside:
                yield from _of_setting(section, *setting.groups())
            inside = max(0, inside + line.count("{") - line.count("}"))


def _of_setting(section: str, key: str, value: str) -> Iterator[str]:
    if section == "realms":
        yield key
    elif section == "domain_realm" or (section == "libdefaults" and key == "default_realm"):
        yield value.strip('"')


def _included(directive: str, place: str) -> Sequence[str]:
    if directive == "include":
        return (place,)
    try:
        names = sorted(name for name in os.listdir(place) if re.match(_INCLUDED_NAME, name))
    except OSError:
        return ()
    return [os.path.join(place, name) for name in names]


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_FILE)
    except OSError:
        return
    for line in text.splitlines():
        line = line.strip()
        if line and line[0] not in "#;":
            yield line.expandtabs(1)
