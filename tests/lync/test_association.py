"""Signed texts, signatures and counters, against the recorded round trip, whose signatures are real."""

from __future__ import annotations

import random
import struct
import time
from typing import Callable, Dict, List, Optional, Tuple
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_lync_presence.lync.association import (
    REPLAY_WINDOW,
    Association,
    AssociationError,
    AuthHeader,
    ReplayWindow,
    challenges,
    credentials_header,
    format_auth_header,
    parse_auth_header,
    server_signature,
    signed_text,
    with_credentials,
)
from check_lync_presence.lync.ntlm import session_keys
from check_lync_presence.lync.rc4 import rc4
from check_lync_presence.sip.message import Header, Message, ParseError, Request, Response, parse_head

from ..strategies import HANG, LARGE, any_text, few, header_value, made_of, many, message_head, token
from ..transcripts import ANN, BEN, POOL, REALM, User, client_end, parse, recorded, server_end

PREFIX = "<{}><{}><{}><SIP Communications Service><pool01.contoso.example>"
REGISTER_ID = "<5f0b2c7e9a3d4416b8e1c2d3f4a5b6c7>"
SELF_ID, BATCH_ID = "<c0ffee01d2b34a5e9f8071625344a1b2>", "<7d3e5c1a0b9f48e6a2d4c6f8091b3d5e>"
REGISTER_TAG = "<5E1C0A7B93D24F68A1B2C3D4E5F60718>"
ANN_URI, BEN_URI = "<sip:ann@contoso.example>", "<sip:ben@contoso.example>"


def text_of(rand: str, num: int, rest: str) -> str:
    return PREFIX.format("NTLM", rand, num) + rest


# What each message of the recording signs, field by field (MS-SIPAE 3.2.5.1, 3.3.5.1).
FROM_CLIENTS: List[Tuple[str, User, str]] = [
    (
        "05-ann-register-signed.sip",
        ANN,
        text_of("3f2a91c7", 1, f"{REGISTER_ID}<3><REGISTER>{ANN_URI}<8d1f3a6b2c>{ANN_URI}<><><><>"),
    ),
    (
        "07-ann-subscribe-self.sip",
        ANN,
        text_of("77aa0b12", 2, f"{SELF_ID}<1><SUBSCRIBE>{ANN_URI}<2b7c9e1f40>{ANN_URI}<><><><>"),
    ),
    (
        "09-ben-subscribe.sip",
        BEN,
        text_of("0c1d2e3f", 2, f"{BATCH_ID}<1><SUBSCRIBE>{BEN_URI}<6f5e4d3c2b>{BEN_URI}<><><><>"),
    ),
    (
        "11-ann-service-publish.sip",
        ANN,
        text_of("91b2c3d4", 3, f"<1122aabb3344ccdd5566eeff77889900><1><SERVICE>{ANN_URI}<aa10bb20cc>{ANN_URI}<><><><>"),
    ),
    (
        "15-ann-unregister.sip",
        ANN,
        text_of("c4d5e6f7", 6, f"{REGISTER_ID}<4><REGISTER>{ANN_URI}<8d1f3a6b2c>{ANN_URI}<><><><0>"),
    ),
]
FROM_SERVER: List[Tuple[str, User, str]] = [
    (
        "06-ann-200-registered.sip",
        ANN,
        text_of("AE4D44F8", 1, f"{REGISTER_ID}<3><REGISTER>{ANN_URI}<8d1f3a6b2c>{ANN_URI}{REGISTER_TAG}<><><600><200>"),
    ),
    (
        "08-ann-200-self-presence.sip",
        ANN,
        text_of("5B01C2D3", 2, f"{SELF_ID}<1><SUBSCRIBE>{ANN_URI}<2b7c9e1f40>{ANN_URI}<33D98072><><><28800><200>"),
    ),
    (
        "10-ben-200-first-notification.sip",
        BEN,
        text_of("D4E5F607", 2, f"{BATCH_ID}<1><SUBSCRIBE>{BEN_URI}<6f5e4d3c2b>{BEN_URI}<0C51AB90><><><28800><200>"),
    ),
    (
        "12-ann-200-published.sip",
        ANN,
        text_of(
            "22334455",
            3,
            f"<1122aabb3344ccdd5566eeff77889900><1><SERVICE>{ANN_URI}<aa10bb20cc>{ANN_URI}<7E8F90A1><><><><200>",
        ),
    ),
    (
        "13-ben-benotify.sip",
        BEN,
        text_of("66778899", 3, f"{BATCH_ID}<2><BENOTIFY>{BEN_URI}<0C51AB90>{BEN_URI}<6f5e4d3c2b><><><>"),
    ),
    (
        "14-ann-409-conflict.sip",
        ANN,
        text_of(
            "0BADF00D",
            4,
            f"<2233bbcc4455ddee6677ff0088990011><1><SERVICE>{ANN_URI}<dd30ee40ff>{ANN_URI}<B2C3D4E5><><><><409>",
        ),
    ),
    (
        "16-ann-200-unregistered.sip",
        ANN,
        text_of("1A2B3C4D", 6, f"{REGISTER_ID}<4><REGISTER>{ANN_URI}<8d1f3a6b2c>{ANN_URI}{REGISTER_TAG}<><><0><200>"),
    ),
]
SIGNATURES = {
    "05-ann-register-signed.sip": "01000000422573919671e07b64000000",
    "06-ann-200-registered.sip": "01000000fe2cbc4edbf6a46264000000",
    "07-ann-subscribe-self.sip": "010000002cf29e79a5348f1c64000000",
    "08-ann-200-self-presence.sip": "010000002d8b3bdd98b7f27a64000000",
    "09-ben-subscribe.sip": "0100000087ee52c87ae134e264000000",
    "10-ben-200-first-notification.sip": "0100000076c9d7fb3802ba3c64000000",
    "11-ann-service-publish.sip": "01000000602a51baa4f7263d64000000",
    "12-ann-200-published.sip": "0100000055c1e2a8832bf12a64000000",
    "13-ben-benotify.sip": "01000000d989b62b8ece3d3864000000",
    "14-ann-409-conflict.sip": "01000000178c9962f02975f764000000",
    "15-ann-unregister.sip": "01000000f2879e7b222658b064000000",
    "16-ann-200-unregistered.sip": "0100000025da4e416ebe2b6964000000",
}


