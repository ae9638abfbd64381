"""ms-diagnostics headers (MS-OCER 2.2.1, 7): their grammar, and what the known codes mean to an operator.

Owns the table of codes. Codes that are not in it pass through with the server's own reason: no meaning is invented.
"""

from __future__ import annotations

import re
from typing import Dict, Optional

from ..value import NamedTuple

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


_BETWEEN_SERVERS = (
    "A server cannot reach the next one inside the deployment: check the connections between the servers."
)
_FEDERATION = (
    "The pool takes the way to {user} for one to another company: check that the SIP domain is one of its own "
    "(Get-CsSipDomain)."
)
_EXTERNAL = "Policy keeps {user} from talking to the outside: check its external access policy."
_MALFORMED = (
    "The server misses something in the request: a device in between alters it, or it is a mistake of this check; please "
    "report it with the output of -vvv."
)
_FORGOTTEN = "The server has forgotten the subscription: check whether {pool} fails over or restarts its services."
_LIMIT = "A limit of presence is reached: check Get-CsPresencePolicy, and use test users that nobody else uses."
_PHONE_NUMBER = "Two accounts have the same phone number: check LineUri of {user} (Get-CsUser -Identity {user})."
_APPLICATION = (
    "An application on the pool has failed on the request: check Get-CsServerApplication and the event log of {pool}."
)
_CLIENT_VERSION = "The pool refuses this client's version: allow it in the client version policy, or set --user-agent."

# What to do about a code. {user} is the SIP address, {logon} the logon name, {pool} the pool. Both users may be named, so
# no verb goes with them.
ADVICE = {
    1000: "The pool refuses the sign-in of {logon}: check the password, and that the account is not locked, disabled or "
    "expired (Get-ADUser).",
    1001: _EXTERNAL,
    1002: _EXTERNAL,
    1003: "The pool does not know {user}: check its SIP address, and with Get-CsUser that it is enabled.",
    1004: "The server no longer knows the way of the dialog: check whether {pool} fails over or restarts its services.",
    1005: "The pool has no route to the SIP domain: check the SIP domains of the topology (Get-CsSipDomain).",
    1006: "The pool cannot route on its own client connection: check the Front-End services of {pool}.",
    1007: "The pool cannot route for the time being: check the Front-End services and the connections between the servers.",
    1008: "The pool cannot resolve a DNS SRV record that it needs: check DNS on the server.",
    1009: "DNS SRV records and host domains contradict each other on the server: check DNS there.",
    1010: "The server does not trust the certificate of the next server: check the certificates between the servers.",
    1012: _EXTERNAL,
    1013: "The clocks differ too much: check the time on this host, on the pool and on the domain controllers.",
    1014: "The server cannot resolve a host name that it needs: check DNS on the server.",
    1017: "The SIP domain is shared with a pool online, and the two users do not go together: check where both are homed "
    "(Get-CsUser: HostingProvider).",
    1027: _FEDERATION,
    1034: _FEDERATION,
    1036: _BETWEEN_SERVERS,
    1038: _BETWEEN_SERVERS,
    1039: _BETWEEN_SERVERS,
    1046: _BETWEEN_SERVERS,
    1047: _FEDERATION,
    2003: "The server calls the publication read-only: check the presence policy of {user} (Get-CsPresencePolicy).",
    2004: "{user} may not watch the publisher: check the privacy relationships of the two test users.",
    2005: "The pool has no presence data of the user: check that {user} is homed there (Get-CsUser).",
    2006: _LIMIT,
    2007: _LIMIT,
    2008: _LIMIT,
    2009: _LIMIT,
    2010: "The category is larger than the pool takes: check its presence settings.",
    2011: _LIMIT,
    2012: "There are too many subscriptions: check MaxCategorySubscriptions of the presence policy.",
    2013: _MALFORMED,
    2014: _FORGOTTEN,
    2016: _FORGOTTEN,
    2057: _MALFORMED,
    2141: "Somebody else writes the presence of {user} at the same time: give every check its own pair of test users.",
    2165: "The contact list of {user} is in Exchange: that is in order, and nothing that presence needs.",
    4000: "User services failed inside: check the event log (LS User Services) of {pool}.",
    4001: _MALFORMED,
    4002: _PHONE_NUMBER,
    4003: "{user}: not enabled for remote access. Test from inside, or allow it in the external access policy.",
    4004: "{logon} and {user} do not belong together: mend publisher_user or subscriber_user.",
    4005: "{user}: not enabled for SIP, or no such user. Check Get-CsUser -Identity {user}, then Enable-CsUser; "
    "for a new user wait for the User Replicator.",
    4006: "{user}: not homed on this pool. Check RegistrarPool with Get-CsUser -Identity {user}.",
    4007: "The deployment does not know what is asked for: check {user} (Get-CsUser) and the topology (Get-CsPool).",
    4008: _MALFORMED,
    4009: _PHONE_NUMBER,
    4010: _MALFORMED,
    4011: _MALFORMED,
    4012: _MALFORMED,
    4013: _MALFORMED,
    4055: _MALFORMED,
    4141: "{user}: disabled while signed in. Check Enabled with Get-CsUser -Identity {user}.",
    5000: "An application that the pool depends on is not running: check the event log of {pool}.",
    5001: _APPLICATION,
    5002: _APPLICATION,
    5003: _APPLICATION,
    5004: _APPLICATION,
    15030: "The pool does not reach Exchange: check Exchange UM; that concerns voice mail and not presence.",
    17000: "The pool's client version filter is overloaded: check the event log of {pool}.",
    17001: _CLIENT_VERSION,
    17002: _CLIENT_VERSION,
    17003: _CLIENT_VERSION,
}
