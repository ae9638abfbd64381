from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.lync.identity import gruu, instance_id, machine_instance

from ..strategies import any_text, few

# The first four were seen in MS-SIPRE and on the wire of real servers.
ENDPOINTS = [
    ("01010101", "4b1682a8-f968-5701-83fc-7c6741dc6697", "qIIWS2j5AVeD_HxnQdxmlwAA"),
    ("c8ca638a15", "34d859db-6585-5f91-a3b4-de853c15347d", "21nYNIVlkV-jtN6FPBU0fQAA"),
    ("451e9252b6", "e0de506b-a705-59cc-9bfa-d37593141231", "a1De4AWnzFmb-tN1kxQSMQAA"),
    ("d2ff665153", "7901b724-cbf3-5299-bfd0-041827e50488", "JLcBefPLmVK_0AQYJ-UEiAAA"),
    ("a1b2c3d4e5f6", "2f7e7723-96e4-544e-8b98-cf482b8cefb8", "I3d-L-SWTlSLmM9IK4zvuAAA"),
    ("0f1e2d3c4b5a", "c27a19ff-54f0-51ed-a110-40a626f41170", "_xl6wvBU7VGhEECmJvQRcAAA"),
]


@pytest.mark.parametrize(("epid", "expected", "opaque"), ENDPOINTS)
def test_the_instance_id_follows_from_the_epid(epid: str, expected: str, opaque: str) -> None:
    assert str(instance_id(epid)) == expected


@pytest.mark.parametrize(("epid", "expected", "opaque"), ENDPOINTS)
def test_the_gruu_follows_from_the_epid(epid: str, expected: str, opaque: str) -> None:
    assert gruu("sip:ann@contoso.example", epid) == f"sip:ann@contoso.example;opaque=user:epid:{opaque};gruu"


def test_the_instance_of_an_endpoints_publications_follows_from_its_epid() -> None:
    assert machine_instance("a1b2c3d4e5f6") == 974859325


@pytest.mark.parametrize(("epid", "instance"), [("00000000", 0x30000000), ("ffffffff", 0x3FFFFFFF)])
def test_the_instance_of_an_endpoints_publications_stays_in_its_range(epid: str, instance: int) -> None:
    assert machine_instance(epid) == instance


@few
@given(any_text)
def test_any_epid_has_an_instance_id_of_version_5(epid: str) -> None:
    identity = instance_id(epid)
    assert (identity.version, identity.variant) == (5, uuid.RFC_4122)


@few
@given(st.text("0123456789abcdef", min_size=10, max_size=12))
def test_a_gruu_ends_with_two_zero_octets_in_the_url_alphabet(epid: str) -> None:
    opaque = gruu("sip:a", epid).removeprefix("sip:a;opaque=user:epid:").removesuffix(";gruu")
    assert len(opaque) == 24
    assert opaque.endswith("AA")
    assert not set(opaque) & set("+/=")
