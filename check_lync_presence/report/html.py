"""A run as one HTML page: the verdict, what to do, how long it took, who said what, and where it ran.

Owns the page's structure. It needs no JavaScript and loads nothing; whatever came from outside is escaped, and the
page's own policy lets nothing else be run.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from typing import Dict, Iterator, List, Sequence, Set, Tuple

from ..outcome import REGISTER, Activity, Outcome, Signature, WireMessage
from ..settings import Settings
from ..trace.values import Contact, Recording
from .diagrams import Arrow, ladder, span, waterfall
from .style import STYLE
from .text import MAX_MESSAGE, Redaction, cmdlet_lines, credentials, escaped, front_end_lines, readable, sent
from .view import View

MAX_SHOWN = 1000  # messages; the trace has all

_MARKER = re.compile(rb"presence-check [0-9a-f]{16}")
_SIGNATURES = {Signature.VALID: "signed", Signature.MISSING: "not signed", Signature.WRONG: "wrong signature"}


def page(settings: Settings, recording: Recording, view: View) -> str:
    """The whole page."""
    policy = f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; base-uri 'none'; form-action 'none'"
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(recording.now))
    run = _Run(settings, recording, view.outcome)
    body = [
        *_verdict(run, view, when),
        *_advice(run, view),
        *_timing(run, view.outcome),
        *_conversation(run),
        *_messages(run),
        *_environment(run, view),
        f"<footer><p>Made by check_lync_presence {escaped(recording.versions.get('check_lync_presence', ''))}. "
        "Passwords and what they could be guessed from have been removed; names and addresses have not.</p></footer>",
    ]
    text = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped(f"{view.state}: presence on {settings.target}, {when}")}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{text}
</main>
</body>
</html>
"""


class _Run:
    """What the parts of the page share: who has which role, and which connection leads where."""

    def __init__(self, settings: Settings, recording: Recording, outcome: Outcome) -> None:
        self.settings = settings
        self.recording = recording
        self.redact = Redaction(settings.secrets, credentials(sent(recording.messages)))
        self.outcome = outcome
        self.roles = {settings.publisher.uri: "publisher", settings.subscriber.uri: "subscriber"}
        self.users = {role: uri.partition(":")[2] for uri, role in self.roles.items()}
        self.contacts: Dict[int, Contact] = {contact.number: contact for contact in recording.contacts}
        self.messages = recording.messages[:MAX_SHOWN]
        self._proof = self._proofs()

    def text(self, text: str) -> str:
        """Text for the page: no secret, no markup."""
        return escaped(self.redact(text))

    def table(self, rows: Sequence[Tuple[str, str]]) -> Iterator[str]:
        """Names and what is to be said of them."""
        yield "<dl>"
        yield from (f"<dt>{self.text(name)}</dt><dd>{self.text(value)}</dd>" for name, value in rows)
        yield "</dl>"

    def role(self, user: str) -> str:
        return self.roles.get(user, "publisher")

    def server(self, number: int) -> str:
        """The address at the other end of a connection."""
        contact = self.contacts.get(number)
        if contact is None:
            return self.settings.target
        return _place(contact)

    def is_proof(self, message: WireMessage) -> bool:
        """Whether it is the publication, or the first that the subscriber is told of it."""
        return id(message) in self._proof

    def _proofs(self) -> Set[int]:
        published: Set[bytes] = set()
        told: Set[Tuple[int, bytes]] = set()
        proofs = set()
        for message in self.messages:
            if message.signature in (Signature.MISSING, Signature.WRONG):
                continue
            markers = set(_MARKER.findall(message.data))
            is_publishers = self.role(message.user) == "publisher"
            if message.sent and is_publishers:
                published |= markers
            elif not message.sent and not is_publishers and not message.data.startswith(b"SIP/2.0"):
                news = {(message.connection, marker) for marker in markers & published} - told
                told |= news
                markers = {marker for _, marker in news}
            else:
                continue
            if markers:
                proofs.add(id(message))
        return proofs


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _verdict(run: _Run, view: View, when: str) -> Iterator[str]:
    outcome = view.outcome
    facts = [run.settings.target, when]
    if outcome.success and outcome.latency is not None:
        facts.append(f"latency {span(outcome.latency)}")
    if outcome.notified_after is not None:
        facts.append(f"notified after {span(outcome.notified_after)}")
    yield f'<header class="verdict {run.text(view.state)}">'
    yield f'<p class="state">{run.text(view.state)}</p>'
    yield f"<h1>{run.text(view.line)}</h1>"
    yield f'<p class="facts">{"".join(f"<span>{run.text(fact)}</span>" for fact in facts)}</p>'
    yield "</header>"


