"""The real command line on a host whose resolver knows several addresses of the pool."""

from __future__ import annotations

import subprocess
import sys
from typing import List

from ..commands import Finished, environment

# What /etc/hosts or a zone would say.
_WITH_ADDRESSES = """\
import socket, sys
addresses, real = sys.argv.pop(1).split(), socket.getaddrinfo
def resolver(host, *rest):
    hosts = addresses if host == b"pool01.contoso.example" else [host]
    return [found for address in hosts for found in real(address, *rest)]
socket.getaddrinfo = resolver
from check_lync_presence.__main__ import run
run()
"""


def with_addresses(addresses: str, *arguments: str) -> List[str]:
    """The command that runs the check where the pool has these addresses, with blanks in between."""
    return [sys.executable, "-c", _WITH_ADDRESSES, addresses, *arguments]


def run_with_addresses(addresses: str, *arguments: str) -> Finished:
    """Run that command."""
    done = subprocess.run(
        with_addresses(addresses, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        env=environment(),
    )
    return Finished(done.returncode, done.stdout, done.stderr)
