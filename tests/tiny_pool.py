"""A front end of the least that two users need, one thread a connection; a test overrides what is to go wrong.

It is no simulator: it believes whatever it is told, and knows nothing of what the users did before.
"""

from __future__ import annotations

import re
import socket
import threading
from base64 import b64decode, b64encode
from typing import Dict, List, Optional, Tuple, TypeVar

from check_lync_presence.lync import ntlm
from check_lync_presence.lync.association import Association, AuthHeader, credentials_header
from check_lync_presence.sip.message import Header, Message, Request, Response
from check_lync_presence.sip.transaction import response_to
from check_lync_presence.sip.uri import parse_name_addr

from .loopback import Server, Wire
from .samples import ANN, BEN
from .transcripts import POOL

REALM = "SIP Communications Service"
PASSWORDS = {account.uri: account.password.reveal() for account in (ANN, BEN)}
ALLOWED_EVENTS = "vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-self"
SUPPORTED = "adhoclist, msrtc-event-categories"
CATEGORIES = "application/msrtc-event-categories+xml"
SIP_NS = "http://schemas.microsoft.com/2006/09/sip"
ROAMING = f'<roamingData xmlns="{SIP_NS}/roaming-self"></roamingData>'
MARKER = re.compile(rb"presence-check [0-9a-f]{16}")

CHALLENGE = ntlm.build_challenge(
    ntlm.UNICODE | ntlm.NTLM | ntlm.ALWAYS_SIGN | ntlm.SIGN | ntlm.DATAGRAM | ntlm.EXTENDED_SESSIONSECURITY
    | ntlm.TARGET_INFO | ntlm.KEY_EXCH | ntlm.KEY_128 | ntlm.IDENTIFY,
    b"12345678",
    ntlm.build_av_pairs({ntlm.AV_NB_DOMAIN: "CONTOSO".encode("utf-16-le")}),
)  # fmt: skip


def presence(uri: str, note: str) -> bytes:
    """What a watcher is told of a user's note."""
    return (
        f'<categories xmlns="{SIP_NS}/categories" uri="{uri}"><category name="note" instance="0">'
        f'<note xmlns="{SIP_NS}/note"><body type="personal" uri="">{note}</body></note></category></categories>'
    ).encode()


