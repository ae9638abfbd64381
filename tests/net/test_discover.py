"""SRV records to servers: order, what is trusted, and name servers that misbehave."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any, Callable, Iterator, List, Mapping, Sequence, Tuple

import dns.name
import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.net import discover as module
from check_lync_presence.net.discover import MAX_SERVICES, Discovery, discover
from check_lync_presence.net.resolve import ResolveError

from ..loopback import finish, soon
from ..strategies import many
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

DOMAIN = "contoso.example"
INTERNAL, EDGE, SIPS = (f"{name}.{DOMAIN}" for name in ("_sipinternaltls._tcp", "_sip._tls", "_sips._tcp"))
POOL = "pool01.contoso.example"
NOT_FOUND = f"no SIP service of {DOMAIN}: "


def first(limit: int) -> int:
    """A random source that always draws the first."""
    return 0


def last(limit: int) -> int:
    """A random source that always draws the last."""
    return limit - 1


def srv(*data: str) -> Script:
    return records("SRV", *data)


@contextlib.contextmanager
def name_server(scripts: Mapping[str, Script], tcp: bool = True) -> Iterator[NameServer]:
    """A name server that dnspython's resolver asks in place of those of this host."""
    with NameServer(scripts, tcp=tcp) as server, pytest.MonkeyPatch.context() as patch:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [server.address[0]]
        resolver.port = server.address[1]
        patch.setattr(dns.resolver, "Resolver", lambda: resolver)
        before = set(threading.enumerate())
        yield server
        for thread in set(threading.enumerate()) - before:
            thread.join(10)


def found(scripts: Mapping[str, Script], *, target: str = POOL, transport: str = "tls", **keywords: Any) -> Discovery:
    """What is discovered by this name server."""
    with name_server(scripts, keywords.get("tcp", True)):
        pick, seconds = keywords.get("pick", first), keywords.get("seconds", 10.0)
        discovery: Discovery = finish(discover(DOMAIN, target, transport, pick, soon(seconds)))
    return discovery


def places(discovery: Discovery) -> List[str]:
    return [f"{service.host}:{service.port}" for service in discovery.services]


def fault(scripts: Mapping[str, Script], **keywords: Any) -> str:
    """Why nothing is discovered by this name server."""
    with pytest.raises(ResolveError) as failure:
        found(scripts, **keywords)
    text = str(failure.value)
    assert text.startswith(NOT_FOUND)
    return text[len(NOT_FOUND) :]


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("transport", "asked"),
    [
        ("tls", [INTERNAL, EDGE, SIPS]),
        ("tcp", [f"_sipinternal._tcp.{DOMAIN}", f"_sip._tcp.{DOMAIN}"]),
        ("udp", [f"_sip._udp.{DOMAIN}"]),
    ],
)
def test_every_record_of_a_transport_is_asked_for_once(transport: str, asked: Sequence[str]) -> None:
    with name_server({asked[-1]: srv("0 0 5061 sip.contoso.example.")}) as server:
        discovery = finish(discover(DOMAIN, POOL, transport, first, soon()))
    assert sorted(server.asked) == sorted((name, "SRV", "udp") for name in asked)
    assert discovery == ((module.Service(asked[-1], "sip.contoso.example", 5061),), ())


def test_all_records_are_asked_for_at_the_same_time() -> None:
    all_asked = threading.Barrier(3, timeout=10)

    class Waiting(dns.resolver.Resolver):
        def resolve(self, *arguments: Any, **keywords: Any) -> Any:
            all_asked.wait()
            return super().resolve(*arguments, **keywords)

    with name_server({EDGE: srv("0 0 5061 sip.contoso.example.")}) as server, pytest.MonkeyPatch.context() as patch:
        resolver = Waiting(configure=False)
        resolver.nameservers, resolver.port = [server.address[0]], server.address[1]
        patch.setattr(dns.resolver, "Resolver", lambda: resolver)
        assert places(finish(discover(DOMAIN, POOL, "tls", first, soon()))) == ["sip.contoso.example:5061"]