def credentials_of(message: Message) -> AuthHeader:
    header = credentials_header(message)
    assert header is not None
    return header


def info_of(message: Message) -> AuthHeader:
    header = server_signature(message)
    assert header is not None
    return header


def request(*headers: Header, method: str = "OPTIONS") -> Request:
    return Request(method, "sip:a", (("Call-ID", "77"), ("CSeq", f"5 {method}"), *headers))


def text(message: Message, version: int = 4) -> str:
    return signed_text(message, version, "S", "R", "N", "realm", "target").decode()


def advanced(association: Association, count: int) -> Association:
    """The association after it has signed `count` messages."""
    for _ in range(count):
        association.sign_as_client(request(), "00000000")
    return association


# ------------------------------------------------------------------ signed texts of the recording


@pytest.mark.parametrize(("name", "user", "expected"), FROM_CLIENTS)
def test_the_signed_text_of_a_clients_message_follows_from_its_headers(name: str, user: User, expected: str) -> None:
    message = recorded(name)
    header = credentials_of(message)
    realm, target = header.get("realm"), header.get("targetname")
    made = signed_text(message, 4, header.scheme, header.get("crand"), header.get("cnum"), realm, target)
    assert made.decode() == expected


@pytest.mark.parametrize(("name", "user", "expected"), FROM_SERVER)
def test_the_signed_text_of_a_servers_message_follows_from_its_headers(name: str, user: User, expected: str) -> None:
    message = recorded(name)
    header = info_of(message)
    assert header.version == 4
    realm, target = header.get("realm"), header.get("targetname")
    made = signed_text(message, 4, header.scheme, header.get("srand"), header.get("snum"), realm, target)
    assert made.decode() == expected


@pytest.mark.parametrize(("name", "user", "signed"), FROM_CLIENTS)
def test_the_signature_of_a_clients_message_follows_from_its_text(name: str, user: User, signed: str) -> None:
    signature = session_keys(user.exported_key, "client-to-server").mac(signed.encode()).hex()
    assert signature == SIGNATURES[name] == credentials_of(recorded(name)).get("response")


@pytest.mark.parametrize(("name", "user", "signed"), FROM_SERVER)
def test_the_signature_of_a_servers_message_follows_from_its_text(name: str, user: User, signed: str) -> None:
    signature = session_keys(user.exported_key, "server-to-client").mac(signed.encode()).hex()
    assert signature == SIGNATURES[name] == info_of(recorded(name)).get("rspauth")


# ------------------------------------------------------------------ signed texts of other clients and servers

OCS_KEY = bytes.fromhex("6742FBE37BB1946B49D86A525BD29A9B")
OCS_REGISTER = (
    b"REGISTER sip:cosmo.local SIP/2.0\r\nFrom: <sip:user@cosmo.local>;tag=3e49177a52;epid=c8ca638a15\r\n"
    b"To: <sip:user@cosmo.local>\r\nCall-ID: 4037df9284354df39065195bd57a4b14\r\nCSeq: 3 REGISTER"
)
OCS_ANSWER = (
    b'SIP/2.0 200 OK\r\nFrom: "User"<sip:user@cosmo.local>;tag=3e49177a52;epid=c8ca638a15\r\n'
    b"To: <sip:user@cosmo.local>;tag=5E61CCD925D17E043D9A74835A88F664\r\nExpires: 7200\r\n"
    b"Call-ID: 4037df9284354df39065195bd57a4b14\r\nCSeq: 3 REGISTER"
)


def test_communicator_2007_r2_signs_its_register() -> None:
    made = signed_text(parse_head(OCS_REGISTER), 3, "NTLM", "13317733", "1", REALM, "cosmo-ocs-r2.cosmo.local")
    assert made == (
        b"<NTLM><13317733><1><SIP Communications Service><cosmo-ocs-r2.cosmo.local><4037df9284354df39065195bd57a4b14>"
        b"<3><REGISTER><sip:user@cosmo.local><3e49177a52><sip:user@cosmo.local><><><><>"
    )
    assert session_keys(OCS_KEY, "client-to-server").mac(made).hex() == "0100000029618e9651b65a7764000000"


def test_its_server_signs_the_answer() -> None:
    made = signed_text(parse_head(OCS_ANSWER), 3, "NTLM", "9616454F", "1", REALM, "cosmo-ocs-r2.cosmo.local")
    assert made == (
        b"<NTLM><9616454F><1><SIP Communications Service><cosmo-ocs-r2.cosmo.local><4037df9284354df39065195bd57a4b14>"
        b"<3><REGISTER><sip:user@cosmo.local><3e49177a52><sip:user@cosmo.local><5E61CCD925D17E043D9A74835A88F664>"
        b"<><><7200><200>"
    )
    assert session_keys(OCS_KEY, "server-to-client").mac(made).hex() == "01000000e615438a917661be64000000"


