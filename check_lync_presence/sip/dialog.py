"""Dialogs (RFC 3261 section 12) as a subscriber needs them: identity, sequence numbers, route set, remote target.

Must not know what an event package is.
"""

from __future__ import annotations

import contextlib
from typing import List, Optional, Tuple

from .message import Header, Message, Request, Response
from .uri import AddressError, parse_name_addr, split_list


class Dialog:
    """One end of a dialog, or of a plain series of requests that share a Call-ID.

    `local` and `remote` are URIs; `local_params` are the From parameters behind the tag (``;epid=…``).
    """

    def __init__(self, call_id: str, local: str, local_tag: str, remote: str, local_params: str = "") -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.local_params = local_params
        self.remote = remote
        self.remote_tag = ""
        self.remote_target: Optional[str] = None
        self.routes: Tuple[str, ...] = ()
        self._sent = 0
        self._received = -1

    def headers(self, method: str) -> List[Header]:
        """From, To, Call-ID and the next CSeq, and Route once the dialog has a route set."""
        self._sent += 1
        remote_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        headers = [
            ("From", f"<{self.local}>;tag={self.local_tag}{self.local_params}"),
            ("To", f"<{self.remote}>{remote_tag}"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._sent} {method}"),
        ]
        headers += [("Route", route) for route in self._routing()[1]]
        return headers

    @property
    def request_uri(self) -> str:
        """Where a request in the dialog is addressed to."""
        return self._routing()[0]

    def _routing(self) -> Tuple[str, Tuple[str, ...]]:
        """Request-URI and Route values. A first proxy that is a strict router wants to be addressed itself, and the
        remote target at the end (RFC 3261 12.2.1.1).
        """
        target = self.remote_target or self.remote
        if not self.routes:
            return target, ()
        first = parse_name_addr(self.routes[0]).uri
        if ";lr" in first.lower():
            return target, self.routes
        return first, (*self.routes[1:], f"<{target}>")

    def establish(self, response: Response) -> None:
        """Take remote tag, remote target and route set from a 2xx (RFC 3261 12.1.2)."""
        try:
            self.remote_tag = parse_name_addr(response.get("To") or "").tag
            contacts = [part for value in response.all("Contact") for part in split_list(value)]
            if contacts:
                self.remote_target = parse_name_addr(contacts[0]).uri
        except AddressError:
            return
        self.routes = tuple(reversed(_record_route(response)))

    def owns(self, request: Request) -> bool:
        """Whether a request of the server belongs to this dialog."""
        if request.call_id != self.call_id:
            return False
        try:
            to_tag = parse_name_addr(request.get("To") or "").tag
            from_tag = parse_name_addr(request.get("From") or "").tag
        except AddressError:
            return False
        if to_tag != self.local_tag:
            return False
        return not self.remote_tag or from_tag == self.remote_tag

    def in_order(self, request: Request) -> bool:
        """Whether a request that belongs to this dialog does not come late; from then on what is older does.

        A CSeq lower than one already seen is out of order (RFC 3261 12.2.2); gaps are normal with BENOTIFY.
        """
        if request.cseq.number < self._received:
            return False
        self._received = request.cseq.number
        return True


def _record_route(message: Message) -> List[str]:
    """The Record-Route values, without those that are no addresses."""
    values = [part for value in message.all("Record-Route") for part in split_list(value)]
    routes = []
    for value in values:
        with contextlib.suppress(AddressError):
            parse_name_addr(value)
            routes.append(value)
    return routes
