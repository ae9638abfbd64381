"""What Active Directory says of a test account (Get-CsUser and Get-ADUser, over LDAP).

Owns the connection to the directory (ldap3), the one search a user, and the reading of its attributes into findings.
Read-only. Must not know SIP beyond an address, nor what a finding means for the verdict (diagnosis).
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import re
import socket
import ssl
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union
from urllib.parse import urlsplit

from .net.deadline import Deadline
from .settings import Account, DirectorySettings

LIMIT = 5.0  # seconds for a connection to one server, and for one answer of it; the next one is tried after that
MAX_ENTRIES = 20  # of one user's search that are looked at; two are one too many
GLOBAL_CATALOG_PORTS = (3268, 3269)

_USER_ACCOUNT_DISABLED = 0x00000002  # MS-ADTS 2.2.16
_COMPUTED_LOCKOUT = 0x00000010
_COMPUTED_PASSWORD_EXPIRED = 0x00800000
_NEVER = (0, 0x7FFFFFFFFFFFFFFF)
_FILETIME_EPOCH = 11644473600  # seconds from 1601 to 1970

_ATTRIBUTES = (
    "msRTCSIP-PrimaryUserAddress",
    "msRTCSIP-UserEnabled",
    "msRTCSIP-PrimaryHomeServer",
    "msRTCSIP-DeploymentLocator",
    "proxyAddresses",
    "userPrincipalName",
    "sAMAccountName",
    "userAccountControl",
    "msDS-User-Account-Control-Computed",
    "lockoutTime",
    "accountExpires",
    "pwdLastSet",
    "msDS-UserPasswordExpiryTimeComputed",
)

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@:")
_POOL_NAME = re.compile(r"CN=Lc Services,CN=Microsoft,CN=([^,]+),", re.IGNORECASE)


class DirectoryError(Exception):
    """The directory could not be asked; the text says why, in one clause."""


class Finding(enum.Enum):
    """What is wrong with an account, or that nothing is."""

    ABSENT = "absent"
    DUPLICATE = "duplicate"
    OTHER_ADDRESS = "other address"
    NOT_ENABLED = "not enabled"
    SIP_DISABLED = "sip disabled"
    OTHER_POOL = "other pool"
    HOMED_ONLINE = "homed online"
    DISABLED = "disabled"
    LOCKED = "locked"
    EXPIRED = "expired"
    PASSWORD_EXPIRED = "password expired"
    MUST_CHANGE = "must change"
    CONTRADICTION = "contradiction"
    FINE = "fine"


class Report(NamedTuple):
    """What the directory says of one account. `detail` is what the finding names (an address, a pool, a DN, a time);
    `server` is who said it; `locked` is the Unix time of a lock-out (0: not told), None where there is none; `name` is
    the sAMAccountName.
    """

    finding: Finding
    detail: str
    server: str
    locked: Optional[float] = None
    name: str = ""


Answer = Union[Report, DirectoryError]


def ask(
    settings: DirectorySettings, target: str, accounts: Sequence[Tuple[Account, bool]], now: float, deadline: Deadline
) -> List[Answer]:
    """Look accounts up, each with whether its password was refused; an answer for each, never later than the deadline.

    ldap3 blocks, and some of its waits have no limit of their own: it works in a thread that nobody waits for.
    """
    answers: List[Answer] = []

    def work() -> None:
        directory = Directory(settings, target, now, deadline)
        try:
            for account, credentials in accounts:
                try:
                    answers.append(directory.look_up(account, credentials))
                except DirectoryError as error:
                    answers.append(error)
                except Exception as error:  # whatever a broken server makes of ldap3 must not cost the verdict
                    answers.append(DirectoryError(_clause(error)))
        finally:
            directory.close()

    limit = deadline.remaining
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    silent = DirectoryError(f"no answer within {limit:.3g} s")
    known = list(answers)
    return known + [silent] * (len(accounts) - len(known))


class Directory:
    """A connection to the first directory server that answers, kept for both users.

    `now` is the time of day; `target` the FQDN of the pool that the accounts should be homed on.
    """

    def __init__(self, settings: DirectorySettings, target: str, now: float, deadline: Deadline) -> None:
        self._settings = settings
        self._target = target.lower()
        self._now = now
        self._deadline = deadline
        self._left = list(settings.uris)
        self._connection: Any = None
        self._unreachable: Optional[DirectoryError] = None
        self._base = settings.base
        self._server = ""

    def close(self) -> None:
        if self._connection is not None:
            _quietly(self._connection.unbind)
            self._connection = None

    def look_up(self, account: Account, credentials: bool) -> Report:
        """What the directory says of `account`. Raises DirectoryError.

        With `credentials` it is asked why a password was refused, else why the account is not found.

        A finding against the account is held against the next server, where there is one: two domain controllers may
        disagree until they have replicated.
        """
        report = self._ask(account, credentials)
        if report.finding is Finding.FINE or not self._left:
            return report
        other = Directory(self._settings._replace(uris=tuple(self._left)), self._target, self._now, self._deadline)
        try:
            second = other._ask(account, credentials)
        except DirectoryError:
            return report
        finally:
            other.close()
        if second.finding is report.finding:
            return report
        locked = second.locked if report.locked is None else report.locked
        detail = f"{report.server} says {report.finding.value}, {second.server} says {second.finding.value}"
        return Report(Finding.CONTRADICTION, detail, report.server, locked, report.name)

    # --------------------------------------------------------------- asking

    def _ask(self, account: Account, credentials: bool) -> Report:
        if self._connection is None:
            self._connect()
        return self._judge(account, self._search(account), credentials)

    def _connect(self) -> None:
        """Bind to the first server that can be reached; a server that refuses us ends the search for one."""
        if self._unreachable is not None:
            raise self._unreachable
        reasons = []
        while self._left:
            uri = self._left.pop(0)
            if not self._deadline.remaining:
                reasons.append("no time was left")
                break
            try:
                self._connection, self._server = self._open(uri), _name(uri)
                return
            except _Unreachable as error:
                reasons.append(f"{_name(uri)}: {error}")
            except DirectoryError as error:  # what one server refuses is not tried on the next, nor for the next user
                self._unreachable = error
                raise
        self._unreachable = DirectoryError("; ".join(reasons))
        raise self._unreachable

    def _open(self, uri: str) -> Any:
        import ldap3
        from ldap3.core.exceptions import LDAPException

        settings = self._settings
        parts = urlsplit(uri)
        encrypted = parts.scheme == "ldaps" or settings.starttls
        if settings.auth == "simple" and not encrypted:
            raise DirectoryError(
                f"{_name(uri)} is not encrypted and would see the password; use ldaps:// or --ldap-starttls"
            )
        limit = max(0.1, min(LIMIT, self._deadline.remaining / (1 + len(self._left))))
        try:
            tls = None
            if encrypted:
                tls = ldap3.Tls(validate=ssl.CERT_REQUIRED)
                tls.wrap_socket = _tls_wrapper(settings.ca_file, parts.hostname or "")
            server = ldap3.Server(
                parts.hostname,
                port=parts.port or (636 if parts.scheme == "ldaps" else 389),
                use_ssl=parts.scheme == "ldaps",
                tls=tls,
                get_info=ldap3.NONE,
                connect_timeout=limit,
            )
            connection = ldap3.Connection(
                server,
                auto_bind=ldap3.AUTO_BIND_NONE,
                auto_referrals=False,
                raise_exceptions=True,
                read_only=True,
                receive_timeout=max(1, int(limit)),  # ldap3 packs it as an integer
                **self._credentials(parts.hostname or ""),
            )
        except LDAPException as error:
            raise DirectoryError(f"{_name(uri)}: {_clause(error)}") from None
        try:
            connection.open()
            # Without this the first request waits 40 ms for the acknowledgement of the TLS handshake.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.starttls and parts.scheme != "ldaps":
                connection.start_tls()
            if not connection.bind():  # ldap3 raises no exception for some results, which are no success all the same
                raise DirectoryError(f"{_name(uri)} {_unsuccessful(connection.result)}")
        except DirectoryError:
            _abandon(connection)
            raise
        except Exception as error:  # ldap3 lets struct and pyasn1 errors of a broken server through
            _abandon(connection)
            kerberos = _kerberos_fault(error)
            if kerberos:
                text = f"Kerberos fails: {kerberos}; check klist, and that the URI has the server's own name"
                raise DirectoryError(f"{_name(uri)}: {text}") from None
            if _is_refusal(error):
                raise DirectoryError(f"{_name(uri)} {_clause(error)}") from None
            raise _Unreachable(_clause(error)) from None
        return connection

    def _credentials(self, host: str) -> Dict[str, Any]:
        import ldap3

        settings = self._settings
        if settings.auth == "anonymous":
            return {"authentication": ldap3.ANONYMOUS}
        if settings.auth == "kerberos":
            try:
                for module in ("gssapi", "cryptography"):  # the second for the channel binding
                    importlib.import_module(module)
            except ImportError:
                text = "Kerberos needs: pip install 'check_lync_presence[kerberos]'"
                raise DirectoryError(text) from None
            return {
                "authentication": ldap3.SASL,
                "sasl_mechanism": ldap3.KERBEROS,
                "sasl_credentials": (host,),
                "user": settings.bind,
            }
        return {"authentication": ldap3.SIMPLE, "user": settings.bind, "password": settings.password.reveal()}

    def _search(self, account: Account) -> List[_Entry]:
        from ldap3 import SUBTREE

        if self._base is None:
            self._base = self._default_base()
        return self._entries(self._base, _user_filter(account), SUBTREE, _ATTRIBUTES)

    def _default_base(self) -> str:
        from ldap3 import BASE

        port = self._connection.server.port
        wanted = "rootDomainNamingContext" if port in GLOBAL_CATALOG_PORTS else "defaultNamingContext"
        entries = self._entries("", "(objectClass=*)", BASE, (wanted, "namingContexts"))
        for entry in entries:
            for name in (wanted, "namingContexts"):
                if entry.all(name):
                    return entry.all(name)[0]
        raise DirectoryError(f"{self._server} does not say what its base is; name it with --ldap-base")

    def _entries(self, base: str, wanted: str, scope: str, attributes: Sequence[str]) -> List[_Entry]:
        from ldap3.core.exceptions import LDAPSizeLimitExceededResult

        connection = self._connection
        try:
            connection.search(base, wanted, scope, attributes=list(attributes), size_limit=MAX_ENTRIES)
        except LDAPSizeLimitExceededResult:
            pass  # what came before the limit is there all the same
        except Exception as error:
            raise DirectoryError(f"{self._server}{'' if _is_refusal(error) else ':'} {_clause(error)}") from None
        # References to other servers (searchResRef) are not followed: credentials stay with those that were named.
        found = [item for item in connection.response or () if item.get("type") == "searchResEntry"]
        # What a search that came to no end has not found proves nothing.
        if connection.result["result"] not in ((_SUCCESS, _SIZE_LIMIT_EXCEEDED) if found else (_SUCCESS,)):
            raise DirectoryError(f"{self._server} {_unsuccessful(connection.result)}")
        return [_Entry(str(item["dn"]), item["raw_attributes"]) for item in found[:MAX_ENTRIES]]

    # -------------------------------------------------------------- judging

    def _judge(self, account: Account, entries: List[_Entry], credentials: bool) -> Report:
        uri = account.uri.lower()
        exact = [entry for entry in entries if entry.one("msRTCSIP-PrimaryUserAddress").lower() == uri]
        if len(exact) > 1:
            return Report(Finding.DUPLICATE, " and ".join(sorted(entry.dn for entry in exact)[:2]), self._server)
        if not exact and not entries:
            return Report(Finding.ABSENT, "", self._server)
        entry = exact[0] if exact else _nearest(entries, uri, account.user)
        finding, detail = self._first_finding(entry, not exact, credentials) or (Finding.FINE, entry.dn)
        return Report(finding, detail, self._server, entry.locked_since(), entry.one("sAMAccountName"))

    def _first_finding(self, entry: _Entry, other: bool, credentials: bool) -> Optional[Tuple[Finding, str]]:
        """What explains most: the account where a password was refused, else its place in Lync."""
        of_the_account = _account_states(entry, self._now)
        of_lync = self._sip_states(entry, other)
        first, second = (of_the_account, of_lync) if credentials else (of_lync, of_the_account)
        return next(first, None) or next(second, None)

    def _sip_states(self, entry: _Entry, other: bool) -> Iterator[Tuple[Finding, str]]:
        address = entry.one("msRTCSIP-PrimaryUserAddress")
        enabled = entry.one("msRTCSIP-UserEnabled").upper()
        if not address or not enabled:
            yield Finding.NOT_ENABLED, entry.dn
        elif other:
            yield Finding.OTHER_ADDRESS, address
        elif enabled != "TRUE":
            yield Finding.SIP_DISABLED, entry.dn
        else:
            yield from self._homes(entry)

    def _homes(self, entry: _Entry) -> Iterator[Tuple[Finding, str]]:
        locator = entry.one("msRTCSIP-DeploymentLocator")
        if locator and locator.upper() != "SRV:":
            yield Finding.HOMED_ONLINE, locator
            return
        pool = self._pool_of(entry.one("msRTCSIP-PrimaryHomeServer"))
        if pool and pool.lower() != self._target and pool.lower() != self._target.partition(".")[0]:
            yield Finding.OTHER_POOL, pool

    def _pool_of(self, home_server: str) -> str:
        """The pool's name, ``""`` where the directory does not tell it."""
        match = _POOL_NAME.match(home_server)
        if match is None:
            return ""
        name = match.group(1)
        if ":" not in name and "\\" not in name:
            return name
        # From Lync 2010 on the pool object is named by an id such as 1:1, and has its FQDN as an attribute.
        from ldap3 import BASE

        dn = home_server.split(",", 2)[2]
        try:
            entries = self._entries(dn, "(objectClass=*)", BASE, ("dNSHostName",))
        except DirectoryError:
            return ""
        return entries[0].one("dNSHostName") if entries else ""


