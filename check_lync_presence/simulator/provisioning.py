"""The certificate provisioning service of a pool, over HTTPS: descriptions, web tickets, certificates (MS-OCAUTHWS).

Owns the service and its listener, which has threads of its own. Must not know SIP. Users sign in as on the SIP side:
NTLM with their password, Kerberos with the keytab of the service.
"""

from __future__ import annotations

import base64
import hmac
import logging
import random
import re
import ssl
import threading
import time
import uuid
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from xml.etree.ElementTree import ParseError as NotXml
from xml.etree.ElementTree import canonicalize

from ..lync import ntlm
from ..lync.provisioning import ENTROPY, proof_key
from ..markup import DocumentError, Element, attribute, escape, parse
from .acceptor import KerberosAcceptor, Refused, ntlm_challenge
from .faults import Faults
from .pool import Pool, User
from .user_ca import UserCa

CERTIFICATES = "/CertProv/CertProvisioningService.svc"
TICKETS = "/WebTicket/WebTicketService.svc"
MAX_BODY = 64 * 1024
MAX_TICKETS = 1000
TICKET_LIFE = 8 * 3600
PATIENCE = 60.0  # seconds that a client may be silent, and that we are where a fault wants it

_SIGNED_INFO = re.compile(rb"<(?:\w+:)?SignedInfo[\s>].*?</(?:\w+:)?SignedInfo>", re.DOTALL)
_TIMESTAMP = re.compile(rb"<(?:\w+:)?Timestamp[\s>].*?</(?:\w+:)?Timestamp>", re.DOTALL)
_DSIG = b"http://www.w3.org/2000/09/xmldsig#"

_log = logging.getLogger(__name__)


class Ticket(NamedTuple):
    """A web ticket that was given to `user`; `key` is known to him alone."""

    user: User
    key: bytes
    ends: float


