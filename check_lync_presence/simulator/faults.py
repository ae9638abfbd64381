"""The faults that can be asked for: one table of name, value, what the simulator does, what the check should say.

Owns the table and the reading of ``NAME[=VALUE]``. Must not know how a fault is carried out: whoever meets the place
where it strikes asks `Faults`.
"""

from __future__ import annotations

from typing import Dict, Hashable, Iterable, List, NamedTuple, Optional, Set, Tuple

ROLES = ("publisher", "subscriber")
ACTIVITIES = ("register", "self-subscribe", "subscribe", "publish", "notify", "unregister")


class FaultError(ValueError):
    """There is no such fault, or it does not take this value; the text says what there is."""


class Fault(NamedTuple):
    """One line of the table. `values` are allowed, the first is the default; with `seconds` a number must follow."""

    name: str
    values: Tuple[str, ...]
    what: str
    check: str
    seconds: bool = False

    @property
    def usage(self) -> str:
        if self.seconds:
            return f"{self.name}=S"
        return f"{self.name}[={'|'.join(self.values)}]" if self.values else self.name


_REGISTER_404 = "CRITICAL, Register: 404 with ErrorCode=4005; the account is unknown or not enabled"

TABLE: Tuple[Fault, ...] = (
    # the account
    Fault("account-unknown", ROLES, "the signed-in user is answered 404 and 4005", _REGISTER_404),
    Fault("account-not-allowed", ROLES, "REGISTER is answered 403 and 4003", "CRITICAL, Register: 403, ErrorCode=4003"),
    Fault("wrong-password", ROLES, "401 after the last leg, with 1000", "CRITICAL, Register: 401, credentials refused"),
    Fault(
        "not-authorized-from",
        ROLES,
        "REGISTER is answered 403 and 4004",
        "CRITICAL, Register: 403, ErrorCode=4004; logon name and SIP address do not belong together",
    ),
    Fault(
        "deregistered",
        ROLES,
        "right after the registration a NOTIFY ends it (4141)",
        "CRITICAL, Register or the activity after it: the server ended the registration, ErrorCode=4141",
    ),
    # the pool
    Fault("service-unavailable", (), "REGISTER is answered 503", "CRITICAL, Register: 503, retry after 30 s"),
    Fault("server-timeout", (), "REGISTER is answered 504 and 1007", "CRITICAL, Register: 504, ErrorCode=1007"),
    Fault("redirect", (), "301 to a second listener, where it works", "OK, after one redirection"),
    Fault("redirect-loop", (), "301 to the same listener, for ever", "CRITICAL, Register: too many redirections"),
    Fault("redirect-foreign", (), "301 to a host outside the domain", "CRITICAL, Register: refuses to follow"),
    Fault(
        "survivable-mode",
        (),
        'is-connected-to-primary="no", SERVICE is answered 503',
        "CRITICAL, PublishPresence: 503; names survivable mode",
    ),
    Fault(
        "no-enhanced-presence",
        (),
        "neither vnd-microsoft-roaming-self nor msrtc-event-categories is announced",
        "CRITICAL, Register: the account has no enhanced presence",
    ),
    Fault("clock-skew", (), "the Date header is S seconds off", "OK; mentions the clock difference", seconds=True),
    # signing in
    Fault("no-ntlm", (), "only Kerberos and TLS-DSK are offered", "CRITICAL, Register: no common authentication"),
    Fault(
        "digest-only",
        (),
        "only Digest is offered",
        "CRITICAL, Register: taken for a SIMPLE server: 400",
    ),
    Fault(
        "weak-ntlm", (), "the NTLM challenge lacks 128 bit keys", "CRITICAL, Register: the challenge does not offer 128"
    ),
    Fault("require-mic", (), "an NTLM token without MIC is refused", "OK with a MIC, else CRITICAL, Register: 401"),
    Fault("sa-version", ("3", "2"), "an older protocol version is offered", "OK"),
    Fault("resign", (), "401 to the first signed SUBSCRIBE or SERVICE of each user", "OK, after signing once more"),
    # what the server proves
    Fault(
        "signature-wrong",
        ("all", "notification"),
        "rspauth is wrong, from the 200 to REGISTER on or in notifications only",
        "CRITICAL: the signature of the server is wrong",
    ),
    Fault("signature-missing", (), "no message is signed", "CRITICAL, Register: the server did not sign its answer"),
    Fault("notification-unsigned", (), "notifications are not signed", "CRITICAL: the notification does not count"),
    # presence
    Fault(
        "presentity-unknown",
        (),
        "the publisher cannot be watched: resubscribe in the batch, 404 and 4005 alone",
        "CRITICAL, SubscribePresence: 404 with ErrorCode=4005",
    ),
    Fault(
        "publication-refused", (), "SERVICE is answered 403 and 2003", "CRITICAL, PublishPresence: 403, ErrorCode=2003"
    ),
    Fault(
        "note-instance-refused", (), "a note of another instance than 0 is answered 403 and 2003", "OK, with instance 0"
    ),
    Fault(
        "version-conflict",
        ("once", "always"),
        "somebody writes in between: 409 with the new version",
        "OK after a second attempt; always: CRITICAL, PublishPresence: 409",
    ),
    Fault(
        "watcher-blocked", (), "the subscriber is in container 32000", "CRITICAL: notification not received, blocked"
    ),
    Fault("fresh-account", (), "the publisher's containers have no members", "OK, after adding the members"),
    Fault("no-adhoclist", (), "batched SUBSCRIBE is not announced and answered 400", "OK, with a single SUBSCRIBE"),
    Fault("no-piggyback", (), "the first notification follows the 200", "OK"),
    Fault("notify", (), "NOTIFY in place of BENOTIFY", "OK, every NOTIFY answered"),
    # notifications
    Fault("notification-never", (), "watchers are told nothing", "CRITICAL: presence notification is not received"),
    Fault(
        "notification-other-user",
        (),
        "the notification is about another user, with the published text",
        "CRITICAL: presence notification is not received",
    ),
    Fault(
        "notification-older",
        (),
        "the notification has the note before",
        "CRITICAL: presence notification is not received",
    ),
    Fault("notification-first", (), "the notification comes before the 200 to SERVICE", "OK"),
    Fault("notification-late", (), "the notification comes S seconds late", "OK, WARNING, CRITICAL by S", seconds=True),
    Fault("notification-duplicate", (), "every notification comes twice", "OK"),
    # connections
    Fault("no-answer", ACTIVITIES, "silence where the answer belongs", "CRITICAL, the activity: no answer within …"),
    Fault(
        "cut", ACTIVITIES, "the connection ends where the answer belongs", "CRITICAL, the activity: connection closed"
    ),
    Fault(
        "half-message", ACTIVITIES, "half of the answer, then silence", "CRITICAL, the activity: an incomplete message"
    ),
    Fault("garbage", ACTIVITIES, "octets that are not SIP", "CRITICAL, the activity: not a SIP message"),
    Fault(
        "oversized-message",
        ACTIVITIES,
        "a body of 1 GB is announced (notify: a head without end)",
        "CRITICAL, the activity: message too large",
    ),
    Fault("certificate-expired", (), "the certificate ended yesterday", "CRITICAL: TLS, certificate has expired"),
    Fault("certificate-other-name", (), "the certificate names another host", "CRITICAL: TLS, hostname mismatch"),
    Fault("plain-text-on-tls", (), "the TLS port speaks plain SIP", "CRITICAL: TLS, the server does not speak TLS"),
    Fault("tls-silent", (), "the TLS port accepts and stays silent", "CRITICAL: TLS, handshake timed out"),
    # what is legal and must not matter
    Fault("split-messages", (), "heads go out an octet at a time", "OK"),
    Fault("joined-messages", (), "several messages in one segment, 100 Trying before each answer", "OK"),
    Fault("crlf-storm", (), "a hundred empty lines before each message", "OK"),
    Fault("upper-case-headers", (), "HEADER NAMES IN CAPITALS", "OK"),
    Fault("folded-headers", (), "header fields on several lines", "OK"),
    Fault("options-probe", (), "OPTIONS and FOO are sent after the registration", "OK, answering 200 and 405"),
)

