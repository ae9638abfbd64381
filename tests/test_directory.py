"""The directory: hostile and broken ones, what is asked, and what is made of the answer."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import nagiosplugin
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import MATCH_EQUAL, OR, FilterNode, parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending

from check_lync_presence import cli, directory
from check_lync_presence.directory import Answer, DirectoryError, Finding, Report, Server, _Entry, _user_filter, ask
from check_lync_presence.lockout import BACK_OFF, LockoutGuard
from check_lync_presence.settings import Account, DirectorySettings, Secret

from . import tiny_directory as tiny
from .commands import ANN_PASSWORD, BEN_PASSWORD, Finished, Simulator, write_accounts
from .loopback import soon
from .samples import ANN, BEN
from .strategies import few, many
from .tiny_directory import ANN_ENTRY, BIND, BIND_DONE, DONE, SEARCH, Talk, TinyDirectory, entry, message, user
from .transcripts import POOL

NOW = 1_700_000_000.0
SHORT = 0.3  # seconds: the deadline where nothing else ends the wait
SLACK = 0.5  # seconds that a busy machine may add
LDAP_PASSWORD = "Ldap-Geheim-7%20"


def ask_all(
    settings: DirectorySettings, accounts: Sequence[Tuple[Account, bool]] = ((ANN, False),), seconds: float = 5.0
) -> List[Answer]:
    """The answers, which must not be late."""
    started = time.monotonic()
    answers = ask(settings, lambda _: POOL, accounts, NOW, soon(seconds))
    assert time.monotonic() - started < seconds + SLACK
    assert len(answers) == len(accounts)
    return answers


def ask_one(settings: DirectorySettings, credentials: bool = False, seconds: float = 5.0) -> Answer:
    (answer,) = ask_all(settings, ((ANN, credentials),), seconds)
    return answer


def finding(answer: Answer) -> Finding:
    assert isinstance(answer, Report), answer
    return answer.finding


def reason(answer: Answer) -> str:
    assert isinstance(answer, DirectoryError), answer
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", str(answer))


# -------------------------------------------------------- broken directories


class Broken(NamedTuple):
    """A server that goes wrong (its steps), what is said of it (a pattern), how long it may be waited for."""

    steps: Dict[str, Any]
    said: str
    seconds: float = 5.0


def thousand(talk: Talk, request: tiny.Request) -> None:
    entries = [entry(f"CN=user{number},{tiny.BASE}", user()) for number in range(1000)]
    talk.send(*entries, tiny.result(DONE), to=request)


NO_TIME = "no answer within 0.3 s"
GIGANTIC = b"\x30\x84\x7f\xff\xff\xff\x02\x01\x02"
DISCONNECTION = tiny.tlv(
    tiny.EXTENDED_DONE, tiny.integer(52, 0x0A), tiny.text(""), tiny.text("shutting down"),
    tiny.text("1.3.6.1.4.1.1466.20036", 0x8A),
)  # fmt: skip
AT_ONCE = {
    "nothing and an end": b"",
    "an empty message": b"\x30\x00",
    "a length without an end": b"\x30\x80\x02\x01\x02",
    "no message number": b"\x30\x03\x04\x01x",
    "the number of another message": message(77, tiny.result(DONE)),
    "the wrong operation": message(2, tiny.result(0x6F)),
    "an operation that nobody knows": message(2, tiny.tlv(0x7F)),
    "an entry that ends too early": message(2, b"\x64\x05\x04\x7fabc"),
    "an attribute of another type": message(2, tiny.tlv(tiny.ENTRY, tiny.integer(1), tiny.integer(2))),
    "notice of disconnection": message(0, DISCONNECTION),
    "half an entry and an end": message(2, ANN_ENTRY)[:40],
    "an entry and no result": message(2, ANN_ENTRY),
}
AT_LAST = {
    "silence": b"",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "ones": b"\xff" * 64,
    "gigantic length": GIGANTIC,
    "most gigantic length": b"\x30\x88" + b"\xff" * 8,
    "half an entry": message(2, ANN_ENTRY)[:40],
}
UNUSABLE = r"ldap://HOST: (no usable answer \(\w+\)|it closed the connection)"
AD_TEXT = "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data {}, v3839\0"

BROKEN: Dict[str, Broken] = {
    "accepts and closes": Broken({"greeting": Talk.close}, "ldap://HOST: it closed the connection"),
    "accepts and is silent": Broken({"greeting": Talk.silence}, NO_TIME, SHORT),
    "closes at the bind": Broken({"bind": tiny.closes}, "ldap://HOST: it closed the connection"),
    "is silent after the bind": Broken({"bind": tiny.silent}, NO_TIME, SHORT),
    "closes at the search": Broken({"search": tiny.closes}, "ldap://HOST: it closed the connection"),
    "drips": Broken({"search": lambda talk, _: talk.drip(GIGANTIC + b"\x04" * 5000)}, NO_TIME, SHORT),
    "drips at the bind": Broken({"bind": lambda talk, _: talk.drip(GIGANTIC + b"\x04" * 5000)}, NO_TIME, SHORT),
    "refers elsewhere": Broken(
        {"search": tiny.says(tiny.result(DONE, 10, "", ["ldap://127.0.0.1:1/DC=other"]))},
        r"ldap://HOST refers to another server \(referral\); check --ldap-base, or name that server with --ldap-uri",
    ),
    "refers the bind elsewhere": Broken(
        {"bind": tiny.says(tiny.result(BIND_DONE, 10, "", ["ldap://127.0.0.1:1/"]))}, UNUSABLE
    ),
    **{
        f"answers with {name}": Broken({"search": tiny.sends(octets, Talk.close)}, UNUSABLE)
        for name, octets in AT_ONCE.items()
    },
    **{
        f"answers the bind with {name}": Broken({"bind": tiny.sends(octets, Talk.close)}, UNUSABLE)
        for name, octets in AT_ONCE.items()
    },
    **{
        f"answers with {name}": Broken({"search": tiny.sends(octets, Talk.silence)}, NO_TIME, SHORT)
        for name, octets in AT_LAST.items()
    },
    **{
        f"result {code}": Broken({"search": tiny.finds(code=code, said="a text")}, f"ldap://HOST {said}")
        for code, said in {
            1: r"refuses the search without a bind \(operationsError\); name a bind account with --ldap-bind",
            3: r"answers with LDAP error 3 \(timeLimitExceeded\)",
            4: r"answers with LDAP error 4 \(sizeLimitExceeded\)",
            8: r"demands LDAP signing or encryption \(strongerAuthRequired\); use ldaps:// or --ldap-starttls",
            13: r"demands encryption \(confidentialityRequired\); use ldaps:// or --ldap-starttls",
            14: r"answers with LDAP error 14 \(saslBindInProgress\)",
            32: r"does not have the base, or does not show it to us \(noSuchObject\); "
            "check --ldap-base and --ldap-bind",
            50: r"does not let the bind account read \(insufficientAccessRights\)",
            51: r"answers with LDAP error 51 \(busy\)",
            80: r"answers with LDAP error 80 \(other\)",
        }.items()
    },
    "result that nobody knows": Broken({"search": tiny.finds(code=250)}, UNUSABLE),
    "result that is gigantic": Broken({"search": tiny.finds(code=2**63)}, UNUSABLE),
    **{
        f"bind result {code} {data}": Broken(
            {"bind": tiny.says(tiny.result(BIND_DONE, code, AD_TEXT.format(data)))}, f"ldap://HOST {said}"
        )
        for code, data, said in (
            (49, "52e", "refuses the bind account or its password"),
            (49, "525", "does not know the bind account"),
            (49, "532", "refuses the bind account: its password has expired"),
            (49, "533", "refuses the bind account: it is disabled"),
            (49, "701", "refuses the bind account: it has expired"),
            (49, "773", "refuses the bind account: its password must be changed"),
            (49, "775", "refuses the bind account: it is locked out"),
            (49, "80090346", r"demands LDAP channel binding \(data 80090346\), which this bind has not; .*ldaps://"),
            (49, "5ff", "refuses the bind account or its password"),
            (8, "0", r"demands LDAP signing or encryption .*"),
            (13, "0", r"demands encryption .*"),
            (
                48,
                "0",
                r"allows no anonymous bind \(inappropriateAuthentication\); name a bind account with --ldap-bind",
            ),
            (3, "0", r"answers with LDAP error 3 \(timeLimitExceeded\)"),
            (14, "0", r"answers with LDAP error 14 \(saslBindInProgress\)"),
            (53, "0", r"answers with LDAP error 53 \(unwillingToPerform\)"),
        )
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_a_directory_does_ends_as_one_clause_in_time(name: str) -> None:
    steps, said, seconds = BROKEN[name]
    with TinyDirectory(**steps) as server:
        clause = reason(ask_one(server.settings, seconds=seconds))
    assert re.fullmatch(said, clause), clause
    assert clause.isprintable()
    assert len(clause) < 200


@pytest.mark.parametrize("where", ["ldap://127.0.0.1:1", "ldaps://127.0.0.1:1"])
def test_a_port_that_nobody_listens_on_is_said_for_each_account(where: str) -> None:
    answers = ask_all(tiny.directory(where), ((ANN, False), (BEN, True)))
    assert [str(answer) for answer in answers] == [f"{where}: connection refused"] * 2


def test_no_time_left_is_said_and_nothing_is_asked() -> None:
    with TinyDirectory() as server:
        answers = ask_all(server.settings, ((ANN, False), (BEN, False)), seconds=0.0)
        assert server.connections == 0
    assert [reason(answer) for answer in answers] == ["no time was left"] * 2


def test_an_answer_for_one_user_is_kept_when_there_is_none_for_the_other() -> None:
    def once(talk: Talk, request: tiny.Request) -> None:
        talk.send(ANN_ENTRY, tiny.result(DONE), to=request) if server.tags.count(SEARCH) == 1 else talk.silence()

    with TinyDirectory(once) as server:
        ann, ben = ask_all(server.settings, ((ANN, False), (BEN, False)), SHORT)
    assert finding(ann) is Finding.FINE
    assert reason(ben) == NO_TIME


def test_a_thousand_entries_are_two_too_many() -> None:
    with TinyDirectory(thousand) as server:
        answer = ask_one(server.settings)
    assert finding(answer) is Finding.DUPLICATE
    assert isinstance(answer, Report)
    assert answer.detail == f"CN=user0,{tiny.BASE} and CN=user1,{tiny.BASE}"


def test_what_came_before_the_size_limit_counts() -> None:
    with TinyDirectory(tiny.finds(ANN_ENTRY, code=4)) as server:
        assert finding(ask_one(server.settings)) is Finding.FINE


def test_a_user_in_order_is_found_with_one_bind_and_one_search() -> None:
    with TinyDirectory() as server:
        answer = ask_one(server.settings)
        assert server.tags == [BIND, SEARCH]
    assert answer == Report(Finding.FINE, f"CN=ann,{tiny.BASE}", server.uri, None, "ann")


def test_both_users_share_a_connection() -> None:
    with TinyDirectory() as server:
        ask_all(server.settings, ((ANN, False), (BEN, True)))
        assert (server.connections, server.tags) == (1, [BIND, SEARCH, SEARCH])


def test_an_address_of_the_internet_protocol_6_works_and_is_shown_in_brackets() -> None:
    with TinyDirectory(host="::1") as server:
        answer = ask_one(server.settings)
    assert isinstance(answer, Report)
    assert answer.server == server.uri
    assert answer.server.startswith("ldap://[::1]:")


def test_nobody_in_the_directory_is_nobody() -> None:
    with TinyDirectory(tiny.finds()) as server:
        assert ask_one(server.settings) == Report(Finding.ABSENT, "", server.uri)


# ---------------------------------------------------- credentials stay at home


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Tuple[trustme.CA, str]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, str(path)


def context_for(authority: trustme.CA, *names: str, **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **more).configure_cert(context)
    return context


def with_password(server: TinyDirectory, ca_file: Optional[str], **changes: Any) -> DirectorySettings:
    told: Dict[str, Any] = {"bind": "reader@contoso.example", "password": Secret(LDAP_PASSWORD), "auth": "simple"}
    told["ca_file"] = ca_file
    told.update(changes)
    return server.settings._replace(**told)


@pytest.mark.parametrize("referral", ["result", "reference", "bind", "reference and entry"])
def test_a_referral_is_not_followed(authority: Tuple[trustme.CA, str], referral: str) -> None:
    ca, ca_file = authority
    with ExitStack() as running:
        other = running.enter_context(TinyDirectory())
        uri = f"{other.uri}/DC=contoso,DC=example??sub"
        steps: Dict[str, Any] = {
            "result": {"search": tiny.says(tiny.result(DONE, 10, "", [uri]))},
            "reference": {"search": tiny.finds(tiny.reference(uri))},
            "bind": {"bind": tiny.says(tiny.result(BIND_DONE, 10, "", [uri]))},
            "reference and entry": {"search": tiny.finds(tiny.reference(uri), ANN_ENTRY, tiny.reference(uri))},
        }[referral]
        first = running.enter_context(TinyDirectory(context=context_for(ca, "127.0.0.1"), **steps))
        answer = ask_one(with_password(first, ca_file))
        assert other.connections == 0
        assert first.connections == 1
    if referral == "reference and entry":
        assert finding(answer) is Finding.FINE


def test_a_password_goes_over_tls_to_a_server_that_is_verified(authority: Tuple[trustme.CA, str]) -> None:
    ca, ca_file = authority
    with TinyDirectory(context=context_for(ca, "127.0.0.1")) as server:
        assert finding(ask_one(with_password(server, ca_file))) is Finding.FINE
        assert LDAP_PASSWORD.encode() in server.requests[0].body


@pytest.mark.parametrize("missing", ["gssapi", "cryptography"])
def test_the_package_that_a_kerberos_bind_lacks_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(directory, "find_spec", lambda name: None if name == missing else name)
    with TinyDirectory() as server:
        answer = ask_one(server.settings._replace(auth="kerberos"))
        assert f"Kerberos needs {missing}: install python3-{missing}, or pip install {missing} with" in reason(answer)
        assert BIND not in server.tags


@pytest.mark.parametrize(
    ("names", "more", "trusted", "clause"),
    [
        (["other.contoso.example"], {}, True, "its certificate is for another name"),
        (["127.0.0.1"], {}, False, "its certificate is not trusted; give its CA with --ldap-ca-file"),
        (
            ["127.0.0.1"],
            {"not_after": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)},
            True,
            "its certificate has expired",
        ),
    ],
)
def test_a_server_that_cannot_prove_itself_sees_no_password(
    authority: Tuple[trustme.CA, str], names: List[str], more: Dict[str, Any], trusted: bool, clause: str
) -> None:
    ca, ca_file = authority
    if "not_after" in more:
        more = {**more, "not_before": datetime.datetime(2019, 1, 1, tzinfo=datetime.timezone.utc)}
    with TinyDirectory(context=context_for(ca, *names, **more)) as server:
        answer = ask_one(with_password(server, ca_file if trusted else None))
        assert server.requests == []
    assert reason(answer) == f"ldaps://HOST: {clause}"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file or directory"), ("junk", "it holds no certificate")]
)
def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: Optional[str], said: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    answer = ask_one(tiny.directory("ldaps://127.0.0.1:1", ca_file=str(path)))
    assert reason(answer) == f"cannot use the CA file {path}: {said}"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_request_does_not_wait_for_an_acknowledgement(authority: Tuple[trustme.CA, str], encrypted: bool) -> None:
    ca, ca_file = authority
    with TinyDirectory(context=context_for(ca, "127.0.0.1") if encrypted else None) as server:
        asked = Server(server.uri, server.settings._replace(ca_file=ca_file), lambda _: POOL, NOW, soon())
        asked.report(ANN, False, 1)
        assert asked._connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        asked.close()


@pytest.mark.parametrize(
    "host", ["dc01.contoso.example", "localhost.contoso.example", "192.0.2.1", "128.0.0.1", "[2001:db8::1]"]
)
def test_a_password_is_not_sent_in_clear_text(host: str) -> None:
    with TinyDirectory() as server:
        told = with_password(server, None, uris=(f"ldap://{host}",))
    assert reason(ask_one(told, seconds=SHORT)) == (
        f"ldap://{host} is not encrypted and would see the password; use ldaps:// or --ldap-starttls"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_tunnel_that_begins_on_this_host_needs_no_encryption(host: str) -> None:
    with TinyDirectory() as server:
        uri = server.uri.replace("127.0.0.1", host)
        assert finding(ask_one(with_password(server, None, uris=(uri,)))) is Finding.FINE
        assert LDAP_PASSWORD.encode() in server.requests[0].body


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 14, 52, 80, 250])
def test_a_password_is_not_sent_when_starttls_is_not_done(code: int) -> None:
    with TinyDirectory(extended=tiny.says(tiny.result(tiny.EXTENDED_DONE, code))) as server:
        answer = ask_one(with_password(server, None, starttls=True))
        assert server.tags == [tiny.EXTENDED]
    assert isinstance(answer, DirectoryError)


def test_starttls_that_is_answered_in_clear_text_is_no_tls() -> None:
    octets = message(1, tiny.result(tiny.EXTENDED_DONE)) + message(2, tiny.result(BIND_DONE))
    with TinyDirectory(extended=tiny.sends(octets, Talk.silence)) as server:
        answer = ask_one(with_password(server, None, starttls=True), seconds=SHORT)
        assert server.tags == [tiny.EXTENDED]
    assert isinstance(answer, DirectoryError)


def test_tls_where_none_is_spoken_is_said() -> None:
    with TinyDirectory(greeting=lambda talk: talk.raw(b"220 not TLS\r\n")) as server:
        answer = ask_one(tiny.directory(server.uri.replace("ldap:", "ldaps:")))
    assert reason(answer) == "ldaps://HOST: it does not speak TLS on that port"


# --------------------------------------------------------- more than one server


def test_the_next_server_is_asked_when_one_cannot_be_reached() -> None:
    with TinyDirectory() as server:
        assert finding(ask_one(tiny.directory("ldap://127.0.0.1:1", server.uri))) is Finding.FINE


def test_the_next_server_is_asked_when_one_hangs_up() -> None:
    with TinyDirectory(bind=tiny.closes) as broken, TinyDirectory() as server:
        assert finding(ask_one(tiny.directory(broken.uri, server.uri))) is Finding.FINE


def test_a_server_that_refuses_the_bind_account_ends_the_search_for_one() -> None:
    refuses = tiny.says(tiny.result(BIND_DONE, 49, AD_TEXT.format("52e")))
    with TinyDirectory(bind=refuses) as first, TinyDirectory() as second:
        clause = reason(ask_one(tiny.directory(first.uri, second.uri)))
        assert second.connections == 0  # a wrong password tried everywhere locks the bind account out
    assert clause == "ldap://HOST refuses the bind account or its password"


def test_a_refused_bind_is_not_repeated_for_every_user() -> None:
    refuses = tiny.says(tiny.result(BIND_DONE, 49, AD_TEXT.format("52e")))
    with TinyDirectory(bind=refuses) as server:
        answers = ask_all(server.settings, ((ANN, False), (BEN, False)))
        assert server.tags == [BIND]
    assert [reason(answer) for answer in answers] == ["ldap://HOST refuses the bind account or its password"] * 2


def test_every_server_that_cannot_be_reached_is_named_with_its_reason() -> None:
    with TinyDirectory(bind=tiny.closes) as broken:
        clause = reason(ask_one(tiny.directory("ldap://127.0.0.1:1", broken.uri)))
    assert clause == "ldap://HOST: connection refused; ldap://HOST: it closed the connection"


def test_a_finding_is_confirmed_by_the_next_server() -> None:
    with TinyDirectory(tiny.finds()) as first, TinyDirectory(tiny.finds()) as second:
        answer = ask_one(tiny.directory(first.uri, second.uri))
        assert second.tags == [BIND, SEARCH]
    assert answer == Report(Finding.ABSENT, "", first.uri)


def test_a_user_in_order_is_confirmed_by_the_next_server() -> None:
    with TinyDirectory() as first, TinyDirectory() as second, TinyDirectory() as third:
        answers = ask_all(tiny.directory(first.uri, second.uri, third.uri), ((ANN, False), (ANN, True)))
        assert first.tags == second.tags == [BIND, SEARCH, SEARCH]
        assert third.connections == 0
    assert answers == [Report(Finding.FINE, f"CN=ann,{tiny.BASE}", first.uri, None, "ann")] * 2


def test_a_user_whom_only_the_first_server_knows_is_a_contradiction() -> None:
    with TinyDirectory() as first, TinyDirectory(tiny.finds()) as second:
        answer = ask_one(tiny.directory(first.uri, second.uri))
    assert isinstance(answer, Report)
    assert (answer.finding, answer.detail) == (
        Finding.CONTRADICTION,
        f"{first.uri} says fine, {second.uri} says absent",
    )


@pytest.mark.parametrize(
    "search",
    [
        tiny.closes,
        tiny.sends(b"\x30\x00", Talk.close),
        *(tiny.finds(code=code) for code in (1, 10, 32, 50, 51, 52, 80)),
    ],
)
def test_the_next_server_is_asked_when_one_cannot_search(search: tiny.Step) -> None:
    with TinyDirectory(search) as broken, TinyDirectory() as server:
        answers = ask_all(tiny.directory(broken.uri, server.uri), ((ANN, False), (ANN, True)))
        assert broken.tags == [BIND, SEARCH]  # once, not for every user
    assert [finding(answer) for answer in answers] == [Finding.FINE] * 2


@pytest.mark.parametrize("code", [8, 13, 48, 51, 52, 53, 80])
def test_the_next_server_is_asked_when_one_wants_no_bind(code: int) -> None:
    with TinyDirectory(bind=tiny.says(tiny.result(BIND_DONE, code))) as busy, TinyDirectory() as server:
        assert finding(ask_one(tiny.directory(busy.uri, server.uri))) is Finding.FINE


@pytest.mark.parametrize("catalog_first", [False, True])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, Finding.FINE), ({"userAccountControl": "514"}, Finding.DISABLED), (None, Finding.CONTRADICTION)],
)
def test_who_does_not_see_the_account_does_not_contradict_who_does(
    catalog_first: bool, changes: Optional[Dict[str, str]], expected: Finding
) -> None:
    blind = tiny.finds(entry("CN=ann", user(userAccountControl=None)))
    sees = tiny.finds(*([] if changes is None else [entry("CN=ann", user(**changes))]))
    with TinyDirectory(blind) as catalog, TinyDirectory(sees) as controller:
        servers = (catalog, controller) if catalog_first else (controller, catalog)
        answer = ask_one(tiny.directory(*(server.uri for server in servers)), credentials=True)
    assert finding(answer) is expected
    assert isinstance(answer, Report)
    assert answer.told or expected is Finding.CONTRADICTION


def test_what_a_first_server_says_is_kept_where_the_second_hangs() -> None:
    with TinyDirectory() as first, TinyDirectory(tiny.silent) as second:
        answers = ask_all(tiny.directory(first.uri, second.uri), ((ANN, False), (ANN, True)), SHORT)
    assert [finding(answer) for answer in answers] == [Finding.FINE] * 2


@pytest.mark.parametrize("credentials", [False, True])
def test_servers_that_disagree_are_a_contradiction(credentials: bool) -> None:
    locked = entry("CN=ann", user(lockoutTime="133000000000000000", msDS_User_Account_Control_Computed="16"))
    with TinyDirectory(tiny.finds()) as first, TinyDirectory(tiny.finds(locked)) as second:
        answer = ask_one(tiny.directory(first.uri, second.uri), credentials)
    assert isinstance(answer, Report)
    assert answer.finding is Finding.CONTRADICTION
    assert answer.detail == f"{first.uri} says absent, {second.uri} says locked"
    assert answer.locked is not None  # one of them says so: no password must be tried


def test_a_second_server_that_cannot_be_asked_does_not_weaken_the_first() -> None:
    with TinyDirectory(tiny.finds()) as first, TinyDirectory(bind=tiny.closes) as second:
        assert finding(ask_one(tiny.directory(first.uri, second.uri))) is Finding.ABSENT


def test_a_second_server_that_is_silent_does_not_weaken_the_first() -> None:
    with TinyDirectory(tiny.finds()) as first, TinyDirectory(bind=tiny.silent) as second:
        answer = ask_one(tiny.directory(first.uri, second.uri), seconds=2.0)
    assert finding(answer) is Finding.ABSENT


# ------------------------------------------------------------- other domains

ELSEWHERE = tiny.reference(f"ldap://sales.contoso.example/DC=sales,{tiny.BASE}")
# What every domain controller adds to every answer.
PARTITIONS = [
    tiny.reference(f"ldap://ForestDnsZones.contoso.example/DC=ForestDnsZones,{tiny.BASE}"),
    tiny.reference(f"ldap://DomainDnsZones.contoso.example/DC=DomainDnsZones,{tiny.BASE}"),
    tiny.reference(f"ldap://contoso.example/CN=Configuration,{tiny.BASE}"),
]


def knows_ben(talk: Talk, request: tiny.Request) -> None:
    entries = [entry(f"CN=ben,{tiny.BASE}", user(msRTCSIP_PrimaryUserAddress=BEN.uri, proxyAddresses=BEN.uri))]
    found = entries if BEN.address.encode() in request.body else []
    talk.send(*found, *PARTITIONS, ELSEWHERE, tiny.result(DONE), to=request)


def test_who_may_be_in_another_domain_is_not_proven_absent_and_the_others_are_known() -> None:
    with TinyDirectory(knows_ben) as server:
        ann, ben = ask_all(server.settings, ((ANN, False), (BEN, False)))
    assert reason(ann) == (
        "ldap://HOST does not have the account and refers to another domain; ask a global catalog (ldaps://…:3269)"
    )
    assert finding(ben) is Finding.FINE


def test_a_global_catalog_is_asked_about_who_may_be_in_another_domain() -> None:
    with TinyDirectory(knows_ben) as controller, TinyDirectory() as catalog:
        (answer,) = ask_all(tiny.directory(controller.uri, catalog.uri))
    assert answer == Report(Finding.FINE, f"CN=ann,{tiny.BASE}", catalog.uri, None, "ann")


def test_parts_of_a_domain_where_nobody_is_do_not_keep_an_account_from_being_absent() -> None:
    with TinyDirectory(tiny.finds(*PARTITIONS)) as server:
        assert finding(ask_one(server.settings)) is Finding.ABSENT


# ------------------------------------------------------------------ the base


def naming(**contexts: str) -> bytes:
    return entry("", {name: [value] for name, value in contexts.items()})


def test_the_base_is_what_the_server_names() -> None:
    def search(talk: Talk, request: tiny.Request) -> None:
        named = naming(defaultNamingContext="DC=fabrikam", namingContexts="CN=Schema")
        talk.send(ANN_ENTRY if b"DC=fabrikam" in request.body else named, tiny.result(DONE), to=request)

    with TinyDirectory(search) as server:
        answers = ask_all(server.settings._replace(base=None), ((ANN, False), (ANN, True)))
        assert server.tags == [BIND, SEARCH, SEARCH, SEARCH]
    assert [finding(answer) for answer in answers] == [Finding.FINE] * 2


@pytest.mark.parametrize("root", [[], [naming(supportedLDAPVersion="3")]])
def test_a_server_that_does_not_name_its_base_is_said(root: List[bytes]) -> None:
    with TinyDirectory(tiny.finds(*root)) as server:
        clause = reason(ask_one(server.settings._replace(base=None)))
    assert clause == "ldap://HOST does not say what its base is; name it with --ldap-base"


# ------------------------------------------------------------- a refused bind


@pytest.fixture
def bound(authority: Tuple[trustme.CA, str], tmp_path: Path) -> Iterator[Callable[..., Tuple[Answer, List[int]]]]:
    """Ask with a password, a guard that remembers, and a server that takes only this one."""
    ca, ca_file = authority
    guard = LockoutGuard((str(tmp_path / "state"),), "the directory")

    def bind(talk: Talk, request: tiny.Request) -> None:
        right = LDAP_PASSWORD.encode() in request.body
        refuses = tiny.result(BIND_DONE, 49, AD_TEXT.format(data[0]))
        talk.send(tiny.result(BIND_DONE) if right else refuses, to=request)

    data = ["52e"]
    with TinyDirectory(bind=bind, context=context_for(ca, "127.0.0.1")) as server:

        def ask_with(password: str, now: float = NOW, why: str = "52e") -> Tuple[Answer, List[int]]:
            data[0] = why
            before = len(server.tags)
            told = with_password(server, ca_file, password=Secret(password))
            (answer,) = ask(told, lambda _: POOL, ((ANN, False),), now, soon(5.0), guard)
            return answer, server.tags[before:]

        yield ask_with


Bound = Callable[..., Tuple[Answer, List[int]]]


def test_a_refused_bind_account_is_left_alone_for_a_while(bound: Bound) -> None:
    assert bound("wrong")[1] == [BIND]
    answer, tags = bound("wrong", NOW + BACK_OFF - 1)
    assert tags == []
    assert reason(answer) == (
        "the directory refuses the bind account or its password since 2023-11-14 22:13 UTC; store the right one, this "
        "one is tried again after 30 minutes"
    )
    assert bound("wrong", NOW + BACK_OFF)[1] == [BIND]


def test_another_password_of_the_bind_account_is_tried_at_once_and_success_forgets(bound: Bound) -> None:
    assert bound("wrong")[1] == [BIND]
    assert finding(bound(LDAP_PASSWORD)[0]) is Finding.FINE
    assert bound("wrong")[1] == [BIND]


@pytest.mark.parametrize("data", ["532", "533", "701", "773", "775"])
def test_a_bind_account_that_is_refused_for_another_reason_is_tried_again(bound: Bound, data: str) -> None:
    assert [bound("right", why=data)[1] for _ in range(2)] == [[BIND], [BIND]]


# ----------------------------------------------------------------- the filter

HOSTILE = ["*", "(", ")", "\\", "\0", "ü", "a)(objectClass=*", "\\2a", "x*y", "ann ", "\U0001f600", "="]


def leaves(wanted: str) -> List[Tuple[str, bytes]]:
    """Names and literal values of a filter of equalities, as ldap3 itself reads it."""
    root = parse_filter(wanted, None, False, True, None, False)
    top = root.elements[0]
    assert (len(root.elements), top.tag) == (1, OR)
    found = []
    for node in top.elements:
        assert isinstance(node, FilterNode)
        assert node.tag == MATCH_EQUAL
        found.append((node.assertion["attr"], bytes(prepare_filter_for_sending(node.assertion["value"]))))
    return found


def literal(account: Account) -> List[Tuple[str, bytes]]:
    domain, backslash, name = account.user.rpartition("\\")
    terms = [
        ("msRTCSIP-PrimaryUserAddress", account.uri),
        ("proxyAddresses", account.uri),
        ("userPrincipalName", account.address),
    ]
    if backslash and domain:
        terms.append(("sAMAccountName", name))
    elif account.user.lower() != account.address.lower():
        terms.append(("userPrincipalName", account.user))
    return [(attribute, value.encode()) for attribute, value in terms]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_can_change_the_filter(hostile: str) -> None:
    for logon in (f"CONTOSO\\{hostile}", f"{hostile}@contoso.example"):
        account = Account(f"sip:{hostile}@contoso.example", logon, Secret("x"))
        assert leaves(_user_filter(account)) == literal(account)


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(HOSTILE)


@many
@given(words, words)
def test_any_name_is_taken_literally(address: str, logon: str) -> None:
    account = Account(f"sip:{address}@contoso.example", logon, Secret("x"))
    assert leaves(_user_filter(account)) == literal(account)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_any_name_reaches_the_server_as_it_is(hostile: str) -> None:
    with TinyDirectory(tiny.finds()) as server:
        account = Account(f"sip:{hostile}@contoso.example", "CONTOSO\\ann", Secret("x"))
        assert [finding(answer) for answer in ask_all(server.settings, ((account, False),))] == [Finding.ABSENT]
        body = server.requests[1].body
    assert tiny.text("userPrincipalName") + tiny.text(account.address) in body


def test_a_logon_name_is_looked_for_as_what_it_is() -> None:
    assert leaves(_user_filter(ANN))[3:] == [("sAMAccountName", b"ann")]
    assert leaves(_user_filter(BEN))[3:] == []
    assert leaves(_user_filter(ANN._replace(user="ann@corp.example")))[3:] == [
        ("userPrincipalName", b"ann@corp.example")
    ]


# ------------------------------------------------------------------- judging


def filetime(unix: float) -> str:
    return str(int((unix + 11644473600) * 10_000_000))


def home(pool: str) -> str:
    return f"CN=Lc Services,CN=Microsoft,CN={pool},CN=Pools,CN=RTC Service,CN=Services,CN=Configuration,{tiny.BASE}"


def an_entry(dn: str = "CN=ann", /, **changes: Any) -> _Entry:
    return _Entry(
        dn,
        {
            name: [value.encode() if isinstance(value, str) else value for value in values]
            for name, values in user(**changes).items()
        },
    )


def judge(*entries: _Entry, credentials: bool = False, account: Account = ANN) -> Report:
    asked = Server("ldap://dc01", tiny.directory("ldap://dc01"), lambda _: POOL, NOW, soon())
    return asked._judge(account, list(entries), credentials)


PAST, FUTURE = filetime(NOW - 86400), filetime(NOW + 86400)
STATES: Dict[str, Tuple[Dict[str, Union[str, bytes, None]], Finding, str]] = {
    "in order": ({}, Finding.FINE, "CN=ann"),
    "no address": ({"msRTCSIP_PrimaryUserAddress": None}, Finding.NOT_ENABLED, "CN=ann"),
    "no switch": ({"msRTCSIP_UserEnabled": None}, Finding.NOT_ENABLED, "CN=ann"),
    "an empty switch": ({"msRTCSIP_UserEnabled": " "}, Finding.NOT_ENABLED, "CN=ann"),
    "switched off": ({"msRTCSIP_UserEnabled": "FALSE"}, Finding.SIP_DISABLED, "CN=ann"),
    "an odd switch": ({"msRTCSIP_UserEnabled": b"\xff"}, Finding.SIP_DISABLED, "CN=ann"),
    "another address": ({"msRTCSIP_PrimaryUserAddress": "sip:anna@x"}, Finding.OTHER_ADDRESS, "sip:anna@x"),
    "address in capitals": ({"msRTCSIP_PrimaryUserAddress": "SIP:ANN@contoso.example"}, Finding.FINE, "CN=ann"),
    "another pool": (
        {"msRTCSIP_PrimaryHomeServer": home("pool02.contoso.example")},
        Finding.OTHER_POOL,
        "pool02.contoso.example",
    ),
    "the pool in capitals": ({"msRTCSIP_PrimaryHomeServer": home("POOL01.contoso.example")}, Finding.FINE, "CN=ann"),
    "the pool's short name": ({"msRTCSIP_PrimaryHomeServer": home("pool01")}, Finding.FINE, "CN=ann"),
    "no home": ({"msRTCSIP_PrimaryHomeServer": None}, Finding.FINE, "CN=ann"),
    "a home that cannot be read": ({"msRTCSIP_PrimaryHomeServer": "CN=Lc Services"}, Finding.FINE, "CN=ann"),
    "online": (
        {"msRTCSIP_DeploymentLocator": "sipfed.online.lync.com"},
        Finding.HOMED_ONLINE,
        "sipfed.online.lync.com",
    ),
    "no locator": ({"msRTCSIP_DeploymentLocator": None}, Finding.FINE, "CN=ann"),
    "disabled": ({"userAccountControl": "514"}, Finding.DISABLED, "CN=ann"),
    "locked": (
        {"lockoutTime": filetime(NOW), "msDS_User_Account_Control_Computed": "16"},
        Finding.LOCKED,
        "2023-11-14 22:13 UTC",
    ),
    "locked, not told since when": (
        {"lockoutTime": None, "msDS_User_Account_Control_Computed": "16"},
        Finding.LOCKED,
        "",
    ),
    "locked, nothing computed": (
        {"lockoutTime": filetime(NOW), "msDS_User_Account_Control_Computed": None},
        Finding.LOCKED,
        "2023-11-14 22:13 UTC",
    ),
    "a lock-out that has run out": ({"lockoutTime": filetime(NOW - 9999)}, Finding.FINE, "CN=ann"),
    "expired": ({"accountExpires": PAST}, Finding.EXPIRED, "2023-11-13 22:13 UTC"),
    "expires tomorrow": ({"accountExpires": FUTURE}, Finding.FINE, "CN=ann"),
    "never expires": ({"accountExpires": "0"}, Finding.FINE, "CN=ann"),
    "password expired": (
        {"msDS_User_Account_Control_Computed": str(0x800000), "msDS_UserPasswordExpiryTimeComputed": PAST},
        Finding.PASSWORD_EXPIRED,
        "2023-11-13 22:13 UTC",
    ),
    "password expired, not told since when": (
        {"msDS_User_Account_Control_Computed": str(0x800000), "msDS_UserPasswordExpiryTimeComputed": None},
        Finding.PASSWORD_EXPIRED,
        "",
    ),
    "password expired by the time alone": (
        {"msDS_User_Account_Control_Computed": None, "msDS_UserPasswordExpiryTimeComputed": PAST},
        Finding.PASSWORD_EXPIRED,
        "2023-11-13 22:13 UTC",
    ),
    "must change the password": (
        {"pwdLastSet": "0", "msDS_User_Account_Control_Computed": str(0x800000)},
        Finding.MUST_CHANGE,
        "",
    ),
    "must change, by the time": (
        {"pwdLastSet": "0", "msDS_UserPasswordExpiryTimeComputed": "0"},
        Finding.MUST_CHANGE,
        "",
    ),
    "a password that was never set and need not be": ({"pwdLastSet": "0"}, Finding.FINE, "CN=ann"),
    "a contact": (
        {"userAccountControl": None, "msDS_User_Account_Control_Computed": str(0x800010), "pwdLastSet": "0"},
        Finding.FINE,
        "CN=ann",
    ),
}


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_an_account_with_one_fault_is_found_to_have_it(state: str, credentials: bool) -> None:
    changes, expected, detail = STATES[state]
    report = judge(an_entry(**changes), credentials=credentials)
    assert (report.finding, report.detail) == (expected, detail)
    if state != "a contact":
        assert (report.locked is not None) == (expected is Finding.LOCKED)


def test_every_finding_of_one_entry_is_tested() -> None:
    several = {Finding.ABSENT, Finding.DUPLICATE, Finding.CONTRADICTION, Finding.OTHER_LOGON}
    assert {expected for _, expected, _ in STATES.values()} | several == set(Finding)


OF_LYNC = [Finding.NOT_ENABLED, Finding.SIP_DISABLED, Finding.OTHER_ADDRESS, Finding.OTHER_POOL, Finding.HOMED_ONLINE]
OF_THE_ACCOUNT = [
    Finding.DISABLED, Finding.LOCKED, Finding.EXPIRED, Finding.PASSWORD_EXPIRED, Finding.MUST_CHANGE
]  # fmt: skip


def changes_for(wanted: Finding) -> Dict[str, Union[str, bytes, None]]:
    return next(changes for changes, expected, _ in STATES.values() if expected is wanted)


@pytest.mark.parametrize("of_lync", OF_LYNC)
@pytest.mark.parametrize("of_the_account", OF_THE_ACCOUNT)
def test_of_two_faults_the_one_that_explains_the_failure_is_told(of_lync: Finding, of_the_account: Finding) -> None:
    both = an_entry(**{**changes_for(of_lync), **changes_for(of_the_account)})
    assert judge(both).finding is of_lync
    assert judge(both, credentials=True).finding is of_the_account


def test_a_lock_out_is_known_whatever_the_finding_is() -> None:
    both = an_entry(msRTCSIP_UserEnabled="FALSE", lockoutTime=filetime(NOW), msDS_User_Account_Control_Computed="16")
    report = judge(both)
    assert (report.finding, report.locked) == (Finding.SIP_DISABLED, NOW)


@pytest.mark.parametrize(
    ("logon", "changes", "owner"),
    [
        ("CONTOSO\\ANN", {}, ""),
        ("ann@contoso.example", {}, ""),
        ("ann@corp.contoso.example", {}, ""),  # the implicit UPN, whatever the domain is called
        ("CONTOSO\\ann", {"sAMAccountName": "svc1"}, ""),
        ("CONTOSO\\an", {}, "ann"),
        ("an@contoso.example", {}, "ann"),
        ("CONTOSO\\an", {"sAMAccountName": None}, ""),
        ("FABRIKAM\\an", {"msRTCSIP_OriginatorSid": b"\1\5\0\xff"}, ""),
    ],
)
def test_an_address_of_another_logon_name_explains_why_nobody_can_sign_in(
    logon: str, changes: Dict[str, Any], owner: str
) -> None:
    account = ANN._replace(user=logon)
    report = judge(an_entry(**changes), credentials=True, account=account)
    assert (report.finding, report.owner) == (Finding.OTHER_LOGON if owner else Finding.FINE, owner)
    # It does not explain why an address is not known.
    assert judge(an_entry(**changes), account=account).finding is Finding.FINE


@pytest.mark.parametrize(
    ("changes", "port", "told"),
    [
        ({}, 636, True),
        ({"lockoutTime": None, "msDS_User_Account_Control_Computed": None}, 636, True),
        ({"lockoutTime": None, "msDS_User_Account_Control_Computed": None}, 3269, False),
        ({"lockoutTime": None}, 3269, True),
        ({"userAccountControl": None}, 636, False),
        ({"userAccountControl": "514", "msRTCSIP_OriginatorSid": b"\1\5\0\xff"}, 636, False),
    ],
)
def test_what_is_not_shown_of_an_account_is_not_taken_for_good(
    changes: Dict[str, Any], port: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("check_lync_presence.directory.GLOBAL_CATALOG_PORTS", (port,) if port == 3269 else ())
    with TinyDirectory(tiny.finds(entry("CN=ann", user(**changes)))) as server:
        if port == 3269:
            place = int(server.uri.rpartition(":")[2])
            monkeypatch.setattr("check_lync_presence.directory.GLOBAL_CATALOG_PORTS", (place,))
        answer = ask_one(server.settings, credentials=True)
    assert isinstance(answer, Report)
    assert (answer.finding, answer.told) == (Finding.FINE, told)


def test_a_pool_is_looked_up_once_for_both_users() -> None:
    ann = entry("CN=ann", user(msRTCSIP_PrimaryHomeServer=home("1:1")))
    pool = entry("CN=1:1", {"dNSHostName": ["pool01.contoso.example"]})

    def search(talk: Talk, request: tiny.Request) -> None:
        tiny.finds(pool if b"dNSHostName" in request.body else ann)(talk, request)

    with TinyDirectory(search) as server:
        ask_all(server.settings, ((ANN, False), (ANN, True)))
        assert server.tags == [BIND, SEARCH, SEARCH, SEARCH]


def test_each_user_has_a_pool_of_its_own() -> None:
    there = entry("CN=ben", user(msRTCSIP_PrimaryUserAddress=BEN.uri, msRTCSIP_PrimaryHomeServer=home("pool02")))

    def search(talk: Talk, request: tiny.Request) -> None:
        tiny.finds(there if BEN.uri.encode() in request.body.replace(b"\\40", b"@") else ANN_ENTRY)(talk, request)

    with TinyDirectory(search) as server:
        questions = ((ANN, False), (BEN, False))
        pools = {ANN: POOL, BEN: "pool02.contoso.example"}
        answers = ask(server.settings, pools.__getitem__, questions, NOW, soon())
        assert [finding(answer) for answer in answers] == [Finding.FINE] * 2
        assert [finding(answer) for answer in ask_all(server.settings, questions)] == [Finding.FINE, Finding.OTHER_POOL]


def test_two_with_the_address_are_two_and_one_with_it_is_one() -> None:
    assert judge(an_entry("CN=a"), an_entry("CN=b")).detail == "CN=a and CN=b"
    other = an_entry("CN=b", msRTCSIP_PrimaryUserAddress="sip:b@x")
    assert judge(other, an_entry("CN=a")) == Report(Finding.FINE, "CN=a", "ldap://dc01", None, "ann")


@pytest.mark.parametrize(
    ("entries", "detail"),
    [
        (
            [{"address": "sip:1@x", "name": "ann"}, {"address": "sip:2@x", "proxy": "SIP:ann@contoso.example"}],
            "sip:2@x",
        ),
        ([{"address": "sip:1@x", "name": "x"}, {"address": "sip:2@x", "name": "ANN"}], "sip:2@x"),
        ([{"address": "sip:1@x", "name": "x"}, {"address": "sip:2@x", "name": "y"}], "sip:1@x"),
    ],
)
def test_of_several_with_another_address_the_nearest_is_told(entries: List[Dict[str, str]], detail: str) -> None:
    made = [
        an_entry(
            msRTCSIP_PrimaryUserAddress=one["address"],
            sAMAccountName=one.get("name", "x"),
            proxyAddresses=one.get("proxy"),
            userPrincipalName=None,
        )
        for one in entries
    ]
    report = judge(*made)
    assert (report.finding, report.detail) == (Finding.OTHER_ADDRESS, detail)


NUMBERS = ["", "x", "-1", "-9223372036854775808", "9223372036854775807", "9" * 20, "9" * 21, "9" * 5000, "1e5", " 16 ",
           "0x10", "²", "٣", "NaN", b"\xff\xfe", "16\0"]  # fmt: skip
NUMERIC = ["userAccountControl", "msDS_User_Account_Control_Computed", "lockoutTime", "accountExpires", "pwdLastSet",
           "msDS_UserPasswordExpiryTimeComputed"]  # fmt: skip


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("number", NUMBERS)
def test_any_number_makes_a_report(name: str, number: Union[str, bytes]) -> None:
    for credentials in (False, True):
        report = judge(an_entry(**{name: number}), credentials=credentials)
        assert isinstance(report.finding, Finding)
        assert report.detail.isprintable()


anything = st.binary(max_size=20) | st.integers(-(2**70), 2**70).map(lambda number: str(number).encode())


@few
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(list(user())) | st.text(max_size=5), st.lists(anything, max_size=3), max_size=13
        ).map(lambda values: _Entry("CN=x", values)),
        max_size=3,
    ),
    st.booleans(),
)
def test_any_entries_make_a_report(entries: List[_Entry], credentials: bool) -> None:
    report = judge(*entries, credentials=credentials)
    assert (report.finding is Finding.ABSENT) == (not entries)


# From Lync 2010 on a pool object is named by an id, and its FQDN is looked up.
@pytest.mark.parametrize("number", ["1:1", "1-1:2", "a\\,b:1"])
@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (tiny.finds(entry("CN=1:1", {"dNSHostName": ["pool01.contoso.example"]})), Finding.FINE),
        (tiny.finds(entry("CN=1:1", {"dNSHostName": ["pool02.contoso.example"]})), Finding.OTHER_POOL),
        (tiny.finds(entry("CN=1:1", {})), Finding.FINE),
        (tiny.finds(), Finding.FINE),
        (tiny.finds(code=32), Finding.FINE),
        (tiny.sends(b"\x30\x00", Talk.close), Finding.FINE),
    ],
)
def test_a_pool_that_is_named_by_an_id_is_looked_up(number: str, pool: tiny.Step, expected: Finding) -> None:
    ann = entry("CN=ann", user(msRTCSIP_PrimaryHomeServer=home(number)))

    def search(talk: Talk, request: tiny.Request) -> None:
        (pool if b"dNSHostName" in request.body else tiny.finds(ann))(talk, request)

    with TinyDirectory(search) as server:
        assert finding(ask_one(server.settings)) is expected


# --------------------------------------------------- through the command line


@pytest.fixture(scope="module")
def unknown_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A pool that does not know the publisher."""
    accounts = write_accounts(tmp_path_factory.mktemp("accounts") / "accounts.ini")
    simulator = Simulator(accounts, "--tls", "0", "--fault", "account-unknown")
    with simulator:
        yield simulator


