"""Asking a pool's certificate provisioning service for a user's certificate, for TLS-DSK.

Owns the order of the requests and the sign-in over HTTP. Must not know the documents (lync/provisioning), nor who
keeps the certificate. pyspnego and cryptography come with the extra ``tls-dsk`` and are imported only when needed.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import uuid
from base64 import b64decode, b64encode
from typing import List, Optional, Tuple

from .lync import provisioning
from .lync.association import AuthHeader
from .lync.identity import instance_id
from .lync.kerberos import Kerberos, MissingExtra
from .lync.mechanism import SignInOptions
from .markup import DocumentError
from .net.deadline import Deadline
from .net.https import Https, HttpsError, Origin, Reply
from .net.resolve import in_thread
from .outcome import Cause, PresenceError
from .settings import Account, Secret, UserCertificate
from .user_certificates import MIN_LEFT, from_pem
from .value import NamedTuple

LIMIT = 15.0  # seconds for all of it, and never more than half of what is left
SHARE = 0.5
KEY_SIZE = 2048  # RSA, as Lync clients have it

_XML = {"Content-Type": "text/xml; charset=utf-8"}


class Server(NamedTuple):
    """How to reach the services: TLS settings, the pool's name, the address family (4, 6 or None for both)."""

    context: ssl.SSLContext
    target: str
    family: Optional[int]


async def fetch(
    account: Account, options: SignInOptions, server: Server, url: str, deadline: Deadline
) -> UserCertificate:
    """A new certificate of the user's, from the service at `url` (the sts-uri of a challenge). Raises PresenceError."""
    limit = deadline.within(min(LIMIT, deadline.remaining * SHARE))
    web = Https(server.context, server.target, server.family, options.is_ours)
    try:
        return await _Client(account, options, web, limit).certificate(url)
    except HttpsError as fault:
        raise _error(str(fault), "TLS" if fault.code else "HTTP") from None
    except DocumentError as fault:
        raise _error(f"the answer is {fault}", "DOCUMENT") from None
    except provisioning.ProvisioningFault as fault:
        # Numbers and texts are those of ms-diagnostics headers.
        reason = str(fault).replace("\\", "").replace('"', "'")
        told = (f'{fault.code};reason="{reason}"',) if fault.code.isdigit() else ()
        text = "the pool refuses it" + ("" if told else f" ({reason.rstrip('.')})")
        raise PresenceError(Cause.PROVISIONING, f"No certificate: {text}.", None, told, "FAULT") from None
    except TimeoutError:
        raise _error(f"not ready within {limit.span} s", "HTTP") from None
    finally:
        web.close()


