"""Messages out of a byte stream (RFC 3261 section 18.3).

A StreamFramer swallows octets as they come from TCP or TLS, in whatever pieces, and hands out whole messages.
Must not know sockets; the limits below bound what a peer can make us hold.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional

from .message import Message, ParseError, parse_head, with_body

# A real pool's longest head is one Authorization line of a few kB.
MAX_HEAD = 64 * 1024
# A pool takes at most 256 kB from a client (MaxClientMessageBodySizeKb); what it sends back is of that order.
MAX_BODY = 1024 * 1024

_DIGITS = re.compile(r"[0-9]{1,10}\Z")


class StreamFramer:
    """Octets in (`feed`), messages out (iterate). After a ParseError the stream is lost: nothing can be found again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head: Optional[Message] = None
        self._raw_head = b""
        self._length = 0

    @property
    def partial(self) -> bool:
        """Whether part of a message is waiting for its rest."""
        return bool(self._buffer) or self._head is not None

    @property
    def rest(self) -> bytes:
        """The octets that are no whole message, or, after a ParseError, no message at all."""
        return self._raw_head + bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes. Raises ParseError on what cannot be a SIP stream."""
        self._buffer += data
        while True:
            message = self._next()
            if message is None:
                return
            yield message

    def _next(self) -> Optional[Message]:
        buffer = self._buffer
        if self._head is None:
            self._skip_keep_alives()
            end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
            # Up to three octets of the empty line may have come already: they are no part of the head.
            if (end if end >= 0 else len(buffer) - 3) > MAX_HEAD:
                raise ParseError(f"a message head of more than {MAX_HEAD // 1024} KiB")
            if end < 0:
                self._searched = len(buffer)
                return None
            self._searched = 0
            head = parse_head(bytes(buffer[:end]))
            self._length = _content_length(head)
            self._head = head
            self._raw_head = bytes(buffer[: end + 4])
            del buffer[: end + 4]
        if len(buffer) < self._length:
            return None
        message = with_body(self._head, bytes(buffer[: self._length]))
        del buffer[: self._length]
        self._head, self._raw_head = None, b""
        return message

    def _skip_keep_alives(self) -> None:
        # CR and LF between messages are keep-alives (RFC 5626 3.5.1, RFC 3261 7.5).
        buffer = self._buffer
        index = 0
        while index < len(buffer) and buffer[index] in b"\r\n":
            index += 1
        if index:
            del buffer[:index]
            self._searched = 0


def read_datagram(data: bytes) -> Iterator[Message]:
    """The message in a datagram (RFC 3261 18.3): its body ends with Content-Length or with the datagram.

    Raises ParseError.
    """
    if not data.strip(b"\r\n\0"):
        return  # a keep-alive: CR and LF (RFC 5626), or the zeros that Kamailio sends to clients behind a NAT
    head, separator, rest = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise ParseError("a message without the empty line that ends its head")
    message = parse_head(head)
    length = _content_length(message) if message.get("Content-Length") is not None else len(rest)
    if length > len(rest):
        raise ParseError("a datagram that is shorter than its message")
    yield with_body(message, rest[:length])


def _content_length(head: Message) -> int:
    values = set(head.all("Content-Length"))
    if not values:
        if head.get("Content-Type") is not None:
            raise ParseError("a message with a body and without Content-Length on a stream")
        return 0
    if len(values) > 1:
        raise ParseError("a message with two Content-Lengths")
    value = values.pop()
    if not _DIGITS.match(value):
        raise ParseError("a Content-Length that is not a number")
    length = int(value)
    if length > MAX_BODY:
        raise ParseError(f"a message body of more than {MAX_BODY // 1024} KiB")
    return length
