"""One user's end of a connection: what it takes for an answer, and what it answers to what it is asked."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import Iterator, List, NamedTuple, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.net.resolve import Address
from check_lync_presence.net.tasks import together
from check_lync_presence.net.transport import Connection, open_connection, open_datagrams
from check_lync_presence.outcome import Cause, PresenceError, Signature
from check_lync_presence.sip.dialog import Dialog
from check_lync_presence.sip.message import Message, Request, Response
from check_lync_presence.useragent import MAX_INBOX, MAX_INBOX_OCTETS, MessageLog, UserAgent

from .loopback import Server, Wire, finish, pair, soon
from .strategies import HANG, few

ANN = "sip:ann@contoso.example"
REQUEST = Request(
    "SUBSCRIBE",
    ANN,
    (
        ("Via", "SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bKmine"),
        ("From", f"<{ANN}>;tag=ours"),
        ("To", f"<{ANN}>"),
        ("Call-ID", "c1"),
        ("CSeq", "1 SUBSCRIBE"),
    ),
)


class End(NamedTuple):
    """Both ends of a connection, and what was written down about it."""

    agent: UserAgent
    wire: Wire
    log: MessageLog


@contextlib.contextmanager
def connected() -> Iterator[End]:
    with pair() as (connection, theirs):
        log = MessageLog()
        agent = UserAgent(ANN, connection, lambda digits: "f" * digits, time.monotonic, log)
        agent.dialogs.append(Dialog("c1", ANN, "ours", ANN))
        yield End(agent, Wire(theirs), log)


@pytest.fixture
def end() -> Iterator[End]:
    with connected() as both:
        yield both


def dialled(server: Server) -> Connection:
    connection: Connection = finish(open_connection((server.address,), None, "pool", soon()))
    return connection


def octets(
    start_line: str, cseq: str, branch: str = "mine", call_id: str = "c1", to_tag: str = ";tag=ours", body: str = ""
) -> bytes:
    return (
        f"{start_line}\r\nVia: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK{branch}\r\nFrom: <{ANN}>;tag=theirs\r\n"
        f"To: <{ANN}>{to_tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def answer(
    status: int = 200, cseq: str = "1 SUBSCRIBE", branch: str = "mine", call_id: str = "c1", body: str = ""
) -> bytes:
    return octets(f"SIP/2.0 {status} X", cseq, branch, call_id, body=body)


def ask(method: str, number: int = 1, call_id: str = "c1", to_tag: str = ";tag=ours", body: str = "") -> bytes:
    return octets(f"{method} {ANN} SIP/2.0", f"{number} {method}", "server", call_id, to_tag, body)


RIGHT = answer(body="the right one")


def requested(end: End, seconds: float = 10) -> Response:
    response: Response = finish(end.agent.request(REQUEST, soon(seconds)))
    return response


def unanswered(end: End) -> PresenceError:
    with pytest.raises(PresenceError) as error:
        requested(end, 0.03)
    return error.value


def notified(end: End, seconds: float = 10) -> Request:
    request: Request = finish(end.agent.notification(end.agent.dialogs[0], soon(seconds)))
    return request


# ------------------------------------------------------------------- requests


def test_the_request_is_sent_and_its_answer_is_the_result(end: End) -> None:
    end.wire.send(RIGHT)
    assert requested(end).body == b"the right one"
    (sent,) = end.wire.waiting()
    assert bytes(sent) == bytes(REQUEST)


@pytest.mark.parametrize(
    "foreign",
    [
        answer(call_id="c2"),
        answer(branch="yours"),
        answer(cseq="2 SUBSCRIBE"),
        answer(cseq="1 SERVICE"),
        answer(100),
        answer(199),
        answer(100) * 50,
        b"\r\n\r\n" * 100,
    ],
)
def test_what_is_no_final_answer_to_the_request_is_passed_over(end: End, foreign: bytes) -> None:
    end.wire.send(foreign + RIGHT)
    assert requested(end).body == b"the right one"


def test_without_an_answer_the_request_ends_at_the_deadline(end: End) -> None:
    error = unanswered(end)
    assert (error.cause, error.detail) == (Cause.NO_ANSWER, "SUBSCRIBE")
    assert re.fullmatch(r"No answer to SUBSCRIBE in 0\.0\d+ secs\.", str(error))


def test_provisional_answers_do_not_prolong_the_wait(end: End) -> None:
    end.wire.send(answer(100) * 1000)
    assert unanswered(end).cause is Cause.NO_ANSWER


def test_an_answer_that_comes_before_its_request_is_nobodys(end: End) -> None:
    end.wire.send(RIGHT + ask("NOTIFY"))
    assert notified(end).method == "NOTIFY"
    assert unanswered(end).cause is Cause.NO_ANSWER


def test_a_late_answer_to_the_request_before_is_passed_over(end: End) -> None:
    unanswered(end)
    end.wire.send(answer(503))
    again = Request("SUBSCRIBE", ANN, (*REQUEST.headers[:-1], ("CSeq", "2 SUBSCRIBE")))
    end.wire.send(answer(200, "2 SUBSCRIBE"))
    assert finish(end.agent.request(again, soon())).status == 200


@pytest.mark.parametrize("status", [200, 202, 301, 401, 404, 503, 699])
def test_every_final_answer_is_a_result(end: End, status: int) -> None:
    end.wire.send(answer(status))
    assert requested(end).status == status


def test_a_server_that_mirrors_our_own_messages_never_says_yes() -> None:
    def mirror(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                data = sock.recv(65536)
                if not data:
                    return
                sock.sendall(data)

    with Server(mirror) as server:
        connection = dialled(server)
        agent = UserAgent(ANN, connection, lambda digits: "f" * digits, time.monotonic, None)
        # Our request comes back and we refuse it, our refusal comes back and refuses our request.
        response = finish(agent.request(REQUEST, soon()))
        agent.close()
    assert response.status == 405


# ------------------------------------------------- what the server asks of us


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (ask("NOTIFY"), 200),
        (ask("NOTIFY", call_id="unknown"), 481),
        (ask("NOTIFY", to_tag=";tag=other"), 481),
        (ask("NOTIFY", to_tag=""), 481),
        (ask("OPTIONS"), 200),
        (ask("OPTIONS", call_id="unknown", to_tag=""), 200),
        (ask("INVITE"), 405),
        (ask("MESSAGE", call_id="unknown"), 405),
        (ask("BENOTIFY"), None),
        (ask("BENOTIFY", call_id="unknown"), None),
        (ask("ACK"), None),
    ],
)
def test_what_the_server_asks_meanwhile_is_answered(end: End, asked: bytes, status: Optional[int]) -> None:
    end.wire.send(asked + RIGHT)
    assert requested(end).body == b"the right one"
    replies = [message for message in end.wire.waiting() if isinstance(message, Response)]
    assert [reply.status for reply in replies] == ([] if status is None else [status])
    assert all("branch=z9hG4bKserver" in (reply.get("Via") or "") for reply in replies)


@pytest.mark.parametrize("to", ["<sip:ann", "", "<>"])
@pytest.mark.parametrize("method", ["NOTIFY", "OPTIONS", "INVITE"])
def test_a_request_whose_to_cannot_be_read_does_not_end_the_run(end: End, method: str, to: str) -> None:
    end.wire.send(ask(method).replace(f"To: <{ANN}>;tag=ours".encode(), f"To: {to}".encode()) + RIGHT)
    assert requested(end).body == b"the right one"


def test_a_notification_that_comes_during_a_request_is_kept(end: End) -> None:
    end.wire.send(ask("BENOTIFY", body="early") + RIGHT)
    requested(end)
    assert notified(end).body == b"early"


def test_notifications_come_in_the_order_of_the_wire_and_once(end: End) -> None:
    end.wire.send(ask("NOTIFY", 1, body="one") + ask("BENOTIFY", 2, body="two"))
    assert [notified(end).body, notified(end).body] == [b"one", b"two"]
    with pytest.raises(TimeoutError):
        notified(end, 0.02)


def test_a_notification_of_another_dialog_waits_for_whom_it_is_for(end: End) -> None:
    other = Dialog("c2", ANN, "ours", ANN)
    end.agent.dialogs.append(other)
    end.wire.send(ask("NOTIFY", call_id="c2", body="other") + ask("NOTIFY", body="first"))
    assert notified(end).body == b"first"
    assert finish(end.agent.notification(other, soon())).body == b"other"


def test_a_request_that_is_no_notification_is_none(end: End) -> None:
    end.wire.send(ask("OPTIONS") + ask("INVITE") + ask("NOTIFY", call_id="unknown") + ask("NOTIFY", body="it"))
    assert notified(end).body == b"it"


def test_a_flood_of_notifications_is_bounded_and_the_newest_are_kept() -> None:
    flood = b"".join(ask("BENOTIFY", number, body=str(number)) for number in range(1, 10_001))

    def send(sock: socket.socket) -> None:
        wire = Wire(sock)
        wire.receive()
        wire.send(flood + RIGHT)
        wire.receive()

    with Server(send) as server:
        agent = UserAgent(ANN, dialled(server), lambda digits: "f" * digits, time.monotonic, None)
        agent.dialogs.append(Dialog("c1", ANN, "ours", ANN))
        started = time.monotonic()
        assert finish(agent.request(REQUEST, soon())).body == b"the right one"
        assert time.monotonic() - started < 5
        first = finish(agent.notification(agent.dialogs[0], soon()))
        agent.close()
    assert int(first.body) == 10_000 - MAX_INBOX + 1


def test_what_is_kept_of_a_flood_of_large_notifications_is_bounded(end: End) -> None:
    large = "x" * (MAX_INBOX_OCTETS // 4 - 100)

    def send() -> None:
        for number in range(1, 9):
            end.wire.send(ask("BENOTIFY", number, body=f"{number} {large}"))
        end.wire.send(RIGHT)

    sender = threading.Thread(target=send)  # it is more than a connection holds
    sender.start()
    assert requested(end).body == b"the right one"
    sender.join()
    assert [notified(end).body[:1] for _ in range(4)] == [b"5", b"6", b"7", b"8"]
    with pytest.raises(TimeoutError):
        notified(end, 0.02)


def test_after_the_deadline_no_notification_is_handed_out_however_many_there_are(end: End) -> None:
    end.wire.send(ask("BENOTIFY") + RIGHT)
    requested(end)
    with pytest.raises(TimeoutError):
        notified(end, 0)


@pytest.mark.parametrize("what", [b"\r\n\r\n" * 16_000, answer(100) * 200, ask("BENOTIFY", call_id="unknown") * 200])
def test_a_flood_without_end_ends_at_the_deadline(what: bytes) -> None:
    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(what)

    with Server(flood) as server:
        agent = UserAgent(ANN, dialled(server), lambda digits: "f" * digits, time.monotonic, None)
        started = time.monotonic()
        with pytest.raises(PresenceError) as error:
            finish(agent.request(REQUEST, soon(0.3)))
        elapsed = time.monotonic() - started
        agent.close()
    assert error.value.cause is Cause.NO_ANSWER
    assert elapsed < 0.3 + HANG


# ------------------------------------------------------------ broken streams


def test_half_a_message_at_the_deadline_is_said(end: End) -> None:
    end.wire.send(RIGHT[:-3])
    error = unanswered(end)
    assert error.cause is Cause.NO_ANSWER
    assert "half a message" in str(error)


def test_what_is_no_whole_message_is_written_down_once(end: End) -> None:
    end.wire.send(RIGHT[:40])
    unanswered(end)
    assert [(item.data, item.sip) for item in end.log if not item.sent] == [(RIGHT[:40], False)]
    end.wire.send(RIGHT[40:60])
    unanswered(end)
    end.agent.close()
    end.agent.close()
    assert [item.data for item in end.log if not item.sent] == [RIGHT[:40], RIGHT[40:60]]


def test_octets_that_are_no_sip_are_written_down(end: End) -> None:
    data = b"HTTP/1.1 400 Bad Request\r\n\r\nhello"
    end.wire.send(data)
    unanswered(end)
    assert [(item.data, item.sip) for item in end.log if not item.sent] == [(data, False)]


def test_half_a_message_before_the_end_is_said(end: End) -> None:
    end.wire.send(RIGHT[:40])
    end.wire.sock.shutdown(socket.SHUT_WR)
    error = unanswered(end)
    assert error.cause is Cause.CLOSED
    assert "in the middle of a message" in str(error)


def test_the_end_of_the_connection_is_said_and_names_the_peer(end: End) -> None:
    end.wire.sock.shutdown(socket.SHUT_WR)
    error = unanswered(end)
    assert (error.cause, error.detail) == (Cause.CLOSED, str(end.agent.connection.peer))
    assert str(error) == "The server closed the connection."


def test_the_answer_counts_even_if_the_connection_ends_behind_it(end: End) -> None:
    end.wire.send(RIGHT)
    end.wire.sock.shutdown(socket.SHUT_WR)
    assert requested(end).status == 200


@pytest.mark.parametrize(
    "junk", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 10 + b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"]
)
def test_what_is_not_sip_is_said_and_names_the_peer(end: End, junk: bytes) -> None:
    end.wire.send(junk)
    error = unanswered(end)
    assert (error.cause, error.detail) == (Cause.PROTOCOL, str(end.agent.connection.peer))
    assert "is not SIP" in str(error)


@few
@given(
    st.binary(max_size=200)
    | st.builds(lambda data, cut: data[:cut], st.just(RIGHT + ask("NOTIFY")), st.integers(0, 600))
)
def test_any_octets_make_an_answer_or_a_presence_error(data: bytes) -> None:
    with connected() as end:
        end.wire.send(data)
        end.wire.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(PresenceError):
            assert requested(end, 5).status == 200


# ---------------------------------------------------------------------- guard


class Seal:
    """A guard that adds a header and lets only what has it through."""

    signature = Signature.VALID

    def __init__(self) -> None:
        self.judged: List[str] = []

    def sign(self, message: Message) -> Message:
        return message.with_headers(("X-Seal", "ours"))

    def accept(self, message: Message) -> bool:
        self.judged.append(message.start_line)
        if message.get("X-Seal") == "broken":
            raise PresenceError(Cause.SIGNATURE, "broken seal")
        return message.get("X-Seal") == "theirs"


def sealed(data: bytes, seal: str = "theirs") -> bytes:
    return data.replace(b"Content-Length", f"X-Seal: {seal}\r\nContent-Length".encode())


@pytest.fixture
def guarded(end: End) -> End:
    end.agent.guard = Seal()
    return end


def test_it_is_written_down_what_the_guard_found(guarded: End) -> None:
    guarded.wire.send(sealed(RIGHT))
    requested(guarded)
    assert [item.signature for item in guarded.log] == [None, Signature.VALID]


def test_requests_and_replies_are_signed(guarded: End) -> None:
    guarded.wire.send(sealed(ask("NOTIFY")) + sealed(RIGHT))
    requested(guarded)
    assert [message.get("X-Seal") for message in guarded.wire.waiting()] == ["ours", "ours"]


def test_an_answer_that_the_guard_refuses_is_none(guarded: End) -> None:
    guarded.wire.send(answer(200, body="forged") + sealed(RIGHT))
    assert requested(guarded).body == b"the right one"


def test_a_request_that_the_guard_refuses_is_neither_answered_nor_kept(guarded: End) -> None:
    guarded.wire.send(ask("NOTIFY", body="forged") + ask("OPTIONS") + sealed(ask("NOTIFY", body="real")))
    assert notified(guarded).body == b"real"
    assert len(guarded.wire.waiting()) == 1


def test_a_forged_notification_does_not_move_the_numbers_of_the_dialog(guarded: End) -> None:
    guarded.wire.send(ask("NOTIFY", 1000, body="forged") + sealed(ask("NOTIFY", 1, body="real")))
    assert notified(guarded).body == b"real"


def test_the_guard_is_not_asked_about_answers_that_are_not_ours(guarded: End) -> None:
    guarded.wire.send(sealed(answer(call_id="c2"), "broken") + sealed(answer(100), "broken") + sealed(RIGHT))
    assert requested(guarded).status == 200


@pytest.mark.parametrize("what", [RIGHT, ask("NOTIFY")])
def test_what_the_guard_condemns_ends_the_request(guarded: End, what: bytes) -> None:
    guarded.wire.send(sealed(what, "broken"))
    assert unanswered(guarded).cause is Cause.SIGNATURE


# ------------------------------------------------------------------ datagrams


@contextlib.contextmanager
def over_udp() -> Iterator[Tuple[UserAgent, socket.socket]]:
    """A user over UDP, and the server's socket, which is connected to him."""
    with socket.socket(type=socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        connection = open_datagrams((Address(theirs.family, theirs.getsockname()),))
        theirs.connect(connection.local.sockaddr)
        yield UserAgent(ANN, connection, lambda digits: "f" * digits, time.monotonic, None), theirs
        connection.close()


def test_a_datagram_that_is_no_message_does_not_end_the_wait_for_one() -> None:
    with over_udp() as (agent, theirs):
        for datagram in (b"\0\0\0\0", b"hello", b"SIP/2.0 nonsense\r\n\r\n", RIGHT):
            theirs.send(datagram)
        assert finish(agent.request(REQUEST, soon())).body == b"the right one"


@pytest.mark.parametrize(
    ("datagram", "cause", "text"),
    [
        (b"hello", Cause.PROTOCOL, "The answer is not SIP: a message without the empty line that ends its head."),
        (b"\0\0\0\0", Cause.NO_ANSWER, "No answer to SUBSCRIBE in 0.1 secs."),
        (b"\r\n\r\n", Cause.NO_ANSWER, "No answer to SUBSCRIBE in 0.1 secs."),
    ],
)
def test_only_where_nothing_better_comes_is_it_what_is_wrong(datagram: bytes, cause: Cause, text: str) -> None:
    with over_udp() as (agent, theirs):
        theirs.send(datagram)
        with pytest.raises(PresenceError) as error:
            finish(agent.request(REQUEST, soon(0.1)))
    assert (error.value.cause, str(error.value)) == (cause, text)


def test_what_came_before_a_request_is_not_what_is_wrong_with_its_answer() -> None:
    with over_udp() as (agent, theirs):
        theirs.send(b"hello")
        finish(agent.overhear(soon(0.05)))
        assert agent.garbled is not None
        with pytest.raises(PresenceError, match="No answer to SUBSCRIBE"):
            finish(agent.request(REQUEST, soon(0.1)))


# ------------------------------------------------------------------- the rest


def test_every_message_is_written_down_in_its_direction(end: End) -> None:
    end.wire.send(ask("NOTIFY") + RIGHT)
    requested(end)
    seen = [(entry.sent, entry.data.split(b" ")[0], entry.user) for entry in end.log]
    assert seen == [
        (True, b"SUBSCRIBE", ANN),
        (False, b"NOTIFY", ANN),
        (True, b"SIP/2.0", ANN),
        (False, b"SIP/2.0", ANN),
    ]


def test_a_flood_is_written_down_up_to_a_limit_and_counted_beyond_it(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = answer(100, branch="yours")
    monkeypatch.setattr("check_lync_presence.useragent.MAX_OCTETS", len(bytes(REQUEST)) + 3 * len(stray))
    end.wire.send(20 * stray + RIGHT)
    requested(end)
    assert [item.data for item in end.log] == [bytes(REQUEST), *3 * [stray]]
    assert end.log.left_out == 18


def test_credentials_are_told_as_they_are_sent_and_nothing_else() -> None:
    told: List[str] = []
    with pair() as (connection, theirs):
        agent = UserAgent(ANN, connection, lambda digits: "f" * digits, time.monotonic, None, told.append)
        for header in ("Authorization", "Proxy-Authorization"):
            Wire(theirs).send(RIGHT)
            finish(agent.request(REQUEST.with_headers((header, f"NTLM {header}")), soon()))
    assert told == ["NTLM Authorization", "NTLM Proxy-Authorization"]


def test_the_via_has_our_address_and_a_fresh_branch(end: End) -> None:
    tokens = iter(["1" * 16, "2" * 16])
    end.agent.token = lambda digits: next(tokens)
    local = end.agent.connection.local
    assert [end.agent.via(), end.agent.via()] == [
        f"SIP/2.0/TCP {local};branch=z9hG4bK{'1' * 16}",
        f"SIP/2.0/TCP {local};branch=z9hG4bK{'2' * 16}",
    ]


def test_two_users_take_turns_on_one_thread() -> None:
    async def both(one: End, other: End) -> List[Tuple[int, int]]:
        results = await together(one.agent.request(REQUEST, soon()), other.agent.request(REQUEST, soon()), grace=1)
        return [result.status for result in results]

    with connected() as one, connected() as other:
        other.wire.send(answer(202))
        one.wire.send(answer(200))
        assert finish(both(one, other)) == [200, 202]
