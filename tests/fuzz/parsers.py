"""Every reader of octets and texts from outside, with what must hold whatever they are.

Each function takes any octets and returns nothing: a value or the one documented error came of them, the limits held,
what goes back to the peer is well-formed, and what is written reads back as the same value. Anything else raises.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile
from typing import Any, Callable, Coroutine, Dict, Iterator, List, Optional, Sequence, Tuple
from unittest import mock

import dns.exception
import dns.message
import dns.rdataclass
import dns.rdatatype
import nagiosplugin

from check_lync_presence import cli
from check_lync_presence.diagnosis import ms_diagnostics
from check_lync_presence.lync import categories, ntlm
from check_lync_presence.lync import provisioning as web_services
from check_lync_presence.lync.association import (
    AuthHeader,
    challenges,
    credentials_header,
    format_auth_header,
    parse_auth_header,
    server_signature,
    signed_text,
)
from check_lync_presence.lync.provisioning import ProvisioningFault, Services
from check_lync_presence.lync.sign_in import MAX_LEGS
from check_lync_presence.lync.tls_dsk import TlsDsk
from check_lync_presence.markup import DocumentError, parse
from check_lync_presence.net import discover
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.outcome import PresenceError
from check_lync_presence.passwords import Sources
from check_lync_presence.refusal import Redirected, raise_redirect, status_error
from check_lync_presence.report.text import clean, redact
from check_lync_presence.settings import SettingsError, UserCertificate, sip_address
from check_lync_presence.simple import pidf
from check_lync_presence.sip import digest
from check_lync_presence.sip.date import parse_date
from check_lync_presence.sip.dialog import Dialog
from check_lync_presence.sip.framing import MAX_BODY, StreamFramer, read_datagram
from check_lync_presence.sip.message import MAX_HEADERS, Message, ParseError, Request, Response
from check_lync_presence.sip.multipart import MAX_PARTS, MultipartError, parse_content_type, split_multipart
from check_lync_presence.sip.transaction import answer, belongs, identity
from check_lync_presence.sip.uri import AddressError, parse_name_addr, parse_uri, same_address, split_list

from ..certificates import user_certificate
from ..samples import ANN, BEN
from ..strategies import wire_text
from ..transcripts import ANN as RECORDED
from ..transcripts import POOL, client_end

ASKED = Request("OPTIONS", "sip:a", (("Via", "SIP/2.0/TLS a;branch=z9hG4bK1"), ("Call-ID", "1"), ("CSeq", "1 OPTIONS")))
NOW = bytes.fromhex("0090d336b734c301")
KEY = bytes(range(16))
MARKER = "presence-check 0123456789abcdef"
STRANGER = RECORDED._replace(exported_key=KEY)  # signs nothing in the corpus


# ------------------------------------------------------------------------ SIP


def stream(data: bytes) -> None:
    """Octets of a connection: the same messages however they are cut; each is judged by `_message`."""
    whole = _framed([data])
    half = len(data) // 2
    assert _framed([data[:half], data[half : half + 1], data[half + 1 :]]) == whole
    for message in whole[0]:
        _message(message)


def datagram(data: bytes) -> None:
    """A datagram: one message at most."""
    try:
        found = list(read_datagram(data))
    except ParseError:
        return
    assert len(found) <= 1
    for message in found:
        assert len(message.body) <= len(data)
        _message(bytes(message))


def _framed(pieces: Sequence[bytes]) -> Tuple[List[bytes], str]:
    framer = StreamFramer()
    found: List[bytes] = []
    try:
        for piece in pieces:
            for message in framer.feed(piece):
                found.append(bytes(message))  # what came before an error counts
    except ParseError as error:
        return found, str(error)
    return found, "partial" if framer.partial else "whole"


def _parsed(data: bytes) -> Message:
    (message,) = StreamFramer().feed(data)
    return message


def _same(one: Message, other: Message) -> bool:
    def without_length(message: Message) -> Tuple[Any, ...]:
        kept = [item for item in message.headers if item[0].lower() != "content-length"]
        return type(message), message.start_line, kept, message.body

    return without_length(one) == without_length(other)


def _message(data: bytes) -> None:
    """A message that was read once, and all that is read out of it and said because of it."""
    message = _parsed(data)
    assert _same(_parsed(bytes(message)), message)
    assert len(message.headers) <= MAX_HEADERS + 1
    assert len(message.body) <= MAX_BODY
    for version in (2, 3, 4):
        signed_text(message, version, "NTLM", "0", "1", "realm", POOL)
    assert not _verified(message), "nobody has the key"
    server_signature(message)
    credentials_header(message)
    clean(data.decode("utf-8", "replace"))
    if isinstance(message, Request):
        _request(message)
    else:
        _response(message)


def _verified(message: Message) -> bool:
    try:
        return client_end(STRANGER).verify_server(message)
    except ValueError:
        return False


def _request(request: Request) -> None:
    identity(request)
    dialog = Dialog(request.call_id, ANN.uri, "local", BEN.uri)
    known = dialog.owns(request)
    for reply in (answer(request, known, "0a1b2c3d"), answer(request, True, "0a1b2c3d")):
        assert reply is None or _same(_parsed(bytes(reply)), reply)


def _response(response: Response) -> None:
    belongs(response, ASKED)
    assert status_error(response).status == response.status
    with contextlib.suppress(Redirected, PresenceError):
        raise_redirect(response)
    challenges(response)
    dialog = Dialog(response.call_id, ANN.uri, "local", BEN.uri)
    dialog.establish(response)
    request = Request("SUBSCRIBE", dialog.request_uri, dialog.headers("SUBSCRIBE"))
    assert _parsed(bytes(request)).start_line == request.start_line


# --------------------------------------------------------------- header values


def address(data: bytes) -> None:
    """URIs, and the header values that carry them."""
    text = wire_text(data)
    try:
        uri = parse_uri(text)
        assert not (uri.user and not parse_uri(uri.aor).user)
        assert same_address(text, uri.aor)
        assert parse_uri(uri.aor).aor == uri.aor
    except AddressError:
        assert not same_address(text, text)
    parts = split_list(text)
    assert sum(map(len, parts)) <= len(text)
    for part in parts:
        assert split_list(part) == (part,) or "," in part
        with contextlib.suppress(AddressError):
            found = parse_name_addr(part)
            assert found.uri
            assert len(found.uri) + sum(map(len, found.params)) <= len(part)
    with contextlib.suppress(SettingsError):
        known = sip_address(text)
        assert sip_address(known) == known


def challenge(data: bytes) -> None:
    """Challenges and credentials of MS-SIPAE and of Digest, one header value a line."""
    lines = wire_text(data).split("\n")
    for line in lines:
        header = parse_auth_header(line)
        assert header.version >= 0
        if not header.scheme:
            continue
        written = {**header.params, "version": str(header.version)}  # what is never quoted is a number
        assert parse_auth_header(format_auth_header(header.scheme, written)).params == written
    try:
        chosen = digest.choose(lines)
    except digest.DigestError:
        return
    value = digest.credentials(chosen, "REGISTER", "sip:contoso.example", 'a"\\n', "secret", 1, "c0ffee")
    assert not set(value) & {"\r", "\n", "\0"}
    assert "secret" not in value or any("secret" in line for line in lines)
    again = parse_auth_header(value.replace("\\\\", "").replace('\\"', ""))
    assert again.scheme == "Digest"
    assert again.get("response").isalnum()


def diagnostics(data: bytes) -> None:
    """The value of an ms-diagnostics header."""
    text = wire_text(data)
    found = ms_diagnostics.parse(text)
    if found is not None:
        assert 0 <= found.code < 10**6
        assert sum(map(len, found.params.values())) <= len(text)
        assert str(found).startswith(f"ErrorCode={found.code}")


def date(data: bytes) -> None:
    """The Date header."""
    found = parse_date(wire_text(data))
    assert found is None or -62135596800 <= found < 253402300800  # the years 1 to 9999


def printed(data: bytes) -> None:
    """What is printed of a peer's text."""
    text = wire_text(data)
    for limit in (10, 400):
        line = clean(text, limit)
        assert len(line) <= limit
        assert clean(line, limit) == line
        assert line.isprintable()
        assert not set(line) & set("|<>")
    # What is planted must be gone, wherever it stands.
    secret = "Pa55-w0rd"
    assert secret not in redact(secret + text + secret, (secret,))