def test_the_signature_of_that_server_is_accepted_in_capitals() -> None:
    info = (
        'NTLM rspauth="01000000E615438A917661BE64000000", srand="9616454F", snum="1", opaque="BCDC0C9D", qop="auth", '
        'targetname="cosmo-ocs-r2.cosmo.local", realm="SIP Communications Service"'
    )
    message = parse_head(OCS_ANSWER + b"\r\nAuthentication-Info: " + info.encode())
    keys = session_keys(OCS_KEY, "client-to-server"), session_keys(OCS_KEY, "server-to-client")
    end = Association("NTLM", REALM, "cosmo-ocs-r2.cosmo.local", "BCDC0C9D", 3, *keys)
    assert end.verify_server(message)


def test_a_server_of_version_2_signs_the_short_text() -> None:
    message = parse_head(
        b"SIP/2.0 200 OK\r\nFrom: <sip:gabriel@ocs.provo.novell.com>;tag=2947328781\r\nExpires: 900\r\n"
        b"To: <sip:gabriel@ocs.provo.novell.com>;tag=B816D65C2300A32CFA6D371F2AF537FD\r\n"
        b"Call-ID: 8592g5DCBa1694i5887m0D0Bt2247b3F38xAE9Fx\r\nCSeq: 3 REGISTER"
    )
    text = signed_text(message, 2, "NTLM", "0878F41B", "1", REALM, "ocs1.ocs.provo.novell.com")
    assert text == (
        b"<NTLM><0878F41B><1><SIP Communications Service><ocs1.ocs.provo.novell.com>"
        b"<8592g5DCBa1694i5887m0D0Bt2247b3F38xAE9Fx><3><REGISTER><sip:gabriel@ocs.provo.novell.com><2947328781>"
        b"<B816D65C2300A32CFA6D371F2AF537FD><900><200>"
    )
    # That server signed without extended session security (MS-NLMP 3.4.4.1), which we do not negotiate; its signature
    # vouches for every octet of the text all the same.
    key = bytes.fromhex("5F029153BC025058969548615E7099BA")
    stream = rc4(key, bytes(4) + struct.pack("<I", crc32(text)) + bytes(4))
    numbered = bytes(a ^ b for a, b in zip(stream[8:], struct.pack("<I", 100)))
    assert (b"\1" + bytes(7) + stream[4:8] + numbered).hex() == "0100000000000000bf2e52667ddf6ded"


def test_a_notification_that_is_signed_with_another_scheme_names_it() -> None:
    message = parse_head(
        b"NOTIFY sip:192.0.2.10:50412 SIP/2.0\r\nFrom: <sip:u@corp.example>;tag=49700080\r\n"
        b"To: <sip:u@corp.example>;tag=1247625390;epid=0123456789\r\nCall-ID: 77\r\nCSeq: 4 NOTIFY"
    )
    assert signed_text(message, 4, "TLS-DSK", "9C3AA71A", "21", REALM, "FE01.corp.example") == (
        b"<TLS-DSK><9C3AA71A><21><SIP Communications Service><FE01.corp.example><77><4><NOTIFY>"
        b"<sip:u@corp.example><49700080><sip:u@corp.example><1247625390><><><>"
    )


# ------------------------------------------------------------------ fields of the signed text


def test_version_2_has_no_to_uri_and_no_identities() -> None:
    message = request(
        ("From", "<sip:a@x>;tag=1"), ("To", "<sip:b@x>;tag=2"), ("P-Asserted-Identity", "<sip:c@x>"), ("Expires", "60")
    )
    assert text(message, 2) == "<S><R><N><realm><target><77><5><OPTIONS><sip:a@x><1><2><60>"


@pytest.mark.parametrize("version", [3, 4])
def test_versions_3_and_4_have_the_to_uri_and_the_identities(version: int) -> None:
    message = request(
        ("From", "<sip:a@x>;tag=1"), ("To", "<sip:b@x>;tag=2"), ("P-Asserted-Identity", "<sip:c@x>"), ("Expires", "60")
    )
    assert text(message, version) == "<S><R><N><realm><target><77><5><OPTIONS><sip:a@x><1><sip:b@x><2><sip:c@x><><60>"


@pytest.mark.parametrize("version", [2, 3, 4])
def test_only_a_response_has_its_status_at_the_end(version: int) -> None:
    headers = (("Call-ID", "77"), ("CSeq", "5 OPTIONS"), ("Expires", "1"))
    assert text(Response(481, "Gone", headers), version).endswith("<1><481>")
    assert text(Request("OPTIONS", "sip:a", headers), version).endswith("<1>")


def test_what_is_missing_leaves_an_empty_field() -> None:
    assert text(request()) == "<S><R><N><realm><target><77><5><OPTIONS><><><><><><><>"
    assert text(request(), 2) == "<S><R><N><realm><target><77><5><OPTIONS><><><><>"


