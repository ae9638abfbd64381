"""Text for a terminal and a monitoring system: the one place where untrusted text becomes printable.

Owns cleaning, redaction, the cmdlet's five lines, the activity log and the SIP log. Must not know nagiosplugin.
"""

from __future__ import annotations

import re
from typing import Collection, Dict, Iterable, List, Sequence, Tuple

from ..outcome import NOTIFY, PUBLISH, Activity, Cause, Diagnosis, Failure, Outcome, WireMessage
from ..settings import Settings

MAX_OUTPUT = 1023  # octets of a default output: NRPE v2 carries 1 KiB, and an end of it
MAX_LINE = 400  # characters of server text in one line
MAX_FIELD = 200  # the same in one of the cmdlet's lines
LEAST_FIELD = 100  # octets of it where other lines need the room
LEAST_TEXT = 60  # octets of a sentence that says something
LEAST_REASON = 20  # characters of a reason that do
CUT = "-v tells all of it."
LEAST_TOKEN = 16  # characters of a value that cannot be a word of somebody else's text
MAX_MESSAGE = 16 * 1024  # of one SIP message with -vvv

# Failures that say more of a server than of a user: where there is no room for both, whose connection it was goes.
_OF_THE_CONNECTION = (Cause.CLOSED, Cause.NO_ANSWER, Cause.SIGNATURE, Cause.PROVISIONING)

# Failures whose detail is a place or a file, and not a kind of fault: it may be another one for each user.
_OF_A_PLACE = (Cause.CLOSED, Cause.PROTOCOL, Cause.HELD_BACK)

# Controls, format characters (bidirectional marks, zero width), surrogates, private use, line separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

# What a signature or a token is computed from must not leave the process: NTLM responses can be cracked off line.
# A quotation that does not end is taken to end with its line. Compiled where it is needed: few runs show messages.
_SECRET_PARAMS = r'(?i)\b(gssapi-data|response|rspauth|cnonce|nonce)\s*=\s*("(?:[^"\\\r\n]|\\[^\r\n])*"?|[^\s,;"]+)'

# A private key in PEM, as it is or as Python writes strings; one that does not end goes on to the end of the text.
_PRIVATE_KEY = r"(?s)(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----).*?(?:-----END|\Z)"


def clean(text: str, limit: int = MAX_LINE) -> str:
    """`text` on one line, without control characters, markup of output (``|``) or invisible characters."""
    if not text.isascii() or not text.isprintable():
        from unicodedata import category

        text = "".join(" " if category(char) in _UNPRINTABLE else char for char in text)
    text = " ".join(text.split()).replace("|", "¦").replace("<", "‹").replace(">", "›")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def octets(lines: Iterable[str]) -> int:
    """What these lines take in an output."""
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)


def shortened(text: str, room: int) -> str:
    """`text` in at most `room` octets."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= room else f"{raw[: max(room - 3, 0)].decode('utf-8', 'ignore')}…"


def fitted(texts: Sequence[str], first: Collection[str], room: int) -> List[str]:
    """What `room` octets hold of `texts`, a line each, in their order; those in `first` have it before the others."""
    room -= octets([CUT])
    kept: Dict[str, str] = {}
    for text in sorted(texts, key=lambda text: text not in first):
        short = shortened(text, room - 1)
        if short == text or room > LEAST_TEXT:
            kept[text] = short
            room -= octets([short])
    return [*(kept[text] for text in texts if text in kept), *([CUT] if room >= 0 else [])]


def escaped(text: str) -> str:
    """`text` for HTML, in an element or an attribute; what is invisible shows as what cannot be shown."""
    from html import escape

    if not text.isascii() or not text.isprintable():
        from unicodedata import category

        text = "".join(
            "\ufffd" if category(char) in _UNPRINTABLE and char not in "\n\t" else char
            for char in text.replace("\r\n", "\n")
        )
    return escape(text)


def redact(text: str, secrets: Sequence[str]) -> str:
    """`text` without authentication values, without private keys and without the given secrets."""
    text = re.sub(_SECRET_PARAMS, lambda match: f'{match.group(1)}="***"', text)
    if "PRIVATE KEY-----" in text:
        text = re.sub(_PRIVATE_KEY, r"\1***", text)
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def credentials(messages: Sequence[WireMessage]) -> Tuple[str, ...]:
    """Tokens, responses and signatures that were sent: a server may say them again under another name."""
    texts = (message.data.decode("utf-8", "replace") for message in messages if message.sent)
    found = (value.strip('"') for text in texts for _, value in re.findall(_SECRET_PARAMS, text))
    return tuple(dict.fromkeys(value for value in found if len(value) >= LEAST_TOKEN))


def time_span(seconds: float) -> str:
    """Seconds as .NET prints a TimeSpan: ``00:00:00.2140315``, ``00:00:00`` for none."""
    ticks = round(seconds * 10_000_000)
    whole, fraction = divmod(ticks, 10_000_000)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{fraction:07d}" if fraction else text


def cmdlet_lines(outcome: Outcome, diagnosis: Diagnosis, limit: int = 4 * MAX_FIELD) -> List[str]:
    """The five properties of the cmdlet's output object, each value of at most `limit` octets."""
    fields = (
        ("TargetFqdn", outcome.target),
        ("Result", "Success" if outcome.success else "Failure"),
        ("Latency", time_span(outcome.latency or 0.0) if outcome.success else time_span(0.0)),
        ("Error", diagnosis.error),
        ("Diagnosis", diagnosis.diagnosis),
    )
    return [f"{name:<11}: {shortened(clean(value, MAX_FIELD), limit)}".rstrip() for name, value in fields]


