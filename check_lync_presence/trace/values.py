"""What is recorded of a run besides its outcome: a Recording, and the facts it consists of.

Owns the values. Times are seconds since the start of the round trip. Must not know files, sockets or verdicts.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from ..directory import Report
from ..locate import Server
from ..net.resolve import Address
from ..net.transport import TlsFacts
from ..outcome import Failure, WireMessage
from ..settings import Settings
from ..value import NamedTuple


class Found(NamedTuple):
    """What came of the look for a pool's servers, or, where a redirect named a host, for its addresses.

    `error` is why none was found (``""``: one was), `detail` that of the PresenceError; `remarks` are sentences about
    what was wrong on the way.
    """

    at: float
    name: str
    servers: Tuple[Server, ...] = ()
    remarks: Tuple[str, ...] = ()
    error: str = ""
    detail: str = ""


class Contact(NamedTuple):
    """An attempt to connect: by whom, where, when it began and was over, and what came of it.

    Where it failed `error` says why, `failed` is ``"TCP"`` or ``"TLS"`` and `code` is OpenSSL's; then there is neither
    `local` nor `peer`.
    """

    number: int
    user: str
    server: str
    addresses: Tuple[Address, ...]
    transport: str
    began: float
    ended: float
    local: Optional[Address] = None
    peer: Optional[Address] = None
    tls: Optional[TlsFacts] = None
    error: str = ""
    failed: str = ""
    code: str = ""


class Break(NamedTuple):
    """The end of a connection that was not ours: `error` is ``""`` where the server has closed it.

    `unreachable`: nobody takes our datagrams; `sending`: it was noticed when something was sent, `gone`: and was that
    the server has closed it.
    """

    at: float
    number: int
    error: str = ""
    unreachable: bool = False
    sending: bool = False
    gone: bool = False


class Asked(NamedTuple):
    """What the directory said of an account, or why it could not be asked."""

    user: str
    report: Optional[Report]
    error: str = ""


class Recording(NamedTuple):
    """A run as far as it can be told.

    `settings` are those of the whole run, `timeout` is what the round trip had of its time; `now` is the time of day
    (Unix) and `began` the run's own clock when the round trip began, None where it did not. `stopped` is what that
    clock showed when SIGTERM came. `held_back` are the failures of a run that did not try a refused password again, and
    `remarks` what was added to those of the round trip. `complete` is False where the server sent more than is kept.
    """

    settings: Settings
    now: float
    versions: Dict[str, str]
    began: Optional[float] = None
    timeout: float = 0.0
    stopped: Optional[float] = None
    found: Tuple[Found, ...] = ()
    contacts: Tuple[Contact, ...] = ()
    breaks: Tuple[Break, ...] = ()
    messages: Tuple[WireMessage, ...] = ()
    asked: Tuple[Asked, ...] = ()
    held_back: Tuple[Failure, ...] = ()
    remarks: Tuple[str, ...] = ()
    complete: bool = True
