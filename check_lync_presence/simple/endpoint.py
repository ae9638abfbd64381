"""One login of one user on a SIMPLE presence server (RFC 3261, 3856, 3903): the activities as messages.

Owns which message belongs to which activity, and what was published. Must not know the order of the activities nor the
other user's endpoint.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from ..markup import DocumentError
from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError, Seen
from ..refusal import status_error
from ..settings import Account
from ..sip import digest
from ..sip.dialog import Dialog
from ..sip.message import CHALLENGE_HEADER, CREDENTIALS_HEADER, Header, Request, Response
from ..sip.multipart import parse_content_type
from ..useragent import UserAgent
from . import pidf

EXPIRES = 120  # seconds; what a killed run leaves behind ends by itself after that
MAX_EXPIRES = 86400  # a server that insists on more than a day is not followed
MAX_ROUNDS = 3  # challenges to one request: one of a proxy, one of the server, one stale nonce

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
        self._entity_tag = ""
        self._challenges: Dict[int, digest.Challenge] = {}
        self._counts: Dict[str, int] = {}

    # ------------------------------------------------------------ activities

    async def register(self, deadline: Deadline) -> Tuple[str, ...]:
        """Register; returns what a log should say of it. Raises PresenceError."""
        response = await self._patient(
            lambda expires: self._request(
                "REGISTER", f"sip:{self.account.domain}", self._register_dialog, (("Expires", str(expires)),)
            ),
            deadline,
        )
        self.registered = True
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
        dialog.establish(response)

    async def publish(self, marker: str, watcher: Account, sent: Callable[[], None], deadline: Deadline) -> None:
        """Publish a document whose note is `marker`. Raises PresenceError."""
        dialog = self._dialog(self.account.uri)
        body = pidf.document(self.account.uri, marker, f"p{self.agent.token(12)}")

        def build(expires: int) -> Request:
            sent()
            headers = (("Event", "presence"), ("Expires", str(expires)), ("Content-Type", pidf.CONTENT_TYPE))
            return self._request("PUBLISH", self.account.uri, dialog, headers, body)

        response = await self._patient(build, deadline)
        self._entity_tag = response.get("SIP-ETag") or ""
        if not self._entity_tag:
            self.remarks.append("The server gave the publication no entity tag: it ends by itself, not with this run.")

    async def notified(self, presentity: str, marker: str, deadline: Deadline) -> None:
        """Wait until a document of `presentity` shows `marker`. Raises TimeoutError, PresenceError."""
        assert self._subscription is not None
        while True:
            request = await self.agent.notification(self._subscription, deadline)
            if self._shows(request, presentity, marker):
                return
            self._end_of_subscription(request)
            if request.body:
                self.unread += 1

    async def look(self, presentity: str, marker: str, deadline: Deadline) -> Seen:
        """What a fetch shows of `presentity` (RFC 6665 4.4.3: a subscription of no length). Raises as `notified`."""
        dialog = self._dialog(presentity)
        self.agent.dialogs.append(dialog)
        headers = (("Event", "presence"), ("Accept", pidf.CONTENT_TYPE), ("Expires", "0"))
        response = await self._exchange(lambda: self._request("SUBSCRIBE", presentity, dialog, headers), deadline)
        if response.status >= 300:
            raise status_error(response)
        request = await self.agent.notification(dialog, deadline)
        if self._shows(request, presentity, marker):
            return Seen.PUBLICATION
        return Seen.OTHER if request.body else Seen.NOTHING

    async def withdraw(self, deadline: Deadline) -> None:
        """Take back what was published. Raises PresenceError."""
        if self._entity_tag:
            headers = (("Event", "presence"), ("SIP-If-Match", self._entity_tag), ("Expires", "0"))
            dialog = self._dialog(self.account.uri)
            response = await self._exchange(
                lambda: self._request("PUBLISH", self.account.uri, dialog, headers), deadline
            )
            if response.status >= 300 and response.status != 412:  # 412: it has ended already
                raise status_error(response)

    async def unsubscribe(self, deadline: Deadline) -> None:
        """End the subscription to the other user. Raises PresenceError."""
        dialog = self._subscription
        if dialog is not None and dialog.remote_tag:
            headers = (("Event", "presence"), ("Expires", "0"))
            target = dialog.remote_target or dialog.remote
            await self._exchange(lambda: self._request("SUBSCRIBE", target, dialog, headers), deadline)

    async def unregister(self, deadline: Deadline) -> None:
        """Remove the own contact, and no other. Raises PresenceError."""
        if self.registered:
            uri = f"sip:{self.account.domain}"
            headers = (("Expires", "0"),)
            response = await self._exchange(
                lambda: self._request("REGISTER", uri, self._register_dialog, headers), deadline
            )
            if response.status >= 300:
                raise status_error(response)

    # -------------------------------------------------------------- messages

    def _dialog(self, remote: str) -> Dialog:
        return Dialog(self.agent.token(32), self.account.uri, self.agent.token(10), remote)

    def _request(
        self, method: str, uri: str, dialog: Dialog, headers: Tuple[Header, ...], body: bytes = b""
    ) -> Request:
        agent = self.agent
        user = self.account.address.rpartition("@")[0]
        contact = f"<sip:{user}@{agent.connection.local};transport={agent.transport.lower()}>"
        return Request(
            method,
            uri,
            (
                ("Via", f"{agent.via()};rport"),
                *dialog.headers(method),
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
        if response.status >= 300:
            raise status_error(response)
        return response

    async def _exchange(self, build: Callable[[], Request], deadline: Deadline) -> Response:
        """Send a request with the credentials that are known to be wanted; answer challenges, each nonce once."""
        answered: List[str] = []
        for _ in range(MAX_ROUNDS + 1):
            response = await self.agent.request(self._signed(build()), deadline)
            if response.status not in (401, 407):
                return response
            try:
                challenge = digest.choose(response.all(CHALLENGE_HEADER[response.status]))
            except digest.DigestError as error:
                text = f"The server asks for a sign-in that is not possible: {error}."
                raise PresenceError(Cause.NO_SCHEME, text, response.status, detail="digest") from None
            known = self._challenges.get(response.status)
            if known is not None and known.nonce in answered and not challenge.stale:
                break
            self._challenges[response.status] = challenge
            answered.append(challenge.nonce)
        refusal = status_error(response)
        if challenge.stale:  # says that the password was right (RFC 7616 3.3)
            raise refusal
        raise PresenceError(Cause.REFUSED_CREDENTIALS, str(refusal), refusal.status, refusal.diagnostics)

    def _signed(self, request: Request) -> Request:
        headers = []
        for status, challenge in self._challenges.items():
            count = self._counts[challenge.nonce] = self._counts.get(challenge.nonce, 0) + 1
            value = digest.credentials(
                challenge,
                request.method,
                request.uri,
                self._digest_user(),
                self.account.password.reveal(),
                count,
                self.agent.token(16),
            )
            headers.append((CREDENTIALS_HEADER[status], value))
        return request.with_headers(*headers)

    def _digest_user(self) -> str:
        # Where no logon name was given it is the address, and Digest knows the user by the part before the @.
        account = self.account
        return account.address.rpartition("@")[0] if account.user == account.address else account.user

    # ---------------------------------------------------------- notification

    def _shows(self, request: Request, presentity: str, marker: str) -> bool:
        event = (request.get("Event") or "").partition(";")[0].strip().lower()
        kind, _ = parse_content_type(request.get("Content-Type") or "")
        if event != "presence" or kind != pidf.CONTENT_TYPE:
            return False
        try:
            return pidf.shows(request.body, presentity, marker)
        except DocumentError:
            return False

    def _end_of_subscription(self, request: Request) -> None:
        state = (request.get("Subscription-State") or "").lower()
        name, _, params = state.partition(";")
        if name.strip() == "terminated":
            reason = params.partition("reason=")[2].partition(";")[0].strip() or "no reason given"
            status = _STATUS_OF_END.get(reason, 481)
            raise PresenceError(Cause.STATUS, f"The server ended the subscription ({reason}).", status, detail=reason)
        remark = f"The subscription of {self.account.uri} waits for the publisher's permission (pending)."
        if name.strip() == "pending" and remark not in self.remarks:
            self.remarks.append(remark)
