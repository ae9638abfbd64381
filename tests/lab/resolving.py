"""The check on a host that asks a name server of the test's: a mount namespace with a resolv.conf of its own.

glibc and dnspython know one port for name servers, so it is port 53, on a loopback address that nobody else has.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict

from ..commands import Finished, environment
from .namespace import seeing
from .required import without_lab

PACKAGES = "nsd util-linux"
LIMIT = 60.0  # seconds until a check that does not end is an error

# What glibc is told: ask DNS for every name.
_HOST = {
    "/etc/resolv.conf": "nameserver {address}\n",
    "/etc/nsswitch.conf": "hosts: dns\n",
    "/etc/hosts": "",
}


def free_address() -> str:
    """A loopback address whose port 53 nobody uses."""
    for number in range(1, 255):
        host = f"127.53.{os.getpid() % 256}.{number}"
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.create_server((host, 53)):
                datagrams.bind((host, 53))
                return host
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                without_lab(f"no name server can be run at {host} ({os.strerror(error.errno or 0)})", PACKAGES)
    return without_lab("somebody has port 53 of every address", PACKAGES)


class Host:
    """A host like this one but for its name server, with its files in `folder`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        mounts: Dict[Path, Path] = {}
        for place, text in _HOST.items():
            if Path(place).exists():
                file = folder / Path(place).name
                file.write_text(text.format(address=address))
                mounts[Path(place)] = file
        self.prefix = seeing(mounts)

    def check(self, *arguments: str) -> Finished:
        """Run the check there."""
        done = subprocess.run(
            [*self.prefix, sys.executable, "-m", "check_lync_presence", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
            env=environment(),
        )
        assert done.stderr == ""
        assert "Traceback" not in done.stdout
        return Finished(done.returncode, done.stdout, done.stderr)
