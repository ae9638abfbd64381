"""Security associations (MS-SIPAE): the headers of the handshake, the signed text, signing and verifying.

Owns how a SIP message becomes the text that is signed (versions 2, 3 and 4) and the counters of both directions.
Must not know how the keys came about (ntlm) nor which message comes next (sign-in of the dialect).
"""

from __future__ import annotations

import re
from typing import Dict, Optional, Protocol, Tuple

from ..sip.message import CHALLENGE_HEADER, CREDENTIALS_HEADER, Header, Message, Request, Response
from ..sip.uri import AddressError, parse_name_addr, split_list
from ..value import NamedTuple

NEWEST_VERSION = 4
REPLAY_WINDOW = 256  # MS-SIPAE 3.1.5: numbers behind the highest one seen that may still come
_WHOLE_WINDOW = (1 << REPLAY_WINDOW) - 1

# MS-SIPAE 2.2: the headers that carry the server's signature.
INFO_HEADERS = ("Authentication-Info", "Proxy-Authentication-Info")

# Names begin where no name is: without that, each letter of a long word would be tried as the first one.
_PARAM = re.compile(r'(?<![A-Za-z0-9-])([A-Za-z0-9-]+)\s*=\s*(?:"([^"]*)"|([^\s",]*))')


class AuthHeader(NamedTuple):
    """A challenge, credentials or info header: the scheme and its parameters, names in lower case."""

    scheme: str
    params: Dict[str, str]

    def get(self, name: str) -> str:
        return self.params.get(name, "")

    @property
    def version(self) -> int:
        """The protocol version that it names; 2 where it names none."""
        text = self.get("version")
        return int(text) if _is_number(text) and len(text) < 4 else 2


class SignatureKeys(Protocol):
    """What signs one direction: NTLM's session keys, a GSS context, a TLS-DSK key."""

    def mac(self, text: bytes) -> bytes:
        """The signature of `text`."""
        ...

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `text`, made by the peer."""
        ...


class AssociationError(ValueError):
    """A message of the peer cannot have come from the holder of the session key; the text says what it has."""


def parse_auth_header(value: str) -> AuthHeader:
    """Read ``scheme name="value", …``; total: what is not a parameter is passed over."""
    scheme, _, rest = value.strip().partition(" ")
    found = reversed(_PARAM.findall(rest))  # of two by one name the first one counts
    return AuthHeader(scheme, {name.lower(): quoted or plain for name, quoted, plain in found})


def format_auth_header(scheme: str, params: Dict[str, str]) -> str:
    """Write ``scheme name="value", …``; `version` is the one parameter that is never quoted (MS-SIPAE 2.2)."""
    return f"{scheme} " + ", ".join(
        f"{name}={value}" if name == "version" else f'{name}="{value}"' for name, value in params.items()
    )


def challenges(response: Response) -> Dict[str, AuthHeader]:
    """The challenges of a 401 or 407 by scheme in lower case, in the server's order."""
    found: Dict[str, AuthHeader] = {}
    for value in response.all(CHALLENGE_HEADER.get(response.status, "")):
        header = parse_auth_header(value)
        found.setdefault(header.scheme.lower(), header)
    return found


def signed_text(message: Message, version: int, scheme: str, rand: str, num: str, realm: str, target: str) -> bytes:
    """The octets that are signed: fields in angle brackets, none left out (MS-SIPAE 3.2.5.1, 3.3.5.1)."""
    cseq = message.cseq
    from_uri, from_tag = _address(message, "From")
    to_uri, to_tag = _address(message, "To")
    fields = [scheme, rand, num, realm, target, message.call_id, str(cseq.number), cseq.method, from_uri, from_tag]
    if version >= 3:
        fields += [to_uri, to_tag, *_asserted_identities(message)]
    else:
        fields += [to_tag]
    fields.append(message.get("Expires") or "")
    if isinstance(message, Response):
        fields.append(str(message.status))
    return f"<{'><'.join(fields)}>".encode("utf-8", "surrogateescape")