def _advice(run: _Run, view: View) -> Iterator[str]:
    lines = [line.partition(":") for line in cmdlet_lines(view.outcome, view.diagnosis)]
    said = [(name.strip(), value.strip()) for name, _, value in lines if name.strip() in ("Error", "Diagnosis")]
    said = [(name, value) for name, value in said if value]
    if view.sentences:
        yield f"<h2>{'Worth knowing' if view.outcome.success else 'What to do'}</h2>"
        yield '<ul class="advice">'
        yield from (f"<li>{run.text(sentence)}</li>" for sentence in view.sentences)
        yield "</ul>"
    if said:
        yield "<h2>In the words of Test-CsPresence</h2>"
        yield from run.table(said)


def _timing(run: _Run, outcome: Outcome) -> Iterator[str]:
    parts = outcome.front_ends or (outcome,)
    if not outcome.activities:
        return
    yield "<h2>Where the time went</h2>"
    yield _legend(run)
    if outcome.front_ends:
        yield from run.table([_named(line) for line in front_end_lines(outcome)])
    for part in parts:
        if part.server:
            yield f"<h3>{run.text(part.server)}</h3>"
        yield waterfall(part.activities, run.roles, run.users, _end(run, part.activities))


def _end(run: _Run, activities: Sequence[Activity]) -> float:
    """Where the drawing ends: with the run, if something did not end before."""
    ends = [activity.ended for activity in activities if activity.ended is not None]
    if len(ends) < len(activities):
        ends += [message.at for message in run.messages]
        if run.recording.stopped is not None:
            ends.append(run.recording.stopped - (run.recording.began or 0.0))
    return max(ends, default=0.0)


def _conversation(run: _Run) -> Iterator[str]:
    arrows = _arrows(run)
    if not arrows:
        return
    yield "<h2>Who said what</h2>"
    by_server: Dict[str, List[Arrow]] = {}
    if run.outcome.front_ends:
        for arrow in arrows:
            by_server.setdefault(arrow.server, []).append(arrow)
    else:
        by_server[""] = arrows
    for server, some in by_server.items():
        if server:
            yield f"<h3>{run.text(server)}</h3>"
        yield ladder(some, run.users)


def _arrows(run: _Run) -> List[Arrow]:
    arrows = []
    for contact in run.recording.contacts:
        kind = "bad failed" if contact.error else "soft failed" if contact.peer is None else "soft"
        over = f"{contact.transport.upper()}{f' ({contact.tls.version})' if contact.tls else ''}"
        label = f"{contact.failed} fails" if contact.error else f"connects over {over}"
        server = run.server(contact.number)
        arrows.append(Arrow(contact.ended, run.role(contact.user), server, True, label, kind))
    for broken in run.recording.breaks[:MAX_SHOWN]:
        contact_of = run.contacts.get(broken.number)
        if contact_of is not None:
            label = "hangs up" if broken.gone or not broken.error else "connection breaks"
            role = run.role(contact_of.user)
            arrows.append(Arrow(broken.at, role, run.server(broken.number), False, label, "bad"))
    for number, message in enumerate(run.messages, 1):
        label, kind = _label(run, message)
        role, server = run.role(message.user), run.server(message.connection)
        arrows.append(Arrow(message.at, role, server, message.sent, label, kind, f"m{number}"))
    return sorted(arrows, key=lambda arrow: arrow.at)


def _label(run: _Run, message: WireMessage) -> Tuple[str, str]:
    """What stands on an arrow, and the style's class for it."""
    if not message.sip:
        return "no whole SIP message", "bad"
    head, _, _ = readable(message, run.redact).partition("\r\n\r\n")
    start_line, *fields = head.split("\r\n")
    first, _, rest = start_line.partition(" ")
    kind = ""
    if first == "SIP/2.0":
        text = rest
        # A challenge is what a sign-in begins with.
        if rest[:1] in "3456" and not rest.startswith(("401", "407")):
            kind = "bad"
    else:
        ends = any(field.lower() == "expires: 0" for field in fields)
        text = f"{first}, Expires: 0" if ends else first
    if message.signature in (Signature.MISSING, Signature.WRONG) and not rest.startswith(("401", "407")):
        return f"{text}, {_SIGNATURES[message.signature]}", "bad"
    if run.is_proof(message):
        return f"{text}, {'the publication' if message.sent else 'the publication arrives'}", "proof"
    return text, kind


def _messages(run: _Run) -> Iterator[str]:
    if not run.messages:
        return
    yield "<h2>Messages</h2>"
    for number, message in enumerate(run.messages, 1):
        yield _message(run, number, message)
    more = len(run.recording.messages) - len(run.messages)
    if more or not run.recording.complete:
        yield f"<p>{f'{more} more' if more else 'More'} are not shown.</p>"


