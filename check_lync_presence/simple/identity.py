"""Who a user is to a SIMPLE server.

Owns the derivation; must not know messages.
"""

from __future__ import annotations

from ..settings import Account


def digest_user(account: Account) -> str:
    """The user name for Digest (RFC 7616 3.4): the logon name, or the part of the address before the @ where none was
    given.
    """
    return account.address.rpartition("@")[0] if account.user == account.address else account.user
