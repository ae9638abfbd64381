"""The page of a run: what stands on it, and that nothing on it can do anything."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import pytest

from check_lync_presence.outcome import PUBLISH, REGISTER, Activity, Cause, Diagnosis, Outcome, Signature, WireMessage
from check_lync_presence.report.diagrams import span
from check_lync_presence.report.html import MAX_SHOWN, page
from check_lync_presence.report.view import View
from check_lync_presence.trace.lines import read_trace
from check_lync_presence.trace.values import Break, Contact, Recording

from ..commands import ANN_PASSWORD
from ..in_process import replay
from ..samples import ANN, BEN, failed, failure, settings, success
from ..test_replay import NAMES, TRACES

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m\u202e&lt;'
VOID = {"meta", "br", "line", "path", "rect"}


class Page(HTMLParser):
    """A page taken apart; it must be well formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.names: Set[str] = set()
        self.attributes: Set[str] = set()
        self.ids: List[str] = []
        self.links: List[str] = []
        self.metas: Dict[str, str] = {}
        self.words: List[str] = []
        self._open: List[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names.add(tag)
        self.attributes |= set(given)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        if tag == "meta":
            self.metas[given.get("name") or given.get("http-equiv") or "charset"] = given.get("content", "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def shown(outcome: Outcome, state: str = "OK", line: str = "all is well", **more: Any) -> Page:
    told = more.pop("told", settings())
    sentences = more.pop("sentences", ())
    diagnosis = more.pop("diagnosis", Diagnosis("", "", ()))
    recording = Recording(told, 1_795_573_788.0, {"Python": "3.11.7"}, 0.0)._replace(**more)
    return Page(page(told, recording, View(state, line, outcome, diagnosis, sentences)))


def of_trace(name: str, folder: Path) -> Page:
    path = folder / "page.html"
    replay(TRACES / f"{name}.jsonl", "--report", str(path))
    return Page(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_run_loads_and_runs_nothing(tmp_path: Path, name: str) -> None:
    found = of_trace(name, tmp_path)
    assert found.names & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "input", "use"} == set()
    assert {name for name in found.attributes if name.startswith("on")} == set()
    assert found.attributes & {"src", "style", "srcset", "action"} == set()
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert len(set(found.ids)) == len(found.ids)


def test_the_policy_lets_nothing_but_its_own_style_be_used(tmp_path: Path) -> None:
    found = of_trace("lync-healthy", tmp_path)
    (style,) = re.findall(r"<style>(.*?)</style>", found.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert found.metas["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert found.metas["referrer"] == "no-referrer"


@pytest.mark.parametrize("name", NAMES)
def test_the_verdict_comes_first_and_every_message_is_there(tmp_path: Path, name: str) -> None:
    found = of_trace(name, tmp_path)
    result = replay(TRACES / f"{name}.jsonl")
    state, _, line = result.first_line.partition(" | ")[0].replace("LYNC PRESENCE ", "", 1).partition(" - ")
    assert found.said.index(state) < found.said.index(line) < 400
    assert len(found.ids) == len(read_trace(str(TRACES / f"{name}.jsonl")).messages)


def test_the_way_of_the_publication_is_marked(tmp_path: Path) -> None:
    found = of_trace("lync-healthy", tmp_path)
    assert found.said.count("SERVICE, the publication") == 1
    assert found.said.count("BENOTIFY, the publication arrives") == 1
    assert "arrives" not in of_trace("lync-notification-never", tmp_path).said
    assert "BENOTIFY, wrong signature" in of_trace("lync-signature-wrong", tmp_path).said


def test_a_failure_has_its_advice_and_what_the_cmdlet_would_say(tmp_path: Path) -> None:
    said = of_trace("lync-account-unknown", tmp_path).said
    assert "What to do" in said
    assert "Enable-CsUser" in said
    assert "ErrorCode=4005,Source=pool01.contoso.example" in said
    assert said.index("What to do") < said.index("Where the time went") < said.index("Who said what")


def test_the_environment_is_told(tmp_path: Path) -> None:
    said = of_trace("lync-healthy", tmp_path).said
    for words in ("CONTOSO\\ann", "TLSv1.3, TLS_AES_256_GCM_SHA384", "Authentication: NTLM", "OpenSSL 3.", "Python 3."):
        assert words in said
    assert "latency warning 5" in said


def hostile_message(**changes: Any) -> WireMessage:
    data = f"SIP/2.0 200 {HOSTILE}\r\nX: {HOSTILE}\r\nContent-Length: 0\r\n\r\n{HOSTILE}".encode() + b"\xff\x00"
    return WireMessage(0.1, ANN.uri, False, data, None, 1)._replace(**changes)


@pytest.mark.parametrize("place", ["line", "sentence", "diagnosis", "message", "octets", "contact", "activity", "told"])
def test_hostile_text_is_shown_and_does_nothing(place: str) -> None:
    outcome = success()
    more: Dict[str, Any] = {}
    contact = Contact(1, ANN.uri, "pool", (), "tls", 0.0, 0.1, error="x")
    if place == "line":
        more["line"] = HOSTILE
    elif place == "sentence":
        more["sentences"] = (HOSTILE,)
    elif place == "diagnosis":
        more["diagnosis"] = Diagnosis(HOSTILE, HOSTILE, ())
    elif place == "message":
        more["messages"] = (hostile_message(),)
    elif place == "octets":
        more["messages"] = (hostile_message(sip=False),)
    elif place == "contact":
        more["contacts"] = (contact._replace(error=HOSTILE, server=HOSTILE, failed=HOSTILE),)
        more["breaks"] = (Break(0.1, 1, HOSTILE),)
    elif place == "activity":
        outcome = success(activities=(Activity(REGISTER, ANN.uri, 0.0, 0.1, (HOSTILE,)),))
    else:
        more["told"] = settings(publisher=ANN._replace(user=HOSTILE))
    found = shown(outcome, **more)
    assert found.names & {"script", "img"} == set()
    assert "\x1b" not in found.text
    assert "\u202e" not in found.text
    assert "alert(1)" in found.said


def test_a_secret_is_nowhere_on_the_page() -> None:
    message = WireMessage(0.1, ANN.uri, False, f"SIP/2.0 200 {ANN_PASSWORD}\r\n\r\n{ANN_PASSWORD}".encode())
    found = shown(success(), line=f"so {ANN_PASSWORD} be it", sentences=(ANN_PASSWORD,), messages=(message,))
    assert ANN_PASSWORD not in found.text
    assert "so *** be it" in found.said


def test_what_is_not_over_is_drawn_to_the_end() -> None:
    activities = (Activity(REGISTER, ANN.uri, 0.0, 0.1), Activity(REGISTER, BEN.uri, 0.0, None))
    stopped = failed(failure(Cause.STOPPED, "Not over after 4.0 s, then SIGTERM."), activities=activities)
    found = shown(stopped, "CRITICAL", stopped=4.0)
    assert "not over" in found.said
    assert "4 s" in found.said


def test_front_ends_have_a_drawing_each() -> None:
    two = tuple(success(server=f"10.0.0.{number}") for number in (4, 5))
    broken = failed(failure(Cause.STATUS, "503, Service Unavailable", PUBLISH), server="10.0.0.6")
    whole = success(front_ends=(*two, broken), activities=two[0].activities * 2)
    found = shown(whole)
    assert found.text.count('aria-label="How long each activity took"') == 3
    assert "10.0.0.6 Failure, PublishPresence failed: 503, Service Unavailable" in found.said


def test_a_flood_of_messages_is_cut() -> None:
    messages = tuple(hostile_message(data=b"OPTIONS sip:a SIP/2.0\r\n\r\n") for _ in range(MAX_SHOWN + 5))
    found = shown(success(), messages=messages)
    assert len(found.ids) == MAX_SHOWN
    assert "5 more are not shown." in found.said


def test_a_run_of_which_nothing_is_known_has_a_page() -> None:
    found = shown(failed(failure(Cause.RESOLVE)), "CRITICAL", "no name")
    assert "no name" in found.said


def test_an_unsigned_answer_is_marked() -> None:
    message = WireMessage(0.1, BEN.uri, False, b"SIP/2.0 200 OK\r\n\r\n", Signature.MISSING)
    assert "200 OK, not signed" in shown(success(), messages=(message,)).said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 ms"), (0.01234, "12.3 ms"), (0.5, "500 ms"), (0.9999, "1.00 s"), (25.0, "25.00 s")],
)
def test_times_are_told_as_a_person_reads_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