class _Unreachable(Exception):
    """This server cannot be asked; another one may."""


def _tls_wrapper(ca_file: Optional[str], host: str) -> Callable[..., None]:
    """What ldap3 is to do in place of its own Tls.wrap_socket. Raises DirectoryError.

    Its own sends no server name, compares names itself, and from Python 3.12 on knows no addresses in certificates.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror)
        raise DirectoryError(f"cannot use the CA file {ca_file}: {reason}") from None

    def wrap_socket(connection: Any, do_handshake: bool = False) -> None:
        connection.socket = context.wrap_socket(
            connection.socket, server_hostname=host, do_handshake_on_connect=do_handshake
        )

    return wrap_socket


class _Entry:
    """An entry: its DN, and its attributes as text."""

    def __init__(self, dn: str, attributes: Dict[str, List[bytes]]) -> None:
        self.dn = dn
        self._values = {
            name.lower(): [value.decode("utf-8", "replace") for value in values] for name, values in attributes.items()
        }

    def all(self, name: str) -> List[str]:
        return self._values.get(name.lower(), [])

    def one(self, name: str) -> str:
        return next(iter(self.all(name)), "").strip()

    def number(self, name: str) -> Optional[int]:
        text = self.one(name)
        return int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None

    def locked_since(self) -> Optional[float]:
        """When the account was locked out, as Unix time (0: not told); None if it is not."""
        time = self.number("lockoutTime") or 0
        computed = self.number("msDS-User-Account-Control-Computed")
        # The attribute keeps its value when the lock-out has run out; what is computed knows better, where it is told.
        locked = time > 0 if computed is None else bool(computed & _COMPUTED_LOCKOUT)
        return max(0.0, _unix(time)) if locked else None


def _account_states(entry: _Entry, now: float) -> Iterator[Tuple[Finding, str]]:
    control = entry.number("userAccountControl")
    if control is None:
        return  # a contact object has no account to sign in with, and its computed values mean nothing
    if control & _USER_ACCOUNT_DISABLED:
        yield Finding.DISABLED, entry.dn
    locked = entry.locked_since()
    if locked is not None:
        yield Finding.LOCKED, _utc(locked) if locked else ""
    expires = entry.number("accountExpires") or 0
    if expires not in _NEVER and _unix(expires) < now:
        yield Finding.EXPIRED, _utc(_unix(expires))
    computed = entry.number("msDS-User-Account-Control-Computed") or 0
    end = entry.number("msDS-UserPasswordExpiryTimeComputed")
    if entry.number("pwdLastSet") == 0 and (computed & _COMPUTED_PASSWORD_EXPIRED or end in (None, 0)):
        yield Finding.MUST_CHANGE, ""
    elif computed & _COMPUTED_PASSWORD_EXPIRED or (end is not None and end not in _NEVER and _unix(end) < now):
        yield Finding.PASSWORD_EXPIRED, "" if end is None or end in _NEVER else _utc(_unix(end))


def _nearest(entries: List[_Entry], uri: str, logon_name: str) -> _Entry:
    """Of entries with another address: the one that has this as a proxy address, else the one with the logon name."""
    for entry in entries:
        if uri in (value.lower() for value in entry.all("proxyAddresses")):
            return entry
    logon = logon_name.lower().rpartition("\\")[2]
    for entry in entries:
        if logon in (entry.one("userPrincipalName").lower(), entry.one("sAMAccountName").lower()):
            return entry
    return entries[0]


def _user_filter(account: Account) -> str:
    domain, backslash, name = account.user.rpartition("\\")
    terms = [("msRTCSIP-PrimaryUserAddress", account.uri), ("proxyAddresses", account.uri)]
    terms.append(("userPrincipalName", account.address))
    if backslash and domain:
        terms.append(("sAMAccountName", name))
    elif account.user.lower() != account.address.lower():
        terms.append(("userPrincipalName", account.user))
    return "(|" + "".join(f"({attribute}={_literal(value)})" for attribute, value in terms) + ")"


def _literal(value: str) -> str:
    """A value in a filter (RFC 4515 section 3); blanks are escaped too, or ldap3 would strip them."""
    return "".join(chr(octet) if chr(octet) in _PLAIN else f"\\{octet:02x}" for octet in value.encode())


def _is_refusal(error: Exception) -> bool:
    """Whether a server has answered and does not want us: the next one would say the same."""
    from ldap3.core.exceptions import LDAPOperationResult

    return isinstance(error, LDAPOperationResult)


def _kerberos_fault(error: Optional[BaseException]) -> str:
    """What Kerberos complains of, ``""`` if it does not: ldap3 hides it behind the answer to its farewell."""
    while error is not None:
        if type(error).__module__.partition(".")[0] == "gssapi":
            return str(error).rpartition("): ")[2]
        error = error.__context__
    return ""


# Result codes and sub-codes (MS-ADTS 2.2.1 and the data of AcceptSecurityContext errors) in plain words.
_BIND_DATA = {
    "525": "does not know the bind account",
    "52e": "refuses the bind account or its password",  # also where there is no such account
    "530": "refuses the bind account at this time of day",
    "531": "refuses the bind account from this host",
    "532": "refuses the bind account: its password has expired",
    "533": "refuses the bind account: it is disabled",
    "701": "refuses the bind account: it has expired",
    "773": "refuses the bind account: its password must be changed",
    "775": "refuses the bind account: it is locked out",
    "80090346": "demands LDAP channel binding (data 80090346), which this bind has not; use a simple bind over ldaps://",
}
_SUCCESS, _SIZE_LIMIT_EXCEEDED = 0, 4
_RESULTS = {
    10: "refers to another server (referral); check --ldap-base, or name that server with --ldap-uri",
    1: "refuses the search without a bind (operationsError); name a bind account with --ldap-bind",
    8: "demands LDAP signing or encryption (strongerAuthRequired); use ldaps:// or --ldap-starttls",
    13: "demands encryption (confidentialityRequired); use ldaps:// or --ldap-starttls",
    32: "does not have the base, or does not show it to us (noSuchObject); check --ldap-base and --ldap-bind",
    48: "allows no anonymous bind (inappropriateAuthentication); name a bind account with --ldap-bind",
    49: "refuses the bind account or its password",
    50: "does not let the bind account read (insufficientAccessRights)",
}


def _unsuccessful(result: Dict[str, Any]) -> str:
    code = result["result"]
    return _RESULTS.get(code) or f"answers with LDAP error {code} ({result['description']})"


def _clause(error: BaseException) -> str:
    """What a person calls the error of ldap3: short, without the certificates and addresses that it prints."""
    result = getattr(error, "result", None)
    if isinstance(result, int):
        message = str(getattr(error, "message", "") or "")
        data = re.search(r"\bdata ([0-9a-f]{3,8})\b", message)
        if data is not None and data.group(1) in _BIND_DATA:
            return _BIND_DATA[data.group(1)]
        return _unsuccessful({"result": result, "description": getattr(error, "description", "")})
    if type(error).__name__ == "LDAPInvalidDnError":  # ldap3 has looked before the server could
        return "the base is no distinguished name; check --ldap-base"
    text = str(error).lower()
    for words, clause in (
        ("is not valid for", "its certificate is for another name"),
        ("has expired", "its certificate has expired"),
        ("certificate verify failed", "its certificate is not trusted; give its CA with --ldap-ca-file"),
        ("terminated by server", "it closed the connection"),
        ("connection reset", "it closed the connection"),
        ("timed out", "no answer in time"),
        ("timeout", "no answer in time"),
        ("refused", "connection refused"),
        ("invalid server address", "its name cannot be resolved"),
        ("name or service", "its name cannot be resolved"),
        ("wrong version number", "it does not speak TLS on that port"),
    ):
        if words in text:
            return clause
    return f"no usable answer ({type(error).__name__})"


def _name(uri: str) -> str:
    parts = urlsplit(uri)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _unix(filetime: int) -> float:
    return filetime / 10_000_000 - _FILETIME_EPOCH


def _utc(unix: float) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix))
    except (OverflowError, ValueError, OSError):
        return "an unreadable time"


def _abandon(connection: Any) -> None:
    _quietly(connection.unbind)
    _quietly(lambda: connection.socket.close())  # which ldap3 forgets where it could not be opened altogether


def _quietly(action: Callable[[], object]) -> None:
    """Close what may be closed already."""
    with contextlib.suppress(Exception):
        action()
