"""Recorded runs that are judged again: tests/data/traces has some as users would send them. What is changed in one
changes the verdict, as it would have at the pool; what is damaged is UNKNOWN with one line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .commands import Finished, run_check
from .in_process import replay, run_here
from .strategies import few

TRACES = Path(__file__).parent / "data" / "traces"
NAMES = sorted(path.stem for path in TRACES.glob("*.jsonl"))
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2}

Line = Dict[str, Any]
Change = Callable[[List[Line]], Any]


def lines_of(name: str) -> List[Line]:
    return [json.loads(line) for line in (TRACES / f"{name}.jsonl").read_text(encoding="ascii").splitlines()]


def changed(folder: Path, name: str, change: Change) -> Finished:
    """The verdict of a recorded run in which something was otherwise."""
    lines = lines_of(name)
    change(lines)
    path = folder / "changed.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    return replay(path)


def only(lines: List[Line], **wanted: Any) -> List[Line]:
    """The messages with these values; `start` begins their start line, `has` stands in their body."""
    start, has = wanted.pop("start", ""), wanted.pop("has", "")
    return [
        line
        for line in lines[1:]
        if all(line.get(key) == value for key, value in wanted.items())
        and line.get("start_line", "").startswith(start)
        and has in line.get("body", "")
    ]


def notifications(lines: List[Line]) -> List[Line]:
    """What tells the subscriber of the publication."""
    told = only(lines, role="subscriber", direction="received", has="presence-check ")
    return [line for line in told if not line["start_line"].startswith("SIP/2.0")]


def answers(lines: List[Line], role: str, cseq: str) -> List[Line]:
    return [
        line
        for line in only(lines, role=role, direction="received", start="SIP/2.0")
        if ["CSeq", cseq] in line["headers"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_is_judged_again_as_it_was(name: str) -> None:
    verdict = lines_of(name)[0]["verdict"]
    result = replay(TRACES / f"{name}.jsonl")
    state, _, line = result.first_line.partition(" | ")[0].replace("LYNC PRESENCE ", "", 1).partition(" - ")
    assert (state, line) == (verdict["state"], verdict["line"])
    assert (result.code, result.stderr) == (CODES[state], "")
    assert result.lines[1] == "TargetFqdn : pool01.contoso.example"


def test_it_is_the_command_line_that_does_it() -> None:
    path = TRACES / "lync-healthy.jsonl"
    assert run_check("--replay", str(path)) == replay(path)


@pytest.mark.parametrize("name", ["lync-healthy", "simple-healthy"])
def test_without_the_notification_it_is_not_received(tmp_path: Path, name: str) -> None:
    def without(lines: List[Line]) -> None:
        for line in notifications(lines):
            lines.remove(line)

    result = changed(tmp_path, name, without)
    assert result.code == 2
    assert "Presence notification is not received within 25 secs" in result.first_line


@pytest.mark.parametrize("name", ["lync-healthy", "simple-healthy"])
def test_with_another_note_it_is_not_received(tmp_path: Path, name: str) -> None:
    def other(lines: List[Line]) -> None:
        for line in notifications(lines):
            line["body"] = line["body"].replace("presence-check ", "presence-cheque ")

    assert "Presence notification is not received" in changed(tmp_path, name, other).first_line


def test_with_404_the_account_is_unknown(tmp_path: Path) -> None:
    def unknown(lines: List[Line]) -> None:
        answers(lines, "publisher", "3 REGISTER")[0]["start_line"] = "SIP/2.0 404 Not Found"

    result = changed(tmp_path, "lync-healthy", unknown)
    assert result.code == 2
    assert "Register failed for sip:ann@contoso.example: 404, Not Found" in result.first_line
    assert "Active Directory was not asked about the account: there is no ldap_uri." in result.lines


def test_with_404_a_simple_account_is_unknown(tmp_path: Path) -> None:
    def unknown(lines: List[Line]) -> None:
        answers(lines, "subscriber", "2 REGISTER")[0]["start_line"] = "SIP/2.0 404 Not Found"

    result = changed(tmp_path, "simple-healthy", unknown)
    assert "Register failed for sip:ben@contoso.example: 404, Not Found" in result.first_line


def test_a_notification_whose_signature_is_wrong_ends_the_run(tmp_path: Path) -> None:
    def forged(lines: List[Line]) -> None:
        for line in notifications(lines):
            line["signature"] = "wrong"

    assert "The BENOTIFY has a wrong signature" in changed(tmp_path, "lync-healthy", forged).first_line


def test_a_notification_without_a_signature_does_not_count(tmp_path: Path) -> None:
    def bare(lines: List[Line]) -> None:
        for line in notifications(lines):
            line["headers"] = [header for header in line["headers"] if header[0] != "Authentication-Info"]
            line["signature"] = "missing"

    result = changed(tmp_path, "lync-healthy", bare)
    assert "Presence notification is not received" in result.first_line
    assert "unsigned message(s) were discarded" in result.stdout


def test_a_notification_that_comes_later_is_slower_and_breaks_a_threshold(tmp_path: Path) -> None:
    def late(lines: List[Line]) -> None:
        for line in notifications(lines):
            line["at"] += 7

    result = changed(tmp_path, "lync-healthy", late)
    assert result.code == 1
    assert 7 < float(result.perfdata["notify"].partition(";")[0]) < 8
    assert "is outside range 0:5" in result.first_line


def test_a_notification_that_comes_too_late_is_not_received(tmp_path: Path) -> None:
    def late(lines: List[Line]) -> None:
        for line in notifications(lines):
            line["at"] += 26

    assert "is not received within 25 secs" in changed(tmp_path, "lync-healthy", late).first_line


def test_half_a_notification_is_half_a_message_also_where_its_rest_comes_later(tmp_path: Path) -> None:
    def halved(lines: List[Line]) -> None:
        for line in notifications(lines):
            half = {key: line[key] for key in ("at", "connection", "user", "direction")}
            lines.insert(lines.index(line), {**half, "octets": line["start_line"]})
            line["at"] += 26

    first_line = changed(tmp_path, "lync-healthy", halved).first_line
    assert "PublishPresence failed for sip:ben@contoso.example: No more than half a message in 25 secs" in first_line


def test_a_connection_that_was_refused(tmp_path: Path) -> None:
    def refused(lines: List[Line]) -> None:
        for contact in lines[0]["contacts"]:
            contact.update(
                peer=None, local=None, tls=None, error="cannot connect to 10.0.0.4:5061: refused", failed="TCP"
            )

    first_line = changed(tmp_path, "lync-healthy", refused).first_line
    assert "Register failed: cannot connect to 10.0.0.4:5061: refused" in first_line


def test_what_the_directory_said_is_part_of_the_verdict(tmp_path: Path) -> None:
    directory: Line = {"uris": ["ldaps://dc01.contoso.example"], "auth": "anonymous", "starttls": False}
    directory.update(base=None, bind=None, ca_file=None)
    report = {"finding": "disabled", "detail": "", "server": "dc01.contoso.example", "locked": None, "name": "ann"}

    def disabled(lines: List[Line]) -> None:
        lines[0]["settings"].update(directory=directory, account_state="warning")
        lines[0]["asked"] = [{"user": "sip:ann@contoso.example", "report": report, "error": ""}]

    result = changed(tmp_path, "lync-account-unknown", disabled)
    assert result.code == 1
    assert "The AD account CONTOSO\\ann is disabled: Enable-ADAccount -Identity ann." in result.lines


def test_words_that_were_made_up_at_random_may_be_others(tmp_path: Path) -> None:
    text = (TRACES / "lync-healthy.jsonl").read_text(encoding="ascii")
    call_ids = {
        header[1] for line in lines_of("lync-healthy")[1:] for header in line["headers"] if header[0] == "Call-ID"
    }
    for number, call_id in enumerate(call_ids):
        text = text.replace(call_id, f"{number:032x}")
    path = tmp_path / "other.jsonl"
    path.write_text(text, encoding="ascii")
    assert replay(path) == replay(TRACES / "lync-healthy.jsonl")


# ------------------------------------------------------------- what is damaged


def unknown(result: Finished) -> str:
    """The one line of a trace that cannot be played."""
    assert (result.code, result.stderr) == (3, "")
    assert len(result.lines) == 1
    return result.first_line.replace("LYNC PRESENCE UNKNOWN - ", "", 1)


def facts(**changes: Any) -> Change:
    return lambda lines: lines[0].update(changes)


def in_settings(**changes: Any) -> Change:
    return lambda lines: lines[0]["settings"].update(changes)


def signed_in_with_kerberos(lines: List[Line]) -> None:
    for line in only(lines, direction="sent"):
        line["headers"] = [[name, value.replace("NTLM ", "Kerberos ")] for name, value in line["headers"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (facts(trace=2), "line 1: it does not begin a trace of format 1"),
        (facts(settings=None), "line 1: settings is not an object"),
        (facts(now="soon"), "line 1: now is not a number"),
        (facts(now=1e300), "line 1: now is too large"),
        (facts(complete=False), "line 1: the server has sent more than was kept"),
        (facts(began=None), "its run has not begun"),
        (facts(contacts=[]), "it has no connection of sip:ann@contoso.example to "),
        (facts(found=[]), "it has no addresses of pool01.contoso.example"),
        (facts(contacts=[{}]), "line 1: contacts[0].number is missing"),
        (facts(held_back=[{"cause": "sloth"}]), "line 1: held_back[0].activity is missing"),
        (in_settings(timeout=-1), "line 1: settings.timeout is no time limit"),
        (in_settings(notify_timeout=1e9), "line 1: settings.notify_timeout is no time limit"),
        (in_settings(verbose=True), "line 1: settings.verbose is not a whole number"),
        (in_settings(connect=["10.0.0.4"]), "line 1: settings.connect is not a list of the right length"),
        (lambda lines: lines[4].update(at=None), "line 5: at is not a number"),
        (lambda lines: lines[4].update(direction="up"), "line 5: direction is neither sent nor received"),
        (lambda lines: lines[4].update(signature="fine"), "line 5: signature is none of valid, wrong, missing"),
        (lambda lines: lines[4].update(headers=[["Via"]]), "line 5: headers[0] is not a list of the right length"),
        (lambda lines: lines[4].update(body="\ud800"), "line 5: it has characters that stand for no octets"),
        (lambda lines: lines.__setitem__(4, []), "line 5: it is not an object"),
        (signed_in_with_kerberos, "nobody can be signed in again with Kerberos"),
        (lambda lines: lines.clear(), "line 1: it is not JSON"),
    ],
)  # fmt: skip
def test_a_damaged_trace_is_unknown_with_one_line(tmp_path: Path, change: Change, words: str) -> None:
    assert words in unknown(changed(tmp_path, "lync-healthy", change))


@pytest.mark.parametrize("data", [b"", b"\n", b"{", b"null", b"[" * 100_000, b"\x80\x81", b'{"trace": 1}', b"{}\n{}"])
def test_what_is_no_trace_is_unknown_with_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "trace"
    path.write_bytes(data)
    assert f"the trace {path} cannot be played: line 1: " in unknown(replay(path))


def test_a_trace_that_was_cut_short_in_a_line_is_unknown(tmp_path: Path) -> None:
    data = (TRACES / "lync-healthy.jsonl").read_bytes()
    path = tmp_path / "trace"
    path.write_bytes(data[: len(data) // 2])
    assert "it is not JSON" in unknown(replay(path))


def test_what_cannot_be_read_is_unknown_with_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert unknown(replay(missing)) == f"cannot read the trace {missing}: No such file or directory"
    assert unknown(replay(tmp_path)) == f"cannot read the trace {tmp_path}: Is a directory"
    assert unknown(replay(Path("/dev/null"))) == "the trace /dev/null is not a regular file"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("-H", "pool"), "target"), (("--trace", "x"), "trace"), (("--timeout", "3"), "timeout"), (("-4",), "ipv4")],
)
def test_a_replay_takes_nothing_else_from_the_command_line(arguments: List[str], name: str) -> None:
    result = run_here("--replay", str(TRACES / "lync-healthy.jsonl"), *arguments)
    words = f"--replay takes everything but -v and --report from the trace; leave out --{name}"
    assert unknown(result) == words


def places(value: Any) -> List[List[Any]]:
    """The ways to everything inside of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[key, *way] for key, item in inside for way in ([], *places(item))]