def test_search_domains_are_not_asked() -> None:
    with name_server({}) as server:
        dns.resolver.Resolver().search = [dns.name.from_text("branch.example")]
        with pytest.raises(ResolveError):
            finish(discover(DOMAIN, POOL, "udp", first, soon()))
    assert server.asked == [(f"_sip._udp.{DOMAIN}", "SRV", "udp")]


# ---------------------------------------------------------------- the order


def test_the_record_for_internal_clients_comes_first_and_all_others_after_it() -> None:
    discovery = found(
        {
            SIPS: srv("0 0 5061 c.contoso.example."),
            EDGE: srv("0 0 443 b.contoso.example."),
            INTERNAL: srv("9 0 5061 a.contoso.example."),
        }
    )
    assert discovery.services == (
        (INTERNAL, "a.contoso.example", 5061),
        (EDGE, "b.contoso.example", 443),
        (SIPS, "c.contoso.example", 5061),
    )


@pytest.mark.parametrize("pick", [first, last])
def test_a_lower_priority_number_comes_first_whatever_the_weights(pick: Callable[[int], int]) -> None:
    script = srv("20 65535 5061 c.contoso.example.", "10 0 5061 b.contoso.example.", "0 1 5061 a.contoso.example.")
    assert places(found({EDGE: script}, pick=pick)) == [f"{name}.contoso.example:5061" for name in "abc"]


WEIGHTED = srv("0 10 5061 ten.contoso.example.", "0 0 5061 none.contoso.example.", "0 30 5061 thirty.contoso.example.")


@pytest.mark.parametrize(
    ("drawn", "order"),
    [
        ((0, 0, 0), ["none", "ten", "thirty"]),
        ((1, 0, 0), ["ten", "none", "thirty"]),
        ((10, 0, 0), ["ten", "none", "thirty"]),
        ((11, 1, 0), ["thirty", "ten", "none"]),
        ((40, 0, 0), ["thirty", "none", "ten"]),
    ],
)
def test_within_a_priority_the_weights_decide_what_a_draw_means(drawn: Tuple[int, ...], order: List[str]) -> None:
    draws = iter(drawn)
    limits: List[int] = []

    def pick(limit: int) -> int:
        limits.append(limit)
        return next(draws)

    discovery = found({EDGE: WEIGHTED}, pick=pick)
    assert [service.host.partition(".")[0] for service in discovery.services] == order
    assert limits[0] == 41  # RFC 2782: from 0 to the sum of the weights, both included


def test_the_first_server_is_drawn_by_its_share_of_the_weights() -> None:
    targets = [module._Target(0, 1, "light", 5061), module._Target(0, 3, "heavy", 5061)]
    draw = random.Random(2782).randrange
    firsts = Counter(next(module._in_order(targets, draw)).host for _ in range(4000))
    assert 0.55 < firsts["heavy"] / 4000 < 0.65  # of the numbers from 0 to 4 three are beyond the first's weight


def test_a_server_that_several_records_name_comes_once_where_it_is_best() -> None:
    discovery = found(
        {
            INTERNAL: srv(
                "5 0 5061 SIP.Contoso.Example.", "1 0 5061 sip.contoso.example.", "2 0 5061 b.contoso.example."
            ),
            EDGE: srv("0 0 443 sip.contoso.example.", "0 0 5061 sip.contoso.example."),
        }
    )
    assert [(service.record, service.host, service.port) for service in discovery.services] == [
        (INTERNAL, "sip.contoso.example", 5061),
        (INTERNAL, "b.contoso.example", 5061),
        (EDGE, "sip.contoso.example", 443),
    ]


def test_of_hundreds_of_servers_the_best_are_kept() -> None:
    hundreds = srv(*(f"{number} 0 5061 fe{number:03}.contoso.example." for number in reversed(range(400))))
    discovery = found({INTERNAL: hundreds, EDGE: srv("0 0 443 sip.contoso.example.")})
    assert places(discovery) == [f"fe{number:03}.contoso.example:5061" for number in range(MAX_SERVICES)]
    assert discovery.remarks == ("Of the 401 servers of contoso.example only the best 32 are tried.",)