def _message(run: _Run, number: int, message: WireMessage) -> str:
    role = run.role(message.user)
    text = readable(message, run.redact)
    cut = "\n…" if len(text) > MAX_MESSAGE else ""
    head, end, body = text[:MAX_MESSAGE].partition("\r\n\r\n")
    start_line, *fields = head.split("\r\n")
    _, kind = _label(run, message)
    notes = [run.users[role], _SIGNATURES[message.signature] if message.signature is not None else ""]
    lines = [escaped(start_line)]
    for field in fields:
        name, colon, value = field.partition(":")
        lines.append(f"<b>{escaped(name + colon)}</b>{escaped(value)}")
    shown = "\n".join(lines) + ("\n\n" + escaped(body) if end and body else "") + cut
    arrow = "→" if message.sent else "←"
    return (
        f'<details><summary><span class="at">{escaped(span(message.at))}</span>'
        f'<span class="{role}">{arrow}</span>'
        f'<span class="line {kind}">{escaped(start_line)}</span>'
        f'<span class="who {role}">{escaped(", ".join(filter(None, notes)))}</span></summary>'
        f'<pre id="m{number}">{shown}</pre></details>'
    )


def _environment(run: _Run, view: View) -> Iterator[str]:
    settings, recording = run.settings, run.recording
    yield "<h2>Where it ran</h2>"
    yield from run.table(_told(settings))
    found = [(found.name, found.error or ", ".join(_server_text(found.servers))) for found in recording.found]
    if found:
        yield "<h3>Addresses</h3>"
        yield from run.table(found)
    if recording.contacts:
        yield "<h3>Connections</h3>"
        yield from run.table([(run.users[run.role(item.user)], _contact_text(item)) for item in recording.contacts])
    signed_in = [
        (run.users[run.role(activity.user)], ". ".join(activity.details))
        for activity in view.outcome.activities
        if activity.name == REGISTER and activity.details
    ]
    if signed_in:
        yield "<h3>Sign-in</h3>"
        yield from run.table(signed_in)
    if recording.asked:
        yield "<h3>Active Directory</h3>"
        yield from run.table(
            [
                (
                    item.user,
                    f"{item.report.server}: {item.report.finding.value} {item.report.detail}"
                    if item.report is not None
                    else item.error,
                )
                for item in recording.asked
            ]
        )
    yield "<h3>Software</h3>"
    yield from run.table(list(recording.versions.items()))


def _told(settings: Settings) -> List[Tuple[str, str]]:
    limits = [
        f"{label} {level} {value}"
        for level, ranges in zip(("warning", "critical"), settings.thresholds)
        for label, value in ranges.items()
    ]
    verified = "not verified (--insecure)" if settings.tls.insecure else f"TLS {settings.tls.minimum} or newer"
    rows = [
        ("Pool", settings.target),
        ("Subscriber's pool", settings.subscriber_target or ""),
        ("Publisher", f"{settings.publisher.uri} as {settings.publisher.user}"),
        ("Subscriber", f"{settings.subscriber.uri} as {settings.subscriber.user}"),
        ("Transport", settings.transport.upper() + (f", {verified}" if settings.transport == "tls" else "")),
        ("Protocol", settings.protocol),
        ("Time limits", f"{settings.timeout:g} s, {settings.notify_timeout:g} s for the notification"),
        ("Thresholds", ", ".join(limits)),
    ]
    return [(name, value) for name, value in rows if value]


def _server_text(servers: Sequence[object]) -> Iterator[str]:
    for server in servers:
        yield f"{getattr(server, 'name', '')}: {', '.join(map(str, getattr(server, 'addresses', ())))}"


def _place(contact: Contact) -> str:
    """Where a connection leads, or was to lead."""
    return str(contact.peer or next(iter(contact.addresses), contact.server))


def _contact_text(contact: Contact) -> str:
    where = _place(contact)
    if contact.error:
        return f"{where}: {contact.error}"
    if contact.peer is None:
        return f"{where}: not open after all"
    parts = [f"{contact.local} → {where}", f"open after {span(contact.ended - contact.began)}"]
    if contact.tls is not None:
        parts.append(f"{contact.tls.version}, {contact.tls.cipher}")
        if contact.tls.expires is not None:
            day = time.strftime("%Y-%m-%d", time.gmtime(contact.tls.expires))
            parts.append(f"certificate of {contact.server} until {day}")
    return "; ".join(parts)


def _legend(run: _Run) -> str:
    return (
        f'<p class="legend"><b class="publisher">{run.text(run.users["publisher"])}</b> publishes, '
        f'<b class="subscriber">{run.text(run.users["subscriber"])}</b> is to be told.</p>'
    )


def _named(line: str) -> Tuple[str, str]:
    name, _, value = line.partition(" : ")
    return name, value
