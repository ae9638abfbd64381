"""What a final response other than 2xx means, in every dialect: an error, or a redirect.

Must not know which request it answers, nor what is done about it.
"""

from __future__ import annotations

from .outcome import Cause, PresenceError
from .sip.message import Response
from .sip.uri import AddressError, SipUri, parse_name_addr, parse_uri, split_list


class Redirected(Exception):
    """The user is homed elsewhere; `target` is where (MS-SIPREGE 3.2.5, RFC 3261 21.3)."""

    def __init__(self, target: SipUri) -> None:
        super().__init__(target)
        self.target = target


def status_error(response: Response) -> PresenceError:
    """The error that a final response other than 2xx stands for, with the server's diagnostics."""
    diagnostics = response.all("ms-diagnostics") + response.all("ms-diagnostics-public")
    return PresenceError(
        Cause.STATUS,
        f"{response.status}, {response.reason}".rstrip(", "),
        response.status,
        diagnostics,
        retry_after=response.get("Retry-After") or "",
    )


def raise_redirect(response: Response) -> None:
    """Raise Redirected where the response is a redirect; PresenceError where it does not say where to."""
    if response.status not in (301, 302):
        return
    contacts = [part for value in response.all("Contact") for part in split_list(value)]
    try:
        raise Redirected(parse_uri(parse_name_addr(contacts[0]).uri))
    except (IndexError, AddressError):
        text = f"{response.status}, {response.reason}: the server redirects and does not say where to."
        raise PresenceError(Cause.REDIRECT, text, response.status) from None
