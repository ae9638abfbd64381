"""The faults that can be asked for: one table of name, value, what the simulator does, what the check should say.

Owns the table and the reading of ``NAME[=VALUE][@ADDRESS]``. Must not know how a fault is carried out:
whoever meets the place where it strikes asks `Faults`.
"""

from __future__ import annotations

import re
from typing import FrozenSet, Hashable, Iterable, List, NamedTuple, Optional, Set, Tuple

ROLES = ("publisher", "subscriber")
ACTIVITIES = ("register", "self-subscribe", "subscribe", "publish", "notify", "unregister")
LYNC, SIMPLE = "lync", "simple"
DIALECTS = (LYNC, SIMPLE)


class FaultError(ValueError):
    """There is no such fault, or it does not take this value; the text says what there is."""


class Fault(NamedTuple):
    """One line of the table. `values` are allowed, the first is the default; with `seconds` a number must follow.

    `check` begins with the state that the default comes to; another one stands behind its value and a colon.
    A `shared` one is in the state that all front ends have in common, and cannot be limited to one of them.
    """

    name: str
    values: Tuple[str, ...]
    what: str
    check: str
    dialects: Tuple[str, ...] = DIALECTS
    seconds: bool = False
    shared: bool = False

    @property
    def usage(self) -> str:
        if self.seconds:
            return f"{self.name}=S"
        return f"{self.name}[={'|'.join(self.values)}]" if self.values else self.name

    def state(self, value: str = "") -> str:
        """What the check without options of its own comes to: OK or CRITICAL."""
        other = re.search(rf"\b{re.escape(value)}: (OK|CRITICAL)\b", self.check) if value else None
        return other.group(1) if other else re.split(r"\W", self.check, maxsplit=1)[0]

    def takes(self, value: str, dialect: str) -> bool:
        """Whether the value can be asked for: SIMPLE has all activities but one."""
        return value in self.values and (dialect == LYNC or value != "self-subscribe")


_LYNC_ONLY = (LYNC,)
_SIMPLE_ONLY = (SIMPLE,)
_NOT_RECEIVED = "CRITICAL: presence notification is not received"

