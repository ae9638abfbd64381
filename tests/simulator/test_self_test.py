"""``--self-test``: the checklist, its states, and that nobody signs in."""

from __future__ import annotations

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import trustme

from check_lync_presence.lockout import LockoutGuard

from .. import tiny_directory as tiny
from ..commands import ACCOUNTS, ANN_PASSWORD, BEN_PASSWORD, POOL, Finished, environment, run_check, write_accounts
from ..loopback import GUARD, Server, until_closed
from ..samples import ANN, BEN
from ..tiny_directory import TinyDirectory, entry, user
from .conftest import Start
from .resolver import run_with_addresses


def points(done: Finished) -> Dict[str, str]:
    """State by what was tested, ports left out."""
    found = {}
    for line in done.lines[1:]:
        if line.startswith("["):
            state, _, rest = line[1:].partition("] ")
            found[re.sub(r"(127\.[0-9.]+):\d+$", r"\1", rest.partition(": ")[0])] = state
    return found


def said(done: Finished, what: str) -> str:
    (line,) = (line for line in done.lines if f"] {what}" in line)
    return line.partition(": ")[2]


def checked(done: Finished) -> Finished:
    """What holds whatever was found."""
    assert done.stderr == ""
    for secret in (ANN_PASSWORD, BEN_PASSWORD):
        assert secret not in done.stdout
    assert "|" not in done.stdout
    return done


