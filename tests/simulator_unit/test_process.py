"""The command: what it prints, how it ends, and a round trip over real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from check_lync_presence.lync.association import challenges
from check_lync_presence.sip.uri import parse_name_addr, parse_uri

from ..commands import run_check
from .client import ANN, BEN, DEADLINE, POOL, Silence, SocketWire, no_note, note, state
from .process import COMMAND, ROOT, Simulator, accounts_file


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return accounts_file(tmp_path)


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE, cwd=ROOT, env=env, check=False
    )
    return done.returncode, done.stdout, done.stderr


# ----------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--accounts FILE is missing"),
        (["--accounts", "/nonexistent.ini"], "cannot read the accounts file /nonexistent.ini"),
        (["--fault", "earthquake", "--accounts", "x"], "no fault 'earthquake'"),
        (["--tls", "many"], "'many' is not a port"),
        (["--delay", "-1"], "not a number of seconds"),
        (["--colour"], "unrecognized arguments"),
    ],
)
def test_bad_usage_is_one_line_and_exit_status_3(arguments: list[str], words: str) -> None:
    status, output, errors = run(*arguments)
    assert (status, errors) == (3, "")
    assert words in output
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cert", "x.pem"], "--cert and --key belong together"),
        (["--cert", "x.pem", "--key", "y.pem"], "cannot use x.pem with y.pem"),
        (["--cert", "x.pem", "--key", "y.pem", "--ca-out", "z.pem"], "leave out --cert and --key"),
        (["--ca-out", "/nonexistent/ca.pem"], "cannot write the certificate of the CA"),
        (["--listen", "192.0.2.1", "--tcp", "0"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_status_3(accounts: Path, arguments: list[str], words: str) -> None:
    status, output, errors = run("--accounts", str(accounts), *arguments)
    assert (status, errors) == (3, "")
    assert words in output
    assert output.count("\n") == 1


def test_an_account_without_password_is_named(tmp_path: Path) -> None:
    path = tmp_path / "accounts.ini"
    path.write_text(f"[{POOL}]\npublisher = {ANN}\n")
    path.chmod(0o600)
    status, output, _ = run("--accounts", str(path))
    assert status == 3
    assert f"[{POOL}]" in output
    assert "publisher_password" in output


def test_list_faults_needs_nothing_else() -> None:
    status, output, errors = run("--list-faults")
    assert (status, errors) == (0, "")
    assert "notification-never" in output


@pytest.mark.parametrize("command", [[*COMMAND, "--list-faults"], [sys.executable, "contrib/drill/drill.py", "--list"]])
def test_a_list_that_nobody_reads_to_its_end_causes_no_complaint(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, b"")


def test_without_trustme_the_extra_is_named(accounts: Path, tmp_path: Path) -> None:
    (tmp_path / "trustme.py").write_text("raise ImportError(name='trustme')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    status, output, errors = run("--accounts", str(accounts), env=env)
    assert (status, errors) == (3, "")
    assert "the package trustme is missing" in output
    assert "install python3-trustme" in output
    assert "pip install 'check_lync_presence[simulator]'" in output
    with Simulator(accounts, "--tcp", "0", env=env) as simulator:
        assert set(simulator.ready) == {"ready", "tcp"}


def test_passwords_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    secret = tmp_path / "ann"
    secret.write_text("Ann-Pass.1\n")
    secret.chmod(0o600)
    path = tmp_path / "accounts.ini"
    path.write_text(f"[{POOL}]\npublisher = {ANN}\npublisher_user = CONTOSO\\ann\npublisher_password_file = {secret}\n")
    path.chmod(0o600)
    with Simulator(path, "--tcp", "0") as simulator:
        assert simulator.client(ANN).sign_in().status == 200


def test_tls_is_the_default_and_the_ca_is_gone_at_the_end(accounts: Path) -> None:
    with Simulator(accounts) as simulator:
        assert set(simulator.ready) == {"ready", "tls", "ca_file"}
        ca_file = Path(simulator.ready["ca_file"])
        assert ca_file.exists()
    assert not ca_file.exists()


def test_ca_out_stays(accounts: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "ca.pem"
    with Simulator(accounts, "--ca-out", str(chosen)) as simulator:
        assert simulator.ready["ca_file"] == str(chosen)
    assert stat.S_ISREG(chosen.stat().st_mode)


def test_an_own_certificate_is_used(accounts: Path, tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    ca = trustme.CA()
    certificate = ca.issue_cert(POOL)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(str(key))
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    with Simulator(accounts, "--cert", str(cert), "--key", str(key)) as simulator:
        assert "ca_file" not in simulator.ready
        SocketWire(simulator.tls, context).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(accounts: Path, number: int) -> None:
    with Simulator(accounts, "--tcp", "0") as simulator:
        client = simulator.client(ANN)
        client.sign_in()
        simulator.process.send_signal(number)
        assert simulator.process.wait(DEADLINE) == 0


def test_a_taken_port_is_a_line(accounts: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output, errors = run("--accounts", str(accounts), "--tcp", str(port))
    assert (status, errors) == (3, "")
    assert "cannot listen" in output


# --------------------------------------------------------------- the round trip


@pytest.fixture(params=["tls", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_round_trip_leaves_nothing_behind(accounts: Path, transport: str) -> None:
    with Simulator(accounts, f"--{transport}", "0") as simulator:
        ann, ben = simulator.client(ANN), simulator.client(BEN, epid="0f1e2d3c4b5a")
        assert ann.sign_in().status == ben.sign_in().status == 200
        assert ann.subscribe_self().status == 200
        assert ben.watch(ANN).status == 200
        assert ann.publish(note("probe-1"), state(3500)).status == 200
        assert b"probe-1" in ben.next_request().body
        assert simulator.census()["users"][ANN]["publications"] == 3
        assert ann.publish(no_note(1)).status == 200
        assert ann.sign_out().status == ben.sign_out().status == 200
        for wire in simulator.clients:
            wire.close()
        simulator.clients.clear()
        census = simulator.census_when(lambda census: census["connections"] == 0)
        assert {name: value for user in census["users"].values() for name, value in user.items() if value} == {}


def test_a_client_that_dies_leaves_nothing_but_its_note(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0") as simulator:
        ann, ben = simulator.client(ANN), simulator.client(BEN, epid="0f1e2d3c4b5a")
        ann.sign_in()
        ben.sign_in()
        ben.watch(ANN)
        ann.publish(note("probe"), state(3500))
        ben.next_request()
        # A reset, as the kernel sends it for a killed process with unread octets.
        simulator.clients[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        simulator.clients.pop(0).close()
        assert b"18500" in ben.next_request().body
        census = simulator.census_when(lambda census: census["connections"] == 1)
        assert census["users"][ANN] == {"endpoints": 0, "publications": 1, "subscriptions": 0, "answers": {}}


def test_two_clients_are_delayed_at_the_same_time(accounts: Path) -> None:
    delay = 0.4
    with Simulator(accounts, "--tcp", "0", "--delay", str(delay)) as simulator:
        ann, ben = simulator.client(ANN), simulator.client(BEN)
        begin = time.monotonic()
        for client in (ann, ben):
            client.wire.send(client.register())
        for client in (ann, ben):
            assert client.wire.receive().start_line.startswith("SIP/2.0 401")
        assert delay <= time.monotonic() - begin < 2 * delay


def test_pipelined_requests_are_answered_in_order(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0", "--delay", "0.1") as simulator:
        ann = simulator.client(ANN)
        requests = [ann.register() for _ in range(20)]
        simulator.clients[0].socket.sendall(b"".join(bytes(request) for request in requests))
        assert [ann.wire.receive().cseq.number for _ in requests] == list(range(1, 21))


def test_the_same_seed_gives_the_same_tags(accounts: Path) -> None:
    answers = []
    for _ in range(2):
        with Simulator(accounts, "--tcp", "0", "--seed", "7") as simulator:
            ann = simulator.client(ANN)
            answers.append(ann.answer_of(ann.register()).get("To"))
    assert answers[0] == answers[1]


def test_sections_are_pools_and_a_user_may_have_both_roles(tmp_path: Path) -> None:
    path = tmp_path / "accounts.ini"
    path.write_text(
        "[DEFAULT]\npublisher_password = Ann-Pass.1\nsubscriber_password = Ann-Pass.1\n"
        f"[Pool01.Contoso.Example.]\npublisher = {ANN}\nsubscriber = {ANN}\n"
        "[pool02.contoso.example]\npublisher = sip:cleo@contoso.example\n"
    )
    path.chmod(0o600)
    with Simulator(path, "--tcp", "0") as simulator:
        assert list(simulator.census()["users"]) == [ANN, "sip:cleo@contoso.example"]
        ann = simulator.client(ANN, logon="ann@contoso.example")
        menu = challenges(ann.answer_of(ann.register()))
        assert menu["ntlm"].get("targetname") == POOL
        assert ann.sign_in().status == 200


def test_the_certificate_is_for_every_section_and_its_users_sign_in_at_each_pool(tmp_path: Path) -> None:
    path = accounts_file(tmp_path)
    shared = path.read_text().replace(f"[{POOL}]", "[DEFAULT]")
    path.write_text(f"{shared}[{POOL}]\n[Pool02.contoso.example.]\n[[2001:db8::5]]\n")
    with Simulator(path) as simulator:
        for name in (POOL, "pool02.contoso.example", "2001:db8::5"):
            with socket.create_connection(("127.0.0.1", simulator.tls)) as raw:
                simulator.context.wrap_socket(raw, server_hostname=name).close()
            where = ("--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"])
            done = run_check("-H", name, "--accounts", str(path), *where)
            assert (done.code, done.stderr) == (0, ""), done.stdout


def test_a_section_whose_name_is_none_for_a_certificate_is_a_line(tmp_path: Path) -> None:
    path = accounts_file(tmp_path)
    path.write_text(path.read_text().replace(POOL, "pool 01"))
    status, output, errors = run("--accounts", str(path))
    assert (status, errors) == (3, "")
    assert "a section's name or a SIP domain is none for a certificate" in output


# ------------------------------------------------------------ faults of sockets


def test_a_redirection_leads_to_a_second_listener_that_works(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0", "--fault", "redirect") as simulator:
        moved = simulator.client(ANN).sign_in()
        assert moved.status == 301
        port = parse_uri(parse_name_addr(moved.get("Contact") or "").uri).port
        assert port != simulator.tcp
        simulator.ready["tcp"] = port
        assert simulator.client(ANN).sign_in().status == 200


@pytest.mark.parametrize(
    ("fault", "words"),
    [("certificate-expired", "certificate has expired"), ("certificate-other-name", "ostname mismatch")],
)
def test_a_bad_certificate_is_seen(accounts: Path, fault: str, words: str) -> None:
    with Simulator(accounts, "--fault", fault) as simulator, pytest.raises(ssl.SSLCertVerificationError, match=words):
        SocketWire(simulator.tls, simulator.context)


def test_a_tls_port_can_speak_plain_text(accounts: Path) -> None:
    with Simulator(accounts, "--fault", "plain-text-on-tls") as simulator, pytest.raises(ssl.SSLError):
        SocketWire(simulator.tls, simulator.context)


def test_a_tls_port_can_be_silent(accounts: Path) -> None:
    with Simulator(accounts, "--fault", "tls-silent") as simulator:
        wire = SocketWire(simulator.tls)
        wire.deadline = 0.2
        wire.socket.sendall(b"hello")
        with pytest.raises(Silence):
            wire.receive()
        wire.close()


def test_nothing_follows_half_a_message(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0", "--fault", "half-message=publish") as simulator:
        ann = simulator.client(ANN)
        ann.sign_in()
        ann.subscribe_self()
        simulator.clients[0].deadline = 0.3
        with pytest.raises(Silence):
            ann.publish(note("probe"))


def test_a_cut_notification_ends_the_subscribers_connection(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0", "--fault", "cut=notify") as simulator:
        ann, ben = simulator.client(ANN), simulator.client(BEN)
        ann.sign_in()
        ben.sign_in()
        ben.watch(ANN)
        assert ann.publish(note("probe")).status == 200
        with pytest.raises(EOFError):
            ben.next_request()


@pytest.mark.parametrize(
    "fault", ["split-messages", "joined-messages", "crlf-storm", "upper-case-headers", "folded-headers"]
)
def test_a_round_trip_works_in_every_legal_form(accounts: Path, fault: str) -> None:
    with Simulator(accounts, "--tls", "0", "--fault", fault) as simulator:
        ann, ben = simulator.client(ANN), simulator.client(BEN)
        assert ann.sign_in().status == ben.sign_in().status == 200
        assert ben.watch(ANN).status == 200
        assert ann.publish(note("probe")).status == 200
        assert b"probe" in ben.next_request().body


def test_a_client_that_talks_nonsense_is_hung_up_on_and_others_go_on(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0") as simulator:
        ann = simulator.client(ANN)
        ann.sign_in()
        for nonsense in (
            b"\0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"x" * 100_000,
            b"A sip:b SIP/2.0\r\nContent-Length: 9999999\r\n\r\n",
        ):
            wire = SocketWire(simulator.tcp)
            wire.socket.sendall(nonsense)
            with pytest.raises((EOFError, ConnectionResetError)):
                wire.receive()
            wire.close()
        assert ann.subscribe_self().status == 200


def test_the_census_is_json_on_one_line(accounts: Path) -> None:
    with Simulator(accounts, "--tcp", "0") as simulator:
        assert json.dumps(simulator.census()) == json.dumps(
            {
                "users": {
                    address: {"endpoints": 0, "publications": 0, "subscriptions": 0, "answers": {}}
                    for address in (ANN, BEN)
                },
                "connections": 0,
            }
        )


def test_it_runs_without_a_home(accounts: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "HOME"}
    with Simulator(accounts, "--tcp", "0", env=env) as simulator:
        assert simulator.client(ANN).sign_in().status == 200


def test_the_check_does_not_load_the_simulator() -> None:
    code = "import sys, check_lync_presence.lync.association; print([m for m in sys.modules if 'simulator' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
