"""Kerberos (MS-SIPAE 3.2.4, RFC 4121): a ticket for the service of the pool, and signatures made with its key.

Owns the credentials of one user, which it shares with nobody, and the sentences for what libkrb5 says. Must not know
SIP messages. gssapi comes with the extra ``kerberos`` and is imported only when it is needed.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Dict, Optional, Tuple

from ..net.deadline import Deadline
from ..net.resolve import in_thread
from ..outcome import Cause, PresenceError
from ..settings import Account, SettingsError
from ..useragent import Token
from ..value import NamedTuple
from .association import AuthHeader, SignatureKeys
from .mechanism import SignInOptions
from .ntlm import split_logon_name

KDC_LIMIT = 10.0  # seconds for all that is asked of KDCs, and never more than half of what is left: libkrb5 takes 20
KDC_SHARE = 0.5
SKEW = 37  # RFC 4120 7.5.9: KRB_AP_ERR_SKEW

_SERVICE = re.compile(r"([A-Za-z]+)/([A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?)\Z", re.IGNORECASE)
_TABLE = -1765328384  # where the error numbers of libkrb5 begin; those of RFC 4120 7.5.9 come first
# What libkrb5 finds neither a ticket nor a usable key in: no file, no such principal in it.
_NOTHING_FOUND = (141, 181, 195)


class MissingExtra(SettingsError):
    """The package gssapi is not installed."""


class _Fault(NamedTuple):
    """What an error number of libkrb5 means. In `text` {user}, {service} and {realm} are names as Kerberos has them,
    {secret} is what the user proves himself with.
    """

    cause: Cause
    detail: str
    text: str


_FAULTS: Dict[int, _Fault] = {
    1: _Fault(Cause.ACCOUNT, "REVOKED", "account expired"),
    6: _Fault(Cause.KERBEROS, "CLIENT", "no such user as {user}"),
    7: _Fault(Cause.KERBEROS, "SERVICE", "no such service as {service}"),
    18: _Fault(Cause.ACCOUNT, "REVOKED", "account disabled, locked or expired"),
    23: _Fault(Cause.ACCOUNT, "PASSWORD", "password expired or to be changed"),
    24: _Fault(Cause.REFUSED_CREDENTIALS, "REFUSED", "the KDC refuses the {secret}"),
    31: _Fault(Cause.REFUSED_CREDENTIALS, "REFUSED", "the KDC refuses the {secret}"),
    32: _Fault(Cause.KERBEROS, "EXPIRED", "the ticket has expired"),
    SKEW: _Fault(Cause.KERBEROS, "SKEW", "clock skew between here and the KDC"),
    154: _Fault(Cause.KERBEROS, "REALM", "this host knows no KDC of {realm}"),
    156: _Fault(Cause.KERBEROS, "KDC", "no KDC of {realm} answers"),
    220: _Fault(Cause.KERBEROS, "KDC", "no KDC of {realm} can be resolved"),
    **dict.fromkeys(_NOTHING_FOUND, _Fault(Cause.KERBEROS, "TICKET", "no ticket of {user}")),
}


class ContextKeys:
    """Both directions' signatures by a GSS context. `api` is the module gssapi."""

    def __init__(self, api: Any, context: Any) -> None:
        self._api = api
        self._context = context

    def mac(self, text: bytes) -> bytes:
        return bytes(self._context.get_signature(text))

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the holder of the key that the ticket is for has signed: nobody else can."""
        try:
            self._context.verify_signature(text, signature)
        except self._api.exceptions.GSSError:
            return False
        return True


def gss_api() -> Any:
    """The module gssapi. Raises MissingExtra."""
    try:
        return importlib.import_module("gssapi")
    except ImportError:
        text = "Kerberos needs gssapi: install python3-gssapi, or pip install gssapi with the check's own pip"
        raise MissingExtra(text) from None


def error_number(error: Any) -> int:
    """The number of a GSSError: of RFC 4120 7.5.9, or higher, of libkrb5's own. `min_code` has no sign."""
    return int(error.min_code - (1 << 32 if error.min_code >> 31 else 0) - _TABLE)


