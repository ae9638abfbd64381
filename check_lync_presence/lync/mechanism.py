"""How a user proves who he is: the tokens of one scheme, and the keys that they lead to (MS-SIPAE 3.2.4).

Owns what every scheme has in common, and NTLM's side of it. Must not know SIP messages nor their order (sign_in).
"""

from __future__ import annotations

from typing import Awaitable, Callable, List, Optional, Protocol, Tuple

from ..net.deadline import Deadline
from ..outcome import Cause, PresenceError
from ..settings import Account, UserCertificate
from ..useragent import Token
from ..value import NamedTuple
from . import ntlm
from .association import AuthHeader, SignatureKeys

# Gets a user's certificate, for what the server has offered. Raises PresenceError.
GetCertificate = Callable[[AuthHeader, Deadline], Awaitable[UserCertificate]]


class SignInOptions(NamedTuple):
    """How to sign in. `auth` is a scheme, or ``auto`` for the strongest that can work; `ntlm_mic` adds a message
    integrity code to NTLM; `workstation` is this host's name; `now` gives Unix time.

    `is_ours` says whether a host belongs to the organisation that is tested: no other gets what proves who a user is.
    `realm_of` gives the Kerberos realm of a logon name, ``""`` where this host is not configured for one.
    `certificates` are the ways to a certificate of the user's, the cheapest first.
    """

    auth: str
    ntlm_mic: bool
    workstation: str
    now: Callable[[], float]
    is_ours: Callable[[str], bool]
    realm_of: Callable[[str], str]
    certificates: Callable[[], List[GetCertificate]] = list


class Mechanism(Protocol):
    """One attempt of one user with one scheme, named as in the headers.

    `keys` are those of the two directions, client to server and server to client; None until our side has them.
    `shown` is what the server has been shown so far: its refusal is a refusal of that; None: nothing yet.
    """

    scheme: str
    keys: Optional[Tuple[SignatureKeys, SignatureKeys]]
    shown: Optional[Cause]

    async def token(self, challenge: AuthHeader, data: bytes, deadline: Deadline) -> Optional[bytes]:
        """What to send next, in answer to `data` (empty at first); None where the server has had all of it.

        Raises PresenceError.
        """
        ...


class Ntlm:
    """Connectionless NTLM (MS-SIPAE 3.2.4, MS-NLMP): nothing, the server's challenge, our answer.

    `token` gives random hexadecimal digits.
    """

    scheme = "NTLM"

    def __init__(self, account: Account, options: SignInOptions, token: Token) -> None:
        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.shown: Optional[Cause] = None
        self._account = account
        self._options = options
        self._token = token

    async def token(self, challenge: AuthHeader, data: bytes, deadline: Deadline) -> Optional[bytes]:
        """Empty, then AUTHENTICATE. Raises PresenceError."""
        if not data:
            return b""
        options = self._options
        user, domain = ntlm.split_logon_name(self._account.user)
        exported_key = bytes.fromhex(self._token(32))
        try:
            answer = ntlm.build_authenticate(
                ntlm.parse_challenge(data),
                ntlm.Credentials(user, domain, self._account.password.reveal()),
                options.workstation,
                bytes.fromhex(self._token(16)),
                exported_key,
                ntlm.filetime(options.now()),
                f"sip/{challenge.get('targetname')}" if options.ntlm_mic else None,
            )
        except ntlm.NtlmError as fault:
            raise PresenceError(Cause.NO_SCHEME, f"NTLM is not possible: {fault}.", 401, detail="challenge") from None
        self.keys = (
            ntlm.session_keys(exported_key, "client-to-server"),
            ntlm.session_keys(exported_key, "server-to-client"),
        )
        self.shown = Cause.REFUSED_CREDENTIALS
        return answer