# ---------------------------------------------------------------- what is trusted


@pytest.mark.parametrize("host", ["sip.evil.example", "evilcontoso.example", "contoso.example.evil.example", "example"])
def test_a_host_outside_of_the_domain_is_not_used(host: str) -> None:
    discovery = found({EDGE: srv(f"0 0 5061 {host}.", "1 0 5061 sip.contoso.example.")})
    assert places(discovery) == ["sip.contoso.example:5061"]
    assert discovery.remarks == (f"{EDGE} names {host}, outside of {DOMAIN}: not used.",)


@pytest.mark.parametrize("target", ["pool01.corp.example", "POOL01.Corp.Example."])
def test_a_host_outside_of_the_domain_is_used_when_it_is_the_target(target: str) -> None:
    discovery = found({EDGE: srv("0 0 5061 Pool01.corp.example.")}, target=target)
    assert discovery == (((EDGE, "pool01.corp.example", 5061),), ())


@pytest.mark.parametrize(
    "host", ["contoso.example", "CONTOSO.example", "a.b.contoso.example", "pool_01.contoso.example"]
)
def test_a_host_inside_of_the_domain_is_used(host: str) -> None:
    assert places(found({EDGE: srv(f"0 0 5061 {host}.")})) == [f"{host.lower()}:5061"]


@pytest.mark.parametrize(
    "host",
    ["*.contoso.example", "a\\032b.contoso.example", "a\\010b.contoso.example", "a\\000.contoso.example",
     "evil\\.contoso.example", "-a.contoso.example", "b-.contoso.example", "a\\;b.contoso.example",
     "\\195\\188nal.contoso.example"],
)  # fmt: skip
def test_what_is_no_host_name_is_not_used(host: str) -> None:
    discovery = found({EDGE: srv(f"0 0 5061 {host}.", "1 0 5061 sip.contoso.example.")})
    assert places(discovery) == ["sip.contoso.example:5061"]
    assert discovery.remarks == (f"{EDGE} names {host}, no host name: not used.",)
    assert discovery.remarks[0].isprintable()


def test_port_0_is_no_port() -> None:
    discovery = found({EDGE: srv("0 0 0 a.contoso.example.", "1 0 65535 b.contoso.example.")})
    assert places(discovery) == ["b.contoso.example:65535"]
    assert discovery.remarks == (f"{EDGE} names a.contoso.example, without a port: not used.",)


numbers = st.integers(0, 3) | st.integers(0, 65535)
host_names = st.lists(
    st.binary(min_size=1, max_size=8) | st.sampled_from([b"contoso", b"example", b"pool01"]), max_size=4
).map(lambda labels: dns.name.Name([*labels, b""]))


@many
@given(st.lists(st.tuples(numbers, numbers, host_names, numbers), max_size=12), st.randoms(use_true_random=False))
def test_any_records_are_sifted_and_put_into_an_order(told: List[Tuple[Any, ...]], source: random.Random) -> None:
    targets = [module._Target(priority, weight, module._host(name), port) for priority, weight, name, port in told]
    usable, refused = module._sift(targets, DOMAIN, POOL)
    assert all(f".{target.host}".endswith(f".{DOMAIN}") and target.port for target in usable)
    assert all(text.isascii() and text.isprintable() for text in refused)
    for pick in (first, last, source.randrange):
        ordered = list(module._in_order(usable, pick))
        assert sorted(ordered) == sorted(usable)
        assert [target.priority for target in ordered] == sorted(target.priority for target in usable)


def test_however_many_hosts_are_refused_one_sentence_says_so() -> None:
    many = (f"0 0 5061 sip{number}.evil.example." for number in range(100))
    discovery = found({EDGE: srv(*many, "0 0 5061 sip.contoso.example.")})
    assert discovery.remarks == (f"{EDGE} names sip0.evil.example and 99 more, outside of {DOMAIN}: not used.",)