TABLE: Tuple[Fault, ...] = (
    # the account
    Fault(
        "account-unknown",
        ROLES,
        "the signed-in user is answered 404 (Lync: and 4005)",
        "CRITICAL, Register: 404 (Lync: with ErrorCode=4005); the account is unknown or not enabled",
    ),
    Fault(
        "account-not-allowed",
        ROLES,
        "REGISTER is answered 403 (Lync: and 4003)",
        "CRITICAL, Register: 403 (Lync: with ErrorCode=4003)",
    ),
    Fault(
        "wrong-password",
        ROLES,
        "401 to the right password (Lync: after the last leg, with 1000)",
        "CRITICAL, Register: 401, credentials refused",
    ),
    Fault(
        "not-authorized-from",
        ROLES,
        "REGISTER is answered 403 and 4004",
        "CRITICAL, Register: 403, ErrorCode=4004; logon name and SIP address do not belong together",
        _LYNC_ONLY,
    ),
    Fault(
        "deregistered",
        ROLES,
        "right after the registration a NOTIFY ends it (4141)",
        "CRITICAL, Register or the activity after it: the server ended the registration, ErrorCode=4141",
        _LYNC_ONLY,
    ),
    # the pool
    Fault("service-unavailable", (), "REGISTER is answered 503", "CRITICAL, Register: 503, retry after 30 s"),
    Fault(
        "server-timeout",
        (),
        "REGISTER is answered 504 (Lync: and 1007)",
        "CRITICAL, Register: 504 (Lync: with ErrorCode=1007)",
    ),
    Fault("redirect", (), "301 (SIMPLE: 302) to a second listener, where it works", "OK, after one redirection"),
    Fault(
        "redirect-loop",
        (),
        "301 (SIMPLE: 302) to the same listener, for ever",
        "CRITICAL, Register: too many redirections",
    ),
    Fault(
        "redirect-foreign",
        (),
        "301 (SIMPLE: 302) to a host outside the domain",
        "CRITICAL, Register: refuses to follow",
    ),
    Fault(
        "survivable-mode",
        (),
        'is-connected-to-primary="no", SERVICE is answered 503',
        "CRITICAL, PublishPresence: 503; names survivable mode",
        _LYNC_ONLY,
    ),
    Fault(
        "no-enhanced-presence",
        (),
        "neither vnd-microsoft-roaming-self nor msrtc-event-categories is announced",
        "CRITICAL, Register: the account has no enhanced presence",
        _LYNC_ONLY,
    ),
    Fault(
        "clock-skew",
        (),
        "the Date header is S seconds off",
        "OK; mentions the clock difference",
        _LYNC_ONLY,
        seconds=True,
    ),
    # signing in
    Fault(
        "no-ntlm",
        (),
        "only Kerberos and TLS-DSK are offered",
        "CRITICAL, Register: no common authentication",
        _LYNC_ONLY,
    ),
    Fault(
        "digest-only", (), "only Digest is offered", "CRITICAL, Register: taken for a SIMPLE server: 400", _LYNC_ONLY
    ),
    Fault(
        "weak-ntlm",
        (),
        "the NTLM challenge lacks 128 bit keys",
        "CRITICAL, Register: the challenge does not offer 128",
        _LYNC_ONLY,
    ),
    Fault(
        "require-mic",
        (),
        "an NTLM token without MIC is refused",
        "CRITICAL, Register: 401; with a MIC (--ntlm-mic) OK",
        _LYNC_ONLY,
    ),
    Fault(
        "kerberos-skew",
        (),
        "a Kerberos token is answered 401 and 1013",
        "OK with NTLM (-v tells of it); with --auth kerberos CRITICAL, Register: 401, ErrorCode=1013; the clocks",
        _LYNC_ONLY,
    ),
    Fault(
        "user-certificate",
        ("other-user", "expired", "refused"),
        "with --offer tls-dsk: the certificates that users get are for another user or expired, or none is accepted",
        "OK with NTLM; with --auth tls-dsk CRITICAL, Register: 403, ErrorCode=4004; no certificate; or it is refused",
        _LYNC_ONLY,
    ),
    Fault(
        "provisioning",
        ("refused", "silent", "garbage"),
        "with --offer tls-dsk: the certificate provisioning service refuses, is silent, or sends no documents",
        "OK with NTLM, and while the check has a certificate; else (--auth tls-dsk) CRITICAL, Register: none",
        _LYNC_ONLY,
    ),
    Fault("sa-version", ("3", "2"), "an older protocol version is offered", "OK", _LYNC_ONLY),
    Fault(
        "resign",
        (),
        "401 to the first signed SUBSCRIBE or SERVICE of each user",
        "OK, after signing once more",
        _LYNC_ONLY,
    ),
    Fault(
        "digest-algorithm",
        ("MD5", "SHA-256", "SHA-512-256"),
        "Digest is offered with this algorithm alone (without the fault: SHA-256 and MD5)",
        "OK",
        _SIMPLE_ONLY,
    ),
    Fault(
        "stale-nonce",
        (),
        "a nonce is good for one request, the next one is answered 401 or 407 with stale=true",
        "OK, every request signed anew",
        _SIMPLE_ONLY,
    ),
    Fault("proxy-authentication", (), "REGISTER is challenged with 407 in place of 401", "OK", _SIMPLE_ONLY),
    # what the server proves
    Fault(
        "signature-wrong",
        ("all", "notification"),
        "rspauth is wrong, from the 200 to REGISTER on or in notifications only",
        "CRITICAL: the signature of the server is wrong",
        _LYNC_ONLY,
    ),
    Fault(
        "signature-missing",
        (),
        "no message is signed",
        "CRITICAL, Register: the server did not sign its answer",
        _LYNC_ONLY,
    ),
    Fault(
        "notification-unsigned",
        (),
        "notifications are not signed",
        "CRITICAL: the notification does not count",
        _LYNC_ONLY,
    ),
    # presence
    Fault(
        "presentity-unknown",
        (),
        "the publisher cannot be watched: 404 (Lync: resubscribe in the batch, 404 and 4005 alone)",
        "CRITICAL, SubscribePresence: 404 (Lync: with ErrorCode=4005)",
    ),
    Fault(
        "publication-refused",
        (),
        "the publication is answered 403 (Lync: and 2003)",
        "CRITICAL, PublishPresence: 403 (Lync: with ErrorCode=2003)",
    ),
    Fault(
        "note-instance-refused",
        (),
        "a note of another instance than 0 is answered 403 and 2003",
        "OK, with instance 0",
        _LYNC_ONLY,
    ),
    Fault(
        "version-conflict",
        ("once", "always"),
        "somebody writes in between: 409 with the new version",
        "OK after a second attempt; always: CRITICAL, PublishPresence: 409",
        _LYNC_ONLY,
    ),
    Fault(
        "watcher-blocked",
        (),
        "the subscriber is in container 32000 (SIMPLE: terminated;reason=rejected in the first notification)",
        "CRITICAL: notification not received, blocked (SIMPLE: the subscription is rejected)",
        shared=True,
    ),
    Fault(
        "fresh-account",
        (),
        "the publisher's containers have no members",
        "OK, after adding the members",
        _LYNC_ONLY,
        shared=True,
    ),
    Fault(
        "no-adhoclist",
        (),
        "batched SUBSCRIBE is not announced and answered 400",
        "OK, with a single SUBSCRIBE",
        _LYNC_ONLY,
    ),
    Fault("no-piggyback", (), "the first notification follows the 200", "OK", _LYNC_ONLY),
    Fault("notify", (), "NOTIFY in place of BENOTIFY", "OK, every NOTIFY answered", _LYNC_ONLY),
    Fault(
        "interval-too-brief",
        (),
        "an Expires below 3600 is answered 423 with Min-Expires",
        "OK, with the longer interval",
        _SIMPLE_ONLY,
    ),
    Fault(
        "event-refused",
        (),
        "SUBSCRIBE is answered 489 with other Allow-Events",
        "CRITICAL, SubscribePresence: 489",
        _SIMPLE_ONLY,
    ),
    Fault("subscription-accepted-202", (), "SUBSCRIBE is answered 202 in place of 200", "OK", _SIMPLE_ONLY),
    Fault("notify-before-answer", (), "the first NOTIFY comes before the 200 to SUBSCRIBE", "OK", _SIMPLE_ONLY),
    Fault(
        "subscription-ended",
        (),
        "a NOTIFY with terminated;reason=deactivated follows the first one",
        "CRITICAL: the server ended the subscription",
        _SIMPLE_ONLY,
    ),
    Fault(
        "etag-missing",
        (),
        "the 200 to PUBLISH has no SIP-ETag",
        "OK; mentions that the publication cannot be withdrawn",
        _SIMPLE_ONLY,
    ),
    Fault("condition-failed", (), "the withdrawal is answered 412", "OK", _SIMPLE_ONLY),
    # notifications
    Fault("notification-never", (), "watchers are told nothing", _NOT_RECEIVED),
    Fault(
        "notification-other-user", (), "the notification is about another user, with the published text", _NOT_RECEIVED
    ),
    Fault("notification-older", (), "the notification has the note before", _NOT_RECEIVED),
    Fault("notification-wrong-type", (), "the notification's Content-Type is text/plain", _NOT_RECEIVED, _SIMPLE_ONLY),
    Fault(
        "notification-multipart",
        (),
        "the document is a part of multipart/mixed, which nobody has asked for",
        _NOT_RECEIVED,
        _SIMPLE_ONLY,
    ),
    Fault("xml-bomb", (), "the notification is a document of nested entities", _NOT_RECEIVED),
    Fault("notification-first", (), "the notification comes before the 200 to the publication", "OK"),
    Fault("notification-late", (), "the notification comes S seconds late", "OK, WARNING, CRITICAL by S", seconds=True),
    Fault("notification-duplicate", (), "every notification comes twice", "OK"),
    Fault(
        "not-replicated",
        (),
        "what is published at a front end reaches only watchers at that same front end",
        "OK at one front end; between two CRITICAL: presence notification is not received",
    ),
    # connections
    Fault(
        "no-answer",
        ACTIVITIES,
        "silence where the answer belongs",
        "CRITICAL, the activity: no answer within …; unregister: OK",
    ),
    Fault(
        "cut",
        ACTIVITIES,
        "the connection ends where the answer belongs (over UDP: silence)",
        "CRITICAL, the activity: connection closed; unregister: OK",
    ),
    Fault(
        "half-message",
        ACTIVITIES,
        "half of the answer, then silence",
        "CRITICAL, the activity: an incomplete message; unregister: OK",
    ),
    Fault(
        "garbage",
        ACTIVITIES,
        "octets that are not SIP",
        "CRITICAL, the activity: not a SIP message; unregister: OK",
    ),
    Fault(
        "oversized-message",
        ACTIVITIES,
        "a body of 1 GB is announced (notify: a head without end)",
        "CRITICAL, the activity: message too large; unregister: OK",
    ),
    Fault(
        "lost",
        ("1", "2", "3"),
        "over UDP the first copies of every message of the server are lost, so many of each",
        "OK; mentions the retransmissions",
        _SIMPLE_ONLY,
    ),
    Fault("certificate-expired", (), "the certificate ended yesterday", "CRITICAL: TLS, certificate has expired"),
    Fault("certificate-other-name", (), "the certificate names another host", "CRITICAL: TLS, hostname mismatch"),
    Fault("plain-text-on-tls", (), "the TLS port speaks plain SIP", "CRITICAL: TLS, the server does not speak TLS"),
    Fault("tls-silent", (), "the TLS port accepts and stays silent", "CRITICAL: TLS, handshake timed out"),
    # what is legal and must not matter
    Fault("split-messages", (), "heads go out an octet at a time (not over UDP)", "OK"),
    Fault(
        "joined-messages",
        (),
        "several messages in one segment (not over UDP), 100 Trying before each answer",
        "OK",
    ),
    Fault("crlf-storm", (), "a hundred empty lines before each message", "OK"),
    Fault("upper-case-headers", (), "HEADER NAMES IN CAPITALS", "OK"),
    Fault("folded-headers", (), "header fields on several lines", "OK"),
    Fault("options-probe", (), "OPTIONS and FOO are sent after the registration", "OK, answering 200 and 405"),
)