# ------------------------------------------------------------------------ NTLM


def tokens(data: bytes) -> None:
    """NTLM tokens of both directions."""
    with contextlib.suppress(ntlm.NtlmError):
        pairs = ntlm.parse_av_pairs(data)
        assert ntlm.parse_av_pairs(ntlm.build_av_pairs(pairs)) == pairs
    _challenge_token(data)
    with contextlib.suppress(ntlm.NtlmError):
        token = ntlm.parse_authenticate(data)
        assert len(token.nt_response) >= 44
        known = ntlm.build_challenge(0, b"12345678", b"\0\0\0\0")
        assert ntlm.accept_authenticate(known, token, "another password") is None


def _challenge_token(data: bytes) -> None:
    try:
        found = ntlm.parse_challenge(data)
    except ntlm.NtlmError:
        return
    assert found.raw == data
    credentials = ntlm.Credentials("ann", "CONTOSO", "secret")
    for target in (None, "sip/pool01.contoso.example"):
        try:
            token = ntlm.build_authenticate(found, credentials, "HOST", b"87654321", KEY, NOW, target)
            read = ntlm.parse_authenticate(token)
        except ntlm.NtlmError:
            continue
        assert (read.user, read.domain, read.workstation) == ("ann", "CONTOSO", "HOST")
        if target is None and read.mic is not None:
            continue  # the server's own pairs claim that the answer has a MIC
        assert ntlm.accept_authenticate(found, read, "secret") in (KEY, None)
        assert ntlm.accept_authenticate(found, read, "Secret") is None


