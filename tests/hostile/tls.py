"""A server's side of TLS."""

from __future__ import annotations

import hmac
import socket
import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..transcripts import POOL


class Tls:
    """A server's side of TLS for the pool's name, and the file with its CA."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.certificate = authority.issue_cert(POOL)
        self.context = self._fresh_context()
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)

    def _fresh_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        return context

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        return self.context.wrap_socket(sock, server_side=True)

    def tickets(self, sock: socket.socket) -> None:
        """TLS 1.3, and then session tickets (RFC 8446 4.6.1) for as long as the client takes them.

        ssl sends no more than a few: so the records behind the handshake are encrypted here (5.2, 7.3).
        """
        context = self._fresh_context()
        context.num_tickets = 0
        keys = self.folder / f"keys-{sock.getpeername()[1]}"
        context.keylog_filename = str(keys)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        sock.sendall(outgoing.read())
        lines = [line.split() for line in keys.read_text(encoding="ascii").splitlines()]
        secret = next(bytes.fromhex(line[2]) for line in lines if line[0] == "SERVER_TRAFFIC_SECRET_0")
        cipher = session.cipher()
        assert cipher is not None
        assert cipher[0] == "TLS_AES_256_GCM_SHA384"
        key, iv = AESGCM(_expanded(secret, b"key", 32)), int.from_bytes(_expanded(secret, b"iv", 12), "big")
        # Good for two hours, age_add 1, nonce 01, ticket "x", no extensions.
        ticket = b"\x04\0\0\x0f" + b"\0\0\x1c\x20" + b"\0\0\0\x01" + b"\x01\x01" + b"\0\x01x" + b"\0\0"
        content = ticket * (16_000 // len(ticket)) + b"\x16"  # inside it is a handshake record
        head = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
        sequence = 0
        while True:
            sock.sendall(head + key.encrypt((iv ^ sequence).to_bytes(12, "big"), content, head))
            sequence += 1


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without a context, of one block."""
    info = length.to_bytes(2, "big") + bytes([len(label) + 6]) + b"tls13 " + label + b"\0"
    return hmac.digest(secret, info + b"\x01", "sha384")[:length]