class Kerberos:
    """One leg: the token for the service that the server names (AP-REQ).

    The credentials come from the keytab, else from the password, else from the ticket cache of this host. Of the
    context integrity is asked for and nothing else, as Lync clients do. Mutual authentication is not: an answer that
    is not signed with the ticket's key is refused (guard), which proves the server as well. Nor is the detection of
    replays and gaps, which the association does itself.
    """

    scheme = "Kerberos"

    def __init__(self, account: Account, options: SignInOptions, token: Token, kind: str = "sip") -> None:
        """`token` gives random hexadecimal digits; `kind` is the class of the services that get a ticket.

        Raises SettingsError.
        """
        self.keys: Optional[Tuple[SignatureKeys, SignatureKeys]] = None
        self.shown: Optional[Cause] = None
        self._api = gss_api()
        self._account = account
        self._options = options
        self._kind = kind
        self._cache = f"MEMORY:{token(16)}"  # of its own: tickets of two users never meet
        self._user = self._realm = ""

    async def token(self, challenge: AuthHeader, data: bytes, deadline: Deadline) -> Optional[bytes]:
        """The token of the one leg. Raises PresenceError, SettingsError."""
        service = self._service(challenge.get("targetname"))
        self._user, self._realm = self._principal()
        limit = deadline.within(min(KDC_LIMIT, deadline.remaining * KDC_SHARE))
        try:
            context, token = await in_thread(lambda: self._obtain(service), limit)
        except TimeoutError:
            raise _error(Cause.KERBEROS, f"no KDC of {self._realm} answers within {limit.span} s", "KDC") from None
        except self._api.exceptions.GSSError as error:
            raise self._explained(error, service) from None
        keys = ContextKeys(self._api, context)
        self.keys = keys, keys
        self.shown = Cause.KERBEROS
        return bytes(token)

    def _service(self, targetname: str) -> str:
        """The principal of the service. A ticket for another organisation's host would be a gift to it."""
        match = _SERVICE.match(targetname)
        kind = match.group(1).lower() if match is not None else ""
        if match is None or kind != self._kind.lower() or not self._options.is_ours(match.group(2)):
            raise _error(Cause.KERBEROS, f"the server calls itself {targetname or 'nothing'}", "FOREIGN")
        return f"{self._kind}/{match.group(2)}"

    def _principal(self) -> Tuple[str, str]:
        """The user's principal and its realm. Raises SettingsError."""
        user = self._account.user
        name, domain = split_logon_name(user)
        if not domain:
            name, _, domain = user.rpartition("@")
        realm = self._options.realm_of(user) or (domain.upper() if "." in domain else "")
        if not name or not realm:
            raise SettingsError(
                f"this host is not configured for the Kerberos realm of {user}: write the logon name as name@REALM, "
                "or name the realm in krb5.conf"
            )
        return re.sub(r"([\\/@])", r"\\\1", name) + f"@{realm}", realm

    def _obtain(self, service: str) -> Tuple[Any, bytes]:
        """A context, and the token for it. Blocks; raises GSSError."""
        api = self._api
        kerberos, principal = api.MechType.kerberos, api.NameType.kerberos_principal
        # Without a realm behind the @ the KDCs say where the service is; no DNS has a say in its name.
        target = api.Name(f"{service}@", principal)
        credentials = self._credentials(api.Name(self._user, principal), kerberos)
        flags = api.RequirementFlag.integrity
        context = api.SecurityContext(name=target, creds=credentials, mech=kerberos, usage="initiate", flags=flags)
        return context, context.step()

    def _credentials(self, name: Any, kerberos: Any) -> Any:
        api, account = self._api, self._account
        if account.keytab is not None:
            store = {"client_keytab": f"FILE:{account.keytab.path}", "ccache": self._cache}
            return api.Credentials(name=name, usage="initiate", mechs=[kerberos], store=store)
        if account.password:
            password = account.password.reveal().encode()
            acquired = api.raw.acquire_cred_with_password(name, password, usage="initiate", mechs=[kerberos])
            return api.Credentials(acquired.creds)
        return api.Credentials(name=name, usage="initiate", mechs=[kerberos])

    def _explained(self, error: Any, service: str) -> Exception:
        number = error_number(error)
        keytab = self._account.keytab
        if keytab is not None and number in _NOTHING_FOUND:
            return SettingsError(f"the keytab {keytab.path} has no key of {self._user}; klist -k shows what it has")
        fault = _FAULTS.get(number)
        if fault is None:
            said = "; ".join(error.get_all_statuses(error.min_code, False)) or type(error).__name__
            return _error(Cause.KERBEROS, said.rstrip("."), "OTHER")
        secret = "password" if keytab is None else "keytab's key"
        text = fault.text.format(user=self._user, service=service, realm=self._realm, secret=secret)
        if fault.detail == "REALM" and self._options.auth == "kerberos":
            return SettingsError(f"{text}: name one in krb5.conf ({self._realm} = {{ kdc = … }})")
        return _error(fault.cause, text, fault.detail)


def _error(cause: Cause, text: str, detail: str) -> PresenceError:
    return PresenceError(cause, f"Kerberos: {text}.", detail=detail)
