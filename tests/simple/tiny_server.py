"""A SIMPLE server of the least that two users need, one thread a connection; a test scripts what is to go wrong.

It computes Digest by itself: it shares messages and framing with the check, and nothing else.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from typing import Dict, List, Optional, Tuple

from check_lync_presence.settings import Account, Secret
from check_lync_presence.sip.message import Header, Message, Request, Response
from check_lync_presence.sip.transaction import response_to
from check_lync_presence.sip.uri import parse_name_addr

from ..loopback import Server, Wire

ANN = Account("sip:ann@contoso.example", "ann@contoso.example", Secret("secret-ann"))
BEN = Account("sip:ben@contoso.example", "ben@contoso.example", Secret("secret-ben"))
REALM = "contoso.example"
PASSWORDS = {"ann": "secret-ann", "ben": "secret-ben"}
PIDF = "application/pidf+xml"
# What stands between a request and what it wants: 401 and 407 as real servers give them.
CHALLENGES = {"REGISTER": 401, "SUBSCRIBE": 407, "PUBLISH": 407}
PHONE = "<sip:ann@192.0.2.99:5060>"  # somebody else's binding, which is there before we come

_PARAM = re.compile(r'([a-z]+)=(?:"([^"]*)"|([^,\s]+))')

Answer = Tuple[int, Tuple[Header, ...]]


def challenge(status: int, nonce: str, more: str = ', qop="auth"') -> Answer:
    """A refusal that asks for a password."""
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return status, ((name, f'Digest realm="{REALM}", nonce="{nonce}"{more}'),)


def nonces(request: Request, name: str = "Authorization") -> List[str]:
    """The nonces that a request answers."""
    return [_params(value)["nonce"] for value in request.all(name)]


def passwords(requests: List[Request]) -> int:
    """How many of them carry a password in some form."""
    return sum(bool(request.get("Authorization") or request.get("Proxy-Authorization")) for request in requests)


def presence(note: str, entity: str = ANN.uri) -> bytes:
    """A document whose note is `note`."""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}"><tuple id="x"><status><basic>open</basic>'
        f"</status><note>{note}</note></tuple></presence>"
    ).encode()


def _params(value: str) -> Dict[str, str]:
    return {name: quoted or plain for name, quoted, plain in _PARAM.findall(value)}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Session:
    """One client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.wire = Wire(sock)
        self.subscription: Optional[Request] = None
        self.notifications = 1
        self.lock = threading.Lock()


