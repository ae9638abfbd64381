"""Which schemes a user can sign in with, strongest first.

Owns the table, and what must be there for a scheme to work. Must not know how a scheme works (mechanism, kerberos).
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple

from ..settings import Account
from ..useragent import Token
from ..value import NamedTuple
from .association import AuthHeader
from .mechanism import Mechanism, Ntlm, SignInOptions

Make = Callable[[Account, SignInOptions, Token], Sequence[Mechanism]]


class Scheme(NamedTuple):
    """A scheme by its name for --auth, which is that of the headers in lower case.

    `make` gives the attempts with it; none where it cannot work here and something else may be tried.
    """

    name: str
    make: Make


def _kerberos(account: Account, options: SignInOptions, token: Token) -> Sequence[Mechanism]:
    others = options.auth == "auto" and bool(account.password)
    if others and not options.realm_of(account.user):
        return ()
    from .kerberos import Kerberos, MissingExtra

    try:
        return (Kerberos(account, options, token),)
    except MissingExtra:
        if others:
            return ()
        raise


def _tls_dsk(account: Account, options: SignInOptions, token: Token) -> Sequence[Mechanism]:
    if options.auth == "auto" and account.certificate is None:  # to get one it takes what the other schemes do with
        return ()
    from .tls_dsk import TlsDsk

    return [TlsDsk(account.uri, get_certificate) for get_certificate in options.certificates()]


def _ntlm(account: Account, options: SignInOptions, token: Token) -> Sequence[Mechanism]:
    return (Ntlm(account, options, token),) if account.password else ()


SCHEMES = (Scheme("tls-dsk", _tls_dsk), Scheme("kerberos", _kerberos), Scheme("ntlm", _ntlm))


def attempts(
    menu: Dict[str, AuthHeader], account: Account, options: SignInOptions, token: Token
) -> List[Tuple[Mechanism, AuthHeader]]:
    """What can be tried with what the server offers, each with its offer. Raises SettingsError."""
    found = []
    for scheme in SCHEMES:
        offer = menu.get(scheme.name)
        if offer is not None and options.auth in ("auto", scheme.name):
            found += [(mechanism, offer) for mechanism in scheme.make(account, options, token)]
    return found
