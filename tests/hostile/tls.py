"""A server's side of TLS."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trustme

from ..transcripts import POOL


class Tls:
    """A server's side of TLS for the pool's name, and the file with its CA."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(POOL).configure_cert(self.context)
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        return self.context.wrap_socket(sock, server_side=True)
