"""Registrations: the REGISTER state machine (MS-SIPREGE 3.1) behind the handshake.

Owns who may sign in, endpoints' life times and the answers to REGISTER. Must not know how a signature is verified,
or presence documents.
"""

from __future__ import annotations

import re
from typing import FrozenSet, List, NamedTuple, Optional, Tuple
from uuid import UUID

from ..lync.association import credentials_header
from ..lync.identity import gruu, instance_id
from ..sip.message import Header, Request
from ..sip.uri import AddressError, parse_name_addr, parse_uri
from .authenticator import Attempt, Authenticator, Proof, trusted_key
from .link import Link, Outgoing, Session, bounded, expires, lists, name_addr, redirection
from .messages import answer, diagnostics, outbound
from .pool import Endpoint, Place, Pool, User

# Seconds that a registration lives: MinEndpointExpiration, DefaultEndpointExpiration, MaxEndpointExpiration.
SHORTEST, USUAL, LONGEST = 300, 600, 900
LONGEST_EPID = 64  # a UUID has 36 characters, clients take 10 to 12
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+\Z")  # RFC 3261 25.1
_EVENTS = (
    "vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-ACL,presence,presence.wpending,"
    "vnd-microsoft-roaming-self,vnd-microsoft-provisioning-v2"
)


class Registration(NamedTuple):
    """What a REGISTER led to: what goes out, and whose presence changed where."""

    answers: List[Outgoing]
    changes: List[Tuple[User, FrozenSet[Place]]]
    enrolled: Optional[Endpoint] = None


