"""Which schemes a user can sign in with, strongest first.

Owns the table, and what must be there for a scheme to work. Must not know how a scheme works (mechanism, kerberos).
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from ..settings import Account
from ..useragent import Token
from .association import AuthHeader
from .mechanism import Mechanism, Ntlm, SignInOptions

Make = Callable[[Account, SignInOptions, Token], Optional[Mechanism]]


class Scheme(NamedTuple):
    """A scheme by its name for --auth, which is that of the headers in lower case.

    `make` gives an attempt with it; None where it cannot work here and something else may be tried.
    """

    name: str
    make: Make


def _kerberos(account: Account, options: SignInOptions, token: Token) -> Optional[Mechanism]:
    others = options.auth == "auto" and bool(account.password)
    if others and not options.realm_of(account.user):
        return None
    from .kerberos import Kerberos, MissingExtra

    try:
        return Kerberos(account, options, token)
    except MissingExtra:
        if others:
            return None
        raise


def _ntlm(account: Account, options: SignInOptions, token: Token) -> Optional[Mechanism]:
    return Ntlm(account, options, token) if account.password else None


SCHEMES = (Scheme("kerberos", _kerberos), Scheme("ntlm", _ntlm))


def attempts(
    menu: Dict[str, AuthHeader], account: Account, options: SignInOptions, token: Token
) -> List[Tuple[Mechanism, AuthHeader]]:
    """What can be tried with what the server offers, each with its offer. Raises SettingsError."""
    found = []
    for scheme in SCHEMES:
        offer = menu.get(scheme.name)
        if offer is not None and options.auth in ("auto", scheme.name):
            mechanism = scheme.make(account, options, token)
            if mechanism is not None:
                found.append((mechanism, offer))
    return found
