"""The simulator as a process, as a user starts it: ready line, census, end."""

from __future__ import annotations

import json
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from .client import ANN, BEN, DEADLINE, PASSWORDS, POOL, Client, SocketWire

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "check_lync_presence.simulator.command"]


def accounts_file(directory: Path) -> Path:
    """An accounts file of ann and ben."""
    path = directory / "accounts.ini"
    lines = [f"[{POOL}]"]
    for role, address in (("publisher", ANN), ("subscriber", BEN)):
        lines += [f"{role} = {address}", f"{role}_user = CONTOSO\\{address[4:7]}"]
        lines.append(f"{role}_password = {PASSWORDS[address]}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


class Simulator:
    """A running simulator. Use it as a context manager: it is stopped, and must have been quiet."""

    def __init__(self, accounts: Path, *options: str, env: Optional[Dict[str, str]] = None) -> None:
        self._buffer = b""
        self.process = subprocess.Popen(
            [*COMMAND, "--accounts", str(accounts), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=env,
        )
        self.clients: List[SocketWire] = []
        self.ready = self.next_fact()

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *error: object) -> None:
        for wire in self.clients:
            wire.close()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError("the simulator did not end on SIGTERM") from None
        assert (self.process.returncode, errors) == (0, b"")

    @property
    def tls(self) -> int:
        return int(self.ready["tls"])

    @property
    def tcp(self) -> int:
        return int(self.ready["tcp"])

    @property
    def udp(self) -> int:
        return int(self.ready["udp"])

    @property
    def context(self) -> ssl.SSLContext:
        """What a client needs to trust the simulator."""
        return ssl.create_default_context(cafile=self.ready["ca_file"])

    def next_fact(self) -> Dict[str, Any]:
        """The next JSON line."""
        assert self.process.stdout is not None
        end = time.monotonic() + DEADLINE
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not data:
                self.process.kill()
                _, errors = self.process.communicate()
                raise AssertionError(f"the simulator said {self._buffer!r} and {errors!r}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        fact: Dict[str, Any] = json.loads(line)
        return fact

    def census(self) -> Dict[str, Any]:
        """What clients have left behind, now."""
        self.process.send_signal(signal.SIGUSR1)
        return self.next_fact()

    def census_when(self, condition: Callable[[Dict[str, Any]], bool]) -> Dict[str, Any]:
        """The first census that fulfils `condition`."""
        end = time.monotonic() + DEADLINE
        while True:
            census = self.census()
            if condition(census):
                return census
            assert time.monotonic() < end, census

    def client(self, address: str, at: str = "127.0.0.1", **options: Any) -> Client:
        """A client on a connection of its own, over TLS where the simulator offers it."""
        wire = SocketWire(self.tls, self.context, at) if "tls" in self.ready else SocketWire(self.tcp, host=at)
        self.clients.append(wire)
        return Client(wire, address, PASSWORDS[address], **options)