def test_an_address_that_cannot_be_read_leaves_empty_fields() -> None:
    assert text(request(("From", "<sip:a@x;tag=1"), ("To", ""))).endswith("<OPTIONS><><><><><><><>")


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("<sip:a@x>", "<sip:a@x><>"),
        ('"A, <sip:b@x>; B" <sip:a@x>;tag=1', "<sip:a@x><1>"),
        ("sip:a@x;tag=1", "<sip:a@x><1>"),
        ("<sip:a@x;opaque=user:epid:X;gruu>;epid=2;tag=1", "<sip:a@x;opaque=user:epid:X;gruu><1>"),
        ("<SIP:A@X>;TAG=aB", "<SIP:A@X><aB>"),
    ],
)
def test_an_address_is_signed_as_it_is_written_between_the_brackets(value: str, fields: str) -> None:
    assert f"<OPTIONS>{fields}<" in text(request(("From", value), ("To", "<sip:b@x>")))
    assert f"><1>{fields}<><><>" in text(request(("From", "<sip:b@x>;tag=1"), ("To", value)))


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ((), "<><>"),
        ((("P-Asserted-Identity", "<sip:a@x>"),), "<sip:a@x><>"),
        ((("P-Asserted-Identity", '"A" <SIP:a@x>'),), "<SIP:a@x><>"),
        ((("P-Asserted-Identity", "<sips:a@x>"),), "<sips:a@x><>"),
        ((("P-Asserted-Identity", "<tel:+15550100>"),), "<><tel:+15550100>"),
        ((("P-Asserted-Identity", '"A, B" <sip:a@x>, <tel:+15550100>'),), "<sip:a@x><tel:+15550100>"),
        ((("P-Asserted-Identity", "<tel:+1>"), ("P-Asserted-Identity", "<sip:a@x>")), "<sip:a@x><tel:+1>"),
        ((("P-Asserted-Identity", "<sip:a@x>,<sip:b@x>,<tel:+1>,<tel:+2>"),), "<sip:a@x><tel:+1>"),
        ((("P-Asserted-Identity", "<http://x>,<,<sip:a@x>"),), "<><>"),
        ((("P-ASSERTED-IDENTITY", "<http://x>, <sip:a@x>"),), "<sip:a@x><>"),
        ((("P-Asserted-Identity", "<>, <sip:a@x>"),), "<sip:a@x><>"),
    ],
)
def test_the_first_sip_and_the_first_tel_identity_are_signed(headers: Tuple[Header, ...], fields: str) -> None:
    assert text(request(*headers)).endswith(f"<OPTIONS><><><><>{fields}<>")


def test_a_preferred_identity_counts_in_a_request_without_an_asserted_one() -> None:
    preferred = ("P-Preferred-Identity", "<sip:p@x>")
    assert text(request(preferred)).endswith("<sip:p@x><><>")
    assert text(request(preferred, ("P-Asserted-Identity", "<sip:a@x>"))).endswith("<sip:a@x><><>")


def test_a_preferred_identity_does_not_count_in_a_response() -> None:
    message = Response(200, "OK", (("Call-ID", "77"), ("CSeq", "5 OPTIONS"), ("P-Preferred-Identity", "<sip:p@x>")))
    assert text(message).endswith("<OPTIONS><><><><><><><><200>")


def test_the_lifetime_in_a_contact_is_not_signed() -> None:
    assert text(request(("Contact", "<sip:a@x>;expires=600"))).endswith("<><><>")


def test_letters_are_signed_as_the_octets_that_came() -> None:
    message = parse_head(b"OPTIONS sip:a SIP/2.0\r\nCall-ID: \xe4\xc3\xa4\r\nCSeq: 5 OPTIONS\r\nFrom: <sip:\xff@x>")
    assert b"<\xe4\xc3\xa4><5><OPTIONS><sip:\xff@x><>" in signed_text(message, 4, "S", "R", "N", "", "")


# ------------------------------------------------------------------ the shape of a message does not count


def shouted(data: str) -> str:
    head, end, body = data.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    loud = [name.upper() + colon + value for name, colon, value in (line.partition(":") for line in lines)]
    return "\r\n".join([first, *loud]) + end + body


def folded(data: str) -> str:
    head, end, body = data.partition("\r\n\r\n")
    return head.replace(", ", ",\r\n\t") + end + body


def abbreviated(data: str) -> str:
    for name, letter in (("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Via", "v"), ("Content-Length", "l")):
        data = data.replace(f"\r\n{name}: ", f"\r\n{letter}:")
    return data


def reordered(data: str) -> str:
    head, end, body = data.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return "\r\n".join([first, *reversed(lines)]) + end + body


def in_capitals(data: str) -> str:
    return data.replace(
        info_of(parse(data.encode())).get("rspauth"), info_of(parse(data.encode())).get("rspauth").upper()
    )


def renamed(data: str) -> str:
    return data.replace('"Ann"<sip', '"Ann, of <sip:nobody@x>; tag=0" <sip').replace('"Ben"<sip', "Ben <sip")


def by_a_proxy(data: str) -> str:
    return data.replace("Authentication-Info:", "Proxy-Authentication-Info:")


def with_quoted_version(data: str) -> str:
    return data.replace("version=4", 'version="4"')


@pytest.mark.parametrize(
    "change",
    [shouted, folded, abbreviated, reordered, in_capitals, renamed, by_a_proxy, with_quoted_version],
)
@pytest.mark.parametrize(("name", "user", "signed"), FROM_SERVER)
def test_a_signature_holds_however_the_headers_are_written(
    name: str, user: User, signed: str, change: Callable[[str], str]
) -> None:
    data = bytes(recorded(name)).decode()
    assert change(data) != data or change is renamed
    assert client_end(user).verify_server(parse(change(data).encode()))