class Fault(Exception):
    """What a service refuses: MS-OCAUTHWS' number and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ProvisioningService:
    """Tickets for users who can sign in, certificates for tickets. `url` is the sts-uri of the pool's challenge."""

    def __init__(self, address: str, ca: UserCa) -> None:
        """Take a free port at `address`. Raises OSError."""
        self.ca = ca
        self._server = _Server((address, 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.port = int(self._server.server_address[1])
        host = f"[{address}]" if ":" in address else address
        self.base = f"https://{host}:{self.port}"
        self.url = self.base + CERTIFICATES
        self.stopped = threading.Event()
        self._tickets: Dict[str, Ticket] = {}

    def start(self, pool: Pool, faults: Faults, keytab: str, context: ssl.SSLContext, rng: random.Random) -> None:
        self.pool, self.faults, self._keytab, self._rng = pool, faults, keytab, rng
        self._server.tls = context
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------ signing in

    def challenge(self) -> ntlm.Challenge:
        """What NTLM begins with on a connection: the flag of connectionless NTLM has no place there."""
        name = next(iter(self.pool.users.values())).pool
        told = ntlm_challenge(name, self.faults, self._rng, time.time())
        return ntlm.build_challenge(told.flags & ~ntlm.DATAGRAM, told.server_challenge, told.target_info)

    def by_ntlm(self, challenge: ntlm.Challenge, token: bytes) -> List[User]:
        """Whose password `token` proves."""
        try:
            answer = ntlm.parse_authenticate(token)
        except ntlm.NtlmError:
            return []
        users = self.pool.by_logon(answer.user, answer.domain)
        if not users or any(self.faults.strikes("wrong-password", user.roles) for user in users):
            return []
        # On HTTP nothing is signed, so clients may leave out the session key: the proof is all there is.
        key = ntlm.ntowf_v2(ntlm.Credentials(answer.user, answer.domain, users[0].password.reveal()))
        proof, temp = answer.nt_response[:16], answer.nt_response[16:]
        expected, _ = ntlm.nt_response(key, challenge.server_challenge, temp)
        return users if users[0].password and hmac.compare_digest(proof, expected) else []

    def by_kerberos(self, token: bytes) -> List[User]:
        """Whose ticket `token` is."""
        acceptor = KerberosAcceptor(self.pool, self.faults, self._keytab)
        try:
            acceptor.accept(token)
        except Refused:
            return []
        return acceptor.accounts

    @property
    def schemes(self) -> Tuple[str, ...]:
        return ("Negotiate", "NTLM") if self._keytab else ("NTLM",)

    # ------------------------------------------------------------- documents

    def description(self, path: str) -> Optional[str]:
        """What a service says of itself."""
        if path == f"{CERTIFICATES}/mex":
            policy = (
                '<wsp:Policy wsu:Id="CertProvisioningServiceWebTicketProof_SHA1_policy"><wsp:ExactlyOne><wsp:All>'
                "<sp:EndorsingSupportingTokens><wsp:Policy><sp:IssuedToken><sp:Issuer>"
                f"<wsa:Address>{self.base}{TICKETS}</wsa:Address>"
                "</sp:Issuer></sp:IssuedToken></wsp:Policy></sp:EndorsingSupportingTokens>"
                "</wsp:All></wsp:ExactlyOne></wsp:Policy>"
            )
            return _description(policy, "CertProvisioningServiceWebTicketProof_SHA1", f"{self.url}/WebTicketProof")
        if path == f"{TICKETS}/mex":
            return _description("", "WebTicketServiceWinNegotiate", f"{self.base}{TICKETS}/WinNegotiate")
        return None

    def ticket(self, users: List[User], asked: bytes) -> str:
        """A web ticket for one of `users`. Raises DocumentError, Fault."""
        root = parse(asked, "Envelope")
        address = _text(root, "Value").lower()
        user = next((user for user in users if user.key == address), None)
        if user is None:
            raise Fault(28032, "The user is not authorized to act as the claimed identity")
        theirs, ours = _octets(root, "BinarySecret"), self._rng.getrandbits(8 * ENTROPY).to_bytes(ENTROPY, "big")
        name = f"SamlSecurityToken-{uuid.UUID(int=self._rng.getrandbits(128))}"
        now = time.time()
        while len(self._tickets) >= MAX_TICKETS:
            del self._tickets[next(iter(self._tickets))]
        self._tickets[name] = Ticket(user, proof_key(theirs, ours), now + TICKET_LIFE)
        return (
            # Clients take the life time over into what they sign: it must be in its canonical form.
            f'<RequestSecurityTokenResponseCollection xmlns="{_TRUST}" xmlns:wsu="{_UTILITY}">'
            "<RequestSecurityTokenResponse>"
            f"<Lifetime><wsu:Created>{_time(now)}</wsu:Created>"
            f"<wsu:Expires>{_time(now + TICKET_LIFE)}</wsu:Expires></Lifetime>"
            '<RequestedSecurityToken><saml:Assertion MajorVersion="1" MinorVersion="1" '
            f'AssertionID="{name}" xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion">'
            f"<saml:Subject>{escape(user.address)}</saml:Subject></saml:Assertion></RequestedSecurityToken>"
            f"<RequestedProofToken><ComputedKey>{_TRUST}/CK/PSHA1</ComputedKey></RequestedProofToken>"
            f"<Entropy><BinarySecret>{base64.b64encode(ours).decode()}</BinarySecret></Entropy>"
            "</RequestSecurityTokenResponse></RequestSecurityTokenResponseCollection>"
        )

    def certificate(self, asked: bytes) -> str:
        """A certificate for the holder of a ticket. Raises DocumentError, Fault."""
        root = parse(asked, "Envelope")
        ticket = self._tickets.get(attribute(_first(root, "Assertion"), "AssertionID"))
        if ticket is None or ticket.ends < time.time() or not _is_proof(root, asked, ticket.key):
            raise Fault(28020, "No valid security token")
        user = ticket.user
        entity = attribute(_first(root, "GetAndPublishCert"), "Entity")
        if self.faults.has("provisioning", "refused") or f"sip:{entity}".lower() != user.key:
            raise Fault(28039, "The user is not enabled for certificate authentication")
        if self.faults.has("user-certificate", "other-user"):
            user = next((other for other in self.pool.users.values() if other is not user), user)
        try:
            issued = self.ca.issue(
                _octets(root, "BinarySecurityToken"),
                user.key.partition(":")[2],
                expired=self.faults.has("user-certificate", "expired"),
            )
        except ValueError:
            raise Fault(28001, "The certificate request cannot be read") from None
        return (
            '<GetAndPublishCertResponse xmlns="http://schemas.microsoft.com/OCS/AuthWebServices/">'
            f'<RequestSecurityTokenResponse xmlns="{_TRUST}/"><RequestedSecurityToken>'
            f'<BinarySecurityToken xmlns="{_SECEXT}">{base64.b64encode(issued).decode()}</BinarySecurityToken>'
            "</RequestedSecurityToken></RequestSecurityTokenResponse></GetAndPublishCertResponse>"
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: Tuple[str, int], service: ProvisioningService) -> None:
        if ":" in address[0]:
            import socket

            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.service = service
        self.tls: Optional[ssl.SSLContext] = None

    def get_request(self) -> Tuple[Any, Any]:
        sock, address = super().get_request()
        assert self.tls is not None
        # The handshake comes with the first reading, in a thread of its own.
        return self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.info("a client of the provisioning service broke off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection: a sign-in by NTLM is of the connection."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: _Server
    _challenge: Optional[ntlm.Challenge] = None

    def do_GET(self) -> None:
        text = self.server.service.description(self.path)
        self._answer(*((200, text) if text is not None else (404, "")))

    def do_POST(self) -> None:
        service = self.server.service
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            self._answer(413, "")
            return
        body = self.rfile.read(int(length))
        try:
            if self.path == f"{TICKETS}/WinNegotiate":
                users = self._signed_in()
                if users is not None:
                    self._answer(200, _envelope(service.ticket(users, body)))
            elif self.path == f"{CERTIFICATES}/WebTicketProof":
                self._answer(200, _envelope(service.certificate(body)))
            else:
                self._answer(404, "")
        except Fault as fault:
            self._answer(500, _envelope(_fault(fault.code, str(fault))))
        except DocumentError:
            self._answer(500, _envelope(_fault(28000, "The request cannot be read")))

    def _signed_in(self) -> Optional[List[User]]:
        """Who asks; None where that was answered with 401."""
        service = self.server.service
        scheme, _, text = self.headers.get("Authorization", "").partition(" ")
        try:
            token = base64.b64decode(text, validate=True)
        except ValueError:
            token = b""
        challenge, self._challenge = self._challenge, None
        users: List[User] = []
        if scheme not in service.schemes or not token:
            pass
        elif not token.startswith(ntlm.SIGNATURE):
            users = service.by_kerberos(token) if scheme == "Negotiate" else []
        elif token[8:12] == b"\1\0\0\0":
            self._challenge = service.challenge()
            told = base64.b64encode(self._challenge.raw).decode()
            self._answer(401, "", (f"{scheme} {told}",))
            return None
        elif challenge is not None:
            users = service.by_ntlm(challenge, token)
        if users:
            return users
        self._answer(401, "", service.schemes)
        return None

    def _answer(self, status: int, text: str, challenges: Tuple[str, ...] = ()) -> None:
        service = self.server.service
        if service.faults.has("provisioning", "silent"):
            service.stopped.wait(PATIENCE)
            self.close_connection = True
            return
        if service.faults.has("provisioning", "garbage") and status == 200:
            text = "<\1> this is no document"
        data = text.encode()
        self.send_response(status)
        for value in challenges:
            self.send_header("WWW-Authenticate", value)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        _log.info(format, *args)


_TRUST = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
_UTILITY = f"{_WSS}-utility-1.0.xsd"
_SECEXT = f"{_WSS}-secext-1.0.xsd"


def _description(policy: str, port: str, address: str) -> str:
    return (
        '<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
        f'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:wsu="{_UTILITY}" '
        'xmlns:wsp="http://schemas.xmlsoap.org/ws/2004/09/policy" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
        'xmlns:sp="http://docs.oasis-open.org/ws-sx/ws-securitypolicy/200702">'
        f'{policy}<wsdl:service name="Service"><wsdl:port name="{port}">'
        f'<soap:address location="{address}"/></wsdl:port></wsdl:service></wsdl:definitions>'
    )


def _envelope(body: str) -> str:
    return f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>'


def _fault(code: int, reason: str) -> str:
    return (
        f"<s:Fault><faultcode>s:Client</faultcode><faultstring>{escape(reason)}</faultstring><detail>"
        '<OCSDiagnosticsFault xmlns="http://schemas.microsoft.com/OCS/AuthWebServices/"><Ms-Diagnostics-Fault>'
        f"<ErrorId>{code}</ErrorId><Reason>{escape(reason)}</Reason>"
        "</Ms-Diagnostics-Fault></OCSDiagnosticsFault></detail></s:Fault>"
    )


def _is_proof(root: Element, asked: bytes, key: bytes) -> bool:
    """Whether the sender knows the key of his ticket: a signature over the time stamp (XML Signature, HMAC-SHA1)."""
    info, stamp = _SIGNED_INFO.search(asked), _TIMESTAMP.search(asked)
    if info is None or stamp is None:
        return False
    text = info.group()
    if b"xmlns" not in text.partition(b">")[0]:  # it stands in the element around it
        text = text.replace(b"SignedInfo", b'SignedInfo xmlns="' + _DSIG + b'"', 1)
    try:
        signed = canonicalize(text.decode()).encode()
        stamped = canonicalize(stamp.group().decode()).encode()
    except (NotXml, UnicodeDecodeError):
        return False
    digest = sha1(stamped, usedforsecurity=False).digest()
    return hmac.compare_digest(_octets(root, "DigestValue"), digest) and hmac.compare_digest(
        _octets(root, "SignatureValue"), hmac.digest(key, signed, "sha1")
    )


def _first(root: Element, name: str) -> Element:
    found = next((item for item in root.iter() if item.name == name), None)
    if found is None:
        raise DocumentError(f"a request without {name}")
    return found


def _text(root: Element, name: str) -> str:
    return _first(root, name).text.strip()


def _octets(root: Element, name: str) -> bytes:
    try:
        return base64.b64decode("".join(_text(root, name).split()), validate=True)
    except ValueError:
        raise DocumentError(f"a {name} that is not base64") from None


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))
