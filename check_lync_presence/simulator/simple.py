"""A SIMPLE server: registrar, presence agent, event state compositor (RFC 3261, RFC 3856, RFC 3903, RFC 6665).

Messages of clients in, messages to clients out, without a socket; all front ends of a pool share one of these. Owns the
users' state and the answers. Must not know sockets or clocks, nor how Digest is computed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ..markup import DocumentError
from ..sip.message import CHALLENGE_HEADER, CREDENTIALS_HEADER, Header, Message, Request, Response, reason_phrase
from ..sip.multipart import parse_content_type
from ..sip.uri import AddressError, parse_name_addr, parse_uri, split_list
from . import pidf
from .accounts import Person
from .digest import Claim, Digest, Verdict
from .faults import Faults
from .link import Link, Outgoing, expires, host_port, name_addr, redirection
from .xmltext import bomb

SERVER = "lync-presence-simulator (SIMPLE)"
METHODS = "REGISTER, SUBSCRIBE, PUBLISH, OPTIONS"
PRESENCE = "presence"
# Seconds that registrations, subscriptions and publications live. Less than an hour may be refused (RFC 3261 10.3).
SHORTEST, USUAL, LONGEST = 60, 3600, 7200
HEAD_START = 0.2  # seconds between a notification and the answer that it overtakes
MAX_EACH = 100  # contacts, publications, subscriptions of one user
MAX_BODY = 32 * 1024  # octets of one publication

_ACCEPTED = {"*/*", "application/*", pidf.CONTENT_TYPE}
_REASONS = {423: "Interval Too Brief"}  # RFC 3261 21.4.17; pyVoIP has it otherwise


@dataclass
class Binding:
    """Where a user is registered: the Contact as written, and the REGISTER that said so last."""

    uri: str
    link: Link
    call_id: str
    cseq: int
    expires_at: float


@dataclass
class Publication:
    """What a user has published under one entity tag. `only_at` is the front end that keeps it to itself, if any."""

    document: pidf.Document
    previous: pidf.Document
    expires_at: float
    only_at: str


@dataclass
class User(Person):
    """A user of the server, and everything that is known of him. Publications are by entity tag."""

    bindings: Dict[str, Binding] = field(default_factory=dict)
    publications: Dict[str, Publication] = field(default_factory=dict)
    answers: Dict[str, int] = field(default_factory=dict)

    @property
    def digest_name(self) -> str:
        """Where no logon name was given it is the address, and Digest knows the user by the part before the @."""
        _, _, address = self.address.partition(":")
        return address.partition("@")[0] if self.logon == address else self.logon


@dataclass
class Subscription:
    """A dialog in which `watcher` is told of `presentity`; `target` is where its requests go."""

    watcher: User
    presentity: User
    link: Link
    call_id: str
    remote_tag: str
    local_tag: str
    remote_cseq: int
    target: str
    expires_at: float
    local_cseq: int = 0


class Asked(NamedTuple):
    """A request whose sender has proven to be `user`."""

    link: Link
    request: Request
    user: User
    now: float


class SimpleFrontEnd:
    """The front ends of a pool, which have all state in common. Times are Unix seconds."""

    def __init__(self, users: Iterable[User], rng: random.Random) -> None:
        self.users = {user.key: user for user in users}
        self.subscriptions: Dict[Tuple[str, str], Subscription] = {}  # by Call-ID and the watcher's tag
        self._rng = rng
        self._digest = Digest(self._token)

    def receive(self, link: Link, message: Message, now: float) -> List[Outgoing]:
        """What goes out because of `message`, in order."""
        if isinstance(message, Response):
            self._note_answer(message)
            return []
        if message.method in ("ACK", "CANCEL"):
            return []
        if message.method == "OPTIONS":
            return [self._answer(link, message, 200, "other", ("Allow", METHODS))]
        handlers = {"REGISTER": self._register, "SUBSCRIBE": self._subscribe, "PUBLISH": self._publish}
        if message.method not in handlers:
            return [self._answer(link, message, 405, "other", ("Allow", METHODS))]
        obstacle = self._obstacle(link, message) or self._unproven(link, message, now)
        if obstacle is not None:
            return [obstacle]
        user = self.users[_sender(message)]
        return handlers[message.method](Asked(link, message, user, now))

    def closed(self, link: Link, now: float) -> List[Outgoing]:
        """What goes out because a connection is gone: nothing, but who cannot be notified is no watcher any more."""
        self.subscriptions = {key: item for key, item in self.subscriptions.items() if item.link is not link}
        return []

    def tick(self, now: float) -> List[Outgoing]:
        """What goes out because time has passed."""
        told: List[Outgoing] = []
        for key, subscription in list(self.subscriptions.items()):
            if subscription.expires_at <= now:
                del self.subscriptions[key]
                told.append(self._notification(subscription, now, "last-notification", "terminated;reason=timeout"))
        for user in self.users.values():
            before = len(user.bindings) + len(user.publications)
            user.bindings = {key: item for key, item in user.bindings.items() if item.expires_at > now}
            user.publications = {key: item for key, item in user.publications.items() if item.expires_at > now}
            if len(user.bindings) + len(user.publications) < before:
                told += self._announce(user, now)
        return told

    def registered(self) -> Set[Link]:
        """The connections that somebody has registered or subscribed on."""
        registered = {binding.link for user in self.users.values() for binding in user.bindings.values()}
        return registered | {subscription.link for subscription in self.subscriptions.values()}

    def census(self) -> Dict[str, Dict[str, Any]]:
        """What is there, by user: to prove that a client left nothing behind."""
        return {
            user.address: {
                "endpoints": len(user.bindings),
                "publications": len(user.publications),
                "subscriptions": sum(item.watcher is user for item in self.subscriptions.values()),
                "answers": user.answers,
            }
            for user in self.users.values()
        }

    # ------------------------------------------------------------------ Digest

    def _obstacle(self, link: Link, request: Request) -> Optional[Outgoing]:
        """The answer to a request that does not get as far as a challenge."""
        if not name_addr(request, "From").tag:
            return self._answer(link, request, 400, "other")
        if request.method == "REGISTER" and "service-unavailable" in link.faults:
            return self._answer(link, request, 503, "register", ("Retry-After", "30"))
        if request.method == "REGISTER" and "server-timeout" in link.faults:
            return self._answer(link, request, 504, "register")
        return None

    def _unproven(self, link: Link, request: Request, now: float) -> Optional[Outgoing]:
        """The challenge to a sender who has not proven who he is; None if he has."""
        sender = _sender(request)
        user, realm = self.users.get(sender), sender.rpartition("@")[2]
        status = 401 if request.method == "REGISTER" and "proxy-authentication" not in link.faults else 407
        verdict = Verdict.NONE
        if user is not None:
            claim = Claim(user.digest_name, realm, user.password.reveal())
            given = request.all(CREDENTIALS_HEADER[status])
            verdict = self._digest.judge(given, request.method, request.uri, claim, link.faults, now)
            if verdict is Verdict.RIGHT and not link.faults.strikes("wrong-password", user.roles):
                return None
        stale = verdict is Verdict.STALE
        challenges = self._digest.challenges(realm, link.faults, stale, now)
        name = CHALLENGE_HEADER[status]
        return self._answer(link, request, status, "challenge", *((name, value) for value in challenges))

    # ---------------------------------------------------------------- REGISTER

    def _register(self, asked: Asked) -> List[Outgoing]:
        """Add, refresh, remove or list contacts (RFC 3261 10.3)."""
        link, request, user, now = asked
        activity = "unregister" if expires(request) == 0 else "register"

        def say(status: int, *headers: Header) -> List[Outgoing]:
            return [self._answer(link, request, status, activity, *headers)]

        if link.faults.strikes("account-unknown", user.roles):
            return say(404)
        foreign = _address(name_addr(request, "To").uri) != user.key
        if foreign or link.faults.strikes("account-not-allowed", user.roles):
            return say(403)
        elsewhere = redirection(link)
        if elsewhere:
            return say(302, ("Contact", f"<sip:{elsewhere};transport={link.transport}>"))
        if request.get("Contact") == "*":
            if expires(request) != 0:
                return say(400)
            wanted = dict.fromkeys(user.bindings, 0)
        else:
            try:
                wanted = _contacts(request)
            except AddressError:
                return say(400)
        for uri, seconds in wanted.items():
            known = user.bindings.get(uri)
            if known is not None and known.call_id == request.call_id and request.cseq.number <= known.cseq:
                return say(500)
            if _too_brief(seconds, link.faults):
                return say(423, ("Min-Expires", str(_least(link.faults))))
        if len({*user.bindings, *(uri for uri, seconds in wanted.items() if seconds)}) > MAX_EACH:
            return say(403)
        before = list(user.bindings)
        for uri, seconds in wanted.items():
            user.bindings.pop(uri, None)
            if seconds:
                until = now + min(seconds, LONGEST)
                user.bindings[uri] = Binding(uri, link, request.call_id, request.cseq.number, until)
        contacts = [
            ("Contact", f"<{item.uri}>;expires={int(item.expires_at - now)}") for item in user.bindings.values()
        ]
        out = say(200, *contacts)
        if set(before) != set(user.bindings):
            out += self._announce(user, now)
        if activity == "register" and "options-probe" in link.faults:
            out += [self._probe(user, link, method) for method in ("OPTIONS", "FOO")]
        return out

    def _probe(self, user: User, link: Link, method: str) -> Outgoing:
        target = next(reversed(list(user.bindings)), user.address)
        dialog = (f"<{user.address}>;tag={self._token(8)}", f"<{user.address}>", self._token(32))
        return self._request(link, method, target, dialog, 1, "probe")

    # --------------------------------------------------------------- SUBSCRIBE

    def _subscribe(self, asked: Asked) -> List[Outgoing]:
        """Begin, refresh or end a subscription, or show the state once (RFC 6665 4.2)."""
        link, request, user, now = asked
        key = (request.call_id, name_addr(request, "From").tag)
        to_tag = name_addr(request, "To").tag
        wanted = expires(request)
        seconds = USUAL if wanted is None else min(wanted, LONGEST)
        activity = "subscribe" if seconds else "unsubscribe" if to_tag else "fetch"

        def refuse(status: int, *headers: Header) -> List[Outgoing]:
            return [self._answer(link, request, status, activity, *headers)]

        if _event(request) != PRESENCE or "event-refused" in link.faults:
            allowed = "dialog" if "event-refused" in link.faults else PRESENCE
            return refuse(489, ("Allow-Events", allowed))
        target = _target(request)
        if not target:
            return refuse(400)
        if _too_brief(seconds, link.faults):
            return refuse(423, ("Min-Expires", str(_least(link.faults))))
        if to_tag:
            known = self.subscriptions.get(key)
            if known is None or known.local_tag != to_tag or known.watcher is not user:
                return refuse(481)
            if request.cseq.number <= known.remote_cseq:
                return refuse(500)
            subscription = known
            subscription.remote_cseq, subscription.target, subscription.link = request.cseq.number, target, link
        else:
            presentity = self.users.get(_address(request.uri))
            if presentity is None or ("presentity-unknown" in link.faults and "publisher" in presentity.roles):
                return refuse(404)
            if not _accepts(request):
                return refuse(406)
            if sum(item.watcher is user for item in self.subscriptions.values()) >= MAX_EACH:
                return refuse(403)
            tag, number = self._token(8), request.cseq.number
            subscription = Subscription(user, presentity, link, *key, tag, number, target, now)
        subscription.expires_at = now + seconds
        return self._granted(asked, subscription, seconds, activity)

    def _granted(self, asked: Asked, subscription: Subscription, seconds: int, activity: str) -> List[Outgoing]:
        """The answer to a SUBSCRIBE, and the NOTIFY that every one is followed by (RFC 6665 4.2.1.2)."""
        link, request, _, now = asked
        blocked = "watcher-blocked" in link.faults and "publisher" in subscription.presentity.roles
        ended = "terminated;reason=rejected" if blocked else "" if seconds else "terminated;reason=timeout"
        key = (subscription.call_id, subscription.remote_tag)
        self.subscriptions.pop(key, None)
        if not ended:
            self.subscriptions[key] = subscription
        headers = (("Contact", _own_contact(link)), ("Expires", str(seconds)))
        status = 202 if "subscription-accepted-202" in link.faults else 200
        accepted = self._answer(link, request, status, activity, *headers, tag=subscription.local_tag)
        told = [self._notification(subscription, now, "first-notification", ended)]
        if "subscription-ended" in link.faults and not ended:
            del self.subscriptions[key]
            told.append(self._notification(subscription, now, "last-notification", "terminated;reason=deactivated"))
        if "notify-before-answer" in link.faults:
            return [*told, accepted._replace(late=HEAD_START)]
        return [accepted, *told]

    # ----------------------------------------------------------------- PUBLISH

    def _publish(self, asked: Asked) -> List[Outgoing]:
        """Publish, refresh, change or withdraw (RFC 3903 section 6)."""
        link, request, user, now = asked
        wanted = expires(request)
        seconds = USUAL if wanted is None else min(wanted, LONGEST)
        activity = "publish" if seconds else "withdraw"

        def say(status: int, *headers: Header) -> List[Outgoing]:
            return [self._answer(link, request, status, activity, *headers)]

        if _event(request) != PRESENCE:
            return say(489, ("Allow-Events", PRESENCE))
        if _address(request.uri) != user.key or ("publication-refused" in link.faults and seconds):
            return say(403)
        condition = request.get("SIP-If-Match")
        former = user.publications.get(condition) if condition is not None else None
        if condition is not None and "condition-failed" in link.faults and not seconds:
            user.publications.pop(condition, None)
            return [*say(412), *self._announce(user, now)]
        if condition is not None and former is None:
            return say(412)
        if _too_brief(seconds, link.faults):
            return say(423, ("Min-Expires", str(_least(link.faults))))
        if request.body:
            if parse_content_type(request.get("Content-Type") or "")[0] != pidf.CONTENT_TYPE:
                return say(415, ("Accept", pidf.CONTENT_TYPE))
            if len(request.body) > MAX_BODY:
                return say(413)
            try:
                document = pidf.read(request.body)
            except DocumentError:
                return say(400)
        elif former is not None:
            document = former.document
        else:
            return say(400)
        if former is None and len(user.publications) >= MAX_EACH:
            return say(403)
        if condition is not None:
            del user.publications[condition]
        tag = self._token(16)
        only_at = link.front_end if "not-replicated" in link.faults else ""
        if seconds:
            previous = former.document if former is not None else pidf.note("an older note")
            user.publications[tag] = Publication(document, previous, now + seconds, only_at)
        headers = [("Expires", str(seconds))]
        if "etag-missing" not in link.faults:
            headers.append(("SIP-ETag", tag))
        changed = bool(request.body) or not seconds
        told = self._announce(user, now, only_at) if changed else []
        if "notification-first" in link.faults and told:
            return [*told, *(item._replace(late=HEAD_START) for item in say(200, *headers))]
        return [*say(200, *headers), *told]

    # ------------------------------------------------------------ notification

    def _announce(self, user: User, now: float, only_at: str = "") -> List[Outgoing]:
        """Tell a user's watchers, if need be `only_at` one front end, how he is now."""
        told = []
        for subscription in self.subscriptions.values():
            link = subscription.link
            if subscription.presentity is not user or only_at not in ("", link.front_end):
                continue
            if "notification-never" in link.faults:
                continue
            for _ in range(2 if "notification-duplicate" in link.faults else 1):
                notification = self._notification(subscription, now, "notify")
                told.append(notification._replace(late=link.faults.seconds("notification-late")))
        return told

    def _notification(self, subscription: Subscription, now: float, activity: str, ended: str = "") -> Outgoing:
        """A NOTIFY with the presentity's state; `ended` is the Subscription-State of the last one."""
        link, presentity = subscription.link, subscription.presentity
        subscription.local_cseq += 1
        faults = link.faults if activity == "notify" else Faults()
        entity = subscription.watcher.address if "notification-other-user" in faults else presentity.address
        seen = [item for item in presentity.publications.values() if item.only_at in ("", link.front_end)]
        documents = [item.previous if "notification-older" in faults else item.document for item in seen]
        if presentity.bindings or not seen:
            documents.insert(0, pidf.presence_of(presentity.bindings))
        content_type, body = pidf.CONTENT_TYPE, pidf.compose(entity, documents)
        if "xml-bomb" in faults:
            body = bomb("presence")
        if "notification-wrong-type" in faults:
            content_type = "text/plain"
        if "notification-multipart" in faults:
            boundary = self._token(16)
            part = f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode() + body
            content_type, body = f"multipart/mixed;boundary={boundary}", part + f"\r\n--{boundary}--\r\n".encode()
        if ended.endswith("rejected"):
            content_type, body = "", b""  # who may not see it is not shown it
        headers = [
            ("Contact", _own_contact(link)),
            ("Event", PRESENCE),
            ("Subscription-State", ended or f"active;expires={int(subscription.expires_at - now)}"),
        ]
        if body:
            headers.append(("Content-Type", content_type))
        dialog = (
            f"<{presentity.address}>;tag={subscription.local_tag}",
            f"<{subscription.watcher.address}>;tag={subscription.remote_tag}",
            subscription.call_id,
        )
        return self._request(
            link, "NOTIFY", subscription.target, dialog, subscription.local_cseq, activity, headers, body
        )

    def _note_answer(self, response: Response) -> None:
        """Count a client's answers to our requests; a watcher who refuses a NOTIFY is none any more."""
        watcher = name_addr(response, "To")
        user = self.users.get(watcher.uri.lower())
        if user is None or response.cseq.method not in ("NOTIFY", "OPTIONS", "FOO"):
            return
        kind = f"{response.cseq.method} {response.status}"
        user.answers[kind] = user.answers.get(kind, 0) + 1
        if response.cseq.method == "NOTIFY" and response.status >= 300:
            self.subscriptions.pop((response.call_id, watcher.tag), None)

    # ---------------------------------------------------------------- messages

    def _token(self, digits: int) -> str:
        return f"{self._rng.getrandbits(4 * digits):0{digits}x}"

    def _answer(
        self, link: Link, request: Request, status: int, activity: str, *headers: Header, tag: str = ""
    ) -> Outgoing:
        """The response to `request` (RFC 3261 8.2.6); `tag` is ours in a dialog."""
        receiver = request.get("To") or ""
        if not name_addr(request, "To").tag:
            receiver += f";tag={tag or self._token(8)}"
        fields: List[Header] = []
        for index, via in enumerate(request.all("Via")):
            fields.append(("Via", _received(via, link) if index == 0 else via))
        fields += [("From", request.get("From") or ""), ("To", receiver), ("Call-ID", request.call_id)]
        fields += [("CSeq", str(request.cseq))]
        fields += [("Record-Route", value) for value in request.all("Record-Route")]
        fields += [*headers, ("Server", SERVER)]
        return Outgoing(
            link, Response(status, _REASONS.get(status) or reason_phrase(status), fields, b""), None, activity
        )

    def _request(
        self,
        link: Link,
        method: str,
        target: str,
        dialog: Tuple[str, str, str],
        cseq: int,
        activity: str,
        headers: Iterable[Header] = (),
        body: bytes = b"",
    ) -> Outgoing:
        """A request to a client in the `dialog` (From, To, Call-ID)."""
        here = host_port(link.local_host, link.local_port)
        sender, receiver, call_id = dialog
        fields = [
            ("Via", f"SIP/2.0/{link.transport.upper()} {here};branch=z9hG4bK{self._token(16)}"),
            ("Max-Forwards", "70"),
            ("From", sender),
            ("To", receiver),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            *headers,
        ]
        return Outgoing(link, Request(method, target, fields, body), None, activity)


