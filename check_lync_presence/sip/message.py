"""SIP messages as values (RFC 3261 section 7).

Owns the shape of a message: start line, header fields, body. pyVoIP's ``SIPMessage`` judges the start
line and the CSeq and ``SIPStatus`` knows the reason phrases; this module hands it a head that it can read
(unfolded, long names, one blank after the colon) and keeps what it drops: every value of every header,
compact names, bodies that are not SDP. Must not know streams, dialogs or what a header means to a dialect.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

# pyVoIP.SIP imports pyVoIP.VoIP.status and that package imports pyVoIP.SIP: only this order works.
import pyVoIP.VoIP  # noqa: F401  # isort: skip
from pyVoIP.SIP import SIPMessage, SIPMessageType, SIPStatus  # isort: skip

from ..value import NamedTuple

MAX_HEADERS = 200  # a real server sends about 20; beyond that somebody plays games with our memory
MAX_CSEQ = 2**31 - 1  # RFC 3261 8.1.1.5

# RFC 3261 7.3.3, RFC 6665 8.2: the single letters that may stand for a header's name.
COMPACT_NAMES = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
}

# RFC 3261 table 2, by name in lower case.
_ONCE = {"call-id": "Call-ID", "cseq": "CSeq", "from": "From", "to": "To"}

_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+\Z")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?\Z")
_REQUEST_LINE = re.compile(r"([A-Za-z0-9.!%*_+`'~-]+) (\S+) SIP/2\.0\Z")
# Names and values without the blanks around them; a line that begins with a blank belongs to the one before it.
_FIELD = re.compile(r"^([A-Za-z0-9.!%*_+`'~-]+)[ \t]*:[ \t]*(.*[^ \t\n])?[ \t]*$", re.MULTILINE)
_CSEQ = re.compile(r"([0-9]{1,10})[ \t]+([A-Za-z0-9.!%*_+`'~-]+)\Z")

# Which header carries a challenge and which its answer, by the status of the challenge (RFC 3261 22.2, 22.3).
CREDENTIALS_HEADER = {401: "Authorization", 407: "Proxy-Authorization"}
CHALLENGE_HEADER = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}

Header = Tuple[str, str]


class ParseError(ValueError):
    """The octets are not a SIP message; the text says which rule they break."""


class CSeq(NamedTuple):
    """A CSeq header: sequence number and method (RFC 3261 20.16)."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class _AnyMethod(List[str]):
    """Stands where pyVoIP keeps its list of four methods: any token is a method (RFC 3261 7.1)."""

    def __contains__(self, method: object) -> bool:
        return isinstance(method, str) and _TOKEN.match(method) is not None


class _PyVoIPHead(SIPMessage):
    def parse(self, data: bytes) -> None:
        self.SIPCompatibleMethods = _AnyMethod()
        super().parse(data)


class _Message:
    """What requests and responses share: ordered header fields and a body of octets. Neither is changed afterwards."""

    __slots__ = ("_cseq", "_values", "body", "headers")

    def __init__(self, headers: Iterable[Header], body: bytes) -> None:
        self.headers: Tuple[Header, ...] = tuple(headers)
        self.body = body
        self._values: Optional[Dict[str, List[str]]] = None
        self._cseq: Optional[CSeq] = None

    def get(self, name: str) -> Optional[str]:
        """The first value of the header `name`, without regard to case, or None."""
        values = (self._values or self.values).get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> Tuple[str, ...]:
        """Every value of the header `name`, in the order of the message."""
        return tuple((self._values or self.values).get(name.lower(), ()))

    @property
    def values(self) -> Dict[str, List[str]]:
        """The values by header name in lower case."""
        # A message is asked for its headers some thirty times.
        if self._values is None:
            values: Dict[str, List[str]] = {}
            for name, value in self.headers:
                name = name.lower()
                if name in values:
                    values[name].append(value)
                else:
                    values[name] = [value]
            self._values = values
        return self._values

    @property
    def call_id(self) -> str:
        """The Call-ID; parse() refuses messages without one."""
        return self.get("Call-ID") or ""

    @property
    def cseq(self) -> CSeq:
        """The CSeq; parse() refuses messages without a readable one."""
        if self._cseq is None:
            match = _CSEQ.match(self.get("CSeq") or "")
            if match is None:
                raise ParseError("the message has no CSeq")
            self._cseq = CSeq(int(match.group(1)), match.group(2))
        return self._cseq

    @property
    def start_line(self) -> str:
        raise NotImplementedError

    def __bytes__(self) -> bytes:
        lines = [self.start_line]
        lines.extend(f"{name}: {value}" for name, value in self.headers if name.lower() != "content-length")
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body


