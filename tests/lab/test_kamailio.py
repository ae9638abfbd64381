"""A real SIMPLE server, Kamailio, and the real command line.

What the check and our own servers could have got wrong together shows here. The check tells Kamailio from Lync by its
challenge, or is told; it leaves nothing behind, and says what is wrong when something is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest
import trustme

from check_lync_presence.net.resolve import Address
from check_lync_presence.net.transport import open_connection
from check_lync_presence.settings import Account, Secret
from check_lync_presence.simple.endpoint import SimpleEndpoint
from check_lync_presence.useragent import UserAgent

from ..commands import Finished, run_check, write_accounts
from ..loopback import finish, soon
from ..tiny_nameserver import NameServer, records
from .required import without_lab
from .resolving import Host, free_address

SOURCES = Path(__file__).parent / "kamailio"
TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
MODULES = ("ctl", "db_text", "presence", "presence_xml", "tls")
PACKAGES = "kamailio kamailio-presence-modules kamailio-tls-modules kamailio-xml-modules kamailio-utils-modules"
SERVER = "sip01.contoso.example"
LIMIT = 20.0  # seconds until Kamailio listens; it takes one
PACE = 0.02  # seconds between two looks at a starting server
PASSWORDS = {name: f"Secret-of-{name}.1" for name in ("ann", "ben", "silenced", "unheard", "hidden", "forgotten")}
LABELS = ["latency", "notify", "publish", "register", "subscribe", "success", "unregister"]


class Kamailio:
    """A running Kamailio with its state in a folder of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.tcp, self.tls = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.tcp6, self.tls6 = free_port("::1"), free_port("::1")
        self.log = state / "log"
        self._tables()
        authority = trustme.CA()
        self.ca_file = state / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert(SERVER)
        certificate.private_key_pem.write_to_path(str(state / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(state / "cert.pem"))
        text = (SOURCES / "kamailio.cfg").read_text(encoding="utf-8")
        for name, value in (
            ("TCP", self.tcp),
            ("TLS", self.tls),
            ("TCP6", self.tcp6),
            ("TLS6", self.tls6),
            ("STATE", state),
        ):
            text = text.replace(f"@{name}@", str(value))
        (state / "kamailio.cfg").write_text(text, encoding="utf-8")
        (state / "run").mkdir()
        places = ["-f", str(state / "kamailio.cfg"), "-w", str(state), "-Y", str(state / "run")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program("kamailio"), "-DD", "-E", "-m", "32", "-M", "8", *places],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _tables(self) -> None:
        tables = self.state / "db"
        tables.mkdir()
        for name in ("version", "subscriber", "presentity", "active_watchers", "watchers", "xcap", "location"):
            shutil.copy(TABLES / name, tables / name)
        with (tables / "subscriber").open("a", encoding="utf-8") as subscribers:
            for number, (name, password) in enumerate(PASSWORDS.items(), 1):
                subscribers.write(f"{number}:{name}:contoso.example:{password}:x:x\n")

    def _wait(self) -> None:
        end = time.monotonic() + LIMIT
        for host, port in (("127.0.0.1", self.tcp), ("127.0.0.2", self.tls), ("::1", self.tls6)):
            while True:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port), LIMIT):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    raise AssertionError(f"Kamailio ended with {self.process.wait(PACE)}: {self.said()}")
                assert time.monotonic() < end, self.said()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it in any case; it ends its children."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"Kamailio did not end on SIGTERM: {self.said()}") from None

    # ---------------------------------------------------------------- to it

    def check(self, accounts: Path, *arguments: str, transport: str = "tls", **keywords: Any) -> Finished:
        """Run the check against it."""
        where = {
            "tls": ["--connect", f"127.0.0.1:{self.tls}", "--ca-file", str(self.ca_file)],
            "tcp": ["--connect", f"127.0.0.1:{self.tcp}", "--transport", "tcp"],
            "udp": ["--connect", f"127.0.0.1:{self.tcp}", "--transport", "udp"],
            "tls over IPv6": ["--connect", f"[::1]:{self.tls6}", "--ca-file", str(self.ca_file)],
            "tcp over IPv6": ["--connect", f"[::1]:{self.tcp6}", "--transport", "tcp"],
            "udp over IPv6": ["--connect", f"[::1]:{self.tcp6}", "--transport", "udp"],
        }[transport]
        # What was refused is remembered here, so that no run holds it against the next.
        keywords.setdefault("XDG_STATE_HOME", str(accounts.parent))
        return run_check("-H", SERVER, "--accounts", str(accounts), *where, *arguments, **keywords)

    # -------------------------------------------------------------- from it

    def bindings(self) -> List[str]:
        """The contacts that its location service has."""
        asked = [program("kamcmd"), "-s", f"unix:{self.state}/ctl", "ul.dump"]
        dump = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=LIMIT).stdout
        assert "Domain: location" in dump
        return re.findall(r"Address: (\S+)", dump)

    @contextlib.contextmanager
    def client(self, name: str) -> Iterator[SimpleEndpoint]:
        """A user on a connection of its own."""
        uri = f"sip:{name}@contoso.example"
        address = Address(socket.AF_INET, ("127.0.0.1", self.tcp))
        connection = finish(open_connection((address,), None, SERVER, soon()))
        agent = UserAgent(uri, connection, lambda digits: os.urandom(digits).hex()[:digits], time.monotonic, None)
        try:
            account = Account(uri, uri[len("sip:") :], Secret(PASSWORDS[name]))
            yield SimpleEndpoint(agent, account, "somebody else")
        finally:
            agent.close()

    def presence(self, name: str) -> str:
        """What another watcher is told of a user."""
        with self.client("silenced") as watcher:
            finish(watcher.subscribe(f"sip:{name}@contoso.example", soon()))
            request = finish(watcher.agent.notification(watcher.agent.dialogs[0], soon()))
            finish(watcher.unsubscribe(soon()))
        return str(request.body.decode())