# ------------------------------------------------------------------ both ends


@pytest.mark.parametrize(("name", "user", "signed"), FROM_CLIENTS)
def test_the_client_end_signs_as_the_recorded_client_did(name: str, user: User, signed: str) -> None:
    header = credentials_of(recorded(name))
    end = advanced(client_end(user), int(header.get("cnum")) - 1)
    assert end.sign_as_client(recorded(name), header.get("crand")) == {
        "crand": header.get("crand"),
        "cnum": header.get("cnum"),
        "response": SIGNATURES[name],
    }


@pytest.mark.parametrize(("name", "user", "signed"), FROM_CLIENTS[1:])
def test_the_client_end_writes_the_recorded_credentials(name: str, user: User, signed: str) -> None:
    header = credentials_of(recorded(name))
    end = advanced(client_end(user), int(header.get("cnum")) - 1)
    assert end.credentials(recorded(name), header.get("crand")) == recorded(name).get("Authorization")


@pytest.mark.parametrize(("name", "user", "signed"), FROM_SERVER)
def test_the_server_end_writes_the_recorded_info(name: str, user: User, signed: str) -> None:
    header = info_of(recorded(name))
    end = advanced(server_end(user), int(header.get("snum")) - 1)
    assert end.info(recorded(name), header.get("srand")) == recorded(name).get("Authentication-Info")


@pytest.mark.parametrize(("name", "user", "signed"), FROM_CLIENTS)
def test_the_server_end_accepts_the_recorded_client(name: str, user: User, signed: str) -> None:
    server_end(user).verify_client(recorded(name), credentials_of(recorded(name)))


@pytest.mark.parametrize(("name", "user", "signed"), FROM_SERVER)
def test_the_client_end_accepts_the_recorded_server(name: str, user: User, signed: str) -> None:
    assert client_end(user).verify_server(recorded(name))


def test_one_client_end_accepts_the_whole_recording_in_order() -> None:
    end = client_end(ANN)
    assert all(end.verify_server(recorded(name)) for name, user, _ in FROM_SERVER if user is ANN)


def test_one_server_end_accepts_the_whole_recording_in_order() -> None:
    end = server_end(ANN)
    for name, user, _ in FROM_CLIENTS:
        if user is ANN:
            end.verify_client(recorded(name), credentials_of(recorded(name)))


@pytest.mark.parametrize(("name", "user", "signed"), FROM_SERVER)
def test_the_keys_of_another_user_do_not_verify(name: str, user: User, signed: str) -> None:
    other = (BEN if user is ANN else ANN)._replace(opaque=user.opaque)
    with pytest.raises(AssociationError, match="wrong signature"):
        client_end(other).verify_server(recorded(name))


@pytest.mark.parametrize(("name", "user", "signed"), FROM_CLIENTS)
def test_the_keys_of_the_other_direction_do_not_verify(name: str, user: User, signed: str) -> None:
    with pytest.raises(AssociationError, match="wrong signature"):
        client_end(user).verify_client(recorded(name), credentials_of(recorded(name)))


@pytest.mark.parametrize("version", [2, 3, 4])
def test_what_one_end_signs_the_other_accepts(version: int) -> None:
    client, server = client_end(ANN, version), server_end(ANN, version)
    asking = request(("From", "<sip:a@x>;tag=1"), ("To", "<sip:b@x>"))
    for _ in range(3):
        sent = with_credentials(asking, 401, client.credentials(asking, "11111111"))
        server.verify_client(sent, credentials_of(sent))
        answer = Response(200, "OK", asking.headers)
        assert client.verify_server(answer.with_headers(("Authentication-Info", server.info(answer, "22222222"))))


@pytest.mark.parametrize(("version", "written"), [(2, False), (3, True), (4, True)])
def test_a_server_names_its_version_from_3_on(version: int, written: bool) -> None:
    assert server_end(ANN, version).info(request(), "0").endswith(f", version={version}") is written


def test_a_text_of_version_2_is_not_accepted_as_one_of_version_4() -> None:
    message = request()
    signed = message.with_headers(("Authentication-Info", server_end(ANN, 2).info(message, "0")))
    with pytest.raises(AssociationError, match="wrong signature"):
        client_end(ANN, 4).verify_server(signed)


# ------------------------------------------------------------------ what was changed on the way

