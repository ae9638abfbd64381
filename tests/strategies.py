"""What the property tests feed the parsers with: octets and texts as hostile peers send them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

# Enough to find what there is to find, and the whole suite stays a matter of seconds.
few = settings(max_examples=100)
many = settings(max_examples=200)

# Only a guard, and this machine may be busy: what is linear in its input takes a few milliseconds for 64 kB, what is
# quadratic takes a minute.
HANG = 10.0
LARGE = 64 * 1024


def wire_text(octets: bytes) -> str:
    """Octets as the message parser turns them into text."""
    return octets.decode("utf-8", "surrogateescape")


def made_of(*pieces: str) -> st.SearchStrategy[str]:
    """Texts made of pieces that mean something to a parser, with some that mean nothing."""
    return st.lists(st.sampled_from(pieces) | st.text(max_size=3).map(_as_wire), max_size=30).map("".join)


def _as_wire(text: str) -> str:
    return wire_text(text.encode("utf-8", "surrogatepass"))


any_text = st.binary(max_size=200).map(wire_text)

token = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~", min_size=1, max_size=12)
header_value = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40).map(
    lambda text: text.strip(" \t")
)
message_head = made_of(
    "REGISTER", " ", "sip:contoso.example", "SIP/2.0", "200", " OK", "\r\n", "\n", "\r", ":", ": ", "\t", "\0",
    "Call-ID: a\r\n", "CSeq: 1 REGISTER\r\n", "CSeq: 99999999999 X\r\n", "i:", "v:", "Via: x\r\n", "From", "To",
    ";tag=", "<", ">",
    "REGISTER sip:contoso.example SIP/2.0\r\n", "SIP/2.0 200 OK\r\n", "SIP/2.0 299 \r\n", "Content-Length: 0", "\udcff",
)  # fmt: skip