def test_a_domain_is_compared_as_the_dns_knows_it() -> None:
    host = "sip.xn--bcher-kva.example"
    with name_server({"_sip._udp.xn--bcher-kva.example": srv(f"0 0 5060 {host}.")}):
        discovery = finish(discover("Bücher.example", POOL, "udp", first, soon()))
    assert places(discovery) == [f"{host}:5060"]


# ---------------------------------------------------------------- nothing to use


def test_no_record_at_all_is_said_with_the_names_that_were_asked_for() -> None:
    assert fault({}) == "no SRV records (_sipinternaltls._tcp, _sip._tls, _sips._tcp)"


def test_a_name_with_other_records_has_no_srv_record() -> None:
    assert fault({f"_sip._udp.{DOMAIN}": records("A", "192.0.2.1")}, transport="udp") == "no SRV records (_sip._udp)"


def test_a_lone_dot_declines_the_service() -> None:
    reason = "the service is declared not available (_sip._tls)"
    assert reason in fault({EDGE: srv("0 0 0 .")})
    discovery = found({EDGE: srv("0 0 0 ."), INTERNAL: srv("0 0 5061 sip.contoso.example.")})
    assert (places(discovery), discovery.remarks) == (["sip.contoso.example:5061"], ())


def test_when_all_hosts_are_refused_the_reasons_are_told() -> None:
    script = srv("0 0 5061 sip.evil.example.", "0 0 0 sip.contoso.example.")
    assert fault({EDGE: script}) == (
        f"only sip.contoso.example, without a port and sip.evil.example, outside of {DOMAIN} (_sip._tls); "
        "no SRV records (_sipinternaltls._tcp, _sips._tcp)"
    )


@pytest.mark.parametrize("domain", ["a..b", "x" * 64 + ".example", ".".join(["x" * 60] * 4), "a\\", "\ud800.example"])
def test_what_cannot_be_a_domain_is_no_bug(domain: str) -> None:
    with pytest.raises(ResolveError, match="not a domain name"):
        finish(discover(domain, POOL, "tls", first, soon()))


@pytest.mark.parametrize("text", [None, "", "search contoso.example\n", "nameserver ns1\n", "nameserver \xff\n"])
def test_without_a_name_server_that_can_be_used_the_file_is_named(
    text: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    resolver = dns.resolver.Resolver
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: resolver(str(path)))
    with pytest.raises(ResolveError) as failure:
        finish(discover(DOMAIN, POOL, "tls", first, soon()))
    assert str(failure.value) == NOT_FOUND + "/etc/resolv.conf names no name server that can be used"


# ---------------------------------------------------------------- name servers that misbehave


@pytest.mark.parametrize(
    ("script", "tcp", "reason"),
    [
        (code("SERVFAIL"), True, "the name server answered SERVFAIL"),
        (code("REFUSED"), True, "the name server answered REFUSED"),
        (aliases("_sip._tls.contoso.example", "a.example", "_sip._tls.contoso.example"), True,
         "a chain of CNAMEs without end"),
        (truncated, False,
         "cannot reach the name server over TCP, which a long answer needs: Connection refused"),
        (by_transport(udp=truncated, tcp=garbage), True, "the name server's answer cannot be used (FormError)"),
    ],
)  # fmt: skip
def test_what_the_name_server_did_is_told(script: Script, tcp: bool, reason: str) -> None:
    elsewhere = srv("0 0 5061 sip.contoso.example.")
    assert f"{reason} (_sip._tls)" in fault({EDGE: script}, tcp=tcp)
    discovery = found({EDGE: script, SIPS: elsewhere}, tcp=tcp)
    assert places(discovery) == ["sip.contoso.example:5061"]
    assert discovery.remarks == (f"{EDGE} cannot be looked up: {reason}.",)


@pytest.mark.parametrize("script", [silence, garbage, with_other_id(srv("0 0 5061 sip.contoso.example."))])
def test_what_is_no_answer_is_waited_for_until_the_deadline_and_no_longer(script: Script) -> None:
    started = time.monotonic()
    reason = fault(dict.fromkeys((INTERNAL, EDGE, SIPS), script), seconds=0.3)
    # A busy machine may have lost some of the time before it asks.
    text = r"no answer from the name servers within 0\.(3|2\d+) s \(_sipinternaltls\._tcp, _sip\._tls, _sips\._tcp\)"
    assert re.fullmatch(text, reason)
    assert 0.3 <= time.monotonic() - started < 5


