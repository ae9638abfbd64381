"""The handshake of TLS-DSK and the keys that follow from it, against an own PRF and the handshake's own secrets."""

from __future__ import annotations

import datetime
import hmac
import itertools
from typing import Any, List, NamedTuple, Optional, Tuple

import pytest

pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.lync.tls_dsk import (
    LABEL,
    MAX_TOKEN,
    Block,
    DskKey,
    Handshake,
    HandshakeError,
    TlsDsk,
    UnusableCertificate,
    client_to_server,
    context,
    load,
    mac_hash,
    server_to_client,
)
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.settings import Secret, UserCertificate

from ..loopback import finish, soon

TEXT = (
    b"<TLS-DSK><3f2a91c7><1><SIP Communications Service><pool01.contoso.example><5f0b2c7e9a3d4416b8e1c2d3f4a5b6c7>"
    b"<5><REGISTER><sip:ann@contoso.example><8d1f3a6b2c><sip:ann@contoso.example><><><><>"
)


def expand(secret: bytes, seed: bytes, size: int, digest: str) -> bytes:
    """P_hash of RFC 2246 5 and RFC 5246 5."""
    block, out = seed, b""
    while len(out) < size:
        block = hmac.digest(secret, block, digest)
        out += hmac.digest(secret, block + seed, digest)
    return out[:size]


def prf(version: str, secret: bytes, label: bytes, seed: bytes, size: int, digest: str = "sha256") -> bytes:
    """The PRF of TLS 1.0 and 1.1 (MD5 and SHA-1 of a half each), or of TLS 1.2."""
    if version == "TLSv1.2":
        return expand(secret, label + seed, size, digest)
    half = (len(secret) + 1) // 2
    first = expand(secret[:half], label + seed, size, "md5")
    second = expand(secret[-half:], label + seed, size, "sha1")
    return bytes(a ^ b for a, b in zip(first, second))


def block_of(octets: bytes, digest: str = "sha1") -> Block:
    return Block(octets, digest)


# ------------------------------------------------------------ known answers


def test_the_prf_of_these_tests_gives_the_public_vector() -> None:
    given = prf("TLSv1", b"\xab" * 48, b"PRF Testvector", b"\xcd" * 64, 104)
    assert given.hex().upper() == (
        "D3D4D1E349B5D515044666D51DE32BAB258CB521B6B053463E354832FD976754443BCF9A296519BC289ABCBC1187E4EBD31E602353776C4"
        "08AAFB74CBC85EFF69255F9788FAA184CBB957A9819D84A5D7EB006EB459D3AE8DE9810454B8B2D8F1AFBC655A8C9A013"
    )


@pytest.mark.parametrize(
    ("digest", "signature"),
    [("sha1", "098e800ec1bbf27f255db90854611640944eb828"), ("md5", "7eae58cbccac98ca365873efdbd39b4e")],
)
def test_keys_and_signatures_are_the_known_ones(digest: str, signature: str) -> None:
    block = block_of(prf("TLSv1", bytes(range(48)), LABEL, b"\xc1" * 32 + b"\x51" * 32, 128), digest)
    ours, theirs = client_to_server(block), server_to_client(block)
    assert ours.key.hex().upper() == "605454495A56ECCF0BD9082DA716FFF0FC9F65D0DC1D2F4CCCF079E765A781DA"
    assert theirs.key.hex().upper() == "4A39EC54480C6CA503293CCE896A8ADFE9ADF0720ECBEF3A6AB37433029273F0"
    assert ours.mac(TEXT).hex() == signature
    assert ours.verify(TEXT, bytes.fromhex(signature))
    assert not theirs.verify(TEXT, bytes.fromhex(signature))
    assert not ours.verify(TEXT, bytes.fromhex(signature)[:-1])


@pytest.mark.parametrize(
    ("suite", "digest"),
    [
        ("RC4-MD5", "md5"),
        ("AES256-SHA", "sha1"),
        ("AES128-SHA256", "sha256"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "sha384"),
        ("ECDHE-RSA-CHACHA20-POLY1305", "sha256"),
        ("", "sha256"),
    ],
)
def test_the_hash_is_that_of_the_suite(suite: str, digest: str) -> None:
    assert mac_hash(suite) == digest
    assert len(DskKey(b"k" * 32, digest).mac(TEXT)) == hmac.new(b"", b"", digest).digest_size


