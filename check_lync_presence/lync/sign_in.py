"""Signing in: REGISTER, the menu of schemes, the handshake, the signed REGISTER (MS-SIPAE 3.2, MS-SIPREGE).

Owns the sequence of the three exchanges and what each answer means. Must not know what is done once signed in.
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
from . import ntlm
from .association import NEWEST_VERSION, Association, AuthHeader, challenges, format_auth_header, with_credentials
from .guard import AssociationGuard

_MAX_OPAQUE = 256  # real ones have 8 characters


class NtlmOptions(NamedTuple):
    """How to answer an NTLM challenge: `mic` adds a message integrity code; `workstation` is this host's name."""

    mic: bool
    workstation: str
    now: Callable[[], float]


class SignedIn(NamedTuple):
    """The 200 to REGISTER, the guard that protects the connection from here on, and by how many seconds the server's
    clock is ahead of ours (None: it did not tell the time).
    """

    response: Response
    guard: AssociationGuard
    clock_difference: Optional[float]


async def sign_in(
    agent: UserAgent,
    account: Account,
    options: NtlmOptions,
    register: Callable[[], Request],
    deadline: Deadline,
) -> SignedIn:
    """Register `account` with NTLM; `register` builds each next REGISTER. One attempt with the password, never two.

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

    realm, target = offer.get("realm"), offer.get("targetname")
    version = min(offer.version, NEWEST_VERSION)
    params = {"qop": "auth", "realm": realm, "targetname": target, "gssapi-data": "", "version": str(version)}
    request = with_credentials(register(), menu_response.status, format_auth_header("NTLM", params))
    assert isinstance(request, Request)
    leg = await agent.request(request, deadline)
    if leg.status != menu_response.status:
        raise_redirect(leg)
        raise (
            status_error(leg)
            if leg.status >= 300
            else PresenceError(Cause.PROTOCOL, "The server registers users without checking their password.")
        )
    reply = challenges(leg).get("ntlm")
    if reply is None or not reply.get("gssapi-data"):
        error = status_error(leg)  # no password has been sent yet, so none has been refused
        raise PresenceError(Cause.PROTOCOL, "The NTLM sign-in got no challenge.", leg.status, error.diagnostics)

    exported_key = bytes.fromhex(agent.token(32))
    user, domain = ntlm.split_logon_name(account.user)
    try:
        token = ntlm.build_authenticate(
            ntlm.parse_challenge(b64decode(reply.get("gssapi-data"), validate=True)),
            ntlm.Credentials(user, domain, account.password.reveal()),
            options.workstation,
            bytes.fromhex(agent.token(16)),
            exported_key,
            ntlm.filetime(options.now()),
            f"sip/{target}" if options.mic else None,
        )
    except ntlm.NtlmError as fault:
        raise PresenceError(Cause.NO_SCHEME, f"NTLM is not possible: {fault}.", 401, detail="challenge") from None
    except ValueError:
        raise PresenceError(Cause.PROTOCOL, "The NTLM challenge is not base64.", leg.status) from None
    opaque = reply.get("opaque")[:_MAX_OPAQUE]
    association = Association(
        "NTLM",
        realm,
        target,
        opaque,
        version,
        ntlm.session_keys(exported_key, "client-to-server"),
        ntlm.session_keys(exported_key, "server-to-client"),
    )
    handshake = {
        "qop": "auth",
        "opaque": opaque,
        "realm": realm,
        "targetname": target,
        "gssapi-data": b64encode(token).decode(),
        "version": str(version),
    }
    final = register()
    guard = AssociationGuard(association, leg.status, handshake, final.call_id, agent.token)
    agent.guard = guard
    response = await agent.request(final, deadline)
    if response.status in (401, 407):
        raise _refused(response)
    raise_redirect(response)
    if response.status >= 300:
        raise status_error(response)
    date = parse_date(leg.get("Date") or "")
    return SignedIn(response, guard, None if date is None else date - options.now())


def _no_scheme(menu: Dict[str, AuthHeader]) -> PresenceError:
    offered = ", ".join(header.scheme for header in menu.values()) or "nothing"
    return PresenceError(Cause.NO_SCHEME, f"The server does not offer NTLM; it offers {offered}.", 401, detail=offered)


def _refused(response: Response) -> PresenceError:
    error = status_error(response)
    return PresenceError(Cause.REFUSED_CREDENTIALS, str(error), error.status, error.diagnostics)