class Session:
    """One client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.wire = Wire(sock)
        self.association: Optional[Association] = None
        self.uri = ""
        self.register: Optional[Request] = None
        self.subscription: Optional[Request] = None
        self.notifications = 0
        self.lock = threading.RLock()


_Pool = TypeVar("_Pool", bound="TinyPool")


class TinyPool:
    """The front end; `received` are the requests of all clients, `tokens` counts the passwords that were tried."""

    version = 4
    status = 401

    def __init__(self) -> None:
        self.sessions: List[Session] = []
        self.received: List[Message] = []
        self.tokens: Dict[str, int] = {}
        self.server = Server(self._serve)

    def __enter__(self: _Pool) -> _Pool:
        self.server.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.__exit__(*exception)

    def _serve(self, sock: socket.socket) -> None:
        session = Session(sock)
        self.sessions.append(session)
        while True:
            message = session.wire.receive()
            if message is None:
                return
            self.received.append(message)
            if isinstance(message, Request):
                try:
                    self.handle(session, message)
                except ConnectionError:
                    return

    def requests(self, method: str) -> List[Request]:
        """What has come of one method."""
        return [message for message in self.received if isinstance(message, Request) and message.method == method]

    # ------------------------------------------------------------- behaviour

    def handle(self, session: Session, request: Request) -> None:
        if request.method == "REGISTER":
            self.on_register(session, request)
        elif request.method == "SUBSCRIBE" and request.get("Event") == "vnd-microsoft-roaming-self":
            self.on_self_subscribe(session, request)
        elif request.method == "SUBSCRIBE":
            session.subscription = request
            self.on_subscribe(session, request)
        elif request.method == "SERVICE":
            self.on_service(session, request)

    def on_register(self, session: Session, request: Request) -> None:
        credentials = credentials_header(request)
        if session.association is not None:
            self.reply(session, request)
        elif credentials is None:
            self.on_first_register(session, request)
        elif not credentials.get("gssapi-data"):
            self.on_empty_token(session, request)
        else:
            self.on_token(session, request, credentials)

    def on_first_register(self, session: Session, request: Request) -> None:
        self.challenge(session, request, f'NTLM realm="{REALM}", targetname="{POOL}", version={self.version}')

    def on_empty_token(self, session: Session, request: Request, token: bytes = CHALLENGE.raw) -> None:
        value = (
            f'NTLM opaque="0A1B2C3D", gssapi-data="{b64encode(token).decode()}", '
            f'targetname="{POOL}", realm="{REALM}", version={self.version}'
        )
        self.challenge(session, request, value)

    def on_token(self, session: Session, request: Request, credentials: AuthHeader) -> None:
        session.uri = parse_name_addr(request.get("From") or "").uri
        self.tokens[session.uri] = self.tokens.get(session.uri, 0) + 1
        token = ntlm.parse_authenticate(b64decode(credentials.get("gssapi-data")))
        key = ntlm.accept_authenticate(CHALLENGE, token, PASSWORDS[session.uri])
        if key is None:
            self.challenge(session, request, f'NTLM realm="{REALM}", targetname="{POOL}", version={self.version}')
            return
        session.association = Association(
            "NTLM",
            REALM,
            POOL,
            "0A1B2C3D",
            self.version,
            ntlm.session_keys(key, "server-to-client"),
            ntlm.session_keys(key, "client-to-server"),
        )
        session.register = request
        self.reply(session, request, 200, self.registration(session, request))

    def registration(self, session: Session, request: Request) -> Tuple[Header, ...]:
        instance = parse_name_addr(request.get("Contact") or "").params["+sip.instance"]
        gruu = f"{session.uri};opaque=user:epid:x;gruu"
        return (
            ("Contact", f'<sip:192.0.2.1:1>;expires=600;+sip.instance="{instance}";gruu="{gruu}"'),
            ("Allow-Events", ALLOWED_EVENTS),
            ("Supported", SUPPORTED),
            ("Server", "RTC/5.0"),
        )

    def on_self_subscribe(self, session: Session, request: Request) -> None:
        self.reply(session, request, 200, (("ms-piggyback-cseq", "1"),), ROAMING.encode())

    def on_subscribe(self, session: Session, request: Request) -> None:
        self.reply(session, request)

    def on_service(self, session: Session, request: Request) -> None:
        self.reply(session, request)
        marker = MARKER.search(request.body)
        if marker is not None:
            self.published(session, marker.group().decode())

    def published(self, session: Session, note: str) -> None:
        """Tell the other user; a withdrawal does not come here."""
        for watcher in self.watchers():
            self.notify(watcher, presence(session.uri, note))

    def watchers(self) -> List[Session]:
        return [session for session in self.sessions if session.subscription is not None]

    # ------------------------------------------------------------- messages

    def challenge(self, session: Session, request: Request, value: str, *more: Header) -> None:
        name = "WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate"
        self.reply(session, request, self.status, ((name, value), *more), sign=False)

    def reply(
        self,
        session: Session,
        request: Request,
        status: int = 200,
        headers: Tuple[Header, ...] = (),
        body: bytes = b"",
        sign: bool = True,
    ) -> None:
        response = response_to(request, status, "server", headers)
        self.send(session, Response(status, response.reason, response.headers, body), sign)

    def notify(
        self,
        session: Session,
        body: bytes,
        sign: bool = True,
        method: str = "BENOTIFY",
        event: str = "presence",
        content_type: str = CATEGORIES,
        dialog: Optional[Request] = None,
    ) -> None:
        """A request in the dialog of the subscription, or of another request of the client's."""
        opened = dialog or session.subscription
        assert opened is not None
        with session.lock:  # numbers go out in their order
            session.notifications += 1
            sender = f"{opened.get('To')};tag=server"
            headers = (
                ("Via", f"SIP/2.0/TCP {POOL};branch=z9hG4bKs{session.notifications}"),
                ("From", sender),
                ("To", opened.get("From") or ""),
                ("Call-ID", opened.call_id),
                ("CSeq", f"{session.notifications} {method}"),
                ("Event", event),
                ("Content-Type", content_type),
            )
            self.send(session, Request(method, session.uri, headers, body), sign)

    def send(self, session: Session, message: Message, sign: bool = True) -> None:
        with session.lock:
            if sign and session.association is not None:
                message = message.with_headers(("Authentication-Info", session.association.info(message, "01020304")))
            session.wire.send(bytes(message))
