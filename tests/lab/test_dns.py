"""Real name servers and the real command line: how the check finds its server, and what it says when it cannot.

A good zone is served by NSD, which neither the check's resolvers nor we have written; what no good name server says is
said by a scripted one. The servers that are found are simulators.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Tuple

import pytest

from ..commands import POOL, Finished, Simulator, write_accounts
from ..loopback import Server, until_closed
from ..tiny_nameserver import (
    NameServer,
    Script,
    aliases,
    by_transport,
    code,
    garbage,
    records,
    silence,
    truncated,
    with_other_id,
)
from .required import without_lab
from .resolving import PACKAGES, Host, free_address
from .servers import Certificates, Process, verdict

SOURCES = Path(__file__).parent / "nsd"
TLS_RECORDS = tuple(f"{name}.contoso.example" for name in ("_sipinternaltls._tcp", "_sip._tls", "_sips._tcp"))
INTERNAL, EDGE, _ = TLS_RECORDS
INTERNAL_TCP = "_sipinternal._tcp.contoso.example"
NOT_FOUND = "no SIP service of contoso.example: "
SHORT = ("--timeout", "1")  # left alone, glibc asks for 10 s
LATE = 5.0  # seconds: what a run of one must stay below on a slow machine


class Servers(NamedTuple):
    """Ports on 127.0.0.1, the CA to trust there, and the users."""

    tls: int
    tcp: int
    busy: int
    renamed: int
    nobody: int
    ca: Path
    accounts: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Servers]:
    """A pool in order, a busy one, one with the certificate of another name, and a port where nobody listens."""
    accounts = write_accounts(tmp_path_factory.mktemp("dns") / "accounts.ini")

    def options(name: str, *names: str) -> List[str]:
        certificate, key = certificates.issue(name, *names)
        return ["--tls", "0", "--cert", str(certificate), "--key", str(key)]

    good = Simulator(accounts, "--tcp", "0", *options("good", POOL, "sip.contoso.example"))
    with good, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: connections are refused, and nobody else gets the port
        busy = Simulator(accounts, *options("busy", "busy.contoso.example"), "--fault", "service-unavailable")
        renamed = Simulator(accounts, *options("renamed", "former.contoso.example"))
        with busy, renamed:
            refusing = int(nobody.getsockname()[1])
            yield Servers(good.tls, good.tcp, busy.tls, renamed.tls, refusing, certificates.ca, accounts)


def arguments_for(servers: Servers, *arguments: str) -> Tuple[str, ...]:
    return ("-H", POOL, "--accounts", str(servers.accounts), "--ca-file", str(servers.ca), *arguments)


def found(done: Finished) -> List[str]:
    """How the servers were found that both users are signed in at."""
    return sorted(line.rstrip(".") for line in done.lines if line.startswith("Found "))


def beside_the_point(done: Finished) -> List[str]:
    """The sentences about servers and records that could not be used."""
    return [
        line
        for line in done.lines[6:]
        if not line.startswith((" ", "'", "The connection is not", "Presence ", "Found "))
    ]


# ---------------------------------------------------------------- a name server as it should be


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Host]:
    """A host whose name server is NSD with the zone contoso.example."""
    state = tmp_path_factory.mktemp("nsd")
    # Where administrators' programs are is not in everybody's path.
    program = shutil.which("nsd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    nsd = program or without_lab("nsd is missing", PACKAGES)
    host = Host(state, free_address())
    texts = {"ADDRESS": host.address, "STATE": str(state)}
    texts.update({name.upper(): str(value) for name, value in servers._asdict().items()})
    for path in SOURCES.iterdir():
        text = path.read_text(encoding="utf-8")
        for name, value in texts.items():
            text = text.replace(f"@{name}@", value)
        (state / path.name).write_text(text, encoding="utf-8")
    with Process([nsd, "-d", "-c", str(state / "nsd.conf")], state / "log", [(host.address, 53)]):
        yield host


def test_the_servers_of_all_records_are_tried_in_order_until_one_is_in_order(zone: Host, servers: Servers) -> None:
    done = zone.check(*arguments_for(servers, "--discover"))
    assert done.code == 0, done.stdout
    assert found(done) == [f"Found sip.contoso.example by {EDGE}"]
    nowhere, refusing, renamed, busy = beside_the_point(done)
    assert nowhere == (
        f"{INTERNAL} names nowhere.contoso.example: cannot resolve nowhere.contoso.example: Name or service not known."
    )
    assert re.match(r"refusing\.contoso\.example .*: cannot connect to .*:\d+: Connection refused\.$", refusing)
    assert re.match(
        r"renamed\.contoso\.example .*: the certificate of .* is not for renamed\.contoso\.example\.", renamed
    )
    assert re.match(r"busy\.contoso\.example .*: 503, Service Unavailable", busy)


def test_of_servers_that_share_the_load_one_is_taken_and_the_spare_one_is_not(zone: Host, servers: Servers) -> None:
    done = zone.check(*arguments_for(servers, "--discover", "-v", "--transport", "tcp"))
    assert done.code == 0, done.stdout
    assert set(found(done)) <= {f"Found {name}.contoso.example by {INTERNAL_TCP}" for name in ("heavy", "light")}
    assert found(done)
    assert beside_the_point(done) == []


def test_a_service_that_the_domain_does_not_offer_is_named(zone: Host, servers: Servers) -> None:
    done = zone.check(*arguments_for(servers, "--discover", "--transport", "udp"))
    assert verdict(done) == failed(f"{NOT_FOUND}no SRV records (_sip._udp)")


@pytest.mark.parametrize("family", [(), ("-4",)])
def test_a_pool_is_reached_by_its_name(zone: Host, servers: Servers, family: Tuple[str, ...]) -> None:
    done = zone.check(*arguments_for(servers, "-p", str(servers.tls), "-v", *family))
    assert done.code == 0, done.stdout
    assert f"    Registered with RTC/5.0 at 127.0.0.1:{servers.tls}" in done.lines


def test_a_pool_is_reached_by_its_name_over_ipv6(zone: Host, servers: Servers) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        without_lab(f"this host has no ::1 ({error.strerror})", PACKAGES)
    with Simulator(servers.accounts, "--tcp", "0", "--listen", "::1") as pool:
        done = zone.check(*arguments_for(servers, "-p", str(pool.tcp), "-v", "-6", "--transport", "tcp"))
    assert done.code == 0, done.stdout
    assert f"    Registered with RTC/5.0 at [::1]:{pool.tcp}" in done.lines


# ---------------------------------------------------------------- name servers as they should not be


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host whose name server the test scripts."""
    return Host(tmp_path_factory.mktemp("host"), free_address())


