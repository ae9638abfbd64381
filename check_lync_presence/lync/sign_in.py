"""Signing in: REGISTER, the menu of schemes, the handshake, the signed REGISTER (MS-SIPAE 3.2, MS-SIPREGE).

Owns the sequence of the exchanges and what each answer means. Must not know what a scheme's tokens are (mechanism),
nor what is done once signed in.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Callable, Dict, List, Optional

from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError
from ..refusal import raise_redirect, status_error
from ..settings import Account
from ..sip.date import parse_date
from ..sip.message import Request, Response
from ..useragent import UserAgent
from ..value import NamedTuple
from .association import NEWEST_VERSION, Association, AuthHeader, challenges, format_auth_header, with_credentials
from .guard import AssociationGuard
from .mechanism import Mechanism, SignInOptions
from .schemes import attempts

_MAX_OPAQUE = 256  # real ones have 8 characters
MAX_LEGS = 8  # a TLS handshake takes three; no scheme more than a server that splits what it says
_CLOCKS_DIFFER = "1013"  # ms-diagnostics of a 401 that says nothing of the password

# What another scheme may do better. A password that was refused once is not tried with another one.
_ELSEWISE = (Cause.KERBEROS, Cause.CERTIFICATE)
_NOT_AUTHORIZED = "4004"  # MS-OCER: not authorized to act as the user in From
_OF_THE_USER = "4"  # MS-OCER: 4000 and up are what a registrar has against a user


class SignedIn(NamedTuple):
    """The 200 to REGISTER, the guard that protects the connection from here on (None: TLS alone does), by how many
    seconds the server's clock is ahead of ours (None: it did not tell the time), and the scheme.
    """

    response: Response
    guard: Optional[AssociationGuard]
    clock_difference: Optional[float]
    scheme: str


async def sign_in(
    agent: UserAgent,
    account: Account,
    options: SignInOptions,
    register: Callable[[], Request],
    deadline: Deadline,
    passed_over: List[str],
) -> SignedIn:
    """Register `account`; `register` builds each next REGISTER. One attempt with the password, never two.

    `passed_over` is told of schemes that did not work where another one was tried. Raises PresenceError, Redirected,
    SettingsError.
    """
    if options.auth == "trusted-server":
        return await _as_trusted_server(agent, options.now, register, deadline)
    menu_response = await agent.request(register(), deadline)
    raise_redirect(menu_response)
    if menu_response.status not in (401, 407):
        if menu_response.status < 300:
            text = "The server registers users without asking who they are."
            raise PresenceError(Cause.PROTOCOL, text, detail="OPEN")
        raise status_error(menu_response)
    menu = challenges(menu_response)
    possible = attempts(menu, account, options, agent.token)
    for left, (mechanism, offer) in zip(range(len(possible), 0, -1), possible):
        try:
            return await _handshake(agent, mechanism, menu_response, offer, register, options.now, deadline)
        except PresenceError as error:
            if left == 1 or error.cause not in _ELSEWISE:
                raise
            reason = str(error).rstrip(".").removeprefix(f"{mechanism.scheme}: ")
            passed_over.append(f"{mechanism.scheme} was passed over: {reason}.")
            agent.guard = None
    raise _no_scheme(menu, options.auth)


async def _as_trusted_server(
    agent: UserAgent, now: Callable[[], float], register: Callable[[], Request], deadline: Deadline
) -> SignedIn:
    """Register as a server whose certificate the other one believes, or does not (mutual TLS). Nothing is signed."""
    tls = agent.connection.tls
    if tls is None or tls.expires is None:
        raise PresenceError(Cause.PROTOCOL, "Without TLS to a verified server nothing proves who is who.")
    try:
        response = await agent.request(register(), deadline)
    except PresenceError as error:
        if error.cause is Cause.CLOSED:  # with or without an alert, our certificate is what it has just looked at
            raise PresenceError(Cause.TLS, str(error), detail="HUNG_UP") from None
        raise
    raise_redirect(response)
    if response.status < 300:
        return SignedIn(response, None, _ahead(response, now), "TrustedServer (client certificate)")
    refusal = status_error(response)
    about_the_user = any(value.lstrip().startswith(_OF_THE_USER) for value in refusal.diagnostics)
    if response.status in (401, 407) or (response.status == 403 and not about_the_user):
        raise PresenceError(Cause.NOT_TRUSTED, str(refusal), refusal.status, refusal.diagnostics)
    raise refusal


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
                raise _refused(response, mechanism)
            raise_redirect(response)
            if response.status >= 300:
                raise _not_admitted(response, mechanism)
            return SignedIn(response, guard, _ahead(leg, now), scheme)
        request = with_credentials(register(), menu.status, format_auth_header(scheme, params))
        assert isinstance(request, Request)
        leg = await agent.request(request, deadline)
        reply = _reply(leg, menu.status, mechanism)
        opaque = reply.get("opaque")[:_MAX_OPAQUE]
        try:
            data = b64decode(reply.get("gssapi-data"), validate=True)
        except ValueError:
            raise PresenceError(Cause.PROTOCOL, f"The {scheme} challenge is not base64.", leg.status) from None
    raise PresenceError(Cause.PROTOCOL, f"The {scheme} sign-in comes to no end.", leg.status)


def _reply(leg: Response, status: int, mechanism: Mechanism) -> AuthHeader:
    """The server's next token. Raises PresenceError, Redirected."""
    if leg.status != status:
        raise_redirect(leg)
        raise (
            status_error(leg)
            if leg.status >= 300
            else PresenceError(
                Cause.PROTOCOL, "The server registers users without checking their password.", detail="OPEN"
            )
        )
    reply = challenges(leg).get(mechanism.scheme.lower())
    if reply is None or not reply.get("gssapi-data"):
        raise _refused(leg, mechanism)
    return reply


def _ahead(response: Response, now: Callable[[], float]) -> Optional[float]:
    date = parse_date(response.get("Date") or "")
    return None if date is None else date - now()


def _no_scheme(menu: Dict[str, AuthHeader], auth: str) -> PresenceError:
    offered = ", ".join(header.scheme for header in menu.values()) or "nothing"
    wanted = {"kerberos": "Kerberos", "tls-dsk": "TLS-DSK"}.get(auth, "NTLM")
    return PresenceError(
        Cause.NO_SCHEME, f"The server does not offer {wanted}; it offers {offered}.", 401, detail=offered
    )


def _not_admitted(response: Response, mechanism: Mechanism) -> PresenceError:
    """He is who he proves to be, and that may be somebody else."""
    error = status_error(response)
    other = any(value.lstrip().startswith(_NOT_AUTHORIZED) for value in error.diagnostics)
    if mechanism.shown is Cause.CERTIFICATE and other:
        return PresenceError(Cause.CERTIFICATE, str(error), error.status, error.diagnostics, "OTHER")
    return error


def _refused(response: Response, mechanism: Mechanism) -> PresenceError:
    error = status_error(response)
    if mechanism.shown is None:  # nothing has been shown yet, so nothing has been refused
        text = f"The {mechanism.scheme} sign-in got no challenge."
        return PresenceError(Cause.PROTOCOL, text, error.status, error.diagnostics)
    skewed = any(value.partition(";")[0].strip() == _CLOCKS_DIFFER for value in error.diagnostics)
    if skewed and mechanism.shown is Cause.REFUSED_CREDENTIALS:
        return error
    return PresenceError(mechanism.shown, str(error), error.status, error.diagnostics)