# ------------------------------------------------------------ handshakes


class Pair(NamedTuple):
    certificate: str
    key: Secret

    def context(self) -> SSL.Context:
        return context(self.certificate, self.key)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return made("ann@contoso.example")


@pytest.fixture(scope="module")
def other() -> Pair:
    return made("ben@contoso.example")


def made(name: str) -> Pair:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=36500))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(pem, Secret(secret.decode()))


def demanding(pair: Pair, good: bool = True) -> SSL.Context:
    """The server's side, which demands a certificate and finds it good or not."""
    made = pair.context()
    made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: good)
    return made


def talk(client: Handshake, server: Handshake) -> int:
    """Run a handshake to its end; how many tokens it took."""
    data, ends = b"", itertools.cycle((client, server))
    for count, end in enumerate(ends):
        data = end.feed(data)
        if not data:
            return count
    raise AssertionError


@pytest.mark.parametrize(
    ("version", "number", "suite"),
    [
        ("TLSv1", SSL.TLS1_VERSION, b"AES128-SHA:@SECLEVEL=0"),
        ("TLSv1.1", SSL.TLS1_1_VERSION, b"AES256-SHA:@SECLEVEL=0"),
        ("TLSv1.2", SSL.TLS1_2_VERSION, b"AES128-SHA:@SECLEVEL=0"),
        ("TLSv1.2", SSL.TLS1_2_VERSION, b"ECDHE-RSA-AES256-GCM-SHA384"),
    ],
)
def test_both_ends_derive_what_the_prf_makes_of_the_master_secret(
    pair: Pair, version: str, number: int, suite: bytes
) -> None:
    lines: List[bytes] = []
    theirs = demanding(pair)
    theirs.set_max_proto_version(number)
    theirs.set_cipher_list(suite)
    ours = pair.context()
    ours.set_keylog_callback(lambda _connection, line: lines.append(line))
    client, server = Handshake(ours, server=False), Handshake(theirs, server=True)
    assert talk(client, server) == 4  # our three tokens and theirs, and then nothing
    assert client.block == server.block
    assert client.block is not None
    assert client._connection.get_protocol_version_name() == version
    _, client_random, master = next(line for line in lines if line.startswith(b"CLIENT_RANDOM")).split()
    seed = bytes.fromhex(client_random.decode()) + (client._connection.server_random() or b"")
    digest = "sha384" if suite.endswith(b"SHA384") else "sha256"
    assert client.block.octets == prf(version, bytes.fromhex(master.decode()), LABEL, seed, 128, digest)
    assert client_to_server(client.block).key != server_to_client(client.block).key


def test_tls_1_3_is_not_spoken(pair: Pair) -> None:
    """Its exporter is another one than the derivation of these keys."""
    newer = SSL.Context(SSL.TLS_METHOD)
    newer.set_min_proto_version(SSL.TLS1_3_VERSION)
    client, server = Handshake(pair.context(), server=False), Handshake(newer, server=True)
    with pytest.raises(HandshakeError) as caught:
        server.feed(client.feed(b""))
    with pytest.raises(HandshakeError) as told:
        client.feed(caught.value.records)
    assert told.value.alert
    assert "protocol version" in str(told.value)


@pytest.mark.parametrize("mangle", [lambda data: data[:-9], lambda data: b"", lambda data: data[:3]])
def test_a_truncated_token_leads_to_no_keys(pair: Pair, mangle: Any) -> None:
    client, server = Handshake(pair.context(), server=False), Handshake(demanding(pair), server=True)
    last = client.feed(server.feed(client.feed(b"")))
    assert server.feed(mangle(last)) == b""
    assert server.block is None