# ------------------------------------------------------------------- documents


def document(data: bytes) -> None:
    """Bodies: the Content-Type in the first line, the octets behind it."""
    first, _, body = data.partition(b"\n")
    content_type = wire_text(first)
    kind, params = parse_content_type(content_type)
    assert kind == kind.lower()
    assert sum(map(len, params.values())) <= len(content_type)
    with contextlib.suppress(MultipartError):
        parts = split_multipart(content_type, body)
        assert len(parts) <= MAX_PARTS
        assert sum(len(part.body) for part in parts) <= len(body)
    with contextlib.suppress(DocumentError):
        told = categories.parse_notification(content_type, body)
        for presence in told.presences:
            same_address(presence.uri, ANN.uri)
    with contextlib.suppress(DocumentError):
        own = categories.parse_self(body)
        own.find("note", 0, 200)
        categories.container_of("contoso.example", "ben@contoso.example", "contoso.example", own.containers or {})
        for item in own.categories:
            assert item.instance is None or -1 <= item.instance < 2**32
            assert 0 <= item.version < 2**32
    with contextlib.suppress(DocumentError):
        assert all(item.position >= 0 for item in categories.parse_conflicts(body))
    categories.fault_code(body)
    with contextlib.suppress(DocumentError):
        assert not pidf.shows(body, ANN.uri, MARKER) or MARKER[-16:].encode() in body or b"&#" in body or b"\0" in body


# --------------------------------------------------------------------- TLS-DSK


def provisioning(data: bytes) -> None:
    """What a pool's web services say: descriptions, a ticket, a certificate; and the request with a ticket in it."""
    described = Services("https://pool01.contoso.example/c", "https://pool01.contoso.example/t", True)
    with contextlib.suppress(DocumentError):
        described = web_services.services(data)
        assert described.certificates
        assert described.tickets
    with contextlib.suppress(DocumentError):
        assert web_services.windows_port(data)
    with contextlib.suppress(DocumentError, ProvisioningFault):
        assert isinstance(web_services.parse_certificate(data), bytes)
    try:
        ticket = web_services.parse_ticket(data, KEY * 2)
    except (DocumentError, ProvisioningFault):
        return
    assert len(ticket.key) == web_services.ENTROPY
    asked = web_services.certificate_request(described, ticket, ANN.address, b"csr", map(str, itertools.count()))
    # The assertion goes back as it came, and may need name spaces that stood around it. Without it all is ours.
    assert asked.count(ticket.assertion) == 1
    parse(asked.replace(ticket.assertion, b""), "Envelope")


