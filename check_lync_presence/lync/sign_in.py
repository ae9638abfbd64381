"""Signing in: REGISTER, the menu of schemes, the handshake, the signed REGISTER (MS-SIPAE 3.2, MS-SIPREGE).

Owns the sequence of the exchanges and what each answer means. Must not know what a scheme's tokens are (mechanism),
nor what is done once signed in.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Callable, Dict, NamedTuple, Optional

from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError
from ..refusal import raise_redirect, status_error
from ..settings import Account
from ..sip.date import parse_date
from ..sip.message import Request, Response
from ..useragent import UserAgent
from .association import NEWEST_VERSION, Association, AuthHeader, challenges, format_auth_header, with_credentials
from .guard import AssociationGuard
from .mechanism import Mechanism, Ntlm, SignInOptions

_MAX_OPAQUE = 256  # real ones have 8 characters
MAX_LEGS = 8  # a TLS handshake takes three; no scheme more than a server that splits what it says
_CLOCKS_DIFFER = "1013"  # ms-diagnostics of a 401 that says nothing of the password


class SignedIn(NamedTuple):
    """The 200 to REGISTER, the guard that protects the connection from here on, by how many seconds the server's
    clock is ahead of ours (None: it did not tell the time), and the scheme.
    """

    response: Response
    guard: AssociationGuard
    clock_difference: Optional[float]
    scheme: str


async def sign_in(
    agent: UserAgent,
    account: Account,
    options: SignInOptions,
    register: Callable[[], Request],
    deadline: Deadline,
) -> SignedIn:
    """Register `account`; `register` builds each next REGISTER. One attempt with the password, never two.

    Raises PresenceError, Redirected.
    """
    menu_response = await agent.request(register(), deadline)
    raise_redirect(menu_response)
    if menu_response.status not in (401, 407):
        if menu_response.status < 300:
            raise PresenceError(Cause.PROTOCOL, "The server registers users without asking who they are.")
        raise status_error(menu_response)
    menu = challenges(menu_response)
    offer = menu.get("ntlm")
    if offer is None:
        raise _no_scheme(menu)
    return await _handshake(
        agent, Ntlm(account, options, agent.token), menu_response, offer, register, options.now, deadline
    )


async def _handshake(
    agent: UserAgent,
    mechanism: Mechanism,
    menu: Response,
    offer: AuthHeader,
    register: Callable[[], Request],
    now: Callable[[], float],
    deadline: Deadline,
) -> SignedIn:
    """Exchange tokens until the mechanism has its keys, and register with a signed REGISTER."""
    scheme = mechanism.scheme
    realm, target = offer.get("realm"), offer.get("targetname")
    version = min(offer.version, NEWEST_VERSION)
    leg, data, opaque = menu, b"", ""
    for _ in range(MAX_LEGS):
        token = await mechanism.token(offer, data, deadline)
        params = {"qop": "auth", "opaque": opaque} if opaque else {"qop": "auth"}
        params.update(realm=realm, targetname=target)
        if token is not None:
            params["gssapi-data"] = b64encode(token).decode()
        params["version"] = str(version)
        if mechanism.keys is not None:
            association = Association(scheme, realm, target, opaque, version, *mechanism.keys)
            final = register()
            handshake = params if token is not None else None
            guard = AssociationGuard(association, leg.status, handshake, final.call_id, agent.token)
            agent.guard = guard
            response = await agent.request(final, deadline)
            if response.status in (401, 407):
                raise _refused(response)
            raise_redirect(response)
            if response.status >= 300:
                raise status_error(response)
            date = parse_date(leg.get("Date") or "")
            return SignedIn(response, guard, None if date is None else date - now(), scheme)
        request = with_credentials(register(), menu.status, format_auth_header(scheme, params))
        assert isinstance(request, Request)
        leg = await agent.request(request, deadline)
        reply = _reply(leg, menu.status, scheme)
        opaque = reply.get("opaque")[:_MAX_OPAQUE]
        try:
            data = b64decode(reply.get("gssapi-data"), validate=True)
        except ValueError:
            raise PresenceError(Cause.PROTOCOL, f"The {scheme} challenge is not base64.", leg.status) from None
    raise PresenceError(Cause.PROTOCOL, f"The {scheme} sign-in comes to no end.", leg.status)


def _reply(leg: Response, status: int, scheme: str) -> AuthHeader:
    """The server's next token. Raises PresenceError, Redirected."""
    if leg.status != status:
        raise_redirect(leg)
        raise (
            status_error(leg)
            if leg.status >= 300
            else PresenceError(Cause.PROTOCOL, "The server registers users without checking their password.")
        )
    reply = challenges(leg).get(scheme.lower())
    if reply is None or not reply.get("gssapi-data"):
        error = status_error(leg)  # no password has been sent yet, so none has been refused
        raise PresenceError(Cause.PROTOCOL, f"The {scheme} sign-in got no challenge.", leg.status, error.diagnostics)
    return reply


def _no_scheme(menu: Dict[str, AuthHeader]) -> PresenceError:
    offered = ", ".join(header.scheme for header in menu.values()) or "nothing"
    return PresenceError(Cause.NO_SCHEME, f"The server does not offer NTLM; it offers {offered}.", 401, detail=offered)


def _refused(response: Response) -> PresenceError:
    error = status_error(response)
    if any(value.partition(";")[0].strip() == _CLOCKS_DIFFER for value in error.diagnostics):
        return error
    return PresenceError(Cause.REFUSED_CREDENTIALS, str(error), error.status, error.diagnostics)