def program(name: str) -> str:
    # Where administrators' programs are is not in everybody's path.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found or without_lab(f"{name} is missing", PACKAGES)


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        without_lab(f"this host has no {host} ({error.strerror})", PACKAGES)


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    places = [*Path("/usr/lib").glob("*/kamailio/modules"), Path("/usr/lib/kamailio/modules")]
    program("kamailio")
    for module in MODULES:
        if not any((place / f"{module}.so").exists() for place in places):
            without_lab(f"Kamailio's module {module} is missing", PACKAGES)
    if not TABLES.is_dir():
        without_lab(f"{TABLES} is missing", PACKAGES)
    running = Kamailio(tmp_path_factory.mktemp("kamailio"))
    try:
        yield running
        assert "CRITICAL" not in running.said()
    finally:
        running.stop()


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return accounts_of(tmp_path)


def accounts_of(folder: Path, publisher: str = "ann", password: str = "") -> Path:
    """An accounts file for `publisher` and ben."""
    secret = password or PASSWORDS.get(publisher, "Secret-of-nobody.1")
    text = (
        f"[{SERVER}]\npublisher = sip:{publisher}@contoso.example\npublisher_password = {secret}\n"
        f"subscriber = sip:ben@contoso.example\nsubscriber_password = {PASSWORDS['ben']}\n"
    )
    return write_accounts(folder / "accounts.ini", text)


def keeps_secrets(done: Finished) -> bool:
    """Whether nothing of a password, and nothing that one could be guessed from, is in the output."""
    secrets = [*PASSWORDS.values(), "Secret-of-", "Wrong-Secret"]
    digests = re.findall(r'\b(?:response|nonce|cnonce)="(?!\*\*\*")', done.stdout)
    return not digests and not any(secret in done.stdout + done.stderr for secret in secrets)


# ------------------------------------------------------------------- success


@pytest.mark.parametrize("transport", ["tls", "tcp", "udp", "tls over IPv6", "tcp over IPv6", "udp over IPv6"])
@pytest.mark.parametrize("protocol", ["auto", "simple"])
def test_a_presence_arrives(kamailio: Kamailio, accounts: Path, transport: str, protocol: str) -> None:
    done = kamailio.check(accounts, "--protocol", protocol, "-v", transport=transport)
    assert (done.code, done.stderr) == (0, ""), done.stdout
    reached = f"sip:ann@contoso.example reached sip:ben@contoso.example on {SERVER}"
    assert re.match(rf"LYNC PRESENCE OK - {re.escape(reached)} in \d\.\d{{3}} s \| ", done.first_line)
    assert sorted(done.perfdata) == sorted([*LABELS, *(["certificate_days"] if "tls" in transport else [])])
    assert 0 < float(done.perfdata["notify"].split(";")[0]) <= float(done.perfdata["latency"].split(";")[0]) < 5
    assert done.lines[1:6] == [
        f"TargetFqdn : {SERVER}",
        "Result     : Success",
        done.lines[3],
        "Error      :",
        "Diagnosis  :",
    ]
    assert "    Authentication: Digest" in done.lines
    assert "SelfSubscribe" not in done.stdout