class Active(NamedTuple):
    """A fault that was asked for. `place` is the address of the one front end it is limited to, or empty."""

    name: str
    value: str
    place: str


_BY_NAME = {fault.name: fault for fault in TABLE}


class Faults:
    """The faults of a pool or of one of its front ends, and which of the one-time ones have struck already."""

    def __init__(self, wanted: Iterable[str] = (), dialect: str = LYNC) -> None:
        """Read ``NAME[=VALUE][@ADDRESS]``. Raises FaultError."""
        self._active = [_read(text, dialect) for text in wanted]
        self._struck: Set[Hashable] = set()

    @property
    def places(self) -> FrozenSet[str]:
        """The addresses of front ends that faults are limited to."""
        return frozenset(item.place for item in self._active if item.place)

    def at(self, place: str) -> Faults:
        """Those that strike at the front end with this address."""
        there = Faults()
        there._active = [item for item in self._active if item.place in ("", place)]
        there._struck = self._struck
        return there

    def __contains__(self, name: str) -> bool:
        return bool(self._values(name))

    def has(self, name: str, value: str) -> bool:
        """Whether the fault was asked for with this value: a role, an activity, a mode."""
        return value in self._values(name)

    def strikes(self, name: str, roles: Iterable[str]) -> bool:
        """Whether the fault is meant for a user with these roles."""
        return any(self.has(name, role) for role in roles)

    def seconds(self, name: str) -> float:
        """The number behind the fault, 0 without it."""
        return float(self.value(name) or 0.0)

    def value(self, name: str) -> Optional[str]:
        """The value asked for last, None without the fault."""
        return next(reversed(self._values(name)), None)

    def once(self, name: str, key: str) -> bool:
        """True the first time that the fault meets `key`."""
        if name not in self or (name, key) in self._struck:
            return False
        self._struck.add((name, key))
        return True

    def _values(self, name: str) -> List[str]:
        known = _BY_NAME[name].name
        return [item.value for item in self._active if item.name == known]


