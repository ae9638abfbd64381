"""Text for a terminal and a monitoring system: the one place where untrusted text becomes printable.

Owns cleaning, redaction, the cmdlet's five lines, the activity log and the SIP log. Must not know nagiosplugin.
"""

from __future__ import annotations

import re
from typing import Callable, Collection, Dict, Iterable, Iterator, List, Match, Sequence, Tuple

from ..outcome import NOTIFY, PUBLISH, Activity, Cause, Diagnosis, Failure, Outcome, WireMessage
from ..settings import Settings

Redact = Callable[[str], str]

MAX_OUTPUT = 1023  # octets of a default output: NRPE v2 carries 1 KiB, and an end of it
MAX_LINE = 400  # characters of server text in one line
MAX_FIELD = 200  # the same in one of the cmdlet's lines
LEAST_FIELD = 100  # octets of it where other lines need the room
LEAST_TEXT = 60  # octets of a sentence that says something
LEAST_REASON = 20  # characters of a reason that do
CUT = "-v tells all of it."
LEAST_TOKEN = 16  # characters of a value that cannot be a word of somebody else's text
PIECE = 12  # characters of such a value that are not said either
LEAST_LETTERS = 5  # different ones in such a piece: a row of zeros is anybody's
MAX_MESSAGE = 16 * 1024  # of one SIP message with -vvv
MAX_LOG = 4 * 1024 * 1024  # octets of the SIP log; that of a hundred front ends has as many

# Failures that say more of a server than of a user: where there is no room for both, whose connection it was goes.
_OF_THE_CONNECTION = (Cause.CLOSED, Cause.NO_ANSWER, Cause.SIGNATURE, Cause.PROVISIONING)

# Failures whose detail is a place or a file, and not a kind of fault: it may be another one for each user.
_OF_A_PLACE = (Cause.CLOSED, Cause.PROTOCOL, Cause.HELD_BACK)

# Controls, format characters (bidirectional marks, zero width), surrogates, private use, line separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

# What a signature or a token is computed from must not leave the process: NTLM responses can be cracked off line.
# A quotation that does not end is taken to end with its line. Compiled where it is needed: few runs show messages.
_SECRET_PARAMS = r'(?i)\b(gssapi-data|response|rspauth|cnonce|nonce)\s*=\s*("(?:[^"\\\r\n]|\\[^\r\n])*"?|[^\s,;"]+)'

# What tokens, responses and signatures are written in, base64 and hexadecimal.
_TOKEN = r"[A-Za-z0-9+/]{%d,}={0,2}"

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


class Redaction:
    """Takes out of texts what `redact` does, and what of `credentials` is said in them, if only a part of one.

    It takes as long as the texts are, however many credentials there are.
    """

    def __init__(self, secrets: Sequence[str], credentials: Sequence[str]) -> None:
        tokens = [value for value in credentials if re.fullmatch(_TOKEN % PIECE, value)]
        self._secrets = (*secrets, *set(credentials).difference(tokens))
        pieces = {value[at : at + PIECE] for value in tokens for at in range(0, len(value) - PIECE + 1, PIECE)}
        self._pieces = {piece for piece in pieces if len(set(piece)) >= LEAST_LETTERS}

    def __call__(self, text: str) -> str:
        text = redact(text, self._secrets)
        return re.sub(_TOKEN % PIECE, self._known, text) if self._pieces else text

    def _known(self, match: Match[str]) -> str:
        word = match.group()
        # A part of a token that is as long as two pieces has a whole one in it, wherever it begins.
        found = any(word[at : at + PIECE] in self._pieces for at in range(len(word) - PIECE + 1))
        return "***" if found else word


def credentials(texts: Iterable[str]) -> Tuple[str, ...]:
    """Tokens, responses and signatures in texts that were sent: a server may say them again under another name."""
    found = (value.strip('"') for text in texts for _, value in re.findall(_SECRET_PARAMS, text))
    return tuple(dict.fromkeys(value for value in found if len(value) >= LEAST_TOKEN))