def _sender(request: Request) -> str:
    return _address(name_addr(request, "From").uri)


def _address(uri: str) -> str:
    """The address of record in a URI, in lower case; empty where it has none."""
    try:
        return parse_uri(uri).aor.lower()
    except AddressError:
        return ""


def _event(request: Request) -> str:
    return (request.get("Event") or "").partition(";")[0].strip().lower()


def _accepts(request: Request) -> bool:
    """Whether the client reads PIDF; one that does not say what it reads does (RFC 3856 6.7)."""
    named = {item.partition(";")[0].strip().lower() for value in request.all("Accept") for item in value.split(",")}
    return not named or bool(named & _ACCEPTED)


def _contacts(request: Request) -> Dict[str, int]:
    """Seconds for each contact of a REGISTER. Raises AddressError."""
    wanted = {}
    for value in (item for header in request.all("Contact") for item in split_list(header)):
        contact = parse_name_addr(value)
        parse_uri(contact.uri)
        if len(contact.uri.split()) != 1:  # it becomes the Request-URI of what we send
            raise AddressError("a contact with a blank in it")
        text = contact.params.get("expires", "")
        usual = expires(request)
        seconds = USUAL if usual is None else usual
        wanted[contact.uri] = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else seconds
    return wanted


def _target(request: Request) -> str:
    """Where requests to a watcher go, empty where the SUBSCRIBE has no Contact that can be used."""
    try:
        uri = parse_name_addr(request.get("Contact") or "").uri
        parse_uri(uri)
    except AddressError:
        return ""
    return uri if len(uri.split()) == 1 else ""


def _least(faults: Faults) -> int:
    return 3600 if "interval-too-brief" in faults else SHORTEST


def _too_brief(seconds: int, faults: Faults) -> bool:
    return 0 < seconds < _least(faults)


def _own_contact(link: Link) -> str:
    return f"<sip:{host_port(link.local_host, link.local_port)};transport={link.transport}>"


def _received(via: str, link: Link) -> str:
    """The topmost Via with where the request came from (RFC 3261 18.2.1, RFC 3581 section 4)."""
    head, *params = via.split(";")
    told = [f"rport={link.port}" if item.strip().lower() == "rport" else item for item in params]
    return ";".join([head, *told, f"received={link.host}"])
