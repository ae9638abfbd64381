"""The recorded round trip in tests/data: two users sign in with NTLM, one publishes, the other is told.

The signatures in the files are real. They were made with the keys below, which follow from the exported session
keys (MS-NLMP 3.4.5); ann's is the one that her AUTHENTICATE token in file 05 carries.
"""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple

from check_lync_presence.lync.association import Association
from check_lync_presence.lync.ntlm import session_keys
from check_lync_presence.sip.framing import StreamFramer
from check_lync_presence.sip.message import Message

DATA = Path(__file__).parent / "data"

REALM = "SIP Communications Service"
POOL = "pool01.contoso.example"


class User(NamedTuple):
    """One end user's side of the recording."""

    exported_key: bytes
    opaque: str


ANN = User(bytes.fromhex("00112233445566778899AABBCCDDEEFF"), "85185AE4")
BEN = User(bytes.fromhex("FFEEDDCCBBAA99887766554433221100"), "9C20D7B1")
NAMES = tuple(path.name for path in sorted((DATA / "round-trip").iterdir()))


def octets(name: str) -> bytes:
    """A message of the round trip as it was on the wire."""
    return (DATA / "round-trip" / name).read_bytes()


def parse(data: bytes) -> Message:
    """The one message that `data` is."""
    (message,) = messages(data)
    return message


def messages(data: bytes) -> List[Message]:
    """The messages in `data`, which must end with the last of them."""
    framer = StreamFramer()
    found = list(framer.feed(data))
    assert not framer.partial
    return found


def recorded(name: str) -> Message:
    """A message of the round trip."""
    return parse(octets(name))


def client_end(user: User, version: int = 4) -> Association:
    """The security association as the user's program holds it."""
    outgoing = session_keys(user.exported_key, "client-to-server")
    incoming = session_keys(user.exported_key, "server-to-client")
    return Association("NTLM", REALM, POOL, user.opaque, version, outgoing, incoming)


def server_end(user: User, version: int = 4) -> Association:
    """The same association as the front end holds it."""
    outgoing = session_keys(user.exported_key, "server-to-client")
    incoming = session_keys(user.exported_key, "client-to-server")
    return Association("NTLM", REALM, POOL, user.opaque, version, outgoing, incoming)