ODD: List[Any] = [
    None,
    0,
    -1,
    1e9,
    1e-9,
    True,
    "",
    "***",
    "\udc80",
    "a\r\nb: c",
    "SIP/2.0 200 OK",
    "[::1]:5",
    [],
    {},
    [["a", "b"]],
]


@few
@given(data=st.data())
def test_whatever_is_changed_by_hand_there_is_a_verdict_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(NAMES))

    def damage(lines: List[Line]) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.sampled_from([0, *range(len(lines))]))
            if data.draw(st.integers(0, 9)) == 0:
                lines.insert(at, lines[-1])
                continue
            *way, last = data.draw(st.sampled_from(places(lines[at])))
            inside: Any = lines[at]
            for key in way:
                inside = inside[key]
            value = inside[last]
            odd: Any = data.draw(st.sampled_from(ODD))
            if isinstance(value, str) and data.draw(st.booleans()):
                cut = data.draw(st.integers(0, len(value)))
                odd = value[:cut] + (odd if isinstance(odd, str) else "") + value[cut + 1 :]
            inside[last] = odd

    result = changed(tmp_path_factory.mktemp("damaged"), name, damage)
    assert result.stderr == ""
    assert "internal error" not in result.stdout
    assert (result.code == 3) == (len(result.lines) == 1)