@pytest.fixture
def self_test(accounts: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Run it at a port of this host."""

    def run(port: int, *arguments: str, **extra: Any) -> Finished:
        where = ("--connect", f"127.0.0.1:{port}", "--state-dir", str(tmp_path / "state"))
        done = run_check("-H", POOL, "--accounts", str(accounts), *where, "--self-test", *arguments, **extra)
        return checked(done)

    return run


Run = Callable[..., Finished]


def test_a_pool_in_order_is_ok(simulate: Start, self_test: Run, accounts: Path) -> None:
    simulator = simulate()
    done = self_test(simulator.tls, "--ca-file", simulator.ready["ca_file"])
    assert done.first_line == f"LYNC PRESENCE OK - self-test of {POOL}: all 6 points are in order"
    assert done.code == 0
    assert points(done) == dict.fromkeys(
        [
            "accounts file",
            f"password of {ANN.uri}",
            f"password of {BEN.uri}",
            "state folder",
            "TCP 127.0.0.1",
            "TLS 127.0.0.1",
        ],
        "OK",
    )
    assert said(done, "accounts file").startswith(f"{accounts}, mode 0600, owner ")
    assert said(done, f"password of {ANN.uri}") == f"publisher_password in {accounts}"
    assert said(done, "TLS").endswith(" days left.")
    assert "--ldap-uri" in done.lines[-1]


@pytest.mark.parametrize(
    ("faults", "arguments", "state", "words"),
    [
        ((), ("--ca-file", "CA", "--certificate-warning", "9999999:"), "WARNING", "days left"),
        ((), ("--ca-file", "CA", "--certificate-critical", "9999999:"), "CRITICAL", "days left"),
        ((), ("--insecure",), "OK", "not verified (--insecure)"),
        ((), (), "CRITICAL", "give the company's root certificate with --ca-file"),
        (("certificate-expired",), ("--ca-file", "CA"), "CRITICAL", "has expired. Renew the server's certificate"),
        (("certificate-other-name",), ("--ca-file", "CA"), "CRITICAL", f"is not for {POOL}"),
        (("plain-text-on-tls",), ("--ca-file", "CA"), "CRITICAL", "does not speak TLS"),
        (("tls-silent",), ("--ca-file", "CA", "-t", "1"), "CRITICAL", "no answer to the TLS handshake"),
    ],
)
def test_tls_is_judged_as_by_the_check(
    simulate: Start, self_test: Run, faults: List[str], arguments: List[str], state: str, words: str
) -> None:
    simulator = simulate(*faults)
    given = [simulator.ready["ca_file"] if argument == "CA" else argument for argument in arguments]
    done = self_test(simulator.tls, *given)
    assert points(done)["TCP 127.0.0.1"] == "OK"
    assert points(done)["TLS 127.0.0.1"] == state
    assert words in said(done, "TLS")
    assert done.code == ["OK", "WARNING", "CRITICAL"].index(state)
    assert len(done.first_line) < 120


def test_our_own_certificate_is_held_against_the_same_limits(simulate: Start, self_test: Run, tmp_path: Path) -> None:
    simulator = simulate()
    issued = trustme.CA().issue_cert("monitor.contoso.example")
    file = tmp_path / "client.pem"
    file.touch(mode=0o600)
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    arguments = ("--ca-file", simulator.ready["ca_file"], "--client-cert", str(file))
    done = self_test(simulator.tls, *arguments, "--certificate-warning", "9999999:")
    assert (done.code, points(done)["client certificate"]) == (1, "WARNING")
    assert said(done, "client certificate").startswith(f"{file} has ")


def test_a_port_where_nobody_listens_is_critical_and_says_what_to_look_at(self_test: Run) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        done = self_test(nobody.getsockname()[1])
    assert done.code == 2
    assert done.first_line.endswith(f"1 of 5 points is not in order: TCP 127.0.0.1:{nobody_port(done)}")
    assert "Connection refused. Check that the Front-End service (RtcSrv) runs" in said(done, "TCP")


def nobody_port(done: Finished) -> str:
    return done.first_line.rpartition(":")[2]


def test_without_tls_only_tcp_is_tested_and_nothing_is_said(self_test: Run) -> None:
    heard: queue.Queue[bytes] = queue.Queue()
    with Server(lambda connection: heard.put(until_closed(connection))) as server:
        done = self_test(server.port, "--transport", "tcp")
        assert heard.get(timeout=GUARD) == b""  # the check can be over before its connection is accepted
    assert done.code == 0
    assert "TCP 127.0.0.1" in points(done)
    assert not [what for what in points(done) if what.startswith("TLS")]


def test_over_udp_it_says_what_cannot_be_tested(self_test: Run) -> None:
    done = self_test(9, "--transport", "udp")
    assert done.code == 0
    assert "Whether somebody takes UDP datagrams shows only when somebody signs in." in done.lines


def test_one_of_two_addresses_that_is_mute_is_a_warning_and_critical_where_all_are_tested(
    simulate: Start, accounts: Path
) -> None:
    simulator = simulate()
    arguments = [
        "-H", POOL, "--accounts", str(accounts), "-p", str(simulator.tls), "--ca-file", simulator.ready["ca_file"],
        "--self-test",
    ]  # fmt: skip
    done = checked(run_with_addresses("127.0.0.9 127.0.0.1", *arguments))
    assert done.code == 1
    assert points(done)["TCP 127.0.0.9"] == "WARNING"
    assert points(done)["TLS 127.0.0.1"] == "OK"
    assert points(done)[f"DNS {POOL}"] == "OK"
    assert checked(run_with_addresses("127.0.0.9 127.0.0.1", *arguments, "--all-front-ends")).code == 2


def test_a_name_that_is_not_found_is_critical(accounts: Path) -> None:
    done = checked(run_check("-H", POOL, "--accounts", str(accounts), "--self-test", "--connect", "a.invalid"))
    assert (done.code, points(done)["DNS a.invalid"]) == (2, "CRITICAL")
    assert "Check the name given with --connect, and the name servers of this host." in said(done, "DNS")


def test_it_is_told_where_each_password_comes_from(self_test: Run, tmp_path: Path, simulate: Start) -> None:
    simulator = simulate(options=("--tcp", "0"))
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(f"{BEN_PASSWORD}\n")
    done = self_test(
        simulator.tcp, "--transport", "tcp", "--subscriber-password-file", str(file), PUBLISHER_PASSWORD=ANN_PASSWORD
    )
    assert said(done, f"password of {ANN.uri}") == "PUBLISHER_PASSWORD in the environment"
    assert said(done, f"password of {BEN.uri}") == "--subscriber-password-file"


@pytest.mark.parametrize("password", [f"{ANN_PASSWORD} ", f"\ufeff{ANN_PASSWORD}", f"\u200b{ANN_PASSWORD}"])
def test_a_password_with_something_invisible_around_it_is_a_warning(
    self_test: Run, simulate: Start, password: str
) -> None:
    simulator = simulate(options=("--tcp", "0"))
    done = self_test(simulator.tcp, "--transport", "tcp", PUBLISHER_PASSWORD=password)
    assert (done.code, points(done)[f"password of {ANN.uri}"]) == (1, "WARNING")
    assert "invisible character" in said(done, "password of sip:ann")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("…", "It is dots alone, as in an example"),
        ("...", "It is dots alone, as in an example"),
        (f'"{ANN_PASSWORD}"', "It stands in quotes, which are part of it"),
        (f"'{ANN_PASSWORD}'", "It stands in quotes, which are part of it"),
        (f"Geheim ;{ANN_PASSWORD}", "What follows behind a blank and a semicolon is a comment and no part of it"),
        (f"Geheim\t; {ANN_PASSWORD}", "What follows behind a blank and a semicolon is a comment and no part of it"),
    ],
)
@pytest.mark.parametrize("key", ["publisher_password", "publisher-password"])
def test_a_password_that_is_probably_not_the_one_that_is_meant_is_a_warning(
    self_test: Run, simulate: Start, accounts: Path, written: str, words: str, key: str
) -> None:
    simulator = simulate(options=("--tcp", "0"))
    write_accounts(accounts, ACCOUNTS.replace(f"publisher_password  = {ANN_PASSWORD}", f"{key} = {written}"))
    done = self_test(simulator.tcp, "--transport", "tcp")
    assert (done.code, points(done)[f"password of {ANN.uri}"]) == (1, "WARNING")
    assert said(done, f"password of {ANN.uri}") == f"{words} (publisher_password in {accounts}): is that meant?"
    assert points(done)[f"password of {BEN.uri}"] == "OK"
    assert "Geheim" not in done.stdout


@pytest.mark.parametrize("password", ["a;b", '"', "'a\"", "a…", "..a"])
def test_a_password_with_such_characters_elsewhere_is_in_order(
    self_test: Run, simulate: Start, accounts: Path, password: str
) -> None:
    simulator = simulate(options=("--tcp", "0"))
    write_accounts(accounts, ACCOUNTS.replace(ANN_PASSWORD, password))
    assert self_test(simulator.tcp, "--transport", "tcp").code == 0


def test_the_password_of_the_directory_is_looked_at_too(self_test: Run, simulate: Start, accounts: Path) -> None:
    simulator = simulate(options=("--tcp", "0"))
    lines = "ldap_uri = ldap://127.0.0.1:1\nldap_bind = reader\nldap_password = 'geheim'\n"
    write_accounts(accounts, ACCOUNTS + lines)
    done = self_test(simulator.tcp, "--transport", "tcp")
    assert said(done, "password of reader").startswith("It stands in quotes, which are part of it (ldap_password in ")
    assert "geheim" not in done.stdout


def test_a_password_that_is_held_back_is_critical(self_test: Run, simulate: Start, tmp_path: Path) -> None:
    simulator = simulate("wrong-password=publisher", options=("--tcp", "0"))
    where = ("--connect", f"127.0.0.1:{simulator.tcp}", "--transport", "tcp", "--state-dir", str(tmp_path / "state"))
    assert run_check("-H", POOL, "--accounts", str(tmp_path / "accounts.ini"), *where).code == 2
    done = self_test(simulator.tcp, "--transport", "tcp")
    assert (done.code, points(done)[f"password of {ANN.uri}"]) == (2, "CRITICAL")
    assert "No attempt, refused since" in said(done, "password of sip:ann")


def test_a_state_folder_that_cannot_be_used_is_a_warning(accounts: Path, simulate: Start) -> None:
    simulator = simulate(options=("--tcp", "0"))
    done = run_check(
        *("-H", POOL, "--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tcp}", "--transport", "tcp"),
        *("--self-test", "--state-dir", str(accounts / "below-a-file")),
    )
    assert (checked(done).code, points(done)["state folder"]) == (1, "WARNING")
    assert f"({accounts / 'below-a-file'}: Not a directory)" in said(done, "state folder")


def test_a_public_accounts_file_is_unknown_as_in_a_run(self_test: Run, accounts: Path) -> None:
    accounts.chmod(0o644)
    done = self_test(1)
    assert (done.code, len(done.lines)) == (3, 1)
    assert "chmod 0640" in done.first_line


def of_both(talk: tiny.Talk, request: tiny.Request) -> None:
    changes = {} if b"ann@" in request.body else {"msRTCSIP_PrimaryUserAddress": BEN.uri, "sAMAccountName": "ben"}
    talk.send(entry("CN=x", user(**changes)), tiny.result(tiny.DONE), to=request)


def of_nobody(talk: tiny.Talk, request: tiny.Request) -> None:
    talk.send(tiny.result(tiny.DONE), to=request)


def test_each_server_of_the_directory_is_asked_about_both_users(self_test: Run, simulate: Start) -> None:
    simulator = simulate(options=("--tcp", "0"))
    with TinyDirectory(of_both) as first, TinyDirectory(of_both) as second:
        uris = ("--ldap-uri", first.uri, "--ldap-uri", second.uri, "--ldap-base", tiny.BASE)
        done = self_test(simulator.tcp, "--transport", "tcp", *uris)
        assert first.tags == second.tags == [tiny.BIND, tiny.SEARCH, tiny.SEARCH]
    assert done.code == 0, done.stdout
    for server in (first, second):
        assert f"[OK] directory {server.uri}: It answers." in done.lines
    assert len([line for line in done.lines if "finds nothing wrong with" in line]) == 4


def test_a_server_of_the_directory_that_is_mute_is_a_warning_and_an_account_that_is_absent_critical(
    self_test: Run, simulate: Start
) -> None:
    simulator = simulate(options=("--tcp", "0"))
    with TinyDirectory(of_nobody) as directory:
        uris = ("--ldap-uri", "ldap://127.0.0.1:1", "--ldap-uri", directory.uri, "--ldap-base", tiny.BASE)
        done = self_test(simulator.tcp, "--transport", "tcp", *uris)
        chosen = self_test(simulator.tcp, "--transport", "tcp", *uris, "--account-state", "warning")
    assert "[WARNING] directory ldap://127.0.0.1:1: It could not be asked: " in done.stdout
    assert (done.code, chosen.code) == (2, 1)
    assert "[CRITICAL] sip:ann@contoso.example: " in done.stdout
    assert "[WARNING] sip:ann@contoso.example: " in chosen.stdout


def test_a_silent_directory_does_not_hold_it_up(self_test: Run, simulate: Start) -> None:
    simulator = simulate(options=("--tcp", "0"))
    with TinyDirectory(tiny.silent) as directory:
        done = self_test(
            simulator.tcp, "--transport", "tcp", "-t", "1", "--ldap-uri", directory.uri, "--ldap-base", tiny.BASE
        )
    assert done.code == 1
    assert "could not be asked" in said(done, "directory")


def test_sigterm_in_the_middle_of_it_is_unknown_and_leaves_what_was_found(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini", ACCOUNTS)
    begun = threading.Event()

    def mute(connection: socket.socket) -> None:
        begun.set()
        until_closed(connection)

    with Server(mute) as server:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(accounts)),
                *("--self-test", "--connect", f"127.0.0.1:{server.port}"),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            env=environment(),
        )  # fmt: skip
        assert begun.wait(20)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    done = checked(Finished(process.returncode, output, errors))
    assert (done.code, points(done)["self-test"], points(done)["accounts file"]) == (3, "UNKNOWN", "OK")


def test_more_addresses_than_a_pool_can_have_are_not_all_tested(accounts: Path) -> None:
    addresses = " ".join(f"127.0.1.{number}" for number in range(1, 41))
    done = run_with_addresses(addresses, "-H", POOL, "--accounts", str(accounts), "-p", "1", "--self-test")
    assert len([line for line in done.lines if line.startswith("[CRITICAL] TCP 127.0.1.")]) == 32
    assert "[WARNING] TCP: 8 addresses beyond the first 32 were not tested." in done.lines


def test_the_memory_of_refusals_tells_which_folder_it_uses(tmp_path: Path) -> None:
    assert LockoutGuard([str(tmp_path / "a"), str(tmp_path / "b")], "x").folder() == str(tmp_path / "a")
    (tmp_path / "file").touch()
    assert LockoutGuard([str(tmp_path / "file")], "x").folder() is None