class TinyServer:
    """The server; `received` is what all clients have sent, `script` the first answers by method."""

    def __init__(self, **script: List[Answer]) -> None:
        self.script = script
        self.received: List[Message] = []
        self.sessions: List[Session] = []
        self.bindings: List[str] = [PHONE]
        self.documents: Dict[str, bytes] = {}
        self.counts: Dict[str, int] = {}
        self.server = Server(self._serve)

    def __enter__(self) -> TinyServer:
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
                self.handle(session, message)

    def requests(self, method: str) -> List[Request]:
        """What has come of one method."""
        return [message for message in self.received if isinstance(message, Request) and message.method == method]

    def answers(self) -> List[Response]:
        """What our notifications were answered."""
        return [message for message in self.received if isinstance(message, Response)]

    # ------------------------------------------------------------- behaviour

    def handle(self, session: Session, request: Request) -> None:
        planned = self.script.get(request.method)
        if planned:
            self.reply(session, request, *planned.pop(0))
        elif not self.knows(request):
            self.reply(session, request, *challenge(CHALLENGES[request.method], "n1"))
        elif request.method == "REGISTER":
            self.on_register(session, request)
        elif request.method == "SUBSCRIBE":
            self.on_subscribe(session, request)
        else:
            self.on_publish(session, request)

    def on_register(self, session: Session, request: Request) -> None:
        contact = request.get("Contact") or ""
        self.bindings = [known for known in self.bindings if known != contact and contact != "*"]
        if request.get("Expires") != "0":
            self.bindings.append(contact)
        contacts = tuple(("Contact", f"{known};expires=120") for known in self.bindings)
        self.reply(session, request, 200, (*contacts, ("Server", "tiny")))

    def on_subscribe(self, session: Session, request: Request) -> None:
        session.subscription = request
        ended = request.get("Expires") == "0"
        self.accept(session, request)
        self.notify(session, state="terminated;reason=timeout" if ended else "active;expires=119")

    def on_publish(self, session: Session, request: Request) -> None:
        tag = request.get("SIP-If-Match")
        if tag is None:
            tag = f"tag-{len(self.documents)}"
            self.documents[tag] = request.body
        elif self.documents.pop(tag, None) is None:
            self.reply(session, request, 412)
            return
        self.reply(session, request, 200, (("SIP-ETag", tag), ("Expires", "120")))
        self.published(request)

    def published(self, request: Request) -> None:
        for watcher in self.sessions:
            if watcher.subscription is not None and request.body:
                self.notify(watcher, request.body)

    def knows(self, request: Request) -> bool:
        """Whether the credentials are right, each used once."""
        name = "Authorization" if CHALLENGES[request.method] == 401 else "Proxy-Authorization"
        given = _params(request.get(name) or "")
        if not given:
            return False
        user = parse_name_addr(request.get("From") or "").uri[len("sip:") :].partition("@")[0]
        count = int(given["nc"], 16)
        repeated = count <= self.counts.get(f"{user} {given['nonce']}", 0)
        self.counts[f"{user} {given['nonce']}"] = count
        middle = f"{given['nonce']}:{given['nc']}:{given['cnonce']}:auth"
        secret = _md5(f"{user}:{REALM}:{PASSWORDS[user]}")
        response = _md5(f"{secret}:{middle}:{_md5(f'{request.method}:{request.uri}')}")
        return (given["username"], given["uri"], given["response"]) == (user, request.uri, response) and not repeated

    # ------------------------------------------------------------- messages

    def reply(self, session: Session, request: Request, status: int = 200, headers: Tuple[Header, ...] = ()) -> None:
        self.send(session, response_to(request, status, "server", headers))

    def accept(self, session: Session, request: Request, status: int = 200) -> None:
        """Grant a subscription."""
        contact = f"<sip:presence@127.0.0.1:{self.server.port};transport=tcp>"
        self.reply(session, request, status, (("Contact", contact), ("Expires", "120")))

    def notify(
        self,
        session: Session,
        body: bytes = b"",
        state: str = "active;expires=119",
        content_type: str = PIDF,
        event: str = "presence",
        number: Optional[int] = None,
        call_id: str = "",
    ) -> None:
        """A request in the dialog of the subscription, with the next sequence number unless another is given."""
        opened = session.subscription
        assert opened is not None
        session.notifications += number is None
        headers = (
            ("Via", f"SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKs{session.notifications}"),
            ("From", f"<{parse_name_addr(opened.get('To') or '').uri}>;tag=server"),
            ("To", opened.get("From") or ""),
            ("Call-ID", call_id or opened.call_id),
            ("CSeq", f"{session.notifications if number is None else number} NOTIFY"),
            ("Contact", f"<sip:presence@127.0.0.1:{self.server.port};transport=tcp>"),
            ("Event", event),
            ("Subscription-State", state),
            *([("Content-Type", content_type)] if body else []),
        )
        self.send(session, Request("NOTIFY", parse_name_addr(opened.get("Contact") or "").uri, headers, body))

    def send(self, session: Session, message: Message) -> None:
        with session.lock:
            session.wire.send(bytes(message))


class LaxServer(TinyServer):
    """Registers whoever comes, and asks for a password only afterwards."""

    def handle(self, session: Session, request: Request) -> None:
        if request.method == "REGISTER":
            self.on_register(session, request)
        else:
            super().handle(session, request)
