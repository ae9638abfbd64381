"""The users that the simulator serves: those of the check's own accounts file.

Owns the mapping of sections to users. Must not know options, or what a user does.
"""

from __future__ import annotations

from typing import Dict, List, Mapping

from ..settings import AccountsFile, Secret, SettingsError, read_private_file, sip_address
from .faults import ROLES
from .pool import User


def users_of(accounts: AccountsFile) -> List[User]:
    """Publisher and subscriber of every section, each user once. Raises SettingsError."""
    users: Dict[str, User] = {}
    for section, keys in accounts.sections.items():
        for role in ROLES:
            if not keys.get(role):
                continue
            user = _user(accounts.path, section, keys, role)
            known = users.setdefault(user.key, user)
            known.roles |= user.roles
    if not users:
        raise SettingsError(f"the accounts file {accounts.path} has no section with a publisher or a subscriber")
    return list(users.values())


def _user(path: str, section: str, keys: Mapping[str, str], role: str) -> User:
    address = sip_address(keys[role])
    logon = keys.get(f"{role}_user") or address.partition(":")[2]
    return User(address, logon, _password(path, section, keys, role), section.rstrip(".").lower(), frozenset((role,)))


def _password(path: str, section: str, keys: Mapping[str, str], role: str) -> Secret:
    if keys.get(f"{role}_password"):
        return Secret(keys[f"{role}_password"])
    if keys.get(f"{role}_password_file"):
        text = read_private_file(keys[f"{role}_password_file"], "password file")
        return Secret(text.partition("\n")[0].rstrip("\r"))
    raise SettingsError(
        f"[{section}] in {path} has no password for the {role}; add {role}_password or {role}_password_file"
    )