def front_end_lines(outcome: Outcome) -> List[str]:
    """A line for each front end that was tried by itself, and for each way between two that failed."""
    lines = []
    for front_end in outcome.front_ends:
        if front_end.failures:
            verdict = f"Failure, {what_failed(front_end)}"
        else:
            verdict = f"Success, {time_span(front_end.latency or 0.0)}"
        lines.append(f"{front_end.server} : {verdict}")
        for other, path in front_end.paths.items():
            if path.failure is not None:
                verdict = what_failed(front_end._replace(failures=(path.failure,)))
                lines.append(f"{front_end.server} to {other} : Failure, {verdict}")
    return [clean(line) for line in lines]


def what_failed(outcome: Outcome, room: int = MAX_LINE) -> str:
    """The first failure on one line of at most `room` characters, if the names allow, and how many more there are."""
    first, *others = outcome.failures
    activity = PUBLISH if first.activity == NOTIFY else first.activity
    who = f" for {first.user}" if first.user and first.cause is not Cause.NO_NOTIFICATION else ""
    more = f" (and {len(others)} more)" if others else ""
    if others and all(_alike(other, first) for other in others):
        who, more = " for both users", ""
    reason = clean(first.text).rstrip(".")
    if first.cause in _OF_THE_CONNECTION and len(f"{activity} failed{who}: {reason}{more}") > room:
        who = ""
    left = room - len(f"{activity} failed{who}: {more}")
    return f"{activity} failed{who}: {clean(reason, max(left, LEAST_REASON))}{more}"


def _alike(one: Failure, other: Failure) -> bool:
    # The texts may differ in the time that each of them had.
    if (one.activity, one.cause, one.status, one.server) != (other.activity, other.cause, other.status, other.server):
        return False
    return one.cause in _OF_A_PLACE or one.detail == other.detail


def activity_log(outcome: Outcome) -> List[str]:
    """The step-by-step account in the cmdlet's words; what ran side by side is told one after the other."""
    if outcome.front_ends:
        return [
            line
            for front_end in outcome.front_ends
            for line in (f"Front end {clean(front_end.server)}:", *activity_log(front_end))
        ]
    lines = []
    for activity in outcome.activities:
        lines += _account_of(activity)
    return lines


def readable(message: WireMessage, secrets: Sequence[str], others: str = "surrogateescape") -> str:
    """A message as text without what is secret in it. `others`: what becomes of octets that are no text."""
    return redact(message.data.decode("utf-8", others), secrets)


def sip_log(messages: Sequence[WireMessage], settings: Settings) -> List[str]:
    """The SIP messages: start lines, and with -vvv whole messages, secrets removed."""
    lines = []
    secrets = (*settings.secrets, *credentials(messages))
    for message in messages:
        arrow = "sent by" if message.sent else "received by"
        text = readable(message, secrets, "replace")
        start_line, _, rest = text.partition("\r\n")
        lines.append(clean(f"{message.at:9.6f} {arrow} {message.user}: {start_line}"))
        if settings.verbose > 2:
            lines += [f"    {clean(line, MAX_MESSAGE)}".rstrip() for line in rest[:MAX_MESSAGE].split("\n")]
    return lines


def _account_of(activity: Activity) -> List[str]:
    lines = []
    if activity.name == NOTIFY:  # the cmdlet waits for it without an activity of its own
        if activity.seconds is not None:
            lines.append(f"Presence notification received in '{activity.seconds:.7f}' secs.")
    else:
        lines.append(f"'{activity.name}' activity started.")
        lines += [f"    {clean(detail)}" for detail in (f"User Sip Address = {activity.user}", *activity.details)]
        if activity.seconds is not None:
            lines.append(f"'{activity.name}' activity completed in '{activity.seconds:.7f}' secs.")
    if activity.error:
        lines.append(f"An exception '{clean(activity.error)}' occurred during the presence workflow.")
    return lines
