"""The users that the simulator serves: those of the check's own accounts file.

Owns the mapping of sections to users. Must not know options, or what a user does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Mapping, Type, TypeVar

from ..settings import AccountsFile, Secret, SettingsError, pool_name, read_private_file, sip_address
from .faults import ROLES


@dataclass
class Person:
    """A user as configured: SIP address, logon name, password, the first of his pools, what he is in the check."""

    address: str
    logon: str
    password: Secret
    pool: str
    roles: FrozenSet[str]

    @property
    def key(self) -> str:
        """Active Directory compares addresses without case."""
        return self.address.lower()

    @property
    def domain(self) -> str:
        return self.key.rpartition("@")[2]


P = TypeVar("P", bound=Person)


def users_of(accounts: AccountsFile, kind: Type[P], passwords: bool = True) -> List[P]:
    """Publisher and subscriber of every section, each user once, of a dialect's `kind`. Raises SettingsError.

    Without `passwords` a user need not have one: he signs in otherwise.
    """
    users: Dict[str, P] = {}
    for section, keys in accounts.sections.items():
        for role in ROLES:
            if not keys.get(role):
                continue
            address = sip_address(keys[role])
            logon = keys.get(f"{role}_user") or address.partition(":")[2]
            password = _password(accounts.path, section, keys, role, passwords)
            user = kind(address, logon, password, pool_name(section), frozenset((role,)))
            known = users.setdefault(user.key, user)
            known.roles |= user.roles
    if not users:
        raise SettingsError(f"the accounts file {accounts.path} has no section with a publisher or a subscriber")
    return list(users.values())


def _password(path: str, section: str, keys: Mapping[str, str], role: str, needed: bool) -> Secret:
    if keys.get(f"{role}_password"):
        return Secret(keys[f"{role}_password"])
    if keys.get(f"{role}_password_file"):
        text = read_private_file(keys[f"{role}_password_file"], "password file")
        return Secret(text.partition("\n")[0].rstrip("\r"))
    if not needed:
        return Secret("")
    raise SettingsError(
        f"[{section}] in {path} has no password for the {role}; add {role}_password or {role}_password_file"
    )