CHANGES = {
    "status": ("200 OK", "202 OK"),
    "random": ('srand="AE4D44F8"', 'srand="AE4D44F9"'),
    "case of the random": ('srand="AE4D44F8"', 'srand="ae4d44f8"'),
    "number": ('snum="1"', 'snum="2"'),
    "way of writing the number": ('snum="1"', 'snum="01"'),
    "Call-ID": ("Call-ID: 5f", "Call-ID: 5e"),
    "CSeq number": ("CSeq: 3", "CSeq: 4"),
    "CSeq method": ("CSeq: 3 REGISTER", "CSeq: 3 SERVICE"),
    "From URI": ('From: "Ann"<sip:ann', 'From: "Ann"<sip:bob'),
    "From tag": ("tag=8d1f3a6b2c", "tag=8d1f3a6b2d"),
    "To URI": ("To: <sip:ann", "To: <sip:bob"),
    "To tag": ("tag=5E1C0A7B", "tag=5e1c0a7b"),
    "asserted identity": ("Server:", "P-Asserted-Identity: <sip:ann@contoso.example>\r\nX:"),
    "lifetime": ("Expires: 600", "Expires: 601"),
    "missing lifetime": ("Expires: 600", "X-Expires: 600"),
    "signature": ('rspauth="01000000fe', 'rspauth="01000000ff'),
    "shorter signature": ("64000000", "640000"),
    "missing signature": ("rspauth=", "nothing="),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_message_that_was_changed_is_refused(change: str) -> None:
    before, after = CHANGES[change]
    data = bytes(recorded("06-ann-200-registered.sip"))
    assert before.encode() in data
    with pytest.raises(AssociationError, match="wrong signature"):
        client_end(ANN).verify_server(parse(data.replace(before.encode(), after.encode())))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("expires=600", "expires=900"),
        ('"Ann"<', '"Somebody"<'),
        ("Server: RTC/5.0", "Server: RTC/6.0"),
        ("branch=z9hG4bK1a2b3c03", "branch=z9hG4bK"),
        (", version=4", ""),
        ('opaque="85185AE4", ', ""),
        ('targetname="pool01', 'foo="bar", targetname="pool01'),
    ],
)
def test_what_is_not_signed_may_change(before: str, after: str) -> None:
    data = bytes(recorded("06-ann-200-registered.sip"))
    assert before.encode() in data
    assert client_end(ANN).verify_server(parse(data.replace(before.encode(), after.encode())))


def test_the_body_is_not_signed() -> None:
    message = recorded("13-ben-benotify.sip")
    message.body = b"something else"
    assert client_end(BEN).verify_server(message)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'realm="{REALM}"', 'realm="Another Service"'),
        (f'realm="{REALM}"', f'realm="{REALM.upper()}"'),
        (f'targetname="{POOL}"', 'targetname="pool02.contoso.example"'),
        ('opaque="85185AE4"', 'opaque="85185AE5"'),
        ("Info: NTLM", "Info: Kerberos"),
        ("Authentication-Info: NTLM", "X-Info: NTLM"),
    ],
)
def test_a_signature_of_another_association_is_none(before: str, after: str) -> None:
    data = bytes(recorded("06-ann-200-registered.sip"))
    assert before.encode() in data
    assert not client_end(ANN).verify_server(parse(data.replace(before.encode(), after.encode())))


def test_the_own_signature_is_found_behind_a_foreign_one() -> None:
    data = bytes(recorded("06-ann-200-registered.sip"))
    foreign = b'Authentication-Info: NTLM opaque="0", srand="0", snum="1", rspauth="0", targetname="x", realm="y"\r\n'
    assert client_end(ANN).verify_server(parse(data.replace(b"Authentication-Info", foreign + b"Authentication-Info")))
    assert client_end(ANN).verify_server(
        parse(data.replace(b"Authentication-Info", b"Proxy-" + foreign + b"Authentication-Info"))
    )


def test_the_name_of_the_target_has_no_case_when_it_is_looked_for() -> None:
    data = bytes(recorded("06-ann-200-registered.sip")).replace(b'targetname="pool01', b'targetname="POOL01')
    with pytest.raises(AssociationError, match="wrong signature"):
        client_end(ANN).verify_server(parse(data))


def test_a_target_that_the_association_writes_in_capitals_is_found() -> None:
    keys = session_keys(ANN.exported_key, "client-to-server"), session_keys(ANN.exported_key, "server-to-client")
    end = Association("ntlm", REALM, POOL.upper(), ANN.opaque, 4, *keys)
    assert end.verify_server(recorded("06-ann-200-registered.sip"))


def test_a_message_without_any_info_is_unsigned() -> None:
    assert not client_end(ANN).verify_server(recorded("02-ann-401-menu.sip"))
    assert server_signature(recorded("02-ann-401-menu.sip")) is None


# ------------------------------------------------------------------ numbers


def test_a_replayed_message_is_refused() -> None:
    end = client_end(ANN)
    assert end.verify_server(recorded("06-ann-200-registered.sip"))
    with pytest.raises(AssociationError, match="repeated"):
        end.verify_server(recorded("06-ann-200-registered.sip"))


def test_a_replayed_request_is_refused() -> None:
    end, message = server_end(ANN), recorded("11-ann-service-publish.sip")
    end.verify_client(message, credentials_of(message))
    with pytest.raises(AssociationError, match="repeated"):
        end.verify_client(message, credentials_of(message))


def test_messages_may_overtake_each_other() -> None:
    end = client_end(ANN)
    assert end.verify_server(recorded("16-ann-200-unregistered.sip"))
    assert end.verify_server(recorded("06-ann-200-registered.sip"))


def test_a_wrong_signature_does_not_use_up_its_number() -> None:
    end, data = client_end(ANN), bytes(recorded("06-ann-200-registered.sip"))
    with pytest.raises(AssociationError):
        end.verify_server(parse(data.replace(b"Expires: 600", b"Expires: 900")))
    assert end.verify_server(parse(data))


@pytest.mark.parametrize("number", ["", "0", "-1", "one", "\u00b2", "99999999999", "1.0"])
def test_a_signed_number_that_is_no_number_is_refused(number: str) -> None:
    message = request()
    signed = signed_text(message, 4, "NTLM", "0", number, REALM, POOL)
    signature = session_keys(ANN.exported_key, "client-to-server").mac(signed).hex()
    header = AuthHeader(
        "NTLM", {"crand": "0", "cnum": number, "response": signature, "realm": REALM, "targetname": POOL}
    )
    with pytest.raises(AssociationError, match="sequence number"):
        server_end(ANN).verify_client(message, header)