def bare(address: str) -> str:
    """An IP address without the brackets that an IPv6 one may have."""
    return address[1:-1] if address.startswith("[") and address.endswith("]") else address


def listing() -> str:
    """The table as text, for ``--list-faults``."""
    width = max(len(fault.name) for fault in TABLE)
    lines = []
    for fault in TABLE:
        usage = f" ({fault.usage})" if fault.usage != fault.name else ""
        only = f" [{fault.dialects[0]} only]" if len(fault.dialects) == 1 else ""
        lines.append(f"{fault.name:<{width}}  {fault.what}{usage}{only}")
        lines.append(f"{'':<{width}}  check: {fault.check}")
    return "\n".join(lines)


def _read(text: str, dialect: str) -> Active:
    wanted, at, place = text.partition("@")
    name, equals, value = wanted.partition("=")
    fault = _BY_NAME.get(name)
    if fault is None:
        raise FaultError(f"there is no fault {name!r}; --list-faults shows those that there are")
    if dialect not in fault.dialects:
        raise FaultError(f"the fault {name} does not exist in the {dialect} dialect")
    if at and not place:
        raise FaultError(f"the fault {text} names no front end behind the @")
    if at and fault.shared:
        raise FaultError(f"the fault {name} is one of the whole pool; it cannot be limited to {place}")
    if fault.seconds and not _is_number(value):
        raise FaultError(f"the fault {name} needs a number of seconds: {fault.usage}")
    if not equals and fault.values:
        value = fault.values[0]
    elif not fault.seconds and equals and not fault.takes(value, dialect):
        raise FaultError(f"the fault {name} does not take the value {value!r}: {fault.usage}")
    return Active(name, value, bare(place))


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e9  # also false for nan
    except ValueError:
        return False