class Request(_Message):
    """A request. `uri` is the Request-URI as it stands on the wire."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Iterable[Header], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def with_headers(self, *extra: Header) -> Request:
        """The same request with header fields added at its end."""
        return Request(self.method, self.uri, self.headers + extra, self.body)


class Response(_Message):
    """A response. `reason` is the phrase on the wire, or the standard's where the wire has none."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, headers: Iterable[Header], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    @property
    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def with_headers(self, *extra: Header) -> Response:
        """The same response with header fields added at its end."""
        return Response(self.status, self.reason, self.headers + extra, self.body)


Message = Union[Request, Response]


def reason_phrase(status: int) -> str:
    """The standard's phrase for a status code, ``""`` where pyVoIP's table has none."""
    try:
        return str(SIPStatus(status).phrase)
    except ValueError:
        return ""


def parse_head(head: bytes) -> Message:
    """Read a message head (start line and header fields, without the empty line) into a message without body.

    Raises ParseError and nothing else, whatever the octets are.
    """
    text = head.decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise ParseError("the message head has a NUL octet")
    text = text.replace("\r\n", "\n")
    if "\r" in text:
        raise ParseError("the message head has a CR without its LF")
    start_line, _, fields = text.partition("\n")
    message = _message(start_line, _headers(fields))
    _judge(message)
    return message


def with_body(message: Message, body: bytes) -> Message:
    """The message that `message`, a head by itself, becomes once its body has arrived."""
    message.body = body
    return message


def _headers(text: str) -> List[Header]:
    # All lines at once, for every message of a run comes this way; few have folded ones.
    fields = _FIELD.findall(text)
    if len(fields) != _lines(text):
        text = _unfold(text)
        fields = _FIELD.findall(text)
        if len(fields) != _lines(text):
            raise ParseError("a line of the message head is not a header field")
    if len(fields) > MAX_HEADERS:
        raise ParseError(f"the message has more than {MAX_HEADERS} header fields")
    return [(name if name[1:] else COMPACT_NAMES.get(name.lower(), name), value) for name, value in fields]


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _unfold(text: str) -> str:
    lines: List[str] = []
    for line in text.split("\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] = lines[-1].rstrip(" \t") + " " + line.strip(" \t")  # RFC 3261 7.3.1
        else:
            lines.append(line)
    return "\n".join(lines)


def _message(start_line: str, headers: List[Header]) -> Message:
    status = _STATUS_LINE.match(start_line)
    if status is not None:
        code = int(status.group(1))
        return Response(code, (status.group(2) or "").strip() or reason_phrase(code), headers)
    request = _REQUEST_LINE.match(start_line)
    if request is not None:
        return Request(request.group(1), request.group(2), headers)
    raise ParseError("the start line is neither a SIP request nor a SIP response")


def _judge(message: Message) -> None:
    """Let pyVoIP read what it reads well, and hold its reading against ours."""
    values = message.values
    for name in _ONCE:
        if name in values and len(values[name]) > 1:
            raise ParseError(f"the message has more than one {_ONCE[name]}")
    if not message.call_id:
        raise ParseError("the message has no Call-ID")
    cseq = message.cseq
    if cseq.number > MAX_CSEQ:
        raise ParseError("the CSeq number is too large")
    status = message.status if isinstance(message, Response) else None
    method = None if isinstance(message, Response) else message.method
    if _read_by_pyvoip(status, method, cseq.method) != (status is not None, cseq.method):
        raise ParseError("the message head can be read in two ways")
    if method not in (None, cseq.method):
        raise ParseError("the method of the request is not the method of its CSeq")


@lru_cache(maxsize=64)  # most messages of a run begin like another one
def _read_by_pyvoip(status: Optional[int], method: Optional[str], cseq_method: str) -> Tuple[bool, str]:
    """Whether it is a response, and the method of its CSeq. Raises ParseError."""
    if status is None:
        start_line = f"{method} sip:a SIP/2.0"
    else:
        # RFC 3261 8.1.3.2: a code one does not know counts as the x00 of its class.
        start_line = f"SIP/2.0 {status if reason_phrase(status) else status // 100 * 100} -"
    clean = f"{start_line}\r\nCSeq: 1 {cseq_method}\r\nContent-Length: 0\r\n\r\n"
    try:
        head: Any = _PyVoIPHead(clean.encode("utf-8", "surrogateescape"))
        return head.type == SIPMessageType.RESPONSE, head.headers["CSeq"]["method"]
    except Exception as error:  # pyVoIP raises IndexError, KeyError, ValueError, SIPParseError … as it goes
        raise ParseError(f"pyVoIP cannot read the message head: {type(error).__name__}") from None
