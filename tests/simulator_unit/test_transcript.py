"""The recorded round trip, its clients' messages fed to the simulator: signatures that it did not make itself."""

from __future__ import annotations

import base64
import random

import pytest

from check_lync_presence.lync import ntlm
from check_lync_presence.lync.association import challenges
from check_lync_presence.settings import Secret
from check_lync_presence.simulator.acceptor import NtlmAcceptor
from check_lync_presence.simulator.faults import Faults
from check_lync_presence.simulator.frontend import FrontEnd
from check_lync_presence.simulator.link import Handshake, Link
from check_lync_presence.simulator.pool import User
from check_lync_presence.sip.message import Request, Response, with_body

from .. import transcripts
from .client import ANN, BEN, POOL, START

PASSWORD = "Passw0rd!Ann"


@pytest.fixture
def front_end() -> FrontEnd:
    users = [
        User(ANN, "CONTOSO\\ann", Secret(PASSWORD), POOL, frozenset(("publisher",))),
        User(BEN, "CONTOSO\\ben", Secret("x"), POOL, frozenset(("subscriber",))),
    ]
    return FrontEnd(users, Faults(), random.Random(1), START)


@pytest.fixture
def link(front_end: FrontEnd) -> Link:
    """ann's connection, where the recorded challenge has just been sent."""
    link = Link("4A2300", "192.0.2.10", 50412, "tls", "192.0.2.50", 5061)
    recorded = transcripts.recorded("04-ann-401-challenge.sip")
    assert isinstance(recorded, Response)
    header = challenges(recorded)["ntlm"]
    challenge = ntlm.parse_challenge(base64.b64decode(header.get("gssapi-data")))
    acceptor = NtlmAcceptor(front_end.pool, link.faults, challenge)
    link.handshakes[header.get("opaque")] = Handshake((ANN, "a1b2c3d4e5f6"), "NTLM", 4, POOL, acceptor)
    return link


def test_the_recorded_publisher_signs_in_publishes_and_signs_out(front_end: FrontEnd, link: Link) -> None:
    for name, status in (
        ("05-ann-register-signed.sip", 200),
        ("07-ann-subscribe-self.sip", 200),
        ("11-ann-service-publish.sip", 200),
        ("15-ann-unregister.sip", 200),
    ):
        answer = front_end.receive(link, transcripts.recorded(name), START)[0].message
        assert isinstance(answer, Response)
        assert (name, answer.status) == (name, status)
        assert transcripts.client_end(transcripts.ANN).verify_server(answer)
    assert front_end.census()[ANN] == {"endpoints": 0, "publications": 1, "subscriptions": 0, "answers": {}}


@pytest.mark.parametrize("name", ["01-ann-register.sip", "03-ann-register-empty-token.sip"])
def test_the_recorded_beginning_is_answered_in_the_recorded_shape(front_end: FrontEnd, link: Link, name: str) -> None:
    expected = {
        "01-ann-register.sip": "02-ann-401-menu.sip",
        "03-ann-register-empty-token.sip": "04-ann-401-challenge.sip",
    }
    recorded = transcripts.recorded(expected[name])
    (item,) = front_end.receive(link, transcripts.recorded(name), START)
    assert isinstance(item.message, Response)
    assert isinstance(recorded, Response)
    assert sorted({key for key, _ in item.message.headers}) == sorted(
        {key for key, _ in recorded.headers} - {"Content-Length"}
    )
    for header_name in ("From", "Via", "Date", "Server", "CSeq"):
        assert item.message.get(header_name) == recorded.get(header_name)
    assert list(challenges(item.message)) == list(challenges(recorded))
    for scheme, header in challenges(recorded).items():
        assert list(challenges(item.message)[scheme].params) == list(header.params)


def test_the_signature_of_the_recorded_publication_covers_its_receiver(front_end: FrontEnd, link: Link) -> None:
    front_end.receive(link, transcripts.recorded("05-ann-register-signed.sip"), START)
    service = transcripts.recorded("11-ann-service-publish.sip")
    assert isinstance(service, Request)
    headers = [
        (name, value.replace("<sip:ann@", "<sip:ben@") if name == "To" else value) for name, value in service.headers
    ]
    (item,) = front_end.receive(link, with_body(Request("SERVICE", BEN, headers), service.body), START)
    assert isinstance(item.message, Response)
    assert item.message.status == 401