class Registrar:
    """Answers REGISTER."""

    def __init__(self, pool: Pool, authenticator: Authenticator) -> None:
        self._pool = pool
        self._authenticator = authenticator

    def register(self, link: Link, request: Request, now: float) -> Registration:
        """What a REGISTER leads to."""
        attempt = Attempt(link, request, now, "unregister" if expires(request) == 0 else "register")
        obstacle = self._obstacle(attempt)
        if obstacle is not None:
            return _only(obstacle)
        header = credentials_header(request)
        if header is None and link.trusted:
            return self._believe(attempt)
        if header is None or not self._authenticator.serves(header.scheme):
            return _only(self._authenticator.challenge(attempt))
        if "gssapi-data" not in header.params and header.get("opaque") not in link.handshakes:
            session = self._authenticator.session_of(link, request, now)
            if session is None or session.user.key != attempt.sender.lower():
                return _only(self._authenticator.challenge(attempt))
            return self._admit(attempt, session)
        proof = self._authenticator.advance(attempt, header)
        if isinstance(proof, Outgoing):
            return _only(proof)
        user = self._pool.find(attempt.sender)
        if proof is None or (user is not None and link.faults.strikes("wrong-password", user.roles)):
            return _only(self._authenticator.refused(attempt))
        return self._judge(attempt, proof, user)

    def _believe(self, attempt: Attempt) -> Registration:
        """What a trusted server says of a user is so."""
        session = self._authenticator.session_of(attempt.link, attempt.request, attempt.now)
        if session is not None:
            return self._admit(attempt, session)
        user = self._pool.find(attempt.sender)
        return self._judge(attempt, Proof(None, list(self._pool.users.values())), user)

    def dismiss(self, endpoint: Endpoint, event: str, *extra: Header) -> Outgoing:
        """The NOTIFY by which an endpoint learns that it is registered no more (MS-SIPREGE 4.1.3)."""
        endpoint.cseq += 1
        return outbound(
            "NOTIFY",
            endpoint,
            (endpoint.call_id, endpoint.local_tag, endpoint.remote_tag, endpoint.cseq),
            self._authenticator.token(16),
            "registration-event",
            (("Event", "registration-notify"), ("subscription-state", "terminated;expires=0"), *extra),
            ("text/registration-event", f"deregistered;event={event}".encode()),
        )

    def leave(self, endpoint: Endpoint) -> None:
        """Forget the associations of an endpoint that is registered no more."""
        owner = (endpoint.user, endpoint.epid)
        kept = {key: item for key, item in endpoint.link.sessions.items() if (item.user, item.epid) != owner}
        endpoint.link.sessions = kept

    def _obstacle(self, attempt: Attempt) -> Optional[Outgoing]:
        """The answer to a REGISTER that does not get as far as a challenge."""
        link, request, unsigned = attempt.link, attempt.request, self._authenticator.unsigned
        name = self._authenticator.targetname(attempt.sender)
        address, epid = attempt.claimed
        if len(epid) > LONGEST_EPID:
            return unsigned(attempt, 400, diagnostics(4012, "Epid too long", name))
        if not _TOKEN.match(epid) or not address or not name_addr(request, "From").tag:
            return unsigned(attempt, 400, diagnostics(4010, "Missing endpoint identifier", name))
        if request.cseq.number <= link.register_cseqs.get(request.call_id, 0):
            return unsigned(attempt, 500)
        link.register_cseqs[request.call_id] = request.cseq.number
        bounded(link.register_cseqs)
        if "service-unavailable" in link.faults:
            return unsigned(attempt, 503, ("Retry-After", "30"))
        if "server-timeout" in link.faults:
            return unsigned(attempt, 504, diagnostics(1007, "Temporarily cannot route", name))
        return None

    def _judge(self, attempt: Attempt, proof: Proof, user: Optional[User]) -> Registration:
        """The credentials are right: whether this user may sign in with them, and here."""
        association, accounts = proof
        link = attempt.link
        session = Session(association, user or accounts[0], attempt.claimed[1], attempt.now)

        def refuse(status: int, *headers: Header) -> Registration:
            return _only(self._signed(attempt, session, status, *headers))

        if user is None or link.faults.strikes("account-unknown", user.roles):
            reason = "Destination URI either not enabled for SIP or does not exist"
            return refuse(404, diagnostics(4005, reason, self._authenticator.targetname(attempt.sender)))
        if user not in accounts or link.faults.strikes("not-authorized-from", user.roles):
            reason = "Credentials provided are not authorized to act as specified from URI"
            return refuse(403, diagnostics(4004, reason))
        if link.faults.strikes("account-not-allowed", user.roles):
            return refuse(403, diagnostics(4003, "From user is not enabled for remote access"))
        elsewhere = redirection(link)
        if elsewhere:
            return refuse(301, ("Contact", f"<sip:{elsewhere};transport={link.transport}>"), ("Expires", "2592000"))
        sender = name_addr(attempt.request, "From")
        link.sessions[association.opaque if association is not None else trusted_key(sender)] = session
        bounded(link.sessions)
        return self._admit(attempt, session)

    def _admit(self, attempt: Attempt, session: Session) -> Registration:
        """Add, refresh or end the registration of a signed REGISTER."""
        link, request, now, _ = attempt
        user = session.user

        def signed(status: int, *headers: Header) -> Outgoing:
            return self._signed(attempt, session, status, *headers)

        if request.get("Event") not in (None, "registration"):
            return _only(signed(489, diagnostics(4055, "Event header is not registration", user.pool)))
        if lists(request, "Supported", "msrtc-event-categories") and not lists(request, "Supported", "gruu-10"):
            return _only(signed(421, diagnostics(2057, "gruu-10 is required", user.pool)))
        known = user.endpoints.get(session.epid)
        if expires(request) == 0:
            changed: FrozenSet[Place] = frozenset()
            if known is not None and known.link is link:
                changed = self._pool.remove(known, now)
                self.leave(known)
            return Registration([signed(200, ("Expires", "0"))], [(user, changed)])
        contact, instance = _contact(link, request)
        if not contact:
            return _only(signed(400, diagnostics(4013, "No usable Contact", user.pool)))
        if instance is not None and instance != instance_id(session.epid) and str(instance) != session.epid:
            return _only(signed(400, diagnostics(4010, "The instance id is not that of the epid", user.pool)))
        granted = max(SHORTEST, min(expires(request) or USUAL, LONGEST))
        if known is not None and known.link is link and known.call_id == request.call_id:
            known.session, known.contact, known.expires_at = session, contact, now + granted
            return _only(signed(200, *_success(link, user, granted, "refreshed")))
        if known is not None and known.link is not link:
            self.leave(known)
        endpoint = Endpoint(
            user=user,
            epid=session.epid,
            call_id=request.call_id,
            remote_tag=name_addr(request, "From").tag,
            local_tag=self._authenticator.tag_for(request),
            contact=contact,
            instance=f"urn:uuid:{instance or instance_id(session.epid)}",
            expires_at=now + granted,
            link=link,
            session=session,
        )
        changed, oldest = self._pool.enrol(endpoint, now)
        answers = [signed(200, *_success(link, user, granted, "added"))]
        if oldest is not None:
            answers.append(self.dismiss(oldest, "unregistered"))
            self.leave(oldest)
        return Registration(answers, [(user, changed)], endpoint)

    def _signed(self, attempt: Attempt, session: Session, status: int, *headers: Header) -> Outgoing:
        display = attempt.sender.partition(":")[2].partition("@")[0].title()
        tag = self._authenticator.tag_for(attempt.request)
        response = answer(attempt.link, attempt.request, status, tag, headers, display=display)
        return Outgoing(attempt.link, response, session, attempt.activity)