def sent(messages: Iterable[WireMessage]) -> Iterator[str]:
    """The messages that were sent, as texts."""
    return (message.data.decode("utf-8", "replace") for message in messages if message.sent)


def without_secrets(outcome: Outcome, redact: Redact) -> Outcome:
    """`outcome` with everything in it redacted that may be a server's words, but for the messages."""
    return outcome._replace(
        failures=tuple(_failure_without_secrets(failure, redact) for failure in outcome.failures),
        activities=tuple(
            item._replace(details=tuple(map(redact, item.details)), error=redact(item.error))
            for item in outcome.activities
        ),
        remarks=tuple(map(redact, outcome.remarks)),
        paths={
            name: path._replace(failure=path.failure and _failure_without_secrets(path.failure, redact))
            for name, path in outcome.paths.items()
        },
        front_ends=tuple(without_secrets(front_end, redact) for front_end in outcome.front_ends),
    )


def _failure_without_secrets(failure: Failure, redact: Redact) -> Failure:
    return failure._replace(
        text=redact(failure.text),
        diagnostics=tuple(map(redact, failure.diagnostics)),
        detail=redact(failure.detail),
        retry_after=redact(failure.retry_after),
    )


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


def within(
    room: int, outcome: Outcome, diagnosis: Diagnosis, sentences: Sequence[str], first: Collection[str]
) -> List[str]:
    """The lines below the first one in `room` octets: texts are cut, then sentences left out, `first` the last of all.

    Where the room is too small for the others alone, as with a large pool, nothing is left out: that would help nobody.
    """
    front_ends = front_end_lines(outcome)
    for limit in range(MAX_FIELD, LEAST_FIELD - 1, -20):
        lines = [*cmdlet_lines(outcome, diagnosis, limit), *front_ends]
        if octets([*lines, *sentences]) <= room:
            return [*lines, *sentences]
    if octets(lines) > room:
        return [*cmdlet_lines(outcome, diagnosis), *front_ends, *sentences]
    return [*lines, *fitted(sentences, first, room - octets(lines))]


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
    text = f"{activity} failed{who}: "
    if len(text + reason) <= room < len(text + reason + more):
        more = ""  # the reason says more than a number
    return f"{text}{_whole_words(reason, max(room - len(text + more), LEAST_REASON))}{more}"


def _whole_words(text: str, limit: int) -> str:
    """The words of `text` that `limit` characters have room for."""
    if len(text) <= limit:
        return text
    words = text[:limit].rpartition(" ")[0].rstrip(" ,;:")
    return f"{words or text[: limit - 1]}…"


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


def readable(message: WireMessage, redact: Redact, others: str = "surrogateescape") -> str:
    """A message as text without what is secret in it. `others`: what becomes of octets that are no text."""
    return redact(message.data.decode("utf-8", others))


def sip_log(messages: Sequence[WireMessage], settings: Settings, left_out: int = 0) -> List[str]:
    """The SIP messages, secrets removed: start lines, and with -vvv whole messages. `left_out` more were not kept."""
    redact = Redaction(settings.secrets, credentials(sent(messages)))
    lines: List[str] = []
    room = MAX_LOG
    for number, message in enumerate(messages):
        if room < 0:
            left_out += len(messages) - number
            break
        told = _told(message, redact, settings.verbose > 2)
        room -= octets(told)
        lines += told
    return [*lines, f"{left_out} more messages are not shown."] if left_out else lines


def _told(message: WireMessage, redact: Redact, whole: bool) -> List[str]:
    arrow = "sent by" if message.sent else "received by"
    # What is not shown need not be redacted, but for what may begin before its end.
    data = message.data[: 2 * MAX_MESSAGE] if whole else message.data[: 4 * MAX_LINE].partition(b"\r\n")[0]
    start_line, _, rest = readable(message._replace(data=data), redact, "replace").partition("\r\n")
    lines = [clean(f"{message.at:9.6f} {arrow} {message.user}: {start_line}")]
    if whole:
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