_BY_NAME = {fault.name: fault for fault in TABLE}


class Faults:
    """The faults of one process, and which of the one-time ones have struck already."""

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        """Read ``NAME[=VALUE]``. Raises FaultError."""
        self._active: Dict[str, List[str]] = {}
        self._struck: Set[Hashable] = set()
        for text in wanted:
            name, value = _read(text)
            self._active.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        return _BY_NAME[name].name in self._active

    def has(self, name: str, value: str) -> bool:
        """Whether the fault was asked for with this value: a role, an activity, a mode."""
        return value in self._active.get(_BY_NAME[name].name, ())

    def strikes(self, name: str, roles: Iterable[str]) -> bool:
        """Whether the fault is meant for a user with these roles."""
        return any(self.has(name, role) for role in roles)

    def seconds(self, name: str) -> float:
        """The number behind the fault, 0 without it."""
        return float(self._active[name][-1]) if name in self else 0.0

    def value(self, name: str) -> Optional[str]:
        """The value asked for last, None without the fault."""
        return self._active[name][-1] if name in self else None

    def once(self, name: str, key: str) -> bool:
        """True the first time that the fault meets `key`."""
        if name not in self or (name, key) in self._struck:
            return False
        self._struck.add((name, key))
        return True


def listing() -> str:
    """The table as text, for ``--list-faults``."""
    width = max(len(fault.name) for fault in TABLE)
    lines = []
    for fault in TABLE:
        values = "=S" if fault.seconds else f"[={'|'.join(fault.values)}]" if fault.values else ""
        lines.append(f"{fault.name:<{width}}  {fault.what}{f' ({fault.name}{values})' if values else ''}")
        lines.append(f"{'':<{width}}  check: {fault.check}")
    return "\n".join(lines)


def _read(text: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    fault = _BY_NAME.get(name)
    if fault is None:
        raise FaultError(f"there is no fault {name!r}; --list-faults shows those that there are")
    if fault.seconds:
        if not _is_number(value):
            raise FaultError(f"the fault {name} needs a number of seconds: {fault.usage}")
        return name, value
    if not equals:
        return name, fault.values[0] if fault.values else ""
    if value not in fault.values:
        raise FaultError(f"the fault {name} does not take the value {value!r}: {fault.usage}")
    return name, value


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e9  # also false for nan
    except ValueError:
        return False