def test_nothing_is_left_behind(kamailio: Kamailio, accounts: Path) -> None:
    with kamailio.client("ann") as user:  # what a publication looks like to another watcher, as long as it is there
        finish(user.publish("still here", user.account, lambda: None, soon()))
        assert "<basic>open</basic>" in kamailio.presence("ann")
        finish(user.withdraw(soon()))
    done = kamailio.check(accounts)
    assert done.code == 0
    assert "<basic>open</basic>" not in kamailio.presence("ann")
    assert kamailio.bindings() == []


def test_a_persons_phone_stays_registered(kamailio: Kamailio, accounts: Path) -> None:
    with kamailio.client("ann") as phone:
        finish(phone.register(soon()))
        contact = f"sip:ann@{phone.agent.connection.local};transport=tcp"
        try:
            assert kamailio.check(accounts).code == 0
            assert kamailio.bindings() == [contact]
        finally:
            finish(phone.unregister(soon()))
    assert kamailio.bindings() == []


def test_no_password_and_no_digest_is_printed_at_any_level(kamailio: Kamailio, accounts: Path) -> None:
    done = kamailio.check(accounts, "-vvv")
    assert 'response="***"' in done.stdout
    assert 'username="ann"' in done.stdout
    assert keeps_secrets(done)


def test_a_certificate_that_is_not_trusted_ends_it_before_any_password(kamailio: Kamailio, accounts: Path) -> None:
    done = kamailio.check(accounts, "-vvv", "--ca-file", "/etc/ssl/certs/ca-certificates.crt")
    assert (done.code, done.stderr) == (2, "")
    assert "is not trusted" in done.first_line
    assert "REGISTER" not in done.stdout


# ------------------------------------------------------------------ failures


def test_a_wrong_password_is_refused_once(kamailio: Kamailio, tmp_path: Path) -> None:
    done = kamailio.check(accounts_of(tmp_path, password="Wrong-Secret.1"), "-vvv")
    assert (done.code, done.stderr) == (2, "")
    failed = "LYNC PRESENCE CRITICAL - Register failed for sip:ann@contoso.example: 401, Unauthorized | "
    assert done.first_line.startswith(failed)
    assert "Error      : 401, Unauthorized" in done.lines
    assert len(re.findall(r"sent by sip:ann@contoso.example: REGISTER ", done.stdout)) == 3  # as Lync, open, signed
    assert len(re.findall(r'username="ann"', done.stdout)) == 1
    assert keeps_secrets(done)
    assert kamailio.bindings() == []


def test_a_refused_password_is_not_tried_again(kamailio: Kamailio, tmp_path: Path) -> None:
    accounts = accounts_of(tmp_path, password="Wrong-Secret.2")
    assert kamailio.check(accounts).code == 2
    done = kamailio.check(accounts, "-vvv")
    assert (done.code, done.stderr) == (2, "")
    assert "No attempt, refused since" in done.first_line
    assert "REGISTER" not in done.stdout


def test_an_unknown_user_is_refused(kamailio: Kamailio, tmp_path: Path) -> None:
    done = kamailio.check(accounts_of(tmp_path, "nobody"), "--protocol", "simple", "-vvv")
    assert (done.code, done.stderr) == (2, "")
    failed = "LYNC PRESENCE CRITICAL - Register failed for sip:nobody@contoso.example: 401, Unauthorized | "
    assert done.first_line.startswith(failed)
    assert keeps_secrets(done)
    assert kamailio.bindings() == []  # ben was signed off


def test_a_publication_that_is_refused_says_so(kamailio: Kamailio, tmp_path: Path) -> None:
    done = kamailio.check(accounts_of(tmp_path, "silenced"), "-vvv")
    assert (done.code, done.stderr) == (2, "")
    failed = "PublishPresence failed for sip:silenced@contoso.example: 403, Publishing is not for you"
    assert done.first_line.startswith(f"LYNC PRESENCE CRITICAL - {failed} | ")
    assert "Result     : Failure" in done.lines
    assert {"register", "subscribe"} <= done.perfdata.keys()
    assert not {"latency", "publish", "notify"} & done.perfdata.keys()
    assert done.perfdata["success"] == "0"
    assert keeps_secrets(done)
    assert kamailio.bindings() == []


