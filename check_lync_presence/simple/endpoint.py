"""One login of one user on a SIMPLE presence server (RFC 3261, 3856, 3903): the activities as messages.

Owns which message belongs to which activity, and what was published. Must not know the order of the activities nor the
other user's endpoint.
"""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, List, Optional, Set, Tuple

from ..markup import DocumentError, may_have
from ..net.deadline import Deadline
from ..net.resolve import is_ip_literal
from ..outcome import Cause, PresenceError, Seen
from ..refusal import raise_redirect, status_error
from ..settings import Account
from ..sip import digest
from ..sip.dialog import Dialog
from ..sip.message import CHALLENGE_HEADER, CREDENTIALS_HEADER, Header, Request, Response
from ..sip.multipart import parse_content_type
from ..sip.uri import split_list
from ..useragent import UserAgent, newest
from . import pidf
from .identity import digest_user

EXPIRES = 120  # seconds; what a killed run leaves behind ends by itself after that
MAX_EXPIRES = 86400  # a server that insists on more than a day is not followed
MAX_HEARD = 100  # notifications that are kept: what was told of another marker may be asked for later
MAX_HEARD_OCTETS = 1024 * 1024  # the same, of all their bodies, which are read again once the time is over
LAST_NOTIFY_LIMIT = 1.0  # seconds; it comes with the answer to the request that ends the subscription

# What a reason to end a subscription (RFC 6665 4.2.2) is as a status; the others are all "subscribe anew".
_STATUS_OF_END = {"rejected": 403, "noresource": 404}