def asks(host: Host, scripts: Mapping[str, Script], *arguments: str, tcp: bool = True) -> Finished:
    """Run the check while the name server answers like this."""
    with NameServer(scripts, host.address, 53, tcp=tcp):
        return host.check(*arguments)


def failed(reason: str) -> Tuple[int, str]:
    return 2, f"LYNC PRESENCE CRITICAL - Register failed: {reason}"


def not_found(done: Finished) -> str:
    """Why there is no SIP service of the domain. The first line has as much of it as there is room for."""
    state, text = verdict(done)
    start, whole = failed(NOT_FOUND)[1], f"Error      : {NOT_FOUND}"
    assert (state, text.startswith(start), len(text) < 120) == (2, True, True), done.stdout
    assert done.lines[4].startswith(whole)
    reason = done.lines[4][len(whole) : -1]
    assert reason.startswith(text[len(start) :].rstrip("…"))
    return reason


TEMPORARY = f"cannot resolve {POOL}: Temporary failure in name resolution"
UNKNOWN = f"cannot resolve {POOL}: Name or service not known"
HUNDREDS = records("A", *(f"127.0.{number // 250}.{number % 250 + 1}" for number in range(400)))


@pytest.mark.parametrize(
    ("script", "tcp", "reason"),
    [
        (code("NXDOMAIN"), True, UNKNOWN),
        (records("TXT", "nothing else"), True, f"cannot resolve {POOL}: No address associated with hostname"),
        (code("SERVFAIL"), True, TEMPORARY),
        (code("REFUSED"), True, TEMPORARY),
        (aliases(POOL, "a.contoso.example", POOL), True, UNKNOWN),
        (HUNDREDS, False, TEMPORARY),
    ],
    ids=["no such name", "no address", "SERVFAIL", "REFUSED", "aliases in a circle", "truncated, TCP refused"],
)  # fmt: skip
def test_a_pool_whose_name_cannot_be_resolved_is_one_clear_line(
    host: Host, servers: Servers, script: Script, tcp: bool, reason: str
) -> None:
    done = asks(host, {POOL: script}, *arguments_for(servers, "-p", str(servers.tls)), tcp=tcp)
    assert verdict(done) == failed(reason)
    assert done.lines[4] == f"Error      : {reason}."
    assert len(done.stdout.encode()) < 1024


UNANSWERED = pytest.mark.parametrize(
    "script",
    [silence, by_transport(udp=truncated, tcp=silence), garbage, with_other_id(code("NXDOMAIN"))],
    ids=["silence", "truncated, TCP silent", "garbage", "the answer to another question"],
)


