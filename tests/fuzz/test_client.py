"""The whole check against a server that lies, without a fuzzer; and whether the lies would be noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.lync.endpoint import LyncEndpoint
from check_lync_presence.lync.guard import AssociationGuard
from check_lync_presence.outcome import Cause
from check_lync_presence.simple import endpoint as simple_endpoint

from ..strategies import few, made_of
from .client import WORDS, Edit, play, read_script
from .scripts import DOCUMENTS, FAULTS, HEADERS, METHODS, OPTIONS, REQUEST, START_LINES, changed
from .targets import corpus, seeds


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


# ------------------------------------------------------------ what was found


def test_a_password_refused_at_one_front_end_is_not_tried_at_the_next_though_the_other_user_hangs() -> None:
    outcome = play(b"lync all wrong-password=subscriber\n@0 drop")  # the answer to the publisher's first REGISTER
    assert Cause.REFUSED_CREDENTIALS in {failure.cause for failure in outcome.failures}
    assert "The other 1 front ends were not tried, so as not to lock an account out." in outcome.remarks


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
    monkeypatch.setattr("check_lync_presence.front_ends._Pool.refused", False)
    with pytest.raises(AssertionError, match="a refused password was tried again"):
        play(b"lync all wrong-password")


def test_a_check_that_falls_over_a_document_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls_over(body: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setattr("check_lync_presence.lync.categories.parse_self", falls_over)
    with pytest.raises(KeyError):
        play(b"lync")


# ------------------------------------------------------------------ properties

words = st.lists(st.sampled_from(OPTIONS + FAULTS), max_size=3)
pieces = made_of(
    "SIP/2.0 ", "200", "401", "Contact", "To", "Via", "Event", "Call-ID", "CSeq", "Content-Type", ": ", ";tag=", "<",
    "{marker}", "{call}", "{tag}", "\r\n", "\r\n\r\n", "<sip:a>", ">", "0 ", "10 ", "300 ", "|", "\x1b", "\n@9 say ",
)  # fmt: skip
headers, documents = st.sampled_from(HEADERS), st.sampled_from(DOCUMENTS)
requests = st.builds(REQUEST.format, st.sampled_from(METHODS), st.integers(0, 5), headers, documents)
arguments = pieces | st.sampled_from(START_LINES) | headers | documents | requests
edits = st.lists(st.tuples(st.integers(0, 18), st.sampled_from(WORDS), arguments), max_size=5)


@few
@given(words, edits)
def test_whatever_a_server_says_a_run_ends_in_an_outcome(
    chosen: List[str], changes: List[Tuple[int, str, str]]
) -> None:
    text = " ".join(chosen) + "".join(f"\n@{number} {word} {argument}" for number, word, argument in changes)
    outcome = play(text.encode("utf-8", "surrogateescape"))
    assert outcome.success or outcome.failures


@few
@given(st.sampled_from(seeds("client")), st.integers(0, 2**32))
def test_a_run_of_a_script_that_was_changed_ends_in_an_outcome(path: Path, seed: int) -> None:
    outcome = play(changed(path.read_bytes(), seed, bytes.swapcase))
    assert outcome.success or outcome.failures
