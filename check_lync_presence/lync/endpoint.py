"""One login of one user on Lync (MS-SIPREGE, MS-PRES): the activities of the round trip as messages.

Owns which message belongs to which activity, and what this endpoint has published. Must not know the order of the
activities nor the other user's endpoint.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from ..markup import DocumentError, may_have
from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError, Seen
from ..refusal import status_error
from ..settings import Account
from ..sip.dialog import Dialog
from ..sip.message import Header, Message, Request, Response
from ..sip.uri import AddressError, parse_name_addr, same_address, split_list
from ..useragent import UserAgent, newest
from ..value import NamedTuple
from . import categories
from .categories import Publication, SelfPresence
from .guard import AssociationGuard
from .identity import instance_id, machine_instance
from .mechanism import SignInOptions
from .sign_in import sign_in

_METHODS = "INVITE, MESSAGE, INFO, SUBSCRIBE, OPTIONS, BYE, CANCEL, NOTIFY, ACK, REFER, BENOTIFY"
_ROAMING_SELF = "vnd-microsoft-roaming-self"
_ENHANCED = "msrtc-event-categories"
_WITH_PASSWORD = ("NTLM", "Kerberos")  # ways to sign in of which a wrong password would have been refused

MAX_SKEW = 300.0  # MS-SIPAE: Kerberos tolerates 5 minutes, NTLM 15
MAX_HEARD = 100  # notifications that are kept: what was told of another marker may be asked for later
MAX_HEARD_OCTETS = 1024 * 1024  # the same, of all their bodies, which are read again once the time is over
TIMER_N = 32.0  # RFC 6665 4.1.2.4: 64 × T1 for the notification that belongs to a subscription

# What a server may answer to an instance number that it does not like; anything else is not about the number.
_REFUSED_INSTANCE = (400, 403, 413, 488, 606)


class Registration(NamedTuple):
    """What the 200 to REGISTER told: the Contact for later requests, and whether the
    server takes batched subscriptions."""

    contact: str
    batches: bool


class LyncEndpoint:
    """A user's endpoint on a connection; `epid` is its id, eight hexadecimal digits or more, fresh for every run."""

    subscribes_to_itself = True  # to learn what it has published, and in which versions

    def __init__(self, agent: UserAgent, account: Account, epid: str, user_agent: str, options: SignInOptions) -> None:
        self.agent = agent
        self.account = account
        self.remarks: List[str] = []
        self.registration: Optional[Registration] = None
        self.unread = 0
        self._epid = epid
        self._instance = f"urn:uuid:{instance_id(epid)}"
        self._user_agent = user_agent
        self._options = options
        self._signed_in = False
        self.judged = False
        self.took_password = False
        self._guard: Optional[AssociationGuard] = None
        self._opaque_contact = agent.token(10)
        self._register_dialog = self._dialog(account.uri)
        self._subscription: Optional[Dialog] = None
        self._self: SelfPresence = SelfPresence((), None)
        self._heard: List[Request] = []
        self._published: List[Publication] = []
        self._replaced: List[Publication] = []

    # ------------------------------------------------------------ activities

    async def register(self, deadline: Deadline) -> Tuple[str, ...]:
        """Sign in and register; returns what a log should say of it.

        Raises PresenceError, Redirected, SettingsError.
        """
        self.agent.dialogs.append(self._register_dialog)
        passed_over: List[str] = []
        try:
            signed_in = await sign_in(
                self.agent, self.account, self._options, self._register_request, deadline, passed_over
            )
        except PresenceError as error:
            if error.cause is Cause.REFUSED_CREDENTIALS:  # then it matters that the stronger one was not possible
                self.remarks += passed_over
            self._signed_in = error.detail == "OPEN"  # registered all the same
            raise
        response, self._guard, self._signed_in = signed_in.response, signed_in.guard, True
        self.judged = True
        self.took_password = signed_in.scheme in _WITH_PASSWORD
        skew = abs(signed_in.clock_difference or 0.0)
        if skew > MAX_SKEW:
            self.remarks.append(f"The clocks of the server and of this host are {skew / 60:.0f} minutes apart.")
        supported = {part.strip().lower() for value in response.all("Supported") for part in value.split(",")}
        events = {part.strip().lower() for value in response.all("Allow-Events") for part in value.split(",")}
        if _ROAMING_SELF not in events or _ENHANCED not in supported:
            text = "Registered without enhanced presence."
            raise PresenceError(Cause.NOT_ENABLED, text, response.status)
        if 'is-connected-to-primary="no"' in (response.get("presence-state") or "").lower():
            self.remarks.append(
                f"{self.account.uri} is served by a backup registrar (survivable mode), where presence does not work."
            )
        self.registration = Registration(self._gruu(response), "adhoclist" in supported)
        server = response.get("Server") or "a server that does not name itself"
        scheme = f"Authentication: {signed_in.scheme}"
        return (*passed_over, scheme, f"Registered with {server} at {self.agent.connection.peer}")

    async def self_subscribe(self, deadline: Deadline) -> None:
        """Learn the own publications and who may see them. Raises PresenceError."""
        dialog = self._dialog(self.account.uri)
        self.agent.dialogs.append(dialog)
        headers = (
            ("Event", _ROAMING_SELF),
            ("Accept", categories.SELF_TYPE),
            ("Supported", "com.microsoft.autoextend"),
            *_NOTIFICATION_HEADERS,
            ("Content-Type", categories.SELF_TYPE),
        )
        body = categories.self_subscription_document()
        response = await self._exchange(lambda: self._request("SUBSCRIBE", dialog, headers, body), deadline)
        _expect_success(response)
        dialog.establish(response)
        body = response.body
        if not _piggybacked(response):
            body = await self._first_notification(dialog, deadline)
        try:
            self._self = categories.parse_self(body)
        except DocumentError as error:
            raise PresenceError(Cause.PROTOCOL, f"The user's own presence is {error}.") from None

    async def subscribe(self, presentity: str, deadline: Deadline) -> None:
        """Become a watcher of `presentity`. Raises PresenceError."""
        assert self.registration is not None
        if self.registration.batches:
            response = await self._subscribe(self.account.uri, presentity, deadline, _BATCH_HEADERS)
            listed = next((item for item in self._resources(response) if same_address(item.uri, presentity)), None)
            if listed is None or listed.state == "active":
                return
            if listed.state != "resubscribe":
                reason = ", ".join(filter(None, (listed.state, listed.reason)))
                text = f"The server does not let {self.account.uri} watch {presentity} ({reason})."
                raise PresenceError(Cause.STATUS, text, response.status)
            if listed.pool:
                await self._subscribe(f"sip:{listed.pool}", presentity, deadline, _BATCH_HEADERS)
                return
        await self._subscribe(presentity, presentity, deadline, ())

    async def publish(self, marker: str, watcher: Account, sent: Callable[[], None], deadline: Deadline) -> None:
        """Publish a note with `marker`, and a state, under instance numbers of this endpoint. Raises PresenceError.

        `sent` is called each time the publication is about to leave. A second publication takes the place of the first.
        """
        if self._published:
            note = categories.note(marker)
            items = [item._replace(content=note) if item.category == "note" else item for item in self._published]
            response = await self._publish(items, sent, deadline)
            if response.status >= 300:
                raise _publication_error(response)
            return
        await self._let_see(watcher, deadline)
        own = machine_instance(self._epid)
        containers = self._note_containers(watcher)
        states = [
            Publication("state", own, container, 0, "endpoint", categories.machine_state(categories.AVAILABLE))
            for container in categories.STATE_CONTAINERS
        ]
        notes = [
            Publication("note", own, container, 0, "endpoint", categories.note(marker)) for container in containers
        ]
        response = await self._publish(states + notes, sent, deadline)
        if response.status in _REFUSED_INSTANCE:
            notes = [self._usual_note(container, marker) for container in containers]
            self._replaced = [self._former_note(item) for item in notes]
            response = await self._publish(states + notes, sent, deadline)
            if response.status < 300:
                self.remarks.append(
                    f"The server takes no note of an endpoint's own; the note of {self.account.uri} was replaced "
                    "for the duration of the check."
                )
        if response.status >= 300:
            raise _publication_error(response)

    async def notified(self, presentity: str, marker: str, deadline: Deadline) -> None:
        """Wait until a note of `presentity` shows `marker`, or has shown it since the subscription.

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
            self.unread += 1

    @property
    def mute(self) -> bool:
        """False: the first notification is in the answer to the subscription."""
        return False

    @property
    def unreadable(self) -> str:
        """Why a notification that has arrived cannot be read, ``""`` where all can be."""
        return next(filter(None, map(_fault, reversed(self._heard))), "")

    async def look(self, presentity: str, marker: str, deadline: Deadline) -> Seen:
        """What a fresh subscription shows of `presentity`. Raises PresenceError, TimeoutError."""
        assert self.registration is not None
        former = self._subscription
        try:
            target, extra = (self.account.uri, _BATCH_HEADERS) if self.registration.batches else (presentity, ())
            response = await self._subscribe(target, presentity, deadline, extra)
            carrier: Message = response
            if not _piggybacked(response) and self._subscription is not None:
                carrier = await self.agent.notification(self._subscription, deadline)
        finally:
            self._subscription = former
        try:
            told = _told_of(carrier, presentity)
        except DocumentError as error:
            raise PresenceError(Cause.PROTOCOL, f"The presence of {presentity} is {error}.") from None
        if any(item.note == marker for item in told):
            return Seen.PUBLICATION
        return Seen.OTHER if told else Seen.NOTHING

    @property
    def registered(self) -> bool:
        """Whether there is something to sign off."""
        return self._signed_in

    @property
    def discarded(self) -> int:
        """How many messages of the server were thrown away because they were not signed."""
        return self._guard.unsigned if self._guard is not None else 0

    async def withdraw(self, deadline: Deadline) -> None:
        """Take back what was published. Raises PresenceError."""
        former = {item.key: item.content for item in self._replaced}
        items = [item._replace(content=former.get(item.key, "")) for item in self._published]
        if not items:
            return
        response = await self._put(items, deadline)
        if response.status == 409:
            # Who has changed the user's usual note since has the last word.
            ours = [item for item in _repaired(items, response) if item.expire_type == "endpoint"]
            response = await self._put(ours, deadline)
        _expect_success(response)

    async def unsubscribe(self, deadline: Deadline) -> None:
        """End the subscription to the other user. Raises PresenceError."""
        dialog = self._subscription
        if dialog is None:
            return
        headers = (("Event", "presence"), ("Expires", "0"))
        target = dialog.remote_target
        await self._exchange(lambda: self._request("SUBSCRIBE", dialog, headers, uri=target), deadline)

    async def unregister(self, deadline: Deadline) -> None:
        """End the registration, and with it everything that is bound to this endpoint. Raises PresenceError."""
        if self.registered:
            _expect_success(await self._exchange(lambda: self._register_request((("Expires", "0"),)), deadline))

    # -------------------------------------------------------------- messages

    def _dialog(self, remote: str) -> Dialog:
        agent = self.agent
        return Dialog(agent.token(32), self.account.uri, agent.token(10), remote, f";epid={self._epid}")

    def _request(
        self,
        method: str,
        dialog: Dialog,
        headers: Tuple[Header, ...],
        body: bytes = b"",
        uri: Optional[str] = None,
    ) -> Request:
        assert self.registration is not None
        return Request(
            method,
            uri or dialog.remote,
            (
                ("Via", self.agent.via()),
                *dialog.headers(method),
                ("Max-Forwards", "70"),  # RFC 3261 8.1.1.6
                ("User-Agent", self._user_agent),
                ("Contact", f"<{self.registration.contact}>"),
                *headers,
            ),
            body,
        )

    def _register_request(self, extra: Tuple[Header, ...] = ()) -> Request:
        agent = self.agent
        contact = (
            f"<sip:{agent.connection.local};transport={agent.transport.lower()};ms-opaque={self._opaque_contact}>"
            f';methods="{_METHODS}";proxy=replace;+sip.instance="<{self._instance}>"'
        )
        return Request(
            "REGISTER",
            f"sip:{self.account.domain}",
            (
                ("Via", agent.via()),
                *self._register_dialog.headers("REGISTER"),
                ("Max-Forwards", "70"),
                ("User-Agent", self._user_agent),
                ("Contact", contact),
                ("Supported", "gruu-10, adhoclist, msrtc-event-categories, com.microsoft.msrtc.presence"),
                ("Event", "registration"),
                ("Allow-Events", "presence"),
                ("ms-keep-alive", "UAC;hop-hop=yes"),
                *extra,
            ),
        )

    async def _exchange(self, build: Callable[[], Request], deadline: Deadline) -> Response:
        """Send a request and return its final response; a challenge is answered once, by signing anew."""
        response = await self.agent.request(build(), deadline)
        if response.status in (401, 407):
            response = await self.agent.request(build(), deadline)
        return response

    async def _first_notification(self, dialog: Dialog, deadline: Deadline) -> bytes:
        limit = deadline.within(TIMER_N)
        try:
            return (await self.agent.notification(dialog, limit)).body
        except TimeoutError:
            text = f"The user's own presence is not received within {limit.span} secs."
            raise PresenceError(Cause.NO_ANSWER, text, detail="SUBSCRIBE") from None

    async def _subscribe(self, uri: str, presentity: str, deadline: Deadline, extra: Tuple[Header, ...]) -> Response:
        dialog = self._subscription = self._dialog(uri)
        self.agent.dialogs.append(dialog)
        headers = (
            *extra,
            ("Accept", f"{categories.CATEGORIES_TYPE}, {categories.LIST_TYPE}, multipart/related"),
            *_NOTIFICATION_HEADERS,
            ("Event", "presence"),
            ("Content-Type", categories.SUBSCRIPTION_TYPE),
        )
        body = categories.subscription_document(self.account.uri, presentity)
        response = await self._exchange(lambda: self._request("SUBSCRIBE", dialog, headers, body), deadline)
        _expect_success(response)
        dialog.establish(response)
        return response

    async def _service(self, content_type: str, body: bytes, deadline: Deadline) -> Response:
        headers = (("Content-Type", content_type),)
        return await self._exchange(
            lambda: self._request("SERVICE", self._dialog(self.account.uri), headers, body), deadline
        )

    # ----------------------------------------------------------- publication

    async def _publish(self, items: List[Publication], sent: Callable[[], None], deadline: Deadline) -> Response:
        """Publish `items`; a version conflict is repaired once, with the versions that the server names."""
        for repaired in (False, True):
            # Whatever becomes of the answer, what has left has to be taken back.
            self._published = [item._replace(version=item.version + 1) for item in items]
            sent()
            response = await self._put(items, deadline)
            if response.status != 409 or repaired:
                break
            items = _repaired(items, response)
        if response.status >= 300:
            self._published = []
        elif any(item.expire_type != "endpoint" for item in items):
            # What outlives this endpoint must be put back for certain: its versions are taken from the server.
            told = self._told_versions(response)
            self._published = [item._replace(version=told.get(item.key, item.version)) for item in self._published]
        return response

    async def _put(self, items: List[Publication], deadline: Deadline) -> Response:
        body = categories.publish_document(self.account.uri, items)
        return await self._service(categories.PUBLISH_TYPE, body, deadline)

    def _told_versions(self, response: Response) -> Dict[Tuple[str, int, int], int]:
        try:
            told = categories.parse_self(response.body).categories
        except DocumentError:
            return {}  # the body may be missing; then the version is the next one
        return {
            (item.name, item.instance, item.container): item.version
            for item in told
            if item.instance is not None and item.container is not None
        }

    async def _let_see(self, watcher: Account, deadline: Deadline) -> None:
        """Put the default member into the container for colleagues where a fresh account lacks it, as clients do."""
        containers = self._self.containers
        if containers is None or watcher.domain.lower() != self.account.domain.lower():
            return
        if self._container_of(watcher) is None:
            known = containers.get(categories.COLLEAGUES)
            body = categories.add_colleagues_document(known.version if known else 0)
            response = await self._service(categories.MEMBERS_TYPE, body, deadline)
            if response.status >= 300:  # a server may know the default members by itself: the notification decides
                self.remarks.append(
                    f"{watcher.uri} cannot be added to who sees {self.account.uri}: {status_error(response)}."
                )
        elif self._container_of(watcher) == categories.BLOCKED:
            self.remarks.append(f"{self.account.uri} has blocked {watcher.uri}: it stands in container 32000.")

    def _container_of(self, watcher: Account) -> Optional[int]:
        return categories.container_of(
            watcher.domain, watcher.address, self.account.domain, self._self.containers or {}
        )

    def _note_containers(self, watcher: Account) -> Tuple[int, ...]:
        usual = categories.NOTE_CONTAINERS
        seen = self._container_of(watcher)
        return usual if seen is None or seen in usual or seen == categories.BLOCKED else (*usual, seen)

    def _usual_note(self, container: int, marker: str) -> Publication:
        known = self._self.find("note", categories.USUAL_NOTE_INSTANCE, container)
        version = known.version if known is not None else 0
        content = categories.note(marker)
        return Publication("note", categories.USUAL_NOTE_INSTANCE, container, version, "static", content)

    def _former_note(self, item: Publication) -> Publication:
        known = self._self.find(item.category, item.instance, item.container)
        return item._replace(content=categories.note(known.note) if known is not None and known.note else "")

    # ---------------------------------------------------------- notification

    def _resources(self, response: Response) -> Tuple[categories.Resource, ...]:
        if not _piggybacked(response):
            return ()
        try:
            return categories.parse_resources(response.get("Content-Type") or "", response.body)
        except DocumentError as error:
            raise PresenceError(Cause.PROTOCOL, f"The answer to SUBSCRIBE has {error}.") from None

    def _gruu(self, response: Response) -> str:
        """The GRUU that the server gave to this very endpoint, else the plain address."""
        for value in response.all("Contact"):
            for part in split_list(value):
                try:
                    params = parse_name_addr(part).params
                except AddressError:
                    continue
                if params.get("+sip.instance", "").strip("<>").lower() == self._instance and params.get("gruu"):
                    return params["gruu"]
        return self.account.uri


_NOTIFICATION_HEADERS = (
    ("Supported", "ms-piggyback-first-notify"),
    ("Supported", "ms-benotify"),
    ("Proxy-Require", "ms-benotify"),
)
_BATCH_HEADERS = (("Require", "adhoclist, categoryList"), ("Supported", "eventlist"))


def _shows(message: Message, presentity: str, marker: str) -> bool:
    """Whether a notification has a note of `presentity` with `marker`; one that cannot be read has not."""
    try:
        return may_have(message.body, marker) and any(item.note == marker for item in _told_of(message, presentity))
    except DocumentError:
        return False


def _fault(message: Message) -> str:
    """Why a notification cannot be read, ``""`` where it can."""
    try:
        _told_of(message, "")
    except DocumentError as error:
        return str(error)
    return ""


def _told_of(message: Message, presentity: str) -> List[categories.Category]:
    """What a notification, or an answer that carries one, tells of `presentity`: categories with a content.

    Raises DocumentError.
    """
    if (message.get("Event") or "").partition(";")[0].strip().lower() != "presence":
        return []
    told = categories.parse_notification(message.get("Content-Type") or "", message.body)
    found = [presence for presence in told.presences if same_address(presence.uri, presentity)]
    return [item for presence in found for item in presence.categories if item.content is not None]


def _piggybacked(response: Response) -> bool:
    return response.get("ms-piggyback-cseq") is not None and bool(response.body)


def _expect_success(response: Response) -> None:
    if response.status >= 300:
        raise status_error(response)


def _publication_error(response: Response) -> PresenceError:
    error = status_error(response)
    error.detail = categories.fault_code(response.body)
    return error


def _repaired(items: List[Publication], response: Response) -> List[Publication]:
    """`items` with the versions that a 409 names."""
    try:
        conflicts = categories.parse_conflicts(response.body)
    except DocumentError:
        return items
    current = {conflict.position: conflict.current_version for conflict in conflicts}
    return [item._replace(version=current.get(index, item.version)) for index, item in enumerate(items)]
