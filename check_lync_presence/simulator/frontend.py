"""The Lync dialect: messages of clients in, messages to clients out, without a socket (MS-SIPAE 3.3, MS-PRES 3).

Owns which part answers what, and the signing of everything that goes out. Must not know sockets or clocks.
"""

from __future__ import annotations

import logging
import random
from typing import Any, Dict, FrozenSet, Iterable, List, Set, Tuple

from ..markup import DocumentError
from ..sip.message import Header, Message, Request, Response
from .authenticator import EVERYTHING, Attempt, Authenticator, Offer
from .faults import Faults
from .link import Link, Outgoing, name_addr
from .messages import answer, diagnostics, outbound
from .pool import BLOCKED, Container, Endpoint, Place, Pool, User
from .presence import Asked, Presence
from .registrar import Registrar

_log = logging.getLogger(__name__)

INFO_HEADER = "Authentication-Info"


class FrontEnd:
    """The front ends of a pool, which have all state in common. Times are Unix seconds."""

    def __init__(
        self, users: Iterable[User], faults: Faults, rng: random.Random, now: float, offer: Offer = EVERYTHING
    ) -> None:
        self.pool = Pool(users, now)
        self._authenticator = Authenticator(self.pool, rng, offer)
        self._registrar = Registrar(self.pool, self._authenticator)
        self._presence = Presence(self.pool, self._authenticator.token)
        self._answers: Dict[str, Dict[str, int]] = {}
        self._arrange(faults)

    def receive(self, link: Link, message: Message, now: float) -> List[Outgoing]:
        """What goes out because of `message`, signed, in order."""
        if isinstance(message, Response):
            self._note_answer(link, message, now)
            return []
        return self._signed(self._request(link, message, now))

    def closed(self, link: Link, now: float) -> List[Outgoing]:
        """What goes out because a connection is gone: its endpoints are, too."""
        return self._signed(self._end([item for item in self.pool.endpoints() if item.link is link], now))

    def tick(self, now: float) -> List[Outgoing]:
        """What goes out because time has passed."""
        told = self._end(self.pool.expired_endpoints(now), now)
        for user in self.pool.users.values():
            told += self._presence.announce(user, self.pool.expire(user, now), now)
        return self._signed(told)

    def registered(self) -> Set[Link]:
        """The connections that somebody is signed in on."""
        return {endpoint.link for endpoint in self.pool.endpoints()}

    def census(self) -> Dict[str, Dict[str, Any]]:
        """What is there, by user: to prove that a client left nothing behind."""
        return {
            user.address: {
                "endpoints": len(user.endpoints),
                "publications": len(user.client_made()),
                "subscriptions": sum(len(item.subscriptions) for item in user.endpoints.values()),
                "answers": self._answers.get(user.key, {}),
            }
            for user in self.pool.users.values()
        }

    def _arrange(self, faults: Faults) -> None:
        """The state that some faults begin with."""
        subscribers = [user for user in self.pool.users.values() if "subscriber" in user.roles]
        for user in self.pool.users.values():
            if "publisher" in user.roles and "fresh-account" in faults:
                user.containers = {number: Container() for number in user.containers}
            if "publisher" in user.roles and "watcher-blocked" in faults:
                blocked = {("user", watcher.key.partition(":")[2]) for watcher in subscribers}
                user.containers[BLOCKED] = Container(1, blocked)

    def _request(self, link: Link, request: Request, now: float) -> List[Outgoing]:
        if request.method == "REGISTER":
            return self._register(link, request, now)
        session = self._authenticator.session_of(link, request, now)
        if request.method in ("ACK", "CANCEL"):
            return []
        if session is None:
            return [self._authenticator.challenge(Attempt(link, request, now, "challenge"))]
        user = session.user
        if request.method in ("SUBSCRIBE", "SERVICE") and link.faults.once("resign", user.key):
            return [self._authenticator.challenge(Attempt(link, request, now, "challenge"))]

        def say(status: int, *headers: Header) -> List[Outgoing]:
            response = answer(link, request, status, self._authenticator.token(), headers)
            return [Outgoing(link, response, session, "other")]

        if name_addr(request, "From").uri.lower() != user.key:
            return say(403, diagnostics(4004, "Credentials provided are not authorized to act as specified from URI"))
        endpoint = user.endpoints.get(session.epid)
        if endpoint is None or endpoint.link is not link:
            return say(403)
        if request.method == "OPTIONS":
            return say(200)
        if request.method == "INVITE":
            reason = "Destination URI either not enabled for SIP or does not exist"
            return say(404, diagnostics(4005, reason, user.pool))
        if request.method not in ("SUBSCRIBE", "SERVICE"):
            return say(501)
        asked = Asked(link, request, session, endpoint, now)
        try:
            if request.method == "SUBSCRIBE":
                return self._presence.subscribe(asked)
            return self._presence.service(asked)
        except DocumentError:
            return say(400, diagnostics(4001, "XML parse failure", user.pool))

    def _register(self, link: Link, request: Request, now: float) -> List[Outgoing]:
        registration = self._registrar.register(link, request, now)
        out = list(registration.answers)
        for user, changed in registration.changes:
            out += self._presence.announce(user, changed, now)
        endpoint = registration.enrolled
        if endpoint is None:
            return out
        if "options-probe" in link.faults:
            out += [self._probe(endpoint, method) for method in ("OPTIONS", "FOO")]
        if link.faults.strikes("deregistered", endpoint.user.roles):
            out.append(self._registrar.dismiss(endpoint, "rejected", diagnostics(4141, "User disabled")))
            out += self._end([endpoint], now)
        return out

    def _probe(self, endpoint: Endpoint, method: str) -> Outgoing:
        token = self._authenticator.token
        return outbound(method, endpoint, (token(32).lower(), token(), "", 1), token(16), "probe")

    def _end(self, endpoints: Iterable[Endpoint], now: float) -> List[Outgoing]:
        """End registrations without the client's doing."""
        gone: List[Tuple[User, FrozenSet[Place]]] = []
        for endpoint in endpoints:
            gone.append((endpoint.user, self.pool.remove(endpoint, now)))
            self._registrar.leave(endpoint)
        return [told for user, changed in gone for told in self._presence.announce(user, changed, now)]

    def _note_answer(self, link: Link, response: Response, now: float) -> None:
        """Count a client's signed answers to our requests."""
        session = self._authenticator.session_of(link, response, now)
        if session is not None and response.cseq.method in ("NOTIFY", "OPTIONS", "FOO"):
            counts = self._answers.setdefault(session.user.key, {})
            kind = f"{response.cseq.method} {response.status}"
            counts[kind] = counts.get(kind, 0) + 1
            _log.info("%s answered %s", session.user.address, kind)

    # ----------------------------------------------------------------- signing

    def _signed(self, outgoing: Iterable[Outgoing]) -> List[Outgoing]:
        return [self._sign(item) for item in outgoing]

    def _sign(self, item: Outgoing) -> Outgoing:
        faults, told = item.link.faults, item.activity == "notify"
        association = item.session.association if item.session is not None else None
        if association is None or "signature-missing" in faults or (told and "notification-unsigned" in faults):
            return item
        info = association.info(item.message, self._authenticator.token())
        if faults.has("signature-wrong", "all") or (told and faults.has("signature-wrong", "notification")):
            info = _spoilt(info)
        return item._replace(message=_headed(item.message, (INFO_HEADER, info)))


def _headed(message: Message, header: Header) -> Message:
    """The message with one more header, before all others as real servers have it."""
    headers = (header, *message.headers)
    if isinstance(message, Request):
        return Request(message.method, message.uri, headers, message.body)
    return Response(message.status, message.reason, headers, message.body)


def _spoilt(info: str) -> str:
    """The info header with another digit inside its signature's checksum."""
    at = info.index('rspauth="') + len('rspauth="') + 12
    return info[:at] + f"{int(info[at], 16) ^ 1:x}" + info[at + 1 :]