@UNANSWERED
def test_what_is_no_answer_about_a_pool_ends_with_the_run(host: Host, servers: Servers, script: Script) -> None:
    started = time.monotonic()
    done = asks(host, {POOL: script}, *arguments_for(servers, *SHORT))
    assert time.monotonic() - started < LATE
    assert verdict(done) == failed(f"no answer about {POOL} from the name servers within 0.9 s")


@UNANSWERED
def test_what_is_no_answer_about_a_domain_ends_with_the_run(host: Host, servers: Servers, script: Script) -> None:
    started = time.monotonic()
    done = asks(host, dict.fromkeys(TLS_RECORDS, script), *arguments_for(servers, "--discover", *SHORT))
    assert time.monotonic() - started < LATE
    reason = re.sub(r"within 0\.\d+ s", "in time", not_found(done))
    assert reason == "no answer from the name servers in time (_sipinternaltls._tcp, _sip._tls, _sips._tcp)"


def test_hundreds_of_addresses_come_over_tcp(host: Host, servers: Servers) -> None:
    done = asks(host, {POOL: HUNDREDS}, *arguments_for(servers, "-p", str(servers.nobody)))
    assert verdict(done) == failed(f"{POOL} has 400 addresses; more than 64 are not tried")


NO_OTHERS = "no SRV records (_sipinternaltls._tcp, _sips._tcp)"


@pytest.mark.parametrize(
    ("script", "tcp", "reason"),
    [
        (code("SERVFAIL"), True, "the name server answered SERVFAIL"),
        (aliases(EDGE, "a.contoso.example", EDGE), True, "a chain of CNAMEs without end"),
        (truncated, False, "cannot reach the name server over TCP, which a long answer needs: Connection refused"),
        (records("SRV", "0 0 0 ."), True, "the service is declared not available"),
        (records("SRV", "0 0 5061 sip.evil.example."), True, "only sip.evil.example, outside of contoso.example"),
    ],
    ids=["SERVFAIL", "aliases in a circle", "truncated, TCP refused", "declined", "foreign"],
)  # fmt: skip
def test_a_domain_whose_record_cannot_be_used_is_one_clear_line(
    host: Host, servers: Servers, script: Script, tcp: bool, reason: str
) -> None:
    done = asks(host, {EDGE: script}, *arguments_for(servers, "--discover"), tcp=tcp)
    assert not_found(done) == f"{reason} (_sip._tls); {NO_OTHERS}"
    assert len(done.stdout.encode()) < 1024


def test_a_host_without_a_name_server_is_told_so(tmp_path: Path, servers: Servers) -> None:
    nobodys = Host(tmp_path, free_address())
    (tmp_path / "resolv.conf").write_text("")
    done = nobodys.check(*arguments_for(servers, "--discover"))
    assert not_found(done) == "/etc/resolv.conf names no name server that can be used"


# ---------------------------------------------------------------- what is used all the same


def srv(*targets: str) -> Script:
    return records("SRV", *(f"{target}." for target in targets))


def addresses(*names: str) -> Dict[str, Script]:
    return {f"{name}.contoso.example": records("A", "127.0.0.1") for name in names}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (code("SERVFAIL"), "the name server answered SERVFAIL"),
        (silence, "no answer from the name servers within "),
        (by_transport(udp=truncated, tcp=silence), "no answer from the name servers within "),
    ],
    ids=["SERVFAIL", "silence", "truncated, TCP silent"],
)
def test_a_record_that_cannot_be_looked_up_does_not_hide_the_others(
    host: Host, servers: Servers, script: Script, reason: str
) -> None:
    scripts = {INTERNAL: script, EDGE: srv(f"0 0 {servers.tls} sip.contoso.example"), **addresses("sip")}
    done = asks(host, scripts, *arguments_for(servers, "--discover", "-v", "--timeout", "5"))
    assert done.code == 0, done.stdout
    assert found(done) == [f"Found sip.contoso.example by {EDGE}"]
    (sentence,) = beside_the_point(done)
    assert sentence.startswith(f"{INTERNAL} cannot be looked up: {reason}")


def test_a_server_outside_of_the_domain_is_not_even_looked_up(host: Host, servers: Servers) -> None:
    good, evil = f"1 0 {servers.tls} sip.contoso.example", f"0 0 {servers.nobody} sip.evil.example"
    with NameServer({EDGE: srv(good, evil), **addresses("sip")}, host.address, 53) as server:
        done = host.check(*arguments_for(servers, "--discover"))
    assert done.code == 0, done.stdout
    assert beside_the_point(done) == [f"{EDGE} names sip.evil.example, outside of contoso.example: not used."]
    assert "sip.evil.example" not in {name for name, _, _ in server.asked}


