"""A run as a value: Outcome, Activity, Failure. They flow from the round trip to the edge and are only read there.

Also owns PresenceError, the one family of errors that are the peer's fault and not ours.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Mapping, Optional, Tuple

from .value import NamedTuple

# The cmdlet's names of its activities.
REGISTER = "Register"
SELF_SUBSCRIBE = "SelfSubscribeActivity"
SUBSCRIBE = "SubscribePresence"
PUBLISH = "PublishPresence"
NOTIFY = "PresenceNotification"
UNREGISTER = "Unregister"


class Cause(enum.Enum):
    """What kind of thing went wrong; diagnosis has advice for each."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    CLOSED = "closed"
    NO_ANSWER = "no answer"
    PROTOCOL = "protocol"
    STATUS = "status"
    REFUSED_CREDENTIALS = "refused credentials"
    REFUSED_HERE = "refused credentials that other servers take"
    ACCOUNT = "account"
    KERBEROS = "kerberos"
    NOT_TRUSTED = "not trusted"
    CERTIFICATE = "certificate of a user"
    PROVISIONING = "provisioning of a certificate"
    HELD_BACK = "held back"
    NO_SCHEME = "no scheme"
    SIGNATURE = "signature"
    REDIRECT = "redirect"
    DEREGISTERED = "deregistered"
    NOT_ENABLED = "not enabled"
    NO_NOTIFICATION = "no notification"
    NO_TIME = "no time"
    STOPPED = "stopped"


class Seen(enum.Enum):
    """What a fresh look at the publisher's presence shows after a notification did not come."""

    PUBLICATION = "the publication"
    OTHER = "another presence"
    NOTHING = "nothing"


class PresenceError(Exception):
    """The peer failed us. `str()` is the Error text; `status` is the SIP status where there was one.

    `diagnostics` are the raw values of ms-diagnostics headers, `detail` says what the cause alone does not
    (an OpenSSL code, the schemes on offer, what arrived instead),
    `seen` what a fresh look showed where one was taken.
    """

    def __init__(
        self,
        cause: Cause,
        text: str,
        status: Optional[int] = None,
        diagnostics: Tuple[str, ...] = (),
        detail: str = "",
        retry_after: str = "",
        seen: Optional[Seen] = None,
    ) -> None:
        super().__init__(text)
        self.cause = cause
        self.status = status
        self.diagnostics = diagnostics
        self.detail = detail
        self.retry_after = retry_after
        self.seen = seen


class Failure(NamedTuple):
    """A PresenceError with the activity it ended and the user it happened to (``""``: to none in particular).

    `server` is the one that it happened at, where several were tried.
    """

    activity: str
    user: str
    cause: Cause
    text: str
    status: Optional[int]
    diagnostics: Tuple[str, ...]
    detail: str
    retry_after: str
    seen: Optional[Seen] = None
    server: str = ""

    @property
    def key(self) -> Tuple[str, str, str]:
        """What two failures have in common that are one to a reader."""
        return self.server, self.user, self.detail or self.text


class Activity(NamedTuple):
    """One activity of one user. Times in seconds since the start of the run; `ended` is None if it came to no end.

    `error` says why it failed, ``""`` where it did not; `details` are lines for a log.
    """

    name: str
    user: str
    started: float
    ended: Optional[float]
    details: Tuple[str, ...] = ()
    error: str = ""

    @property
    def seconds(self) -> Optional[float]:
        """How long it took; None unless it was completed."""
        return None if self.ended is None or self.error else self.ended - self.started


class Signature(enum.Enum):
    """What the guard of a connection found on a message of the server."""

    VALID = "valid"
    WRONG = "wrong"
    MISSING = "missing"


class CertificateEnd(NamedTuple):
    """When a certificate ends (Unix time), and whose it is."""

    at: float
    whose: str


class WireMessage(NamedTuple):
    """A SIP message as it was sent or received, secrets still in it; report cleans it.

    `at`: seconds since the start of the run. `signature` is None where nobody looked for one. `connection` tells the
    connections of a recorded run apart. Without `sip` it is what came in place of a message.
    """

    at: float
    user: str
    sent: bool
    data: bytes
    signature: Optional[Signature] = None
    connection: int = 0
    sip: bool = True


class Diagnosis(NamedTuple):
    """What a person reads of failures: `error` and `diagnosis` fill the cmdlet's fields of that name (``""``: no
    failure), `advice` are sentences.
    """

    error: str
    diagnosis: str
    advice: Tuple[str, ...]


class Path(NamedTuple):
    """Whether presence gets from one front end to another: after how many seconds, or why not."""

    notified_after: Optional[float]
    failure: Optional[Failure]


class Outcome(NamedTuple):
    """What a run came to. Without failures it is a success and `latency` and `notified_after` are set.

    Times in seconds: `latency` from the first connection to the notification, `notified_after` from the sending of the
    publication. `certificate_expires` is the end that comes first, of the certificates that were seen. `remarks` are
    sentences that concern any verdict. `dialect` is what the server turned out to speak, ``"lync"`` or ``"simple"``;
    what was asked for where the run ended before that. `left_out` messages came after `messages` and were not kept.

    Where all front ends of a pool were tried, `front_ends` has an Outcome for each, whose `server` is its address and
    whose `paths` lead to the servers they are named by; the whole has their failures and activities, and the longest
    latency.
    """

    target: str
    failures: Tuple[Failure, ...]
    activities: Tuple[Activity, ...]
    latency: Optional[float]
    notified_after: Optional[float]
    certificate_expires: Optional[CertificateEnd]
    remarks: Tuple[str, ...] = ()
    messages: Tuple[WireMessage, ...] = ()
    dialect: str = "lync"
    server: str = ""
    paths: Mapping[str, Path] = MappingProxyType({})
    front_ends: Tuple[Outcome, ...] = ()
    left_out: int = 0

    @property
    def success(self) -> bool:
        return not self.failures and self.latency is not None