def test_a_server_without_the_presence_event_says_so(kamailio: Kamailio, tmp_path: Path) -> None:
    done = kamailio.check(accounts_of(tmp_path, "hidden"), "-vvv")
    assert (done.code, done.stderr) == (2, "")
    failed = "SubscribePresence failed for sip:ben@contoso.example: 489, Bad Event"
    assert done.first_line.startswith(f"LYNC PRESENCE CRITICAL - {failed} | ")
    assert keeps_secrets(done)
    assert kamailio.bindings() == []


def test_a_notifier_that_has_stopped_is_told_from_a_lost_publication(kamailio: Kamailio, tmp_path: Path) -> None:
    done = kamailio.check(accounts_of(tmp_path, "unheard"), "--notify-timeout", "1", "-vvv")
    assert (done.code, done.stderr) == (2, "")
    failed = "PublishPresence failed: Presence notification is not received within 1 secs"
    assert done.first_line.startswith(f"LYNC PRESENCE CRITICAL - {failed} | ")
    assert "Error      : Presence notification is not received within 1 secs." in done.lines
    assert {"register", "subscribe", "publish"} <= done.perfdata.keys()
    assert not {"latency", "notify"} & done.perfdata.keys()
    assert "A new subscription shows it: storing works and notifying does not" in done.stdout
    assert keeps_secrets(done)
    assert kamailio.bindings() == []
    assert "<basic>open</basic>" not in kamailio.presence("unheard")


@pytest.mark.parametrize(
    ("former", "words"),
    [
        (
            False,
            "A new subscription shows nothing of the publisher: it was not stored, or the subscriber may not see it",
        ),
        (True, "A new subscription shows an older presence: it was not stored or not merged"),
    ],
)
def test_a_publication_that_is_not_stored_is_told_from_a_broken_notifier(
    kamailio: Kamailio, tmp_path: Path, former: bool, words: str
) -> None:
    with kamailio.client("forgotten") as phone:
        if former:
            finish(phone.publish("at lunch", phone.account, lambda: None, soon()))
        try:
            done = kamailio.check(accounts_of(tmp_path, "forgotten"), "--notify-timeout", "1")
        finally:
            finish(phone.withdraw(soon()))
    assert (done.code, done.stderr) == (2, "")
    assert "PublishPresence failed: Presence notification is not received within 1 secs" in done.first_line
    assert words in done.stdout
    assert kamailio.bindings() == []


# ---------------------------------------------------------------------- pool


@pytest.mark.parametrize("transport", ["tls", "tcp", "udp"])
def test_every_server_of_a_pool_and_every_way_between_two_is_tried(
    kamailio: Kamailio, accounts: Path, tmp_path: Path, transport: str
) -> None:
    host = Host(tmp_path, free_address())
    port = kamailio.tls if transport == "tls" else kamailio.tcp
    where = ["-H", SERVER, "-p", str(port), "--transport", transport, "--ca-file", str(kamailio.ca_file)]
    with NameServer({SERVER: records("A", "127.0.0.1", "127.0.0.2", "127.0.0.9")}, host.address, 53):
        done = host.check(*where, "--accounts", str(accounts), "--all-front-ends", "--timeout", "10")
    failed = f"LYNC PRESENCE CRITICAL - 1 of 3 front ends of {SERVER} fails: 127.0.0.9 "
    assert (done.code, done.first_line[: len(failed)]) == (2, failed), done.stdout
    assert [line.partition(",")[0] for line in done.lines if line.startswith("127.")] == [
        "127.0.0.1 : Success",
        "127.0.0.2 : Success",
        "127.0.0.9 : Failure",
    ]
    assert {"notify_127_0_0_2_to_127_0_0_1", "latency_127_0_0_1", "latency_127_0_0_2"} <= done.perfdata.keys()
    assert kamailio.bindings() == []


def test_a_lync_client_is_told_that_this_is_no_lync_server(kamailio: Kamailio, accounts: Path) -> None:
    done = kamailio.check(accounts, "--protocol", "lync", "-vvv")
    assert (done.code, done.stderr) == (2, "")
    assert "it offers Digest" in done.first_line
    assert "username=" not in done.stdout