class _Client:
    """One user's way to one certificate."""

    def __init__(self, account: Account, options: SignInOptions, web: Https, limit: Deadline) -> None:
        self._account = account
        self._options = options
        self._web = web
        self._limit = limit
        # The same for every run: a pool keeps one certificate for each device of a user's.
        seed = f"{account.uri.lower()} {options.workstation}"
        self._device = str(instance_id(hashlib.sha256(seed.encode()).hexdigest()[:12]))

    async def certificate(self, url: str) -> UserCertificate:
        services = provisioning.services(await self._description(url))
        port = provisioning.windows_port(await self._description(services.tickets))
        entropy = os.urandom(provisioning.ENTROPY)
        asked = provisioning.ticket_request(services.certificates, self._account.uri, self._device, entropy)
        answer = await self._signed_in(self._web.origin(port), asked)
        ticket = provisioning.parse_ticket(answer, entropy)
        key, request = await in_thread(lambda: _key_and_request(self._account.address), self._limit)
        ids = iter((self._device, str(uuid.uuid4()), str(uuid.uuid4())))
        asked = provisioning.certificate_request(services, ticket, self._account.address, request, ids)
        origin = self._web.origin(services.certificates)
        reply = await self._post(origin, provisioning.PUBLISH, asked)
        return _checked(provisioning.parse_certificate(_document(origin, reply)), key, self._options.now())

    async def _description(self, url: str) -> bytes:
        origin = self._web.origin(f"{url.rstrip('/')}/mex")
        return _document(origin, await self._web.request("GET", origin, {}, None, self._limit))

    async def _post(self, origin: Origin, action: str, body: bytes, token: str = "") -> Reply:
        headers = {**_XML, "SOAPAction": f'"{action}"'}
        if token:
            headers["Authorization"] = token
        return await self._web.request("POST", origin, headers, body, self._limit)

    async def _signed_in(self, origin: Origin, body: bytes) -> bytes:
        """The answer to a request that wants to know who asks (RFC 4559). One attempt with the password."""
        reply = await self._post(origin, provisioning.ISSUE, body)
        offered = _offered(reply)
        token = await self._ticket(origin) if "negotiate" in offered else None
        if token is not None:
            shown = Cause.KERBEROS
            reply = await self._post(origin, provisioning.ISSUE, body, f"Negotiate {b64encode(token).decode()}")
        elif self._account.password and {"ntlm", "negotiate"} & set(offered):
            shown = Cause.REFUSED_CREDENTIALS
            reply = await self._ntlm(origin, body, "NTLM" if "ntlm" in offered else "Negotiate")
        elif reply.status == 401:
            raise _error(f"no common way to sign in ({', '.join(offered) or 'nothing'} is offered)", "HTTP")
        if reply.status == 401:
            raise PresenceError(shown, f"{origin.host} gives no web ticket: 401, Unauthorized.", 401)
        return _document(origin, reply)

    async def _ticket(self, origin: Origin) -> Optional[bytes]:
        """A Kerberos token for the web service, where this host has Kerberos."""
        account, options = self._account, self._options
        if not account.keytab and not options.realm_of(account.user):
            return None
        try:
            mechanism = Kerberos(account, options, lambda digits: os.urandom(digits // 2).hex(), "HTTP")
            service = AuthHeader("Negotiate", {"targetname": f"HTTP/{self._web.server_name(origin)}"})
            return await mechanism.token(service, b"", self._limit)
        except (MissingExtra, PresenceError) as error:
            refused = isinstance(error, PresenceError) and error.cause is not Cause.KERBEROS
            if refused or not account.password:
                raise
            return None

    async def _ntlm(self, origin: Origin, body: bytes, scheme: str) -> Reply:
        """NTLM as it is on HTTP: of the connection, not of a request."""
        import spnego
        from spnego.channel_bindings import GssChannelBindings
        from spnego.exceptions import SpnegoError

        account = self._account
        bindings = GssChannelBindings(application_data=_end_point(self._web.certificate(origin)))
        try:
            client = spnego.client(
                account.user,
                account.password.reveal(),
                self._web.server_name(origin),
                "HTTP",
                bindings,
                protocol="ntlm",
            )
            first = client.step() or b""
            reply = await self._post(origin, provisioning.ISSUE, b"", f"{scheme} {b64encode(first).decode()}")
            challenge = _token(reply, scheme)
            if challenge is None:
                raise _error(f"{origin.host} answers NTLM without a challenge ({reply.status})", "HTTP")
            answer = client.step(challenge) or b""
        except (SpnegoError, ValueError) as fault:
            raise _error(f"NTLM is not possible ({type(fault).__name__})", "HTTP") from None
        return await self._post(origin, provisioning.ISSUE, body, f"{scheme} {b64encode(answer).decode()}")


def _error(text: str, detail: str) -> PresenceError:
    return PresenceError(Cause.PROVISIONING, f"No certificate: {text}.", detail=detail)


def _document(origin: Origin, reply: Reply) -> bytes:
    """What the answer says; a fault comes with 500. Raises HttpsError."""
    if reply.status not in (200, 500) or not reply.body.strip():
        raise HttpsError(f"{origin.host}:{origin.port}{origin.path} answers {reply.status}")
    return reply.body


def _offered(reply: Reply) -> List[str]:
    return [value.partition(" ")[0].lower() for value in reply.challenges] if reply.status == 401 else []


def _token(reply: Reply, scheme: str) -> Optional[bytes]:
    """The token of a challenge of this scheme."""
    for value in reply.challenges:
        name, _, text = value.partition(" ")
        if name.lower() == scheme.lower() and text:
            try:
                return b64decode(text.strip(), validate=True)
            except ValueError:
                return None
    return None


def _end_point(certificate: bytes) -> bytes:
    """What binds a sign-in to the TLS connection below it (RFC 5929 4.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except Exception:  # a certificate that OpenSSL reads and cryptography does not; the hash of most is SHA-256
        algorithm = None
    weak = algorithm is None or isinstance(algorithm, (hashes.MD5, hashes.SHA1))
    name = "sha256" if weak or algorithm is None else algorithm.name
    return b"tls-server-end-point:" + hashlib.new(name.replace("-", "_"), certificate).digest()


def _key_and_request(address: str) -> Tuple[Secret, bytes]:
    """A new key (PEM), and the request for a certificate for it (DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, KEY_SIZE)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(pem.decode()), request.public_bytes(serialization.Encoding.DER)


def _checked(certificate: bytes, key: Secret, now: float) -> UserCertificate:
    """What the service has given, if it can be used. Raises PresenceError."""
    try:
        found = from_pem(ssl.DER_cert_to_PEM_cert(certificate).encode(), key.reveal().encode())
    except ValueError as fault:
        raise _error(f"the pool gives one that cannot be used ({fault})", "DOCUMENT") from None
    if found.ends - now < MIN_LEFT:
        raise _error("the pool gives one that has expired, or ends within an hour", "EXPIRED")
    return found