@pytest.mark.parametrize("number", [1, 2, 255, REPLAY_WINDOW])
def test_the_first_number_lies_in_the_first_window(number: int) -> None:
    assert ReplayWindow().accept(number)


@pytest.mark.parametrize("number", [-1, 0, REPLAY_WINDOW + 1, 2**31])
def test_a_first_number_outside_of_the_first_window_is_refused(number: int) -> None:
    assert not ReplayWindow().accept(number)


def test_a_number_is_accepted_once() -> None:
    window = ReplayWindow()
    assert [window.accept(number) for number in (3, 1, 2, 3, 1, 2, 4)] == [True, True, True, False, False, False, True]


def test_the_oldest_number_inside_of_the_window_is_accepted_and_the_one_before_it_is_not() -> None:
    window = ReplayWindow()
    assert window.accept(200)
    assert window.accept(300)
    assert not window.accept(300 - REPLAY_WINDOW)
    assert window.accept(300 - REPLAY_WINDOW + 1)


def test_a_number_may_be_as_far_ahead_as_the_window_is_wide() -> None:
    window = ReplayWindow()
    assert window.accept(10)
    assert not window.accept(10 + REPLAY_WINDOW + 1)
    assert window.accept(10 + REPLAY_WINDOW)


@few
@given(st.integers(0, 2**32), st.integers(1, 2000))
def test_any_order_of_numbers_is_accepted_at_most_once_each(seed: int, count: int) -> None:
    source = random.Random(seed)
    window, accepted, highest = ReplayWindow(), set(), 0
    for _ in range(min(count, 400)):
        number = max(0, highest + source.randint(-300, 300))
        expected = number > 0 and highest - REPLAY_WINDOW < number <= highest + REPLAY_WINDOW and number not in accepted
        assert window.accept(number) is expected
        if expected:
            accepted.add(number)
            highest = max(highest, number)


def test_every_signed_message_has_the_next_number() -> None:
    end = client_end(ANN)
    assert [end.sign_as_client(request(), "0")["cnum"] for _ in range(3)] == ["1", "2", "3"]


# ------------------------------------------------------------------ headers of the handshake


def test_the_menu_has_one_challenge_a_line_in_the_order_of_the_server() -> None:
    message = recorded("02-ann-401-menu.sip")
    assert isinstance(message, Response)
    assert challenges(message) == {
        "ntlm": AuthHeader("NTLM", {"realm": REALM, "targetname": POOL, "version": "4"}),
        "kerberos": AuthHeader("Kerberos", {"realm": REALM, "targetname": f"sip/{POOL}", "version": "4"}),
        "tls-dsk": AuthHeader(
            "TLS-DSK",
            {
                "realm": REALM,
                "targetname": POOL,
                "version": "4",
                "sts-uri": f"https://{POOL}:443/CertProv/CertProvisioningService.svc",
            },
        ),
    }
    assert list(challenges(message)) == ["ntlm", "kerberos", "tls-dsk"]


def test_the_second_challenge_has_a_token_with_all_its_padding() -> None:
    message = recorded("04-ann-401-challenge.sip")
    assert isinstance(message, Response)
    (header,) = challenges(message).values()
    assert header.get("opaque") == "85185AE4"
    assert len(header.get("gssapi-data")) == 296
    assert header.get("gssapi-data").startswith("TlRMTVNTUAAC")
    assert credentials_of(recorded("05-ann-register-signed.sip")).get("gssapi-data").endswith("+U=")


def test_the_first_challenge_of_a_scheme_counts() -> None:
    message = Response(401, "", (("WWW-Authenticate", 'NTLM realm="a"'), ("www-authenticate", 'ntlm realm="b"')))
    assert challenges(message) == {"ntlm": AuthHeader("NTLM", {"realm": "a"})}


def test_a_proxy_asks_in_its_own_header() -> None:
    headers = (("WWW-Authenticate", 'NTLM realm="a"'), ("Proxy-Authenticate", 'NTLM realm="b"'))
    assert challenges(Response(401, "", headers))["ntlm"].get("realm") == "a"
    assert challenges(Response(407, "", headers))["ntlm"].get("realm") == "b"
    assert challenges(Response(200, "", headers)) == {}


@pytest.mark.parametrize(("status", "name"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_credentials_go_into_the_header_that_answers_the_challenge(status: int, name: str) -> None:
    message = with_credentials(request(), status, 'NTLM qop="auth"')
    assert message.headers[-1] == (name, 'NTLM qop="auth"')
    assert credentials_header(message) == AuthHeader("NTLM", {"qop": "auth"})


def test_a_message_without_credentials_has_none() -> None:
    assert credentials_header(request()) is None


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("", AuthHeader("", {})),
        ("NTLM", AuthHeader("NTLM", {})),
        ('NTLM realm="a, b", version=4', AuthHeader("NTLM", {"realm": "a, b", "version": "4"})),
        ('NTLM REALM="a",Version="4"', AuthHeader("NTLM", {"realm": "a", "version": "4"})),
        ('NTLM  realm = "a" , version = 4', AuthHeader("NTLM", {"realm": "a", "version": "4"})),
        ('NTLM gssapi-data="", version=4', AuthHeader("NTLM", {"gssapi-data": "", "version": "4"})),
        ('NTLM gssapi-data="ab+/c==", qop=auth', AuthHeader("NTLM", {"gssapi-data": "ab+/c==", "qop": "auth"})),
        ('NTLM realm="a", realm="b"', AuthHeader("NTLM", {"realm": "a"})),
        ('NTLM realm="x=y", x="z"', AuthHeader("NTLM", {"realm": "x=y", "x": "z"})),
        ("NTLM realm=", AuthHeader("NTLM", {"realm": ""})),
        ('NTLM realm="never closed', AuthHeader("NTLM", {"realm": ""})),
        ("NTLM garbage, ===, qop=auth", AuthHeader("NTLM", {"qop": "auth"})),
    ],
)
def test_a_header_is_a_scheme_and_parameters(value: str, header: AuthHeader) -> None:
    assert parse_auth_header(value) == header


