"""Two real Lync clients, pidgin-sipe in libpurple, sign in to the simulator and see each other's presence.

What the simulator and the check could have got wrong together shows here: signing, NTLM, framing and the documents
are judged by a client that neither of them shares a line with.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ..simulator_unit.client import ANN, BEN, PASSWORDS, POOL
from ..simulator_unit.process import Simulator, accounts_file
from .kerberos import REALM, configured, gssapi
from .people import PASSWORD
from .required import without_lab
from .samba_ad.server import SambaAD

SOURCES = Path(__file__).parent / "pidgin_sipe"
PACKAGES = "pidgin-sipe libpurple0 libpurple-dev libglib2.0-dev libxml2-dev gcc make pkg-config openssl"
USERS = ((ANN, "ann"), (BEN, "ben"))
LIMIT = 60.0  # seconds for one event; pidgin-sipe takes some of them before it tells of a new status
COMPLAINTS = (
    "signature of incoming message is invalid",
    "without authentication data",
    "error parsing xml",
    "incompatible NTLM",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver of pidgin-sipe, built."""
    for tool in ("gcc", "make", "pkg-config"):
        if shutil.which(tool) is None:
            without_lab(f"{tool} is missing", PACKAGES)
    if subprocess.run(["pkg-config", "--exists", "purple", "glib-2.0", "libxml-2.0"], check=False).returncode:
        without_lab("the headers of libpurple, glib or libxml2 are missing", PACKAGES)
    asked = ["pkg-config", "--variable=plugindir", "purple"]
    plugins = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not any((Path(place) / "libsipe.so").exists() for place in (plugins, "/usr/lib/purple-2")):
        without_lab("pidgin-sipe is missing", PACKAGES)
    place = tmp_path_factory.mktemp("pidgin_sipe") / "build"
    shutil.copytree(SOURCES, place)
    built = subprocess.run(["make", "-C", str(place), "driver"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return place / "driver"


class Pidgin:
    """A running pidgin-sipe, told what to do line by line."""

    def __init__(
        self,
        driver: Path,
        simulator: Simulator,
        transport: str,
        address: str,
        home: Path,
        *more: str,
        **environment: str,
    ) -> None:
        self.address = address
        self.log = home / "debug"
        self._events: queue.Queue[Dict[str, Any]] = queue.Queue()
        self._seen: List[Dict[str, Any]] = []
        home.mkdir()
        name = address[4:].partition("@")[0]
        arguments = ["--port", str(simulator.ready[transport]), "--transport", transport, "--user", address[4:]]
        arguments += ["--login", f"CONTOSO\\{name}", "--password", PASSWORDS[address]]
        arguments += ["--home", str(home), "--debug", str(self.log), "--timeout", "300"]
        if transport == "tls":
            certificate = home / "peer.pem"
            certificate.write_text(ssl.get_server_certificate(("127.0.0.1", simulator.tls)))
            arguments += ["--peer-cert", str(certificate)]
        self.process = subprocess.Popen(
            [str(driver), *arguments, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(home), **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "end"})

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait_for(self, **wanted: str) -> None:
        """Wait for an event with these members."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.address} did not see {wanted}, but {self._seen}") from None
            self._seen.append(event)
            if wanted.items() <= event.items():
                return
            assert event["event"] not in ("end", "connection-error", "timeout"), self._seen

    def leave(self) -> int:
        """Sign off; the exit status."""
        self.tell("leave")
        return self.process.wait(LIMIT)

    def stop(self) -> None:
        """End it in any case."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def judgement(*clients: Pidgin) -> tuple[int, list[str]]:
    """(how many signatures of the server were found right, what was complained about)."""
    lines = [line for client in clients for line in client.log.read_text(errors="replace").splitlines()]
    good = sum("signature of incoming message validated" in line for line in lines)
    return good, [line for line in lines if any(complaint in line for complaint in COMPLAINTS)]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_two_pidgin_sipe_clients_see_each_others_presence_change(driver: Path, tmp_path: Path, transport: str) -> None:
    with Simulator(accounts_file(tmp_path), f"--{transport}", "0") as simulator:
        good, complaints = see_each_other(
            simulator,
            *(Pidgin(driver, simulator, transport, address, tmp_path / name) for address, name in USERS),
        )
    assert complaints == []
    assert good >= 20  # sign-in, three subscriptions, publications, notifications: of two clients


def test_two_pidgin_sipe_clients_sign_in_with_kerberos(driver: Path, samba: SambaAD, tmp_path: Path) -> None:
    service = tmp_path / "service.keytab"
    samba.export_keytab(f"sip/{POOL}", service)
    kerberos = {**gssapi(tmp_path), **configured(tmp_path, f"{samba.host}:{samba.kerberos}")}
    options = ("--tls", "0", "--offer", "kerberos", "--keytab", str(service))
    with Simulator(accounts_file(tmp_path), *options, env={**os.environ, **kerberos}) as simulator:
        clients = []
        for address, name in USERS:
            # pidgin-sipe takes what stands before the \\ for the realm.
            more = ("--authentication", "krb5", "--login", f"{REALM}\\{name}", "--password", PASSWORD)
            clients.append(Pidgin(driver, simulator, "tls", address, tmp_path / name, *more, **kerberos))
        good, complaints = see_each_other(simulator, *clients)
    assert complaints == []
    assert good >= 20


def test_two_pidgin_sipe_clients_get_certificates_and_sign_in_with_tls_dsk(driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")
    with Simulator(accounts_file(tmp_path), "--tls", "0", "--offer", "tls-dsk") as simulator:
        clients = [
            Pidgin(driver, simulator, "tls", address, tmp_path / name, "--authentication", "tls-dsk")
            for address, name in USERS
        ]
        good, complaints = see_each_other(simulator, *clients)
    assert complaints == []
    assert good >= 20


def see_each_other(simulator: Simulator, ann: Pidgin, ben: Pidgin) -> tuple[int, list[str]]:
    """Two clients sign on, see each other change, and sign off; the judgement of theirs."""
    try:
        ann.wait_for(event="signed-on")
        ben.wait_for(event="signed-on")
        # Having published, they have read their lists of contacts; before that, pidgin-sipe forgets a new one.
        simulator.census_when(lambda census: all(census["users"][who]["publications"] for who in (ANN, BEN)))
        ann.tell(f"buddy {BEN}")
        ben.tell(f"buddy {ANN}")
        ann.wait_for(event="buddy-status", buddy=BEN, new="available")
        ben.wait_for(event="buddy-status", buddy=ANN, new="available")
        ben.tell("status busy")
        ann.wait_for(event="buddy-status", buddy=BEN, new="busy")
        ann.tell("status away")
        ben.wait_for(event="buddy-status", buddy=ANN, new="away")
        assert ben.leave() == 0
        ann.wait_for(event="buddy-status", buddy=BEN, new="offline")
        assert ann.leave() == 0
        census = simulator.census_when(lambda census: census["connections"] == 0)
        assert [census["users"][who]["endpoints"] for who in (ANN, BEN)] == [0, 0]
        return judgement(ann, ben)
    finally:
        for client in (ann, ben):
            client.stop()
