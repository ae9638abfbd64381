"""A Recording as a file: one JSON object a line, the run's facts first, then the messages; and back again.

Owns the format. Secrets are taken out here, by the one redaction there is (report.text). What is read is checked field
by field: a damaged file is a SettingsError that names the line.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from typing import Dict, Mapping, Optional, Tuple

from ..outcome import Signature, WireMessage
from ..report.text import Redact, Redaction, credentials, readable, sent
from ..settings import MAX_TIME, Settings, SettingsError
from ..value import NamedTuple
from .plain import Json, WrongValue, from_plain, to_plain
from .values import Recording

FORMAT = 1
# What is written elsewhere, or is nobody else's business: (where it stands, name).
_LEFT_OUT = (
    ("", "messages"),
    *(("settings", name) for name in ("state_folders", "report", "trace", "accounts_file", "origins")),
)
MAX_FILE = 256 * 1024 * 1024  # what is kept of a run (useragent), each octet of it written as six

_NTLM_CHALLENGE = b"NTLMSSP\0\2\0\0\0"
_TOKEN = b'gssapi-data="'


def to_lines(recording: Recording, verdict: Mapping[str, str]) -> str:
    """The text of a trace. `verdict` is what was said of the run, for whoever reads the file."""
    facts = {"trace": FORMAT, "verdict": dict(verdict), **to_plain(recording._replace(messages=()))}
    for where, name in _LEFT_OUT:
        del (facts[where] if where else facts)[name]
    redact = Redaction(recording.settings.secrets, credentials(sent(recording.messages)))
    lines = [_redacted(facts, redact)]
    lines += [_to_line(message, recording.settings, redact) for message in recording.messages]
    return "".join(json.dumps(line) + "\n" for line in lines)


def read_trace(path: str) -> Recording:
    """The recording in the file `path`. Raises SettingsError."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SettingsError(f"the trace {path} is not a regular file")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise SettingsError(f"cannot read the trace {path}: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise SettingsError(f"the trace {path} is larger than {MAX_FILE >> 20} MiB; is it the right file?")
    number = 1
    try:
        first, *lines = data.rstrip(b"\n").split(b"\n")
        recording = _facts(_object(first))
        messages = []
        for line in lines:
            number += 1
            messages.append(_message(_object(line)))
    except WrongValue as error:
        raise SettingsError(f"the trace {path} cannot be played: line {number}: {error}") from None
    return recording._replace(messages=tuple(messages))


# ------------------------------------------------------------------- writing


def _redacted(value: Json, redact: Redact) -> Json:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {name: _redacted(item, redact) for name, item in value.items()}
    return value


def _to_line(message: WireMessage, settings: Settings, redact: Redact) -> Dict[str, Json]:
    line: Dict[str, Json] = {
        "at": round(message.at, 6),
        "connection": message.connection,
        "user": redact(message.user),
        "role": "publisher" if message.user == settings.publisher.uri else "subscriber",
        "direction": "sent" if message.sent else "received",
        "transport": settings.transport,
    }
    text = readable(message, redact)
    if not message.sip:
        return {**line, "octets": text}
    head, _, body = text.partition("\r\n\r\n")
    start_line, *fields = head.split("\r\n")
    line["start_line"] = start_line
    line["headers"] = [list(field.partition(": ")[::2]) for field in fields]
    line["body"] = body
    if message.signature is not None:
        line["signature"] = message.signature.value
    challenge = None if message.sent else _harmless_challenge(message.data)
    if challenge is not None:
        line["challenge"] = challenge
    return line


def _harmless_challenge(data: bytes) -> Optional[str]:
    """The NTLM challenge in a message, without the random number that a response answers; None: there is none."""
    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        if not name.lower().endswith(b"-authenticate") or not value.lower().startswith(b"ntlm "):
            continue
        text = value.partition(_TOKEN)[2].partition(b'"')[0]
        if not text:
            continue
        try:
            token = base64.b64decode(text, validate=True)
        except binascii.Error:
            return "not base64"
        if token.startswith(_NTLM_CHALLENGE):
            token = token[:24] + b"\0" * len(token[24:32]) + token[32:]
        return base64.b64encode(token).decode()
    return None


# ------------------------------------------------------------------- reading


def _object(line: bytes) -> Dict[str, Json]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise WrongValue("it is not JSON") from None
    if not isinstance(value, dict):
        raise WrongValue("it is not an object")
    return value


def _facts(item: Dict[str, Json]) -> Recording:
    if item.get("trace") != FORMAT:
        raise WrongValue(f"it does not begin a trace of format {FORMAT}")
    settings = item.get("settings")
    if isinstance(settings, dict):
        settings["state_folders"] = []
    recording: Recording = from_plain(Recording, item, "")
    for name in ("timeout", "notify_timeout"):
        if not 0 < getattr(recording.settings, name) <= MAX_TIME:
            raise WrongValue(f"settings.{name} is no time limit")
    if not recording.complete:
        raise WrongValue("the server has sent more than was kept")
    return recording


def _message(item: Dict[str, Json]) -> WireMessage:
    line: _Line = from_plain(_Line, item, "")
    if line.direction not in ("sent", "received"):
        raise WrongValue("direction is neither sent nor received")
    if line.octets is not None:
        data = _octets(line.octets)
    else:
        body = _octets(line.body)
        head = [line.start_line]
        head += [f"{name}: {value}" for name, value in line.headers if name.lower() != "content-length"]
        data = _octets("\r\n".join([*head, f"Content-Length: {len(body)}"])) + b"\r\n\r\n" + body
        if line.challenge is not None:
            data = data.replace(_TOKEN + b'***"', _TOKEN + _octets(line.challenge) + b'"', 1)
    sent, is_sip = line.direction == "sent", line.octets is None
    return WireMessage(line.at, line.user, sent, data, line.signature, line.connection, is_sip)


def _octets(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise WrongValue("it has characters that stand for no octets") from None


class _Line(NamedTuple):
    at: float
    connection: int
    user: str
    direction: str
    start_line: str = ""
    headers: Tuple[Tuple[str, str], ...] = ()
    body: str = ""
    signature: Optional[Signature] = None
    challenge: Optional[str] = None
    octets: Optional[str] = None