@pytest.mark.parametrize(
    ("value", "version"),
    [
        ("", 2), ("version=2", 2), ("version=3", 3), ('version="4"', 4), ("version=10", 10),
        ("version=", 2), ("version=four", 2), ("version=-4", 2), ("version=4444", 2),
        ("version=\u00b2", 2), ("version=\u0664", 2),
    ],
)  # fmt: skip
def test_a_header_names_its_version(value: str, version: int) -> None:
    assert parse_auth_header(f"NTLM {value}").version == version


def test_a_header_is_written_with_every_value_in_quotes_but_the_version() -> None:
    written = format_auth_header("NTLM", {"qop": "auth", "gssapi-data": "", "version": "4"})
    assert written == 'NTLM qop="auth", gssapi-data="", version=4'


# ------------------------------------------------------------------ properties

auth_text = any_text | made_of(
    "NTLM ", "realm", "=", '"', ",", " ", "version", "4", "-", 'realm="a"', ", ", "qop=auth", "\t", "\udcff", "\u00b2"
)


@many
@given(auth_text)
@example('NTLM a="b"c="d"')
def test_any_text_is_a_scheme_and_parameters(value: str) -> None:
    header = parse_auth_header(value)
    assert header.version >= 0
    assert all(name == name.lower() and '"' not in text for name, text in header.params.items())


@few
@given(token, st.dictionaries(st.text("abcdefghij-", min_size=1), header_value.filter(lambda value: '"' not in value)))
def test_what_is_written_is_read_again(scheme: str, params: Dict[str, str]) -> None:
    assert parse_auth_header(format_auth_header(scheme, params)) == AuthHeader(scheme, params)


signed_headers = st.sampled_from(["From", "To", "P-Asserted-Identity", "Expires", "Authentication-Info"])
signed_requests = st.lists(st.tuples(signed_headers, any_text)).map(
    lambda lines: (
        "OPTIONS sip:a SIP/2.0\r\ni: 1\r\nCSeq: 1 OPTIONS" + "".join(f"\r\n{name}: {text}" for name, text in lines)
    )
)
signed_answers = message_head.map(lambda head: "SIP/2.0 200 OK\r\nCall-ID: 1\r\nCSeq: 1 X\r\n" + head)


@many
@given(signed_requests | signed_answers, st.sampled_from([2, 3, 4]))
def test_every_message_has_a_signed_text(head: str, version: int) -> None:
    try:
        message = parse_head(head.encode("utf-8", "surrogateescape"))
    except ParseError:
        return
    made = signed_text(message, version, "NTLM", "0", "1", REALM, POOL)
    assert made.startswith(b"<NTLM><0><1>")
    assert made.endswith(b"<200>" if isinstance(message, Response) else b">")


def verdict(message: Message) -> Optional[bool]:
    try:
        return client_end(ANN).verify_server(message)
    except AssociationError:
        return None


@many
@given(auth_text)
def test_no_made_up_info_is_accepted(value: str) -> None:
    message = request(("Authentication-Info", value))
    assert not verdict(message)
    assert not verdict(request(("Authentication-Info", f'NTLM realm="{REALM}", targetname="{POOL}", {value}')))


@few
@given(token, header_value.filter(bool), header_value, header_value, header_value, st.sampled_from([2, 3, 4]))
def test_any_message_that_one_end_signs_the_other_accepts(
    method: str, call_id: str, sender: str, receiver: str, expires: str, version: int
) -> None:
    headers = (("Call-ID", call_id), ("From", sender), ("To", receiver), ("Expires", expires))
    message = Request(method, "sip:a", (*headers, ("CSeq", f"1 {method}")))
    signed = message.with_headers(("Authentication-Info", server_end(ANN, version).info(message, "AE4D44F8")))
    assert client_end(ANN, version).verify_server(parse(bytes(signed)))


@pytest.mark.parametrize("start", ["", "NTLM ", "NTLM a", "NTLM a=", 'NTLM a="', "NTLM a "])
def test_a_large_header_is_read_at_once(start: str) -> None:
    for filling in ["a", "a ", "a=", "a= ", 'a="', 'a="",', "-", " ", "=", '"', ",", "a,", "a\t=", "é", "�"]:
        began = time.perf_counter()
        parse_auth_header(start + filling * (LARGE // len(filling)) + "!")
        assert time.perf_counter() - began < HANG, filling


@pytest.mark.parametrize("name", ["From", "To", "P-Asserted-Identity", "Expires"])
def test_a_large_header_is_signed_at_once(name: str) -> None:
    for filling in ["<", ">", ",", "<,", ";", ";a=", '"', "\\", " ", "<sip:a>,", ";tag="]:
        message = request((name, filling * (LARGE // len(filling))))
        began = time.perf_counter()
        text(message)
        assert time.perf_counter() - began < HANG, filling