class SimpleEndpoint:
    """A user's endpoint on a connection."""

    # Nothing is to be learnt before a publication: PUBLISH has entity tags where Lync has versions.
    subscribes_to_itself = False

    def __init__(self, agent: UserAgent, account: Account, user_agent: str) -> None:
        self.agent = agent
        self.account = account
        self.remarks: List[str] = []
        self.unread = 0
        self.discarded = 0
        self._user_agent = user_agent
        self.registered = False
        self._register_dialog = self._dialog(account.uri)
        self._subscription: Optional[Dialog] = None
        self._heard: List[Request] = []
        self._ending = False
        self._entity_tag = ""
        self._seen_as = ""
        self._bound = ""
        self._service_route: Tuple[str, ...] = ()
        self._challenges: Dict[int, digest.Challenge] = {}
        self._taken: Set[Tuple[int, str]] = set()
        self._given_up: Set[int] = set()
        self._counts: Dict[str, int] = {}

    @property
    def judged(self) -> bool:
        """Whether the server has taken the password, wherever it asked for it."""
        return bool(self._taken) and not self._given_up

    took_password = judged

    # ------------------------------------------------------------ activities

    async def register(self, deadline: Deadline) -> Tuple[str, ...]:
        """Register; returns what a log should say of it. Raises PresenceError, Redirected."""
        response = await self._patient(
            lambda expires: self._request(
                "REGISTER", f"sip:{self.account.domain}", self._register_dialog, (("Expires", str(expires)),)
            ),
            deadline,
        )
        raise_redirect(response)
        if response.status == 403 and self._challenges:
            forbidden = status_error(response)
            forbidden.detail = "PASSWORD"  # some servers say so of a wrong one
            raise forbidden
        _expect_success(response, "REGISTER")
        self.registered = True
        self._service_route = tuple(part for value in response.all("Service-Route") for part in split_list(value))
        server = response.get("Server") or "a server that does not name itself"
        return ("Authentication: Digest", f"Registered with {server} at {self.agent.connection.peer}")

    async def self_subscribe(self, deadline: Deadline) -> None:
        raise NotImplementedError("see subscribes_to_itself")

    async def subscribe(self, presentity: str, deadline: Deadline) -> None:
        """Become a watcher of `presentity`. Raises PresenceError."""
        dialog = self._subscription = self._dialog(presentity)
        self.agent.dialogs.append(dialog)  # the first NOTIFY may come before the answer
        response = await self._patient(
            lambda expires: self._request(
                "SUBSCRIBE",
                presentity,
                dialog,
                (("Event", "presence"), ("Accept", pidf.CONTENT_TYPE), ("Expires", str(expires))),
            ),
            deadline,
        )
        _expect_success(response, "SUBSCRIBE")
        dialog.establish(response)

    async def publish(self, marker: str, watcher: Account, sent: Callable[[], None], deadline: Deadline) -> None:
        """Publish a document whose note is `marker`, in the place of a former one of ours. Raises PresenceError."""
        dialog = self._dialog(self.account.uri)
        body = pidf.document(self.account.uri, marker)

        def build(expires: int) -> Request:
            sent()
            former = (("SIP-If-Match", self._entity_tag),) if self._entity_tag else ()
            headers = (("Event", "presence"), *former, ("Expires", str(expires)), ("Content-Type", pidf.CONTENT_TYPE))
            return self._request("PUBLISH", self.account.uri, dialog, headers, body)

        response = await self._patient(build, deadline)
        if response.status == 412 and self._entity_tag:  # the former one has ended (RFC 3903 4.4)
            self._entity_tag = ""
            response = await self._patient(build, deadline)
        _expect_success(response, "PUBLISH")
        self._entity_tag = response.get("SIP-ETag") or ""
        if not self._entity_tag:
            self.remarks.append("The server gave the publication no entity tag: it ends by itself, not with this run.")

    async def notified(self, presentity: str, marker: str, deadline: Deadline) -> None:
        """Wait until a document of `presentity` shows `marker`, or has shown it since the subscription.

        Raises TimeoutError, PresenceError.
        """
        assert self._subscription is not None
        if any(_shows(request, presentity, marker) for request in self._heard):
            return
        while True:
            request = await self.agent.notification(self._subscription, deadline)
            self._heard = newest([*self._heard, request], MAX_HEARD, MAX_HEARD_OCTETS)
            if _shows(request, presentity, marker):
                return
            self._end_of_subscription(request)
            self.unread += bool(request.body)

    @property
    def mute(self) -> bool:
        """Whether not even the notification has come that follows every subscription (RFC 6665 4.2.1.2)."""
        return not self._heard

    @property
    def unreadable(self) -> str:
        """Why a notification that has arrived cannot be read, ``""`` where all can be."""
        return next(filter(None, map(_fault, reversed(self._heard))), "")

    async def look(self, presentity: str, marker: str, deadline: Deadline) -> Seen:
        """What a fetch shows of `presentity` (RFC 6665 4.4.3: a subscription of no length). Raises as `notified`."""
        dialog = self._dialog(presentity)
        self.agent.dialogs.append(dialog)
        headers = (("Event", "presence"), ("Accept", pidf.CONTENT_TYPE), ("Expires", "0"))
        response = await self._exchange(lambda: self._request("SUBSCRIBE", presentity, dialog, headers), deadline)
        _expect_success(response, "SUBSCRIBE")
        request = await self.agent.notification(dialog, deadline)
        try:
            shown = _read(request, presentity, marker)
        except DocumentError as error:
            raise PresenceError(Cause.PROTOCOL, f"The presence of {presentity} is {error}.") from None
        return Seen.PUBLICATION if shown else Seen.OTHER if request.body else Seen.NOTHING

    async def withdraw(self, deadline: Deadline) -> None:
        """Take back what was published. Raises PresenceError."""
        if self._entity_tag:
            headers = (("Event", "presence"), ("SIP-If-Match", self._entity_tag), ("Expires", "0"))
            dialog = self._dialog(self.account.uri)
            response = await self._exchange(
                lambda: self._request("PUBLISH", self.account.uri, dialog, headers), deadline
            )
            if response.status != 412:  # it has ended already
                _expect_success(response, "PUBLISH")

    async def unsubscribe(self, deadline: Deadline) -> None:
        """End the subscription to the other user. Raises PresenceError."""
        dialog = self._subscription
        if dialog is not None and dialog.remote_tag:
            headers = (("Event", "presence"), ("Expires", "0"))
            response = await self._exchange(
                lambda: self._request("SUBSCRIBE", dialog.request_uri, dialog, headers), deadline
            )
            # A server that has not even sent the first one does not send the last one either.
            self._ending = response.status < 300 and bool(self._heard)

    async def unregister(self, deadline: Deadline) -> None:
        """Remove the own contact, and no other. Raises PresenceError."""
        if self.registered:
            uri = f"sip:{self.account.domain}"
            headers = (("Expires", "0"),)
            response = await self._exchange(
                lambda: self._request("REGISTER", uri, self._register_dialog, headers, contact=self._bound), deadline
            )
            _expect_success(response, "REGISTER")
            await self._last_notification(deadline)

    async def _last_notification(self, deadline: Deadline) -> None:
        """Answer the NOTIFY that ends the subscription (RFC 6665 4.4.1): a server that waits for it repeats it."""
        with contextlib.suppress(TimeoutError, PresenceError):
            limit = deadline.within(LAST_NOTIFY_LIMIT)
            while self._subscription is not None and self._ending:
                request = await self.agent.notification(self._subscription, limit)
                self._ending = _state(request) != "terminated"

    # -------------------------------------------------------------- messages

    def _dialog(self, remote: str) -> Dialog:
        return Dialog(self.agent.token(32), self.account.uri, self.agent.token(10), remote)

    def _request(
        self,
        method: str,
        uri: str,
        dialog: Dialog,
        headers: Tuple[Header, ...],
        body: bytes = b"",
        contact: str = "",
    ) -> Request:
        agent = self.agent
        user = self.account.address.rpartition("@")[0]
        if not contact:
            contact = f"<sip:{user}@{self._seen_as or agent.connection.local};transport={agent.transport.lower()}>"
        if method == "REGISTER":
            self._bound = contact  # to be removed as it was given, wherever the server sees us afterwards
        preloaded = () if method == "REGISTER" or dialog.remote_tag else self._service_route  # RFC 3608 5
        return Request(
            method,
            uri,
            (
                ("Via", f"{agent.via()};rport"),
                *dialog.headers(method),
                *(("Route", route) for route in preloaded),
                ("Max-Forwards", "70"),  # RFC 3261 8.1.1.6
                ("User-Agent", self._user_agent),
                ("Contact", contact),
                *headers,
            ),
            body,
        )

    async def _patient(self, build: Callable[[int], Request], deadline: Deadline) -> Response:
        """Send a request with a wished lifetime; the server may insist on a longer one, once (RFC 3261 21.4.17)."""
        response = await self._exchange(lambda: build(EXPIRES), deadline)
        if response.status == 423:
            least = response.get("Min-Expires") or ""
            if least.isascii() and least.isdigit() and len(least) < 6 and int(least) <= MAX_EXPIRES:
                response = await self._exchange(lambda: build(int(least)), deadline)
        return response

    async def _exchange(self, build: Callable[[], Request], deadline: Deadline) -> Response:
        """Send a request with the credentials that are known to be wanted; answer a challenge of a server and one of a
        proxy, and each once more where the nonce was stale.
        """
        answered: List[int] = []
        while True:
            response = await self.agent.request(self._signed(build()), deadline)
            self._learn_address(response)
            status = response.status
            if status not in (401, 407):
                if status < 300:
                    self._taken.update((asked, known.realm) for asked, known in self._challenges.items())
                return response
            try:
                challenge = digest.choose(response.all(CHALLENGE_HEADER[status]))
            except digest.DigestError as error:
                text = f"The server asks for a sign-in that is not possible: {error}."
                raise PresenceError(Cause.NO_SCHEME, text, status, detail="digest") from None
            if status in self._given_up or answered.count(status) > challenge.stale:
                break
            self._challenges[status] = challenge
            answered.append(status)
        if (status, challenge.realm) in self._taken:  # the password is right; it is the nonces that nobody takes
            raise status_error(response)
        # The log-off must not try the password again.
        self._given_up.add(status)
        self._challenges.pop(status, None)
        refusal = status_error(response)
        if challenge.stale:  # says that the password was right (RFC 7616 3.3)
            raise refusal
        raise PresenceError(Cause.REFUSED_CREDENTIALS, str(refusal), refusal.status, refusal.diagnostics)

    def _learn_address(self, response: Response) -> None:
        """Behind a NAT the server sees us at another address: that is where it can reach us (RFC 3581 4)."""
        _, params = parse_content_type(response.get("Via") or "")
        host, port = params.get("received", ""), params.get("rport", "")
        if not host or not is_ip_literal(host):
            host = self.agent.connection.local.host
        if port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536:
            self._seen_as = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _signed(self, request: Request) -> Request:
        headers = []
        for status, challenge in self._challenges.items():
            count = self._counts[challenge.nonce] = self._counts.get(challenge.nonce, 0) + 1
            value = digest.credentials(
                challenge,
                request.method,
                request.uri,
                digest_user(self.account),
                self.account.password.reveal(),
                count,
                self.agent.token(16),
            )
            headers.append((CREDENTIALS_HEADER[status], value))
        return request.with_headers(*headers)

    # ---------------------------------------------------------- notification

    def _end_of_subscription(self, request: Request) -> None:
        _, _, params = (request.get("Subscription-State") or "").lower().partition(";")
        state = _state(request)
        if state == "terminated":
            reason = params.partition("reason=")[2].partition(";")[0].strip() or "no reason given"
            status = _STATUS_OF_END.get(reason, 481)
            raise PresenceError(Cause.STATUS, f"The subscription was ended ({reason}).", status, detail=reason)
        remark = f"The subscription of {self.account.uri} waits for the publisher's permission (pending)."
        if state == "pending" and remark not in self.remarks:
            self.remarks.append(remark)