def handshake(data: bytes) -> None:
    """A front end's records in the headers of TLS-DSK, one header's after the other's: a length in front of each."""
    mechanism = TlsDsk(ANN.uri, _given)
    pieces, rest = [b""], data
    while rest[2:] and len(pieces) < MAX_LEGS:
        end = 3 + int.from_bytes(rest[:2], "big")
        pieces.append(rest[2:end])
        rest = rest[end:]
    with contextlib.suppress(PresenceError):
        for piece in pieces:
            said = _at_once(mechanism.token(parse_auth_header("TLS-DSK"), piece, Deadline(1.0, lambda: 0.0)))
            assert said is None or said
    assert mechanism.keys is None, "nobody can finish a handshake who does not know what it is about"


_certificate = functools.cache(user_certificate)


async def _given(challenge: AuthHeader, deadline: Deadline) -> UserCertificate:
    return _certificate(ANN.address)


def _at_once(work: Coroutine[Any, Any, Optional[bytes]]) -> Optional[bytes]:
    """What a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        result: Optional[bytes] = done.value
        return result
    raise AssertionError("there is nothing to wait for")


# --------------------------------------------------------------- what we are told


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()  # until the process ends


def accounts(data: bytes) -> None:
    """An accounts file, up to the Settings that follow from it."""
    path = os.path.join(_folder().name, "accounts.ini")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    arguments = cli._arguments(["-H", POOL, "--accounts", path])
    # A command in the file is for the shell of whoever owns it, not for a fuzzer.
    with mock.patch.object(Sources, "of_command", return_value="from a command"):
        try:
            found = cli.settings_from(arguments, Sources({}, lambda seconds: ""))
        except SettingsError:
            return
    for account in (found.publisher, found.subscriber):
        assert sip_address(account.uri) == account.uri
        assert repr(account.password) == "***"
    assert found.timeout > 0


def ranges(data: bytes) -> None:
    """A threshold."""
    try:
        text = cli._range(data.decode("utf-8", "replace"), "-w")
    except SettingsError:
        return
    nagiosplugin.Range(text)
    assert not set(text) & set(" ;|'\n")


# ------------------------------------------------------------------------- DNS


def services(data: bytes) -> None:
    """A DNS answer with SRV records: dnspython reads it, we choose."""
    try:
        told = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return  # not ours
    targets = [
        discover._Target(item.priority, item.weight, discover._host(item.target), item.port)
        for records in told.answer
        if (records.rdclass, records.rdtype) == (dns.rdataclass.IN, dns.rdatatype.SRV)
        for item in records
    ]
    usable, refused = discover._sift(targets, "contoso.example", POOL)
    assert len(usable) <= len(targets)
    for target in usable:
        assert target.port
        assert f".{target.host}".endswith(".contoso.example")
    for text in refused:
        assert text.isascii()
    for pick in (lambda count: 0, lambda count: count - 1, _counting()):
        ordered = list(discover._in_order(usable, pick))
        assert sorted(ordered) == sorted(usable)
        assert [item.priority for item in ordered] == sorted(item.priority for item in usable)


def _counting() -> Callable[[int], int]:
    numbers: Iterator[int] = iter(range(10**9))
    return lambda count: next(numbers) % count


PARSERS: Dict[str, Callable[[bytes], None]] = {
    "stream": stream,
    "datagram": datagram,
    "address": address,
    "challenge": challenge,
    "diagnostics": diagnostics,
    "date": date,
    "printed": printed,
    "tokens": tokens,
    "document": document,
    "provisioning": provisioning,
    "handshake": handshake,
    "accounts": accounts,
    "ranges": ranges,
    "services": services,
}