Check = Callable[..., Finished]


@pytest.fixture
def check(
    unknown_account: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """The command line's own function in this process; a process of its own would take most of the time."""

    def run(*arguments: str) -> Finished:
        monkeypatch.setattr(nagiosplugin.runtime.Runtime, "instance", None)
        where = ["-H", POOL, "--accounts", str(unknown_account.accounts), "--state-dir", str(tmp_path)]
        where += ["--connect", f"127.0.0.1:{unknown_account.tls}", "--ca-file", unknown_account.ready["ca_file"]]
        with pytest.raises(SystemExit) as end:
            cli.main([*where, *arguments])
        output = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Finished(end.value.code, output.out, output.err)

    return run


def without_times(result: Finished) -> List[str]:
    return [result.first_line.partition(" | ")[0], *result.lines[1:]]


@pytest.fixture(scope="module")
def unasked(unknown_account: Simulator) -> Finished:
    """What is said where there is no directory."""
    return unknown_account.check()


SLOW = [name for name, broken in BROKEN.items() if broken.seconds == SHORT]


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in SLOW[3:]])
def test_a_broken_directory_changes_nothing_but_one_line(check: Check, unasked: Finished, name: str) -> None:
    steps, said, _ = BROKEN[name]
    with TinyDirectory(**steps) as server:
        started = time.monotonic()
        result = check("--ldap-uri", server.uri, "--ldap-base", tiny.BASE, "-t", "1.5" if name in SLOW else "10")
    assert time.monotonic() - started < 1.5 + 2 * SLACK
    assert (result.code, result.stderr) == (2, "")
    expected = without_times(unasked)
    assert expected[0].startswith(
        "LYNC PRESENCE CRITICAL - Register failed for sip:ann@contoso.example: 404, Not Found"
    )
    assert without_times(result)[:-1] == expected[:-1]
    clause = (
        "(no answer within .* s|.* no answer in time)" if name in SLOW else said.replace("HOST", r"127\.0\.0\.1:\d+")
    )
    assert re.fullmatch(f"Active Directory could not be asked: {clause}\\.", result.lines[-1]), result.lines[-1]
    assert len(result.stdout.encode()) < 1024


