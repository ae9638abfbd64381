"""The tokens and keys of NTLM, step by step, so that a failure names the step.

Vectors: MS-NLMP 4.2.4; a sign-in of Communicator 2007 R2 at a server of its time; a challenge of Lync 2013; and ann's
sign-in of the recorded round trip, with and without a message integrity code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from base64 import b64decode, b64encode
from typing import Callable, Dict, Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from check_lync_presence.lync import ntlm
from check_lync_presence.lync.association import credentials_header, parse_auth_header
from check_lync_presence.lync.md4 import md4
from check_lync_presence.lync.ntlm import (
    Authenticate,
    Challenge,
    Credentials,
    NtlmError,
    SessionKeys,
    accept_authenticate,
    build_authenticate,
    build_av_pairs,
    build_challenge,
    message_integrity,
    nt_response,
    ntowf_v2,
    parse_authenticate,
    parse_av_pairs,
    parse_challenge,
    session_keys,
    split_logon_name,
)
from check_lync_presence.lync.rc4 import rc4

from ..strategies import few, many
from ..transcripts import recorded

h = bytes.fromhex
TO_SERVER, TO_CLIENT = "client-to-server", "server-to-client"
LYNC_FLAGS = 0xE29882F3
CLIENT_FLAGS = 0x62988255


def u(text: str) -> bytes:
    return text.encode("utf-16-le")


def numbered(sequence: int) -> bytes:
    return struct.pack("<I", sequence)


def test_the_digests_are_those_of_rfc_1321_and_rfc_2202() -> None:
    assert ntlm._md5(b"message digest") == h("F96B697D7CB7938D525A2F31AAF161D0")
    assert ntlm._hmac_md5(b"\x0b" * 16, b"Hi There") == h("9294727A3638BB1C13F48EF8158BFC9D")


# ------------------------------------------------------------------ MS-NLMP 4.2.4

NLMP = Credentials("User", "Domain", "Password")
NLMP_TARGET_INFO = h("02000C0044006F006D00610069006E0001000C0053006500720076006500720000000000")
NLMP_TEMP = h("01010000000000000000000000000000AAAAAAAAAAAAAAAA00000000") + NLMP_TARGET_INFO + h("00000000")
NLMP_CHALLENGE = h("0123456789ABCDEF")
NLMP_KEY = b"\x55" * 16


def nlmp_token() -> Authenticate:
    challenge = build_challenge(LYNC_FLAGS, NLMP_CHALLENGE, NLMP_TARGET_INFO)
    return parse_authenticate(build_authenticate(challenge, NLMP, "COMPUTER", b"\xaa" * 8, NLMP_KEY, bytes(8)))


def test_nlmp_the_nt_hash() -> None:
    assert md4(u("Password")) == h("A4F49C406510BDCAB6824EE7C30FD852")


def test_nlmp_the_response_key() -> None:
    assert ntowf_v2(NLMP) == h("0C868A403BFD7A93A3001EF22EF02E3F")


def test_nlmp_the_user_has_no_case_in_the_response_key() -> None:
    assert ntowf_v2(NLMP._replace(user="uSER")) == ntowf_v2(NLMP)


def test_nlmp_the_domain_has_case_in_the_response_key() -> None:
    assert ntowf_v2(NLMP._replace(domain="DOMAIN")) != ntowf_v2(NLMP)


def test_a_letter_without_a_single_capital_stays_in_the_response_key() -> None:
    # Windows maps one letter to one letter: there is no capital of the German sharp s.
    expected = hmac.new(md4(u("Password")), u("STRAßE" + "Domain"), hashlib.md5).digest()
    assert ntowf_v2(NLMP._replace(user="straße")) == expected


def test_nlmp_the_temp_of_the_response() -> None:
    assert nlmp_token().nt_response[16:] == NLMP_TEMP


def test_nlmp_the_lm_response() -> None:
    assert nlmp_token().lm_response == h("86C35097AC9CEC102554764A57CCCC19AAAAAAAAAAAAAAAA")


def test_nlmp_the_proof() -> None:
    assert nt_response(ntowf_v2(NLMP), NLMP_CHALLENGE, NLMP_TEMP)[0] == h("68CD0AB851E51C96AABC927BEBEF6A1C")
    assert nlmp_token().nt_response[:16] == h("68CD0AB851E51C96AABC927BEBEF6A1C")


def test_nlmp_the_session_base_key() -> None:
    assert nt_response(ntowf_v2(NLMP), NLMP_CHALLENGE, NLMP_TEMP)[1] == h("8DE40CCADBC14A82F15CB0AD0DE95CA3")


def test_nlmp_the_encrypted_session_key() -> None:
    assert nlmp_token().encrypted_key == h("C5DAD2544FC9799094CE1CE90BC9D03E")


def test_nlmp_the_keys_of_the_client() -> None:
    assert session_keys(NLMP_KEY, TO_SERVER) == SessionKeys(
        h("4788DC861B4782F35D43FD98FE1A2D39"), h("59F600973CC4960A25480A7C196E4C58")
    )


def test_nlmp_the_keys_of_the_server() -> None:
    assert session_keys(NLMP_KEY, TO_CLIENT) == SessionKeys(
        h("D04D6F10741041D1D246D64188D7A8AD"), h("9355F3A957C1583D25C4C2F11E40390E")
    )


def test_nlmp_the_sealed_message_and_checksum() -> None:
    stream = u("Plaintext") + h("70352851F2564309")
    sealed = rc4(session_keys(NLMP_KEY, TO_SERVER).sealing, stream)
    assert sealed == h("54E50165BF1936DC996020C1811B0F06FB5F7FB38EC5C55D4976")
    assert b"\1\0\0\0" + sealed[18:] + numbered(0) == h("010000007FB38EC5C55D497600000000")


def test_nlmp_the_signature_without_key_exchange_is_the_checksum_itself() -> None:
    checksum = ntlm._hmac_md5(session_keys(NLMP_KEY, TO_SERVER).signing, numbered(0) + u("Plaintext"))[:8]
    assert b"\1\0\0\0" + checksum + numbered(0) == h("0100000070352851F256430900000000")


def test_nlmp_the_checksum_inside_of_a_datagram_signature() -> None:
    keys = session_keys(NLMP_KEY, TO_SERVER)
    signature = keys.mac(u("Plaintext"), 0)
    assert rc4(hashlib.md5(keys.sealing + bytes(4)).digest(), signature[4:12]) == h("70352851F2564309")


@pytest.mark.parametrize(
    ("direction", "sequence", "signature"),
    [
        (TO_SERVER, 0, "01000000E11BC13BF75B1D7500000000"),
        (TO_SERVER, 100, "010000004BBF152146790B4864000000"),
        (TO_CLIENT, 100, "01000000D3350DA45F766B8864000000"),
    ],
)
def test_nlmp_the_datagram_signature(direction: str, sequence: int, signature: str) -> None:
    assert session_keys(NLMP_KEY, direction).mac(u("Plaintext"), sequence) == h(signature)


def test_the_sequence_number_of_a_signature_is_100_unless_told_otherwise() -> None:
    keys = session_keys(NLMP_KEY, TO_SERVER)
    assert keys.mac(u("Plaintext")) == keys.mac(u("Plaintext"), 100)


def test_the_signing_key_of_public_literature() -> None:
    keys = session_keys(h("0102030405060708090A0B0C0D0E0F00"), TO_SERVER)
    assert keys.signing == h("F7F97A82EC390F9C903DAC4F6ACEB132")
    checksum = ntlm._hmac_md5(keys.signing, numbered(0) + b"jCIFS")[:8]
    assert b"\1\0\0\0" + checksum + numbered(0) == h("010000000A003602317A759A00000000")


# ------------------------------------------------------------------ Communicator 2007 R2

OCS_CHALLENGE = b64decode(
    "TlRMTVNTUAACAAAAAAAAADgAAADzgpji3Ruq9OfiGNEAAAAAAAAAAJYAlgA4AAAABQLODgAAAA8CAAoAQwBPAFMATQBPAAEAGABDAE8AUwBNAE8ALQBP"
    "AEMAUwAtAFIAMgAEABYAYwBvAHMAbQBvAC4AbABvAGMAYQBsAAMAMABjAG8AcwBtAG8ALQBvAGMAcwAtAHIAMgAuAGMAbwBzAG0AbwAuAGwAbwBjAGEA"
    "bAAFABYAYwBvAHMAbQBvAC4AbABvAGMAYQBsAAAAAAA="
)
OCS_AUTHENTICATE = b64decode(
    "TlRMTVNTUAADAAAAGAAYAHIAAADGAMYAigAAAAoACgBIAAAACAAIAFIAAAAYABgAWgAAABAAEABQAQAAVYKYYgUCzg4AAAAPQwBPAFMATQBPAFUAcwBl"
    "AHIAQwBPAFMATQBPAC0ATwBDAFMALQBSADIAoeku/k4Hi/fFwASazGFmwtauh1yw/apBjcDIAK527KYG0rn769BHMQEBAAAAAAAAWVGaFye5ygHWrodc"
    "sP2qQQAAAAACAAoAQwBPAFMATQBPAAEAGABDAE8AUwBNAE8ALQBPAEMAUwAtAFIAMgAEABYAYwBvAHMAbQBvAC4AbABvAGMAYQBsAAMAMABjAG8AcwBt"
    "AG8ALQBvAGMAcwAtAHIAMgAuAGMAbwBzAG0AbwAuAGwAbwBjAGEAbAAFABYAYwBvAHMAbQBvAC4AbABvAGMAYQBsAAAAAAAAAAAAMctznhyoCkmFkeiu"
    "eXEV5A=="
)
OCS_USER = Credentials("User", "COSMO", "Pa$$word")
OCS_KEY = h("6742FBE37BB1946B49D86A525BD29A9B")
OCS_TIME = h("59519A1727B9CA01")


def ocs_token() -> bytes:
    return build_authenticate(
        parse_challenge(OCS_CHALLENGE),
        OCS_USER,
        "COSMO-OCS-R2",
        h("D6AE875CB0FDAA41"),
        OCS_KEY,
        OCS_TIME,
        version=h("0502CE0E0000000F"),
    )


def test_ocs_the_server_challenge() -> None:
    assert parse_challenge(OCS_CHALLENGE).server_challenge == h("DD1BAAF4E7E218D1")


def test_ocs_the_challenge_has_no_time() -> None:
    assert parse_challenge(OCS_CHALLENGE).timestamp is None


def test_ocs_the_response_key() -> None:
    assert ntowf_v2(OCS_USER) == h("164B086E00D2F393529FA3A98209F99E")


def test_ocs_the_names_in_the_token() -> None:
    token = parse_authenticate(OCS_AUTHENTICATE)
    assert (token.user, token.domain, token.workstation) == ("User", "COSMO", "COSMO-OCS-R2")


def test_ocs_the_flags_of_the_token() -> None:
    assert parse_authenticate(OCS_AUTHENTICATE).flags == CLIENT_FLAGS
    assert parse_authenticate(ocs_token()).flags == CLIENT_FLAGS


def test_ocs_the_lm_response() -> None:
    expected = h("A1E92EFE4E078BF7C5C0049ACC6166C2D6AE875CB0FDAA41")
    assert parse_authenticate(OCS_AUTHENTICATE).lm_response == expected
    assert parse_authenticate(ocs_token()).lm_response == expected


def test_ocs_the_proof() -> None:
    expected = h("8DC0C800AE76ECA606D2B9FBEBD04731")
    assert parse_authenticate(OCS_AUTHENTICATE).nt_response[:16] == expected
    assert parse_authenticate(ocs_token()).nt_response[:16] == expected


def test_ocs_the_session_base_key() -> None:
    temp = parse_authenticate(OCS_AUTHENTICATE).nt_response[16:]
    base_key = nt_response(ntowf_v2(OCS_USER), h("DD1BAAF4E7E218D1"), temp)[1]
    assert base_key == h("02959B1D938E14CCC8412639311CDD49")


def test_ocs_the_encrypted_session_key() -> None:
    assert parse_authenticate(ocs_token()).encrypted_key == h("31CB739E1CA80A498591E8AE797115E4")


def test_ocs_the_session_key_that_the_server_reads() -> None:
    token = parse_authenticate(OCS_AUTHENTICATE)
    assert accept_authenticate(parse_challenge(OCS_CHALLENGE), token, "Pa$$word") == OCS_KEY


def test_ocs_the_whole_token_octet_for_octet() -> None:
    assert ocs_token() == OCS_AUTHENTICATE


def test_ocs_the_keys_of_the_client() -> None:
    assert session_keys(OCS_KEY, TO_SERVER) == SessionKeys(
        h("EA5E87C195AE65338F7C023E7600690D"), h("83013A189002D3ABAD49C4C8F605ECC8")
    )


def test_ocs_the_keys_of_the_server() -> None:
    assert session_keys(OCS_KEY, TO_CLIENT) == SessionKeys(
        h("0151FE94DBA8C83F3C6A6E5444AE54B4"), h("2A2E34E8D420C039E8F31CB9E8E0CD88")
    )


# ------------------------------------------------------------------ Lync 2013

LYNC_CHALLENGE = b64decode(
    "TlRMTVNTUAACAAAAAAAAADgAAADzgpji+qDppPyr9XwAAAAAAAAAAJoAmgA4AAAABgGxHQAAAA8CAAgATABZAE4AQwABAB4ATABZAE4AQwAyADAAMQAz"
    "AC0AUwBFAFIAVgBFAFIABAAQAGwAeQBuAGMALgBsAG8AYwADADAATABZAE4AQwAyADAAMQAzAC0AUwBFAFIAVgBFAFIALgBsAHkAbgBjAC4AbABvAGMA"
    "BQAQAGwAeQBuAGMALgBsAG8AYwAHAAgANuVZB8xM0wEAAAAA"
)


def test_lync_2013_the_challenge_and_its_flags() -> None:
    challenge = parse_challenge(LYNC_CHALLENGE)
    assert challenge.raw == LYNC_CHALLENGE
    assert len(challenge.raw) == 210
    assert challenge.flags == LYNC_FLAGS
    assert challenge.server_challenge == h("FAA0E9A4FCABF57C")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ntlm.AV_NB_DOMAIN, "LYNC"),
        (ntlm.AV_NB_COMPUTER, "LYNC2013-SERVER"),
        (ntlm.AV_DNS_DOMAIN, "lync.loc"),
        (ntlm.AV_DNS_COMPUTER, "LYNC2013-SERVER.lync.loc"),
        (ntlm.AV_DNS_TREE, "lync.loc"),
    ],
)
def test_lync_2013_the_names_in_the_target_information(kind: int, name: str) -> None:
    assert parse_av_pairs(parse_challenge(LYNC_CHALLENGE).target_info)[kind] == u(name)


def test_lync_2013_the_order_of_the_target_information() -> None:
    assert list(parse_av_pairs(parse_challenge(LYNC_CHALLENGE).target_info)) == [2, 1, 4, 3, 5, 7]


def test_lync_2013_the_time_of_the_challenge() -> None:
    assert parse_challenge(LYNC_CHALLENGE).timestamp == h("36E55907CC4CD301")


def test_lync_2013_the_challenge_is_built_again_from_its_parts() -> None:
    challenge = parse_challenge(LYNC_CHALLENGE)
    assert build_challenge(challenge.flags, challenge.server_challenge, challenge.target_info) == challenge


def test_lync_2013_the_target_information_is_built_again_from_its_pairs() -> None:
    target_info = parse_challenge(LYNC_CHALLENGE).target_info
    assert build_av_pairs(parse_av_pairs(target_info)) == target_info


# ------------------------------------------------------------------ ann of the round trip

ANN = Credentials("ann", "CONTOSO", "Passw0rd!Ann")
ANN_KEY = h("00112233445566778899AABBCCDDEEFF")
ANN_TIME = h("0020C18ABF5ECE01")
ANN_NAMES: Dict[int, bytes] = {
    ntlm.AV_NB_DOMAIN: u("CONTOSO"),
    ntlm.AV_NB_COMPUTER: u("POOL01"),
    ntlm.AV_DNS_DOMAIN: u("contoso.example"),
    ntlm.AV_DNS_COMPUTER: u("pool01.contoso.example"),
    ntlm.AV_DNS_TREE: u("contoso.example"),
    ntlm.AV_TIMESTAMP: ANN_TIME,
}
ANN_FORM_B = b64decode(
    "TlRMTVNTUAADAAAAAAAAAHYAAAAqASoBdgAAAA4ADgBYAAAABgAGAGYAAAAKAAoAbAAAABAAEACgAQAAVYKYYgYBsR0AAAAPSgKR8bpuaW8kFcSfZDDb"
    "akMATwBOAFQATwBTAE8AYQBuAG4ATQBPAE4AMAAxAKpdzEYS5ROTK0asHVgNLYwBAQAAAAAAAAAgwYq/Xs4BiJmqu8zd7v8AAAAAAgAOAEMATwBOAFQA"
    "TwBTAE8AAQAMAFAATwBPAEwAMAAxAAQAHgBjAG8AbgB0AG8AcwBvAC4AZQB4AGEAbQBwAGwAZQADACwAcABvAG8AbAAwADEALgBjAG8AbgB0AG8AcwBv"
    "AC4AZQB4AGEAbQBwAGwAZQAFAB4AYwBvAG4AdABvAHMAbwAuAGUAeABhAG0AcABsAGUABwAIAAAgwYq/Xs4BBgAEAAIAAAAKABAAAAAAAAAAAAAAAAAA"
    "AAAAAAkANABzAGkAcAAvAHAAbwBvAGwAMAAxAC4AYwBvAG4AdABvAHMAbwAuAGUAeABhAG0AcABsAGUAAAAAAAAAAACIu8atFaq0xRNOubIgcR4V"
)


def ann_challenge() -> Challenge:
    header = parse_auth_header(recorded("04-ann-401-challenge.sip").get("WWW-Authenticate") or "")
    return parse_challenge(b64decode(header.get("gssapi-data")))


def ann_recorded_token() -> bytes:
    header = credentials_header(recorded("05-ann-register-signed.sip"))
    assert header is not None
    return b64decode(header.get("gssapi-data"))


def ann_token(mic_for: Optional[str] = None, challenge: Optional[Challenge] = None) -> bytes:
    return build_authenticate(
        challenge or ann_challenge(), ANN, "MON01", h("8899AABBCCDDEEFF"), ANN_KEY, b"no time!", mic_for
    )


def ann_token_with_mic() -> bytes:
    return ann_token("sip/pool01.contoso.example")


def test_ann_the_challenge_is_built_from_the_names_of_the_server() -> None:
    built = build_challenge(LYNC_FLAGS, h("1122334455667788"), build_av_pairs(ANN_NAMES))
    assert built == ann_challenge()
    assert len(built.raw) == 222


def test_ann_the_time_of_the_challenge_is_noon_of_the_first_of_june() -> None:
    assert ann_challenge().timestamp == ntlm.filetime(1370088000) == ANN_TIME


def test_ann_the_nt_hash() -> None:
    assert md4(u("Passw0rd!Ann")) == h("9C50C9E6DA8472CDED96B70AC285BDCF")


def test_ann_the_response_key() -> None:
    assert ntowf_v2(ANN) == h("E5988B84B5B6A33AAAEF885CC604F818")


def test_ann_the_temp_of_the_response() -> None:
    temp = parse_authenticate(ann_token()).nt_response[16:]
    assert temp == h("0101000000000000") + ANN_TIME + h("8899AABBCCDDEEFF00000000") + build_av_pairs(ANN_NAMES) + bytes(
        4
    )


def test_ann_the_proof() -> None:
    assert parse_authenticate(ann_token()).nt_response[:16] == h("C635ED542D39C4B79BC7CC204D67403A")


def test_ann_the_session_base_key() -> None:
    temp = parse_authenticate(ann_token()).nt_response[16:]
    assert nt_response(ntowf_v2(ANN), h("1122334455667788"), temp)[1] == h("AE8B4743824A0FF6CD47AA3C39623995")


def test_ann_the_lm_response() -> None:
    assert parse_authenticate(ann_token()).lm_response == h("1B3374EF260B80AACFA42CC76ED104348899AABBCCDDEEFF")


def test_ann_the_encrypted_session_key() -> None:
    assert parse_authenticate(ann_token()).encrypted_key == h("51280B7CEE7016376B78DB7D5F9C6BE5")


def test_ann_the_keys_of_the_client() -> None:
    assert session_keys(ANN_KEY, TO_SERVER) == SessionKeys(
        h("59D6BAEFD8FB9CFE7C66605162A2B238"), h("248E660B070223EF5F92354062032E48")
    )


def test_ann_the_keys_of_the_server() -> None:
    assert session_keys(ANN_KEY, TO_CLIENT) == SessionKeys(
        h("60F654677506D6AAF0BCA42AB24CF43E"), h("4C8365F39288454902F2775F9BEF872F")
    )


@pytest.mark.parametrize(
    ("direction", "key"),
    [(TO_SERVER, "3C20216B444276B38BB595D5907D9575"), (TO_CLIENT, "7FA2D2BCBD263FB47B8188C589AAD2B1")],
)
def test_ann_the_rc4_key_of_every_signature(direction: str, key: str) -> None:
    keys = session_keys(ANN_KEY, direction)
    assert ntlm._md5(keys.sealing + numbered(100)) == h(key)
    checksum = ntlm._hmac_md5(keys.signing, numbered(100) + b"text")[:8]
    assert keys.mac(b"text") == b"\1\0\0\0" + rc4(h(key), checksum) + numbered(100)


@pytest.mark.parametrize(
    ("direction", "signing", "sealing"),
    [
        (TO_SERVER, "563E57EF30ED5D964F44096B5CF606AA", "F548074CC30E475338005E9D7303169E"),
        (TO_CLIENT, "A5CA5A8CD732D98144010939DF5E1B66", "46CABC2452EB998B8E9C5349ECF19F8C"),
    ],
)
def test_ben_the_keys(direction: str, signing: str, sealing: str) -> None:
    key = h("FFEEDDCCBBAA99887766554433221100")
    assert session_keys(key, direction) == SessionKeys(h(signing), h(sealing))


def test_ann_the_whole_token_octet_for_octet() -> None:
    assert ann_token() == ann_recorded_token()
    assert len(ann_token()) == 356


def test_ann_the_parts_of_the_token() -> None:
    token = parse_authenticate(ann_recorded_token())
    assert (token.user, token.domain, token.workstation) == ("ann", "CONTOSO", "MON01")
    assert (token.flags, token.mic, token.raw) == (CLIENT_FLAGS, None, ann_recorded_token())


def test_ann_with_mic_the_proof() -> None:
    assert parse_authenticate(ann_token_with_mic()).nt_response[:16] == h("AA5DCC4612E513932B46AC1D580D2D8C")


def test_ann_with_mic_the_session_base_key() -> None:
    temp = parse_authenticate(ann_token_with_mic()).nt_response[16:]
    assert nt_response(ntowf_v2(ANN), h("1122334455667788"), temp)[1] == h("D548E129BE54CB08F0D9273F1852D99D")


def test_ann_with_mic_the_encrypted_session_key() -> None:
    assert parse_authenticate(ann_token_with_mic()).encrypted_key == h("88BBC6AD15AAB4C5134EB9B220711E15")


def test_ann_with_mic_there_is_no_lm_response() -> None:
    assert parse_authenticate(ann_token_with_mic()).lm_response == b""


def test_ann_with_mic_the_pairs_that_were_added() -> None:
    pairs = parse_av_pairs(parse_authenticate(ann_token_with_mic()).nt_response[44:])
    assert pairs == {
        **ANN_NAMES,
        ntlm.AV_FLAGS: h("02000000"),
        ntlm.AV_CHANNEL_BINDINGS: bytes(16),
        ntlm.AV_TARGET_NAME: u("sip/pool01.contoso.example"),
    }


def test_ann_with_mic_the_mic() -> None:
    token = ann_token_with_mic()
    mic = h("4A0291F1BA6E696F2415C49F6430DB6A")
    assert parse_authenticate(token).mic == mic
    assert message_integrity(ANN_KEY, ann_challenge().raw, token[:72] + bytes(16) + token[88:]) == mic


def test_ann_with_mic_the_whole_token_octet_for_octet() -> None:
    assert ann_token_with_mic() == ANN_FORM_B


def test_the_own_time_stands_where_the_challenge_has_none() -> None:
    token = parse_authenticate(ocs_token())
    assert token.nt_response[24:32] == OCS_TIME


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CONTOSO\\ann", ("ann", "CONTOSO")),
        ("ann@contoso.example", ("ann@contoso.example", "")),
        ("ann", ("ann", "")),
        ("CONTOSO\\ann\\x", ("ann\\x", "CONTOSO")),
        (".\\ann", ("ann", ".")),
    ],
)
def test_a_logon_name_is_split_into_user_and_domain(name: str, expected: tuple[str, str]) -> None:
    assert split_logon_name(name) == expected


# ------------------------------------------------------------------ what a client refuses


@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0x00000001, "UNICODE"),
        (0x00000200, "NTLM"),
        (0x00008000, "ALWAYS_SIGN"),
        (0x00080000, "EXTENDED_SESSIONSECURITY"),
        (0x00800000, "TARGET_INFO"),
        (0x20000000, "128 bit keys"),
        (0x40000000, "KEY_EXCH"),
    ],
)
def test_a_challenge_without_a_flag_that_is_needed_is_refused_by_name(bit: int, name: str) -> None:
    challenge = build_challenge(LYNC_FLAGS & ~bit, bytes(8), build_av_pairs(ANN_NAMES))
    with pytest.raises(NtlmError, match=f"does not offer {name}$"):
        parse_challenge(challenge.raw)


@pytest.mark.parametrize("bit", [0x2, 0x10, 0x20, 0x40, 0x80, 0x00100000, 0x02000000, 0x80000000])
def test_a_challenge_without_a_flag_that_is_not_needed_is_answered_without_it(bit: int) -> None:
    challenge = build_challenge(LYNC_FLAGS & ~bit, bytes(8), build_av_pairs(ANN_NAMES))
    token = parse_authenticate(ann_token(challenge=parse_challenge(challenge.raw)))
    assert token.flags == CLIENT_FLAGS & ~bit


def test_no_flag_is_answered_that_was_not_offered_or_wanted() -> None:
    challenge = build_challenge(0xFFFFFFFF, bytes(8), build_av_pairs(ANN_NAMES))
    assert parse_authenticate(ann_token(challenge=challenge)).flags == CLIENT_FLAGS


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"NTLMSSP\0",
        LYNC_CHALLENGE[:47],
        b"X" + LYNC_CHALLENGE[1:],
        OCS_AUTHENTICATE,
        LYNC_CHALLENGE[:8] + h("01000000") + LYNC_CHALLENGE[12:],
        LYNC_CHALLENGE + bytes(ntlm.MAX_TOKEN),
    ],
)
def test_a_token_that_is_no_challenge_is_refused(token: bytes) -> None:
    with pytest.raises(NtlmError):
        parse_challenge(token)


def test_a_challenge_that_is_cut_short_is_refused_wherever_it_is_cut() -> None:
    for length in range(48, len(LYNC_CHALLENGE)):
        with pytest.raises(NtlmError, match="points outside"):
            parse_challenge(LYNC_CHALLENGE[:length])


@pytest.mark.parametrize(
    "target_info",
    [
        b"",
        b"\0",
        b"\0\0\0",
        h("0200"),
        h("02000400AAAA00000000"),
        h("02000200AAAA"),
        h("0200FFFF00000000"),
        h("0700080000000000"),
    ],
)
def test_target_information_without_an_end_is_refused(target_info: bytes) -> None:
    with pytest.raises(NtlmError, match="cut short"):
        parse_challenge(build_challenge(LYNC_FLAGS, bytes(8), target_info).raw)


def test_nothing_behind_the_end_of_the_target_information_counts() -> None:
    assert parse_av_pairs(h("0200020041000000000002000200FFFF")) == {2: h("4100")}


@pytest.mark.parametrize("time", [b"", b"\1", bytes(7), bytes(9), bytes(300)])
def test_a_challenge_with_a_time_of_another_size_is_refused(time: bytes) -> None:
    challenge = build_challenge(LYNC_FLAGS, bytes(8), build_av_pairs({ntlm.AV_TIMESTAMP: time}))
    with pytest.raises(NtlmError, match="time"):
        parse_challenge(challenge.raw)


def test_a_target_name_that_is_too_long_for_its_field_is_refused() -> None:
    with pytest.raises(NtlmError, match="long"):
        ann_token("sip/" + "x" * 0x8000)


def test_a_response_that_is_too_long_for_its_field_is_refused() -> None:
    target_info = build_av_pairs({ntlm.AV_NB_DOMAIN: bytes(10_000)})
    challenge = parse_challenge(build_challenge(LYNC_FLAGS, bytes(8), target_info).raw)
    with pytest.raises(NtlmError, match="long"):
        ann_token("sip/" + "x" * 0x7000, challenge)


# ------------------------------------------------------------------ what a server refuses


def with_octet_changed(token: bytes, at: int) -> bytes:
    return token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]


@pytest.mark.parametrize("make", [ann_token, ann_token_with_mic])
def test_the_right_password_gives_the_server_the_session_key(make: Callable[[], bytes]) -> None:
    assert accept_authenticate(ann_challenge(), parse_authenticate(make()), ANN.password) == ANN_KEY


@pytest.mark.parametrize("password", ["", "passw0rd!ann", "Passw0rd!Ann ", "Passw0rd!Ben"])
def test_a_wrong_password_is_refused(password: str) -> None:
    assert accept_authenticate(ann_challenge(), parse_authenticate(ann_token()), password) is None


def test_an_answer_to_another_challenge_is_refused() -> None:
    other = build_challenge(LYNC_FLAGS, h("1122334455667789"), ann_challenge().target_info)
    assert accept_authenticate(other, parse_authenticate(ann_token()), ANN.password) is None


def test_an_answer_that_drops_what_the_challenge_said_is_refused() -> None:
    less = {kind: value for kind, value in ANN_NAMES.items() if kind != ntlm.AV_DNS_COMPUTER}
    stripped = build_challenge(LYNC_FLAGS, h("1122334455667788"), build_av_pairs(less))
    token = parse_authenticate(ann_token(challenge=stripped))
    assert accept_authenticate(stripped, token, ANN.password) == ANN_KEY
    assert accept_authenticate(ann_challenge(), token, ANN.password) is None


@pytest.mark.parametrize("at", [60, 64, 72, 87])
def test_a_token_that_was_changed_on_the_way_fails_its_mic(at: int) -> None:
    token = parse_authenticate(with_octet_changed(ann_token_with_mic(), at))
    assert accept_authenticate(ann_challenge(), token, ANN.password) is None


def test_a_challenge_that_was_changed_on_the_way_fails_the_mic() -> None:
    challenge = ann_challenge()
    changed = challenge._replace(raw=with_octet_changed(challenge.raw, 20))
    assert accept_authenticate(changed, parse_authenticate(ann_token_with_mic()), ANN.password) is None


def test_a_session_key_of_another_size_is_refused() -> None:
    token = parse_authenticate(ann_token())._replace(encrypted_key=bytes(15))
    assert accept_authenticate(ann_challenge(), token, ANN.password) is None


def test_a_response_of_version_1_is_refused() -> None:
    token = bytearray(ann_token())
    struct.pack_into("<HH", token, 20, 24, 24)
    with pytest.raises(NtlmError, match="version 2"):
        parse_authenticate(bytes(token))


@pytest.mark.parametrize(
    "token", [b"", LYNC_CHALLENGE, OCS_AUTHENTICATE[:71], OCS_AUTHENTICATE + bytes(ntlm.MAX_TOKEN)]
)
def test_a_token_that_is_no_authenticate_is_refused(token: bytes) -> None:
    with pytest.raises(NtlmError):
        parse_authenticate(token)


@pytest.mark.parametrize("at", [12, 20, 28, 36, 44, 52])
def test_a_field_outside_of_the_token_is_refused(at: int) -> None:
    token = bytearray(ann_token())
    struct.pack_into("<HHI", token, at, 60, 60, len(token) - 59)
    with pytest.raises(NtlmError, match="points outside"):
        parse_authenticate(bytes(token))


def test_a_token_that_says_it_has_a_mic_and_has_no_room_for_it_is_refused() -> None:
    response = bytes(44) + build_av_pairs({ntlm.AV_FLAGS: h("02000000")})
    token = ntlm.SIGNATURE + struct.pack("<I", 3) + bytes(8) + struct.pack("<HHI", len(response), len(response), 16)
    token = (token + bytes(72))[:28] + response[12:] + bytes(72)
    with pytest.raises(NtlmError, match="room"):
        parse_authenticate(token[: 28 + len(response)])


def test_names_that_are_no_utf_16_are_read_with_replacements() -> None:
    token = bytearray(ann_token())
    struct.pack_into("<HHI", token, 36, 3, 3, 72)
    assert parse_authenticate(bytes(token)).user == "C\ufffd"


# ------------------------------------------------------------------ properties


@many
@given(st.binary(max_size=300))
@example(ntlm.SIGNATURE + h("02000000") + bytes(36))
def test_any_octets_are_a_challenge_or_an_ntlm_error(token: bytes) -> None:
    try:
        challenge = parse_challenge(token)
    except NtlmError:
        return
    assert challenge.raw == token


@st.composite
def changed(draw: st.DrawFn, token: bytes) -> bytes:
    """The token with some octets exchanged, and perhaps cut."""
    data = bytearray(token)
    for at in draw(st.lists(st.integers(8, len(token) - 1), max_size=6)):
        data[at] = draw(st.sampled_from([0, 1, 2, 127, 128, 255]))
    return bytes(data[: draw(st.integers(len(token) - 20, len(token)))])


@many
@given(changed(LYNC_CHALLENGE))
def test_a_damaged_challenge_is_answered_or_an_ntlm_error(token: bytes) -> None:
    try:
        answer = ann_token("sip/x", parse_challenge(token))
    except NtlmError:
        return
    assert parse_authenticate(answer).user == "ann"


@many
@given(changed(OCS_AUTHENTICATE) | changed(ANN_FORM_B) | st.binary(max_size=200))
def test_a_damaged_answer_is_judged_or_an_ntlm_error(token: bytes) -> None:
    try:
        answer = parse_authenticate(token)
    except NtlmError:
        return
    key = accept_authenticate(ann_challenge(), answer, ANN.password)
    assert key is None or len(key) == 16


@many
@given(st.binary(max_size=60))
def test_any_octets_are_pairs_or_an_ntlm_error(data: bytes) -> None:
    try:
        pairs = parse_av_pairs(data)
    except NtlmError:
        return
    assert parse_av_pairs(build_av_pairs(pairs)) == pairs


names = st.text(st.characters(codec="utf-8"), max_size=15)


@few
@given(names, names, names, st.binary(min_size=16, max_size=16), st.none() | names)
def test_the_server_reads_what_the_client_wrote(
    user: str, domain: str, password: str, key: bytes, mic_for: Optional[str]
) -> None:
    credentials = Credentials(user, domain, password)
    token = parse_authenticate(
        build_authenticate(ann_challenge(), credentials, "MON01", bytes(8), key, bytes(8), mic_for)
    )
    assert (token.user, token.domain, token.workstation) == (user, domain, "MON01")
    assert (token.mic is None) == (mic_for is None)
    assert accept_authenticate(ann_challenge(), token, password) == key
    assert accept_authenticate(ann_challenge(), token, password + "x") is None


def test_base64_of_the_token_is_what_stands_in_the_recording() -> None:
    assert b64encode(ann_token()).decode() in (recorded("05-ann-register-signed.sip").get("Authorization") or "")