class ReplayWindow:
    """Which sequence numbers have been seen: 256 wide, sliding with the highest one (MS-SIPAE 3.1.5)."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0  # bit n: whether the n-th number below the highest one has been seen

    def accept(self, number: int) -> bool:
        """True once for each number from 1 on that lies inside the window."""
        ahead = number - self._highest
        if number < 1 or not -REPLAY_WINDOW < ahead <= REPLAY_WINDOW:
            return False
        if ahead > 0:
            self._highest = number
            self._seen = (self._seen << ahead | 1) & _WHOLE_WINDOW
            return True
        bit = 1 << -ahead
        new = not self._seen & bit
        self._seen |= bit
        return new


class Association:
    """An established security association, seen from one end.

    `outgoing` and `incoming` are the keys of the two directions. A client signs as ``crand``/``cnum``/``response`` in
    a credentials header, a server as ``srand``/``snum``/``rspauth`` in an info header. Where `opaque` is empty (a
    scheme of one leg), it becomes what the server's first signed message calls the association.
    """

    def __init__(
        self,
        scheme: str,
        realm: str,
        targetname: str,
        opaque: str,
        version: int,
        outgoing: SignatureKeys,
        incoming: SignatureKeys,
    ) -> None:
        self.scheme = scheme
        self.realm = realm
        self.targetname = targetname
        self.opaque = opaque
        self.version = version
        self._outgoing = outgoing
        self._incoming = incoming
        self._sent = 0
        self._window = ReplayWindow()

    def sign_as_client(self, message: Message, crand: str) -> Dict[str, str]:
        """The parameters ``crand``, ``cnum`` and ``response`` for a message about to be sent."""
        num, signature = self._sign(message, crand)
        return {"crand": crand, "cnum": num, "response": signature}

    def credentials(self, message: Message, crand: str) -> str:
        """The value of the credentials header that signs `message`, for everything after the handshake."""
        params = {"qop": "auth", "opaque": self.opaque, "realm": self.realm, "targetname": self.targetname}
        return format_auth_header(self.scheme, {**params, **self.sign_as_client(message, crand)})

    def info(self, message: Message, srand: str) -> str:
        """The value of the info header by which a server signs `message`."""
        num, signature = self._sign(message, srand)
        params = {"qop": "auth", "opaque": self.opaque, "srand": srand, "snum": num, "rspauth": signature}
        params.update(targetname=self.targetname, realm=self.realm)
        if self.version > 2:
            params["version"] = str(self.version)
        return format_auth_header(self.scheme, params)

    def verify_server(self, message: Message) -> bool:
        """Check the server's signature. False: the message has none; raises AssociationError if it is wrong."""
        for name in INFO_HEADERS:
            for value in message.all(name):
                header = parse_auth_header(value)
                if self._is_ours(header):
                    self._verify(message, header, "srand", "snum", "rspauth")
                    self.opaque = self.opaque or header.get("opaque")
                    return True
        return False

    def verify_client(self, message: Message, header: AuthHeader) -> None:
        """Check a client's signature in its credentials `header`. Raises AssociationError."""
        self._verify(message, header, "crand", "cnum", "response")

    def _is_ours(self, header: AuthHeader) -> bool:
        opaque = header.get("opaque")
        return (
            header.scheme.lower() == self.scheme.lower()
            and header.get("realm") == self.realm
            and header.get("targetname").lower() == self.targetname.lower()
            and (not opaque or not self.opaque or opaque == self.opaque)
        )

    def _sign(self, message: Message, rand: str) -> Tuple[str, str]:
        self._sent += 1
        num = str(self._sent)
        text = signed_text(message, self.version, self.scheme, rand, num, self.realm, self.targetname)
        return num, self._outgoing.mac(text).hex()

    def _verify(self, message: Message, header: AuthHeader, rand: str, num: str, signature: str) -> None:
        number = header.get(num)
        text = signed_text(
            message,
            self.version,
            header.scheme,
            header.get(rand),
            number,
            header.get("realm"),
            header.get("targetname"),
        )
        try:
            octets = bytes.fromhex(header.get(signature))  # the digits' case depends on the server's version
        except ValueError:
            octets = b""
        if not self._incoming.verify(text, octets):
            raise AssociationError("a wrong signature")
        if not (_is_number(number) and len(number) < 11 and self._window.accept(int(number))):
            raise AssociationError("a repeated sequence number")


def server_signature(message: Message) -> Optional[AuthHeader]:
    """The first info header of a message, None if it is unsigned."""
    for name in INFO_HEADERS:
        value = message.get(name)
        if value is not None:
            return parse_auth_header(value)
    return None


def credentials_header(message: Message) -> Optional[AuthHeader]:
    """The credentials of a client's message, None if it has none."""
    for name in CREDENTIALS_HEADER.values():
        value = message.get(name)
        if value is not None:
            return parse_auth_header(value)
    return None


def with_credentials(message: Message, status: int, value: str) -> Message:
    """`message` with the credentials that answer a challenge of `status` (401 or 407)."""
    header: Header = (CREDENTIALS_HEADER[status], value)
    return message.with_headers(header)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _address(message: Message, name: str) -> Tuple[str, str]:
    try:
        address = parse_name_addr(message.get(name) or "")
    except AddressError:
        return "", ""
    return address.uri, address.tag


def _asserted_identities(message: Message) -> Tuple[str, str]:
    sip = tel = ""
    names = (
        ("P-Asserted-Identity", "P-Preferred-Identity") if isinstance(message, Request) else ("P-Asserted-Identity",)
    )
    values = next((message.all(name) for name in names if message.get(name)), ())
    for value in values:
        for uri in _identity_uris(value):
            scheme = uri.partition(":")[0].lower()
            if scheme in ("sip", "sips") and not sip:
                sip = uri
            elif scheme == "tel" and not tel:
                tel = uri
    return sip, tel


def _identity_uris(value: str) -> Tuple[str, ...]:
    uris = []
    for part in split_list(value):
        try:
            uris.append(parse_name_addr(part).uri)
        except AddressError:
            continue
    return tuple(uris)