def test_a_replayed_token_proves_nothing(pair: Pair) -> None:
    client, server = Handshake(pair.context(), server=False), Handshake(demanding(pair), server=True)
    hello = client.feed(b"")
    last = client.feed(server.feed(hello))
    second = Handshake(demanding(pair), server=True)
    second.feed(hello)
    with pytest.raises(HandshakeError):
        second.feed(last)
    assert second.block is None


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 70_000])
def test_what_is_no_tls_is_a_handshake_error(pair: Pair, data: bytes) -> None:
    client = Handshake(pair.context(), server=False)
    client.feed(b"")
    with pytest.raises(HandshakeError) as caught:
        client.feed(data[: MAX_TOKEN + 1])
    assert not caught.value.alert
    assert str(caught.value)


# ------------------------------------------------------------ certificates


def test_a_certificate_without_its_key_is_unusable(pair: Pair, other: Pair) -> None:
    for certificate, key, words in (
        (pair.certificate, other.key, "do not belong together"),
        ("text", pair.key, "no certificate"),
        (pair.certificate, Secret("text"), "no private key"),
        (pair.certificate.replace("MII", "XXX"), pair.key, "no certificate"),
    ):
        with pytest.raises(UnusableCertificate, match=words):
            context(certificate, key)


def test_a_chain_has_the_users_certificate_first_and_may_have_the_key_behind_it(pair: Pair, other: Pair) -> None:
    text = f"Bag Attributes\n{pair.certificate}x\n{other.certificate}{pair.key.reveal()}".encode()
    chain, _ = load(text, text)
    assert [item.subject.rfc4514_string() for item in chain] == ["CN=ann@contoso.example", "CN=ben@contoso.example"]


# ------------------------------------------------------------ the mechanism

OFFER = AuthHeader("TLS-DSK", {"targetname": "pool01.contoso.example", "sts-uri": "https://pool01.contoso.example/c"})


def mechanism(pair: Pair, subject: str = "ann@contoso.example") -> Tuple[TlsDsk, List[AuthHeader]]:
    asked: List[AuthHeader] = []

    async def certificate(offer: AuthHeader, deadline: Deadline) -> UserCertificate:
        asked.append(offer)
        return UserCertificate(pair.certificate, pair.key, subject, 0.0)

    return TlsDsk("sip:ann@contoso.example", certificate), asked


def token(client: TlsDsk, data: bytes) -> Optional[bytes]:
    given: Optional[bytes] = finish(client.token(OFFER, data, soon()))
    return given


def test_the_last_token_of_the_server_gives_the_keys_and_wants_no_answer(pair: Pair) -> None:
    client, asked = mechanism(pair)
    server = Handshake(demanding(pair), server=True)
    hello = token(client, b"")
    last = token(client, server.feed(hello or b""))
    assert token(client, server.feed(last or b"")) is None
    assert server.block is not None
    assert client.shown is Cause.CERTIFICATE
    assert client.keys == (client_to_server(server.block), server_to_client(server.block))
    assert asked == [OFFER]


@pytest.mark.parametrize(("subject", "whose"), [("ann@contoso.example", ""), ("x", " of x")])
def test_an_alert_says_what_is_wrong_with_the_certificate(pair: Pair, subject: str, whose: str) -> None:
    client, _ = mechanism(pair, subject)
    server = Handshake(demanding(pair, good=False), server=True)
    last = token(client, server.feed(token(client, b"") or b""))
    with pytest.raises(HandshakeError) as refusal:
        server.feed(last or b"")
    with pytest.raises(PresenceError, match=rf"^Certificate{whose} refused: [a-z ]+\.$") as caught:
        token(client, refusal.value.records)
    assert caught.value.cause is Cause.CERTIFICATE


def test_garbage_from_the_server_is_not_held_against_the_certificate(pair: Pair) -> None:
    client, _ = mechanism(pair)
    token(client, b"")
    with pytest.raises(PresenceError, match="The TLS-DSK handshake failed") as caught:
        token(client, b"garbage that is no record")
    assert caught.value.cause is Cause.PROTOCOL


def test_an_unusable_certificate_is_said_before_anything_is_sent(pair: Pair, other: Pair) -> None:
    client, _ = mechanism(Pair(pair.certificate, other.key))
    with pytest.raises(PresenceError, match="do not belong together") as caught:
        token(client, b"")
    assert caught.value.cause is Cause.CERTIFICATE
    assert client.shown is None
