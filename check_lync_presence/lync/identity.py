"""Who an endpoint is: epid, instance id, GRUU (MS-SIPRE, MS-CONMGMT) and the instance numbers that follow from them.

Owns the derivations; must not know messages.
"""

from __future__ import annotations

import base64
import hashlib
import uuid

_NAMESPACE = uuid.UUID("fcacfb03-8a73-46ef-91b1-e5ebeeaba4fe")  # MS-SIPRE


def instance_id(epid: str) -> uuid.UUID:
    """The UUID of ``+sip.instance`` for an endpoint id."""
    digest = hashlib.sha1(_NAMESPACE.bytes_le + epid.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    fields = uuid.UUID(bytes_le=digest[:16])
    return uuid.UUID(int=fields.int & ~(0xF << 76) & ~(0x3 << 62) | 0x5 << 76 | 0x2 << 62)


def gruu(address: str, epid: str) -> str:
    """The GRUU that a server gives to the endpoint `epid` of `address` (``sip:user@domain``)."""
    opaque = base64.urlsafe_b64encode(instance_id(epid).bytes_le + b"\0\0").decode()
    return f"{address};opaque=user:epid:{opaque};gruu"


def machine_instance(epid: str) -> int:
    """The instance number of an endpoint's own publications; `epid` begins with eight hexadecimal digits."""
    return int(epid[:8], 16) >> 4 | 0x30000000
