"""The check on a host that asks a name server of the test's: a mount namespace with a resolv.conf of its own.

glibc and dnspython know one port for name servers, so it is port 53, on a loopback address that nobody else has.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import List

from ..commands import Finished, environment
from .required import without_lab

PACKAGES = "nsd util-linux"
LIMIT = 60.0  # seconds until a check that does not end is an error

# What glibc is told: ask DNS for every name.
_HOST = {
    "/etc/resolv.conf": "nameserver {address}\n",
    "/etc/nsswitch.conf": "hosts: dns\n",
    "/etc/hosts": "",
}
_MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'


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
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        unshare = shutil.which("unshare") or without_lab("unshare is missing", PACKAGES)
        mounts: List[str] = []
        for place, text in _HOST.items():
            if Path(place).exists():
                (folder / Path(place).name).write_text(text.format(address=address))
                mounts += [str(folder / Path(place).name), place]
        self._prefix = [unshare, "--mount", *user, "sh", "-c", _MOUNT, "sh", *mounts, "--"]
        tried = subprocess.run([*self._prefix, "true"], capture_output=True, encoding="utf-8", check=False)
        if tried.returncode:
            without_lab(f"no mount namespace can be made ({tried.stderr.strip()})", PACKAGES)

    def check(self, *arguments: str) -> Finished:
        """Run the check there."""
        done = subprocess.run(
            [*self._prefix, sys.executable, "-m", "check_lync_presence", *arguments],
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
