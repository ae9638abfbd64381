"""The whole check against a server that lies, without a fuzzer; and whether the lies would be noticed."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.lync.endpoint import LyncEndpoint
from check_lync_presence.lync.guard import AssociationGuard
from check_lync_presence.outcome import Cause
from check_lync_presence.simple import endpoint as simple_endpoint
from check_lync_presence.simulator.faults import TABLE

from ..strategies import few, made_of
from .client import WORDS, Edit, play, read_script
from .targets import corpus


def script(name: str) -> bytes:
    return (corpus("client") / name).read_bytes()


@pytest.mark.parametrize(
    "words",
    ["lync", "simple", "simple auto tcp", "simple udp verbose", "lync mic tcp verbose", "lync all", "simple all"],
)
def test_an_honest_server_is_a_success(words: str) -> None:
    assert play(words.encode()).success


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("edit-forged-unsigned", Cause.NO_NOTIFICATION),
        ("edit-told-signed", Cause.NO_NOTIFICATION),
        ("edit-told-other-user", Cause.NO_NOTIFICATION),
        ("edit-downgrade", Cause.NO_SCHEME),
        ("edit-deregistered", Cause.DEREGISTERED),
        ("edit-terminated", Cause.STATUS),
        ("lync-redirect-foreign", Cause.REDIRECT),
        ("lync-signature-wrong", Cause.SIGNATURE),
        ("simple-oversized-message", Cause.PROTOCOL),
    ],
)
def test_a_lie_is_a_failure_of_the_right_kind(name: str, cause: Cause) -> None:
    assert cause in {failure.cause for failure in play(script(name)).failures}


@pytest.mark.parametrize("name", ["edit-told", "edit-told-notify", "edit-simple-told", "edit-notification-multipart"])
def test_what_the_server_itself_has_told_counts_however_it_came_about(name: str) -> None:
    assert play(script(name)).success


def test_a_script_is_words_and_edits_and_anything_else_is_passed_over() -> None:
    read = read_script(b"lync udp\nnoise\n@3 set A: b\nc\n@x body\n@3 twice\n")
    assert read.words == ("lync", "udp")
    assert read.edits == {3: [Edit(b"set", b"A: b\nc\n@x body"), Edit(b"twice", b"")]}


# ------------------------------------------------- would a mistake be noticed?


def test_a_check_that_believes_unsigned_notifications_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AssociationGuard, "accept", lambda *_: True)
    with pytest.raises(AssertionError, match="without a notification"):
        play(script("edit-forged-unsigned"))


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [("lync-notification-older", LyncEndpoint), ("simple-notification-older", simple_endpoint.SimpleEndpoint)],
)
def test_a_check_that_believes_any_notification_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, endpoint: type
) -> None:
    async def notified(self: Any, *_: object) -> None:
        pass

    monkeypatch.setattr(endpoint, "notified", notified)
    with pytest.raises(AssertionError, match="without a notification"):
        play(script(name))


def test_a_check_that_follows_a_redirect_anywhere_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("check_lync_presence.roundtrip._same_organisation", lambda *_: True)
    with pytest.raises(AssertionError, match="credentials went to"):
        play(script("lync-redirect-foreign"))


def test_a_check_that_tries_a_refused_password_at_the_next_front_end_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("check_lync_presence.front_ends._refused", lambda _: False)
    with pytest.raises(AssertionError, match="a refused password was tried again"):
        play(b"lync all wrong-password")


def test_a_check_that_falls_over_a_document_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls_over(body: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setattr("check_lync_presence.lync.categories.parse_self", falls_over)
    with pytest.raises(KeyError):
        play(b"lync")


# ------------------------------------------------------------------ properties

words = st.lists(
    st.sampled_from(["lync", "simple", "udp", "tcp", "auto", "mic", "verbose", "all", *(fault.name for fault in TABLE)])
    # Octet by octet is a hundred times slower, and the framer's own tests do it.
    .filter(lambda word: word != "split-messages"),
    max_size=3,
)
pieces = made_of(
    "SIP/2.0 ", "200", "401", "Contact", "To", "Via", "Event", "Call-ID", "CSeq", "Content-Type", ": ", ";tag=", "<",
    "{marker}", "{call}", "{tag}", "\r\n", "\r\n\r\n", "<sip:a>", ">", "0 ", "10 ", "300 ", "|", "\x1b", "\n@9 say ",
)  # fmt: skip
start_lines = st.sampled_from(
    [f"SIP/2.0 {status} x" for status in (100, 200, 202, 301, 302, 401, 403, 404, 407, 409, 412, 423, 481, 503, 699)]
    + ["NOTIFY sip:a SIP/2.0", "OPTIONS sip:a SIP/2.0", "FOO a SIP/2.0"]
)
HEADERS = """\
Contact: <sip:192.0.2.1>
Contact: <sip:a.contoso.example;transport=tcp>
Contact: *
Contact: <sip:a b>
Record-Route: <sip:p>, <sip:q;lr>
Service-Route: <sip:s;lr>
To: <sip:ben@contoso.example>;tag={tag}
From: <sip:a>;tag={theirs}
Call-ID: {call}
CSeq: 99 BENOTIFY
CSeq: 0 NOTIFY
CSeq: 2 REGISTER
Via: a;received=192.0.2.9;rport=9
Event: presence
Event: registration
Content-Type: application/pidf+xml
Content-Type: multipart/related;boundary=b
Content-Type: text/plain
Subscription-State: pending
Subscription-State: terminated;reason=noresource
WWW-Authenticate: Digest realm="a", nonce="b", stale=true
WWW-Authenticate: NTLM realm="a"
Authentication-Info: NTLM x
ms-piggyback-cseq: 1
ms-diagnostics: 4005;reason="|"
Min-Expires: 3600
Retry-After: 5
SIP-ETag: x
Supported: adhoclist
"""
DOCUMENTS = """\
<categories uri='sip:ann@contoso.example'><category><note><body>{marker}</body></note></category></categories>
<categories uri='sip:eve@contoso.example'><category><note><body>{marker}</body></note></category></categories>
<presence entity='sip:ann@contoso.example'><note>{marker}</note></presence>
<presence entity='sip:eve@contoso.example'><note>{marker}</note></presence>
<list><resource uri='sip:ann@contoso.example'><instance state='resubscribe' poolFqdn='x'/></resource></list>
<roamingData><containers><container id='200'/></containers></roamingData>
<roamingData/>
<Fault><details><operation index='1' curVersion='7'/></details></Fault>
deregistered;event=rejected
"""
headers = st.sampled_from(HEADERS.splitlines())
documents = st.sampled_from(DOCUMENTS.splitlines())
requests = st.builds(
    "{0} sip:ben@a SIP/2.0\r\nVia: a\r\nFrom: <sip:a>;tag={{theirs}}\r\nTo: <sip:b>;tag={{tag}}\r\n"
    "Call-ID: {{call}}\r\nCSeq: {1} {0}\r\nEvent: presence\r\n{2}\r\n\r\n{3}".format,
    st.sampled_from(["NOTIFY", "BENOTIFY", "OPTIONS"]),
    st.integers(0, 5),
    headers,
    documents,
)
arguments = pieces | start_lines | headers | documents | requests
edits = st.lists(
    st.tuples(
        st.integers(0, 18),
        st.sampled_from(WORDS),
        arguments,
    ),
    max_size=5,
)


@few
@given(words, edits)
def test_whatever_a_server_says_a_run_ends_in_an_outcome(
    chosen: List[str], changes: List[Tuple[int, str, str]]
) -> None:
    text = " ".join(chosen) + "".join(f"\n@{number} {word} {argument}" for number, word, argument in changes)
    outcome = play(text.encode("utf-8", "surrogateescape"))
    assert outcome.success or outcome.failures