def test_of_hundreds_of_servers_the_best_is_found(host: Host, servers: Servers) -> None:
    many = (f"{number} 0 {servers.nobody} fe{number}.contoso.example" for number in range(1, 400))
    scripts = {EDGE: srv(*many, f"0 0 {servers.tls} sip.contoso.example"), **addresses("sip")}
    done = asks(host, scripts, *arguments_for(servers, "--discover", "-v", "--timeout", "5"))
    assert done.code == 0, done.stdout
    assert found(done) == [f"Found sip.contoso.example by {EDGE}"]


def test_a_server_whose_address_nobody_tells_does_not_hide_the_others(host: Host, servers: Servers) -> None:
    names = ("gone", "mute", "sip")
    targets = srv(*(f"{place} 0 {servers.tls} {name}.contoso.example" for place, name in enumerate(names)))
    scripts = {EDGE: targets, "mute.contoso.example": silence, **addresses("sip")}
    done = asks(host, scripts, *arguments_for(servers, "--discover", "-v", "--timeout", "5"))
    assert done.code == 0, done.stdout
    assert found(done) == [f"Found sip.contoso.example by {EDGE}"]
    gone, mute = beside_the_point(done)
    assert gone.startswith(f"{EDGE} names gone.contoso.example: cannot resolve gone.contoso.example: ")
    assert mute.startswith(f"{EDGE} names mute.contoso.example: no answer about mute.contoso.example ")


# ---------------------------------------------------------------- hundreds of servers, and none is any good


def read(sock: socket.socket) -> None:
    until_closed(sock)


def hundreds(port: int, where: str = "fe{}.contoso.example") -> Script:
    return srv(*(f"0 0 {port} {where.format(number)}" for number in range(1, 401)))


NO_GOOD = {
    "refusing": r"cannot connect to 127\.0\.0\.1:\d+: Connection refused",
    "nameless": r"cannot resolve fe\d+\.contoso\.example: Name or service not known",
    "mute names": r"no answer about fe\d+\.contoso\.example from the name servers within [\d.]+ s",
    "foreign": rf"{NOT_FOUND}only fe1\.evil\.example and 399 more, outside of contoso\.example \(_sip\._tls\); .*",
    "renamed": r"the certificate of 127\.0\.0\.1:\d+ is not for fe\d+\.contoso\.example",
    "silent": r"no answer to the TLS handshake with 127\.0\.0\.1:\d+ within [\d.]+ s",
}


@pytest.mark.parametrize("kind", NO_GOOD)
def test_of_hundreds_of_servers_that_are_no_good_one_clear_line_is_said(
    host: Host, servers: Servers, kind: str
) -> None:
    names = addresses(*(f"fe{number}" for number in range(1, 401)))
    with Server(read) as silent:
        scripts: Mapping[str, Script] = {
            "refusing": {EDGE: hundreds(servers.nobody), **names},
            "nameless": {EDGE: hundreds(servers.tls)},
            "mute names": {EDGE: hundreds(servers.tls), **dict.fromkeys(names, silence)},
            "foreign": {EDGE: hundreds(servers.tls, "fe{}.evil.example")},
            "renamed": {EDGE: hundreds(servers.renamed), **names},
            "silent": {EDGE: hundreds(silent.port), **names},
        }[kind]
        started = time.monotonic()
        done = asks(host, scripts, *arguments_for(servers, "--discover", "--timeout", "3"))
        took = time.monotonic() - started
    assert took < 3 + LATE
    state, text = verdict(done)
    assert state == 2
    assert text.startswith(failed("")[1])
    assert re.fullmatch(rf"Error      : {NO_GOOD[kind]}\.", done.lines[4])
    assert len(done.stdout.encode()) < 1024
    passed = [line for line in done.lines if "passed over" in line]
    told = ["fe1.", "fe10.", "fe100.", "28 more servers were passed over."]
    assert [line.partition("contoso")[0] for line in passed] == (
        told if kind in ("refusing", "renamed", "silent") else []
    )


def test_of_hundreds_of_servers_without_an_address_a_few_are_named(host: Host, servers: Servers) -> None:
    many = (f"0 0 {servers.nobody} fe{number}.contoso.example" for number in range(1, 400))
    scripts = {
        EDGE: srv(*many, f"1 0 {servers.tls} sip.contoso.example"),
        INTERNAL: srv(f"0 0 {servers.tls} sip.contoso.example"),
    }
    done = asks(host, {**scripts, **addresses("sip")}, *arguments_for(servers, "--discover"))
    assert done.code == 0, done.stdout
    assert beside_the_point(done)[4] == "28 more servers have no address."
    assert len(done.stdout.encode()) < 1024