@pytest.mark.parametrize("silent", [INTERNAL, EDGE])
def test_silence_on_one_record_does_not_use_up_the_time(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    deadline = soon(60)
    with name_server({silent: silence, SIPS: srv("0 0 5061 sip.contoso.example.")}) as server:
        dns.resolver.Resolver().timeout = 0.1
        discovery = finish(discover(DOMAIN, POOL, "tls", first, deadline))
        assert deadline.remaining > 50
        server.scripts[silent] = code("NXDOMAIN")  # what is asked again is answered: the thread ends
    assert places(discovery) == ["sip.contoso.example:5061"]
    assert discovery.remarks == (f"{silent} cannot be looked up: no answer from the name servers within 0.2 s.",)


def test_a_short_run_keeps_half_of_its_time_for_the_servers() -> None:
    deadline = soon(2)
    with name_server({EDGE: silence, SIPS: srv("0 0 5061 sip.contoso.example.")}) as server:
        dns.resolver.Resolver().timeout = 0.1
        assert places(finish(discover(DOMAIN, POOL, "tls", first, deadline))) == ["sip.contoso.example:5061"]
        server.scripts[EDGE] = code("NXDOMAIN")
        assert deadline.remaining > 0.5


def test_a_lost_question_is_asked_again() -> None:
    lost: List[bool] = []

    def second_time(question: Any, transport: str) -> List[bytes]:
        lost.append(True)
        return [] if len(lost) == 1 else srv("0 0 5061 sip.contoso.example.")(question, transport)

    with name_server({f"_sip._udp.{DOMAIN}": second_time}):
        dns.resolver.Resolver().timeout = 0.1
        assert places(finish(discover(DOMAIN, POOL, "udp", first, soon()))) == ["sip.contoso.example:5061"]


def test_what_is_too_long_for_udp_is_fetched_over_tcp() -> None:
    script = srv(*(f"0 0 5061 front-end-{number}.contoso.example." for number in range(20)))
    with name_server({EDGE: script}) as server:
        discovery = finish(discover(DOMAIN, POOL, "tls", first, soon()))
    assert len(discovery.services) == 20
    assert [transport for name, _, transport in server.asked if name == EDGE] == ["udp", "tcp"]


def test_a_record_behind_an_alias_is_found() -> None:
    def alias(question: Any, transport: str) -> List[bytes]:
        answer = dns.message.make_response(question)
        answer.answer.append(dns.rrset.from_text(f"{EDGE}.", 60, "IN", "CNAME", "srv.hosting.example."))
        answer.answer.append(dns.rrset.from_text("srv.hosting.example.", 60, "IN", "SRV", f"0 0 5061 {POOL}."))
        return [answer.to_wire()]

    assert found({EDGE: alias}) == (((EDGE, POOL, 5061),), ())


def test_nothing_keeps_the_process_from_ending_while_a_name_server_is_silent() -> None:
    program = f"""
import dns.resolver, time
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.net.discover import ResolveError, discover
from check_lync_presence.net.tasks import run

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.lifetime = ["127.0.0.1"], 30
resolver.resolve = lambda *question, lifetime: time.sleep(30)
dns.resolver.Resolver = lambda: resolver
try:
    run(discover({DOMAIN!r}, {POOL!r}, "tls", None, Deadline(0.2, time.monotonic)), time.monotonic)
except ResolveError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no answer from the name servers within 0.2 s" in done.stdout


def test_a_mistake_of_ours_is_not_taken_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def resolve(self, *question: Any, **keywords: Any) -> Any:
            raise ZeroDivisionError

    monkeypatch.setattr(dns.resolver, "Resolver", Broken)
    with pytest.raises(ZeroDivisionError):
        finish(discover(DOMAIN, POOL, "tls", first, soon()))