def _only(outgoing: Outgoing) -> Registration:
    return Registration([outgoing], [])


def _success(link: Link, user: User, granted: int, action: str) -> List[Header]:
    """The headers of the 200, with a Contact for each endpoint of the user."""
    headers = [("ms-keep-alive", "UAS; tcp=no; hop-hop=yes; end-end=no; timeout=300")]
    for endpoint in user.endpoints.values():
        headers.append(
            (
                "Contact",
                f'<{endpoint.contact}>;expires={granted};+sip.instance="<{endpoint.instance}>"'
                f';gruu="{gruu(user.address, endpoint.epid)}"',
            )
        )
    primary = "no" if "survivable-mode" in link.faults else "yes"
    state = f'register-action="{action}";primary-cluster-type="central";is-connected-to-primary="{primary}"'
    enhanced = "no-enhanced-presence" not in link.faults
    events = _EVENTS if enhanced else _EVENTS.replace("vnd-microsoft-roaming-self,", "")
    headers += [("Expires", str(granted)), ("presence-state", state), ("Allow-Events", events)]
    if "no-adhoclist" not in link.faults:
        headers.append(("Supported", "adhoclist"))
    if enhanced:
        # On a line of its own: pidgin-sipe does not find it in a list.
        headers.append(("Supported", "msrtc-event-categories"))
    headers += [("Supported", "ms-keepalive-deregister"), ("Supported", "ms-userservices-state-notification")]
    return headers


def _contact(link: Link, request: Request) -> Tuple[str, Optional[UUID]]:
    """(where requests go, instance id) of the first Contact; empty where there is none that can be used."""
    try:
        contact = parse_name_addr(request.get("Contact") or "")
        uri = parse_uri(contact.uri)
        text = contact.params.get("+sip.instance", "").strip("<>")
        instance = UUID(text.rpartition(":")[2]) if text else None
    except (AddressError, ValueError):
        return "", None
    if len(contact.uri.split()) != 1:  # it becomes the Request-URI of what we send
        return "", None
    address = contact.uri
    if contact.params.get("proxy", "").lower() == "replace":
        address = f"sip:{link.address};transport={link.transport}"
        if uri.params.get("ms-opaque"):
            address += f";ms-opaque={uri.params['ms-opaque']}"
    return f"{address};ms-received-cid={link.cid}", instance
