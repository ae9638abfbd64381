"""ms-diagnostics headers (MS-OCER 2.2.1, 7): their grammar, and what the known codes mean to an operator.

Owns the table of codes. Codes that are not in it pass through with the server's own reason: no meaning is invented.
"""

from __future__ import annotations

import re
from typing import Dict, NamedTuple, Optional

_PARAM = re.compile(r';\s*([A-Za-z0-9_-]{1,64})\s*=\s*"([^"]*)"')
_CODE = re.compile(r"\s*([0-9]{1,6})(?:\.[0-9]{1,6})?\s*(?:;|\Z)")


class Diagnostic(NamedTuple):
    """One header value: the error id, and its parameters by lower-case name."""

    code: int
    params: Dict[str, str]

    @property
    def reason(self) -> str:
        return self.params.get("reason", "")

    @property
    def source(self) -> str:
        return self.params.get("source", "")

    def __str__(self) -> str:
        """As the cmdlet's Diagnosis shows it."""
        parts = [f"ErrorCode={self.code}"]
        if self.source:
            parts.append(f"Source={self.source}")
        if self.reason:
            parts.append(f"Reason={self.reason}")
        return ",".join(parts)


def parse(value: str) -> Optional[Diagnostic]:
    """Read a header value; None for what is not one."""
    match = _CODE.match(value)
    if match is None:
        return None
    params: Dict[str, str] = {}
    for name, text in _PARAM.findall(value):
        params.setdefault(name.lower(), text)
    return Diagnostic(int(match.group(1)), params)


# What to do about a code. {user} is the SIP address, {logon} the logon name, {pool} the pool.
ADVICE = {
    1003: "The pool does not know {user}: check its SIP address, and with Get-CsUser that it is enabled.",
    1005: "The pool has no route to the SIP domain: check the SIP domains of the topology (Get-CsSipDomain).",
    1006: "The pool cannot route on its own client connection: check the Front-End services of {pool}.",
    1007: "The pool cannot route for the time being: check the Front-End services and the connections between the servers.",
    1008: "The pool cannot resolve a DNS SRV record that it needs: check DNS on the server.",
    1009: "DNS SRV records and host domains contradict each other on the server: check DNS there.",
    1010: "The server does not trust the certificate of the next server: check the certificates between the servers.",
    1012: "Policy keeps {user} from talking to the outside: check its external access policy.",
    1013: "The clocks differ too much: check the time on this host, on the pool and on the domain controllers.",
    1014: "The server cannot resolve a host name that it needs: check DNS on the server.",
    1036: "A server cannot reach the next one inside the deployment: check the connections between the servers.",
    1038: "A server cannot reach the next one inside the deployment: check the connections between the servers.",
    1039: "A server cannot reach the next one inside the deployment: check the connections between the servers.",
    1046: "A server cannot reach the next one inside the deployment: check the connections between the servers.",
    2003: "The server calls the publication read-only: check the presence policy of {user} (Get-CsPresencePolicy).",
    2004: "{user} may not watch the publisher: check the privacy relationships of the two test users.",
    2005: "The pool has no presence data of the user: check that {user} is homed there (Get-CsUser).",
    2010: "The category is larger than the pool takes: check its presence settings.",
    2012: "There are too many subscriptions: check MaxCategorySubscriptions of the presence policy.",
    4000: "User services failed inside: check the event log (LS User Services) of {pool}.",
    4003: "{user} is not enabled for remote access: test from inside, or allow it in the external access policy.",
    4004: "The logon name {logon} does not belong to {user}: mend publisher_user or subscriber_user.",
    4005: "{user} is not enabled for SIP or does not exist: check Get-CsUser -Identity {user}, then Enable-CsUser; "
    "for a new user wait for the User Replicator.",
    4006: "{user} is not homed on this pool: check RegistrarPool with Get-CsUser -Identity {user}.",
    4141: "{user} was disabled while it was signed in: check Enabled with Get-CsUser -Identity {user}.",
    5000: "An application that the pool depends on is not running: check the event log of {pool}.",
    17001: "The pool refuses this client's version: allow it in the client version policy, or set --user-agent.",
    17002: "The pool refuses this client's version: allow it in the client version policy, or set --user-agent.",
    17003: "The pool refuses this client's version: allow it in the client version policy, or set --user-agent.",
}
