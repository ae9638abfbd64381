"""Who is there: the handshake inside SIP and the verification of everything after it (MS-SIPAE 3.3).

Owns challenges, handshakes and associations, and the answers that are not signed. Must not know what a registration
is, or who may have one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
import time
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Sequence, Tuple, Union

from ..lync.association import Association, AssociationError, AuthHeader, credentials_header, format_auth_header
from ..sip.message import Header, Message, Request
from ..sip.uri import AddressError, NameAddr, parse_name_addr
from .acceptor import Acceptor, KerberosAcceptor, NtlmAcceptor, Refused, TlsDskAcceptor, ntlm_challenge
from .link import Handshake, Link, Outgoing, Session, bounded, name_addr
from .messages import answer, diagnostics
from .pool import Pool, User

if TYPE_CHECKING:
    from .provisioning import ProvisioningService

REALM = "SIP Communications Service"
LONGEST_SESSION = 8 * 3600  # MS-SIPAE: an association lives at most 8 hours
SCHEMES = ("ntlm", "kerberos", "tls-dsk")  # in the order of a front end's menu


class Attempt(NamedTuple):
    """A request that nobody has vouched for yet. `activity` is what its sender is doing."""

    link: Link
    request: Request
    now: float
    activity: str

    @property
    def sender(self) -> str:
        """The address that the request claims to come from."""
        return name_addr(self.request, "From").uri

    @property
    def claimed(self) -> Tuple[str, str]:
        """The key of an association: address of record and endpoint."""
        return self.sender.lower(), endpoint_id(self.request, "From")


class Proof(NamedTuple):
    """A handshake that succeeded: the association, and the users whose account it was. A trusted server has none."""

    association: Optional[Association]
    accounts: List[User]


class Offer(NamedTuple):
    """How users can sign in: the schemes of the menu; where there is one, the keytab of the service, and the service
    that users have certificates from.
    """

    schemes: Sequence[str] = SCHEMES
    keytab: str = ""
    provisioning: Optional[ProvisioningService] = None


EVERYTHING = Offer()


class Authenticator:
    """Challenges, and believes nothing without a signature."""

    def __init__(self, pool: Pool, rng: random.Random, offer: Offer) -> None:
        self._pool = pool
        self._rng = rng
        self._offer = offer
        self._secret = rng.getrandbits(64)

    def token(self, digits: int = 8) -> str:
        """Random hexadecimal digits, as a front end writes them."""
        return f"{self._rng.getrandbits(4 * digits):0{digits}X}"

    def session_of(self, link: Link, message: Message, now: float) -> Optional[Session]:
        """Who signed `message`; None where it is not signed, or wrongly, or with an association that is over."""
        header = credentials_header(message)
        if header is None and link.trusted:
            return link.sessions.get(trusted_key(name_addr(message, _OWN_SIDE[isinstance(message, Request)])))
        session = link.sessions.get(header.get("opaque")) if header is not None else None
        if header is None or session is None or now > session.since + LONGEST_SESSION:
            return None
        if endpoint_id(message, "From" if isinstance(message, Request) else "To") != session.epid:
            return None
        association = session.association
        return session if association is not None and _verified(association, message, header) else None

    def challenge(self, attempt: Attempt, *extra: Header) -> Outgoing:
        """401 with the menu of schemes."""
        name = self.targetname(attempt.sender)
        version = _version(attempt.link)
        common = {"realm": REALM, "targetname": name, **version}
        provisioning = self._offer.provisioning
        service = provisioning.url if provisioning else f"https://{name}:443/CertProv/CertProvisioningService.svc"
        menu = {
            "NTLM": common,
            "Kerberos": {**common, "targetname": f"sip/{name}"},
            "TLS-DSK": {**common, "sts-uri": service},
        }
        menu = {scheme: params for scheme, params in menu.items() if scheme.lower() in self._offer.schemes}
        if "no-ntlm" in attempt.link.faults:
            menu.pop("NTLM", None)
        if "digest-only" in attempt.link.faults:
            domain = name.partition(".")[2] or name
            menu = {"Digest": {"realm": domain, "nonce": self.token(32), "algorithm": "MD5", "qop": "auth"}}
        headers = [("WWW-Authenticate", format_auth_header(scheme, params)) for scheme, params in menu.items()]
        return self.unsigned(attempt, 401, *headers, *extra)

    def advance(self, attempt: Attempt, header: AuthHeader) -> Union[Proof, Outgoing, None]:
        """What one leg of a handshake leads to: the next leg's 401, a proof, or None where it proves nothing."""
        opaque = header.get("opaque")
        handshake = attempt.link.handshakes.pop(opaque, None)
        if handshake is None:
            name = self.targetname(attempt.sender)
            name = f"sip/{name}" if header.scheme.lower() == "kerberos" else name
            if header.scheme.lower() == "ntlm" and header.get("gssapi-data"):  # NTLM begins with nothing
                return None
            if not _is_for(header, name) or not 2 <= header.version <= int(_version(attempt.link).get("version", 2)):
                return self.challenge(attempt)
            opaque = self.token()
            acceptor: Acceptor = self._acceptor(attempt, header.scheme, name)
            handshake = Handshake(attempt.claimed, header.scheme, header.version, name, acceptor)
        elif handshake.claimed != attempt.claimed or not _is_for(header, handshake.targetname):
            return None
        acceptor = handshake.acceptor
        if acceptor.keys is None:
            try:
                reply = acceptor.accept(base64.b64decode(header.get("gssapi-data"), validate=True))
            except Refused as refusal:
                return self.refused(attempt, skewed=True) if refusal.skewed else None
            except (binascii.Error, ValueError):
                return None
            if reply:
                attempt.link.handshakes[opaque] = handshake
                bounded(attempt.link.handshakes)
                return self._next_leg(attempt, handshake, opaque, reply)
        if acceptor.keys is None:
            return None
        association = Association(
            handshake.scheme, REALM, handshake.targetname, opaque, handshake.version, *acceptor.keys
        )
        # From version 4 on, the request that carries the token is signed with the keys that follow from it.
        if handshake.version >= 4 and not _verified(association, attempt.request, header):
            return None
        return Proof(association, acceptor.accounts)

    def serves(self, scheme: str) -> bool:
        """Whether we can judge a token of this scheme."""
        offer = self._offer
        known = ["ntlm"] + (["kerberos"] if offer.keytab else []) + (["tls-dsk"] if offer.provisioning else [])
        return scheme.lower() in known and scheme.lower() in self._offer.schemes

    def _acceptor(self, attempt: Attempt, scheme: str, name: str) -> Acceptor:
        faults = attempt.link.faults
        if scheme.lower() == "kerberos":
            return KerberosAcceptor(self._pool, faults, self._offer.keytab)
        if scheme.lower() == "tls-dsk":
            assert self._offer.provisioning is not None
            context = self._offer.provisioning.ca.context(nobody=faults.has("user-certificate", "refused"))
            return TlsDskAcceptor(self._pool, context)
        return NtlmAcceptor(self._pool, faults, ntlm_challenge(name, faults, self._rng, attempt.now))

    def _next_leg(self, attempt: Attempt, handshake: Handshake, opaque: str, reply: bytes) -> Outgoing:
        params = {
            "opaque": opaque,
            "gssapi-data": base64.b64encode(reply).decode(),
            "targetname": handshake.targetname,
            "realm": REALM,
            **_version(attempt.link),
        }
        return self.unsigned(attempt, 401, ("WWW-Authenticate", format_auth_header(handshake.scheme, params)))

    def refused(self, attempt: Attempt, skewed: bool = False) -> Outgoing:
        """401 after the last leg: no further challenge, and why."""
        name = self.targetname(attempt.sender)
        if skewed:
            reason = "Significant time skew detected during authentication"
            return self.challenge(attempt, diagnostics(1013, reason, name))
        return self.challenge(attempt, diagnostics(1000, "Final handshake failed", name))

    def unsigned(self, attempt: Attempt, status: int, *headers: Header) -> Outgoing:
        """An answer to somebody who has no association yet."""
        moment = time.gmtime(attempt.now + attempt.link.faults.seconds("clock-skew"))
        date = ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment))
        response = answer(attempt.link, attempt.request, status, self.tag_for(attempt.request), (date, *headers))
        return Outgoing(attempt.link, response, None, attempt.activity)

    def tag_for(self, request: Request) -> str:
        """Our tag, the same for all requests with one Call-ID and From tag: 32 digits, as Lync 2013 writes it."""
        seed = f"{self._secret} {request.call_id} {name_addr(request, 'From').tag}"
        return hashlib.blake2b(seed.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest().upper()

    def targetname(self, address: str) -> str:
        """The server that serves `address`; for a stranger, the first one."""
        user = self._pool.find(address) or next(iter(self._pool.users.values()))
        return user.pool


_OWN_SIDE = {True: "From", False: "To"}  # of a client, in its requests and in its responses


def trusted_key(sender: NameAddr) -> str:
    """The key of the session of a user for whom a trusted server speaks."""
    return f"{sender.uri.lower()} {sender.params.get('epid', '')}"


def endpoint_id(message: Message, name: str) -> str:
    """What tells a user's endpoints apart: the epid in the header `name`, or else the instance id of the Contact."""
    epid = name_addr(message, name).params.get("epid", "")
    if epid:
        return epid
    try:
        contact = parse_name_addr(message.get("Contact") or "")
    except AddressError:
        return ""
    return contact.params.get("+sip.instance", "").strip("<>").rpartition(":")[2]


def _version(link: Link) -> dict[str, str]:
    """The parameter that names our protocol version; version 2 does not know it."""
    version = link.faults.value("sa-version") or "4"
    return {"version": version} if version != "2" else {}


def _verified(association: Association, message: Message, header: AuthHeader) -> bool:
    try:
        association.verify_client(message, header)
    except AssociationError:
        return False
    return True


def _is_for(header: AuthHeader, targetname: str) -> bool:
    return header.get("realm") == REALM and header.get("targetname").lower() == targetname.lower()