def _shows(request: Request, presentity: str, marker: str) -> bool:
    """Whether a notification shows what was published with `marker`; one that cannot be read does not."""
    try:
        return may_have(request.body, marker.rpartition(" ")[2]) and _read(request, presentity, marker)
    except DocumentError:
        return False


def _fault(request: Request) -> str:
    """Why a notification cannot be read, ``""`` where it can."""
    try:
        _read(request, "", "")
    except DocumentError as error:
        return str(error)
    return ""


def _read(request: Request, presentity: str, marker: str) -> bool:
    """As `_shows`. Raises DocumentError."""
    event = (request.get("Event") or "").partition(";")[0].strip().lower()
    if event != "presence" or not request.body:
        return False
    kind, _ = parse_content_type(request.get("Content-Type") or "")
    if kind != pidf.CONTENT_TYPE:
        raise DocumentError(f"{kind or 'a body of no type'}, not {pidf.CONTENT_TYPE}")
    return pidf.shows(request.body, presentity, marker)


def _state(request: Request) -> str:
    return (request.get("Subscription-State") or "").partition(";")[0].strip().lower()


def _expect_success(response: Response, method: str) -> None:
    if response.status < 300:
        return
    error = status_error(response)
    if response.status < 400:
        where = ", ".join(part for value in response.all("Contact") for part in split_list(value)) or "nowhere"
        error = PresenceError(Cause.REDIRECT, f"{error}: {method} is to go to {where}.", response.status)
    raise error