def test_a_finding_stands_in_the_place_of_the_general_advice(check: Check) -> None:
    disabled = entry("CN=ann", user(msRTCSIP_UserEnabled="FALSE"))
    with TinyDirectory(tiny.finds(disabled)) as server:
        where = ("--ldap-uri", server.uri, "--ldap-base", tiny.BASE)
        results = [check(*where), *(check(*where, "--account-state", state) for state in ("warning", "unknown"))]
    assert [result.code for result in results] == [2, 1, 3]
    for result in results:
        assert result.lines[6:] == [
            "sip:ann@contoso.example is switched off for SIP (msRTCSIP-UserEnabled FALSE): "
            "Set-CsUser -Identity sip:ann@contoso.example -Enabled $true."
        ]


def test_an_account_in_order_leaves_the_state_to_the_pool(check: Check) -> None:
    with TinyDirectory() as server:
        result = check("--ldap-uri", server.uri, "--ldap-base", tiny.BASE, "--account-state", "unknown")
    assert result.code == 2
    assert "the pool is to blame" in result.lines[6]


@pytest.mark.parametrize("verbosity", ["", "-v", "-vvv"])
def test_the_bind_password_is_printed_nowhere(
    check: Check, monkeypatch: pytest.MonkeyPatch, authority: Tuple[trustme.CA, str], verbosity: str
) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", LDAP_PASSWORD)
    ca, ca_file = authority
    echoes = tiny.says(tiny.result(BIND_DONE, 49, f"no {LDAP_PASSWORD}"))
    arguments = ["--ldap-bind", "reader", "--ldap-base", tiny.BASE, *filter(None, [verbosity])]
    with TinyDirectory(bind=echoes, context=context_for(ca, "127.0.0.1")) as server:
        results = [check("--ldap-uri", server.uri, "--ldap-ca-file", ca_file, *arguments)]
        assert LDAP_PASSWORD.encode() in server.requests[0].body
    results.append(check("--ldap-uri", "ldap://dc01.contoso.example", *arguments))
    for result in results:
        assert (result.code, result.stderr) == (2, "")
        for secret in (LDAP_PASSWORD, ANN_PASSWORD, BEN_PASSWORD):
            assert secret not in result.stdout
