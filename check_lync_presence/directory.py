"""What Active Directory says of a test account (Get-CsUser and Get-ADUser, over LDAP).

Owns the connection to the directory (ldap3), the one search a user, and the reading of its attributes into findings.
Read-only. Must not know SIP beyond an address, nor what a finding means for the verdict (diagnosis).
"""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import ssl
import threading
from importlib.util import find_spec
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union
from urllib.parse import unquote, urlsplit

from .lockout import BACK_OFF, LockoutGuard
from .net.deadline import Deadline
from .settings import Account, DirectorySettings
from .value import NamedTuple

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
    "msRTCSIP-OriginatorSid",
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

# Parts of a domain that a domain controller always refers to and that have no users.
_WITHOUT_USERS = re.compile(r"DC=(Forest|Domain)DnsZones,|CN=Configuration,", re.IGNORECASE)

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@:")
_POOL_NAME = re.compile(r"CN=Lc Services,CN=Microsoft,CN=([^,]+),", re.IGNORECASE)


class DirectoryError(Exception):
    """The directory could not be asked; the text says why, in one clause."""


class _Refused(DirectoryError):
    """The bind account is refused: another server would count one more wrong password."""


class _ElsewhereError(DirectoryError):
    """This account may be in another domain; of others the server may know more."""


class Finding(enum.Enum):
    """What is wrong with an account, or that nothing is."""

    ABSENT = "absent"
    DUPLICATE = "duplicate"
    OTHER_ADDRESS = "other address"
    OTHER_LOGON = "other logon name"
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


# What a server that does not show the account's state cannot contradict.
OF_THE_ACCOUNT = (Finding.DISABLED, Finding.LOCKED, Finding.EXPIRED, Finding.PASSWORD_EXPIRED, Finding.MUST_CHANGE)


class Report(NamedTuple):
    """What the directory says of one account. `detail` is what the finding names (an address, a pool, a DN, a time);
    `server` is who said it; `locked` is the Unix time of a lock-out (0: not told), None where there is none; `name` is
    the sAMAccountName, `owner` the same where the account is not that of the logon name. `told`: whether it is known if
    the account is disabled, locked out or expired.
    """

    finding: Finding
    detail: str
    server: str
    locked: Optional[float] = None
    name: str = ""
    owner: str = ""
    told: bool = True


Answer = Union[Report, DirectoryError]


def ask(
    settings: DirectorySettings,
    pool_of: Callable[[Account], str],
    accounts: Sequence[Tuple[Account, bool]],
    now: float,
    deadline: Deadline,
    guard: Optional[LockoutGuard] = None,
) -> List[Answer]:
    """Look accounts up; an answer for each, never later than the deadline.

    With each account: whether it is asked why it cannot sign in, or else why it is not found. `pool_of` tells the
    FQDN of the pool that one should be homed on, `now` the time of day; `guard` remembers a refused bind account.

    ldap3 blocks, and some of its waits have no limit of their own: it works in a thread that nobody waits for.
    """
    limit = deadline.remaining
    silent = DirectoryError(f"no answer within {limit:.3g} s" if limit else "no time was left")
    answers: List[Answer] = [silent] * len(accounts)
    if not limit:
        return answers

    def work() -> None:
        directory = Directory([Server(uri, settings, pool_of, now, deadline, guard) for uri in settings.uris])
        try:
            for index, (account, credentials) in enumerate(accounts):
                try:
                    answers[index] = directory.look_up(account, credentials)
                except DirectoryError as error:
                    answers[index] = error
            for index, (account, credentials) in enumerate(accounts):
                first = answers[index]
                if isinstance(first, Report):
                    answers[index] = directory.compare(first, account, credentials)
        finally:
            directory.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    return list(answers)


class Directory:
    """The servers of a directory, in the order in which they are asked."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def look_up(self, account: Account, credentials: bool) -> Report:
        """What the first server that can be asked says of `account`. Raises DirectoryError."""
        reasons: List[str] = []
        for position, server in enumerate(self._servers):
            try:
                return server.report(account, credentials, len(self._servers) - position)
            except DirectoryError as error:
                reasons.append(str(error))
                if isinstance(error, _Refused):
                    break
        raise DirectoryError("; ".join(dict.fromkeys(reasons)))

    def compare(self, first: Report, account: Account, credentials: bool) -> Report:
        """`first`, held against what the next server says: two may disagree until they have replicated."""
        others = [server for server in self._servers if server.name != first.server and server.fault is None]
        for position, server in enumerate(others):
            try:
                second = server.report(account, credentials, len(others) - position)
            except _Refused:
                break
            except DirectoryError:
                continue
            known = [report for report in (first, second) if report.told or report.finding is not Finding.FINE]
            if second.finding is first.finding or (len(known) == 1 and known[0].finding in OF_THE_ACCOUNT):
                return known[0] if known else first
            detail = f"{first.server} says {first.finding.value}, {second.server} says {second.finding.value}"
            locked = second.locked if first.locked is None else first.locked
            return first._replace(finding=Finding.CONTRADICTION, detail=detail, locked=locked)
        return first


class Server:
    """A connection to one directory server, kept for both users. `fault` is why it cannot be asked any more."""

    def __init__(
        self,
        uri: str,
        settings: DirectorySettings,
        pool_of: Callable[[Account], str],
        now: float,
        deadline: Deadline,
        guard: Optional[LockoutGuard] = None,
    ) -> None:
        self.name = _name(uri)
        self.fault: Optional[DirectoryError] = None
        self._uri = uri
        self._settings = settings
        self._pool_of = pool_of
        self._now = now
        self._deadline = deadline
        self._guard = guard
        self._connection: Any = None
        self._base = settings.base
        self._pools: Dict[str, str] = {}

    def close(self) -> None:
        if self._connection is not None:
            _quietly(self._connection.unbind)
            self._connection = None

    def report(self, account: Account, credentials: bool, waiting: int) -> Report:
        """What this server says of `account`. Raises DirectoryError.

        It takes its share of the time, where so many (`waiting`, this one included) may have to be asked.
        """
        if self.fault is not None:
            raise self.fault
        try:
            if self._connection is None:
                self._connection = self._open(waiting)
            return self._judge(account, self._search(account), credentials)
        except _ElsewhereError:
            raise
        except DirectoryError as error:
            self.fault = error
            raise
        except Exception as error:  # whatever a broken server makes of ldap3 must not cost the verdict
            self.fault = DirectoryError(f"{self.name}: {_clause(error)}")
            raise self.fault from None

    # --------------------------------------------------------------- asking

    def _open(self, waiting: int) -> Any:
        import ldap3
        from ldap3.core.exceptions import LDAPException

        settings = self._settings
        parts = urlsplit(self._uri)
        encrypted = parts.scheme == "ldaps" or settings.starttls
        # To this host itself, as to the end of a tunnel, a password goes over no network.
        if settings.auth == "simple" and not encrypted and not _is_loopback(parts.hostname or ""):
            raise DirectoryError(
                f"{self.name} is not encrypted and would see the password; use ldaps:// or --ldap-starttls"
            )
        self._hold_back()
        if not self._deadline.remaining:
            raise DirectoryError(f"{self.name}: no time was left")
        limit = max(0.1, min(LIMIT, self._deadline.remaining / waiting))
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
            raise DirectoryError(f"{self.name}: {_clause(error)}") from None
        try:
            connection.open()
            # Without this the first request waits 40 ms for the acknowledgement of the TLS handshake.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.starttls and parts.scheme != "ldaps":
                connection.start_tls()
            if not connection.bind():  # ldap3 raises no exception for some results, which are no success all the same
                raise DirectoryError(f"{self.name} {_unsuccessful(connection.result)}")
        except DirectoryError:
            _abandon(connection)
            raise
        except Exception as error:  # ldap3 lets struct and pyasn1 errors of a broken server through
            _abandon(connection)
            raise self._bind_fault(error) from None
        if self._bind_account is not None and self._guard is not None:
            self._guard.forget(self._bind_account)
        return connection

    def _bind_fault(self, error: Exception) -> DirectoryError:
        kerberos = _kerberos_fault(error)
        if kerberos:
            text = f"Kerberos fails: {kerberos}; check klist, and that the URI has the server's own name"
            return DirectoryError(f"{self.name}: {text}")
        clause = _clause(error)
        if not _is_answer(error):
            return DirectoryError(f"{self.name}: {clause}")
        if getattr(error, "result", None) != _INVALID_CREDENTIALS:
            return DirectoryError(f"{self.name} {clause}")
        if clause == _RESULTS[_INVALID_CREDENTIALS] and self._bind_account is not None and self._guard is not None:
            self._guard.remember(self._bind_account, self._now)
        return _Refused(f"{self.name} {clause}")

    @property
    def _bind_account(self) -> Optional[Account]:
        """Whose password a bind shows; None where it shows none."""
        settings = self._settings
        if settings.auth != "simple" or settings.bind is None:
            return None
        return Account(settings.bind, settings.bind, settings.password)

    def _hold_back(self) -> None:
        """Raise _Refused where the bind account was refused a while ago: every failure's look-up would lock it out."""
        account = self._bind_account
        refusal = self._guard.refusal(account) if account is not None and self._guard is not None else None
        if refusal is not None and self._now - refusal.tried < BACK_OFF:
            text = f"the directory {_RESULTS[_INVALID_CREDENTIALS]} since {_utc(refusal.since)}"
            raise _Refused(f"{text}; store the right one, this one is tried again after {BACK_OFF / 60:.0f} minutes")

    def _credentials(self, host: str) -> Dict[str, Any]:
        import ldap3

        settings = self._settings
        if settings.auth == "anonymous":
            return {"authentication": ldap3.ANONYMOUS}
        if settings.auth == "kerberos":
            missing = missing_for_kerberos()
            if missing:
                raise DirectoryError(missing)
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
        raise DirectoryError(f"{self.name} does not say what its base is; name it with --ldap-base")

    def _entries(self, base: str, wanted: str, scope: str, attributes: Sequence[str]) -> List[_Entry]:
        from ldap3.core.exceptions import LDAPSizeLimitExceededResult

        connection = self._connection
        try:
            connection.search(base, wanted, scope, attributes=list(attributes), size_limit=MAX_ENTRIES)
        except LDAPSizeLimitExceededResult:
            pass  # what came before the limit is there all the same
        except Exception as error:
            raise DirectoryError(f"{self.name}{'' if _is_answer(error) else ':'} {_clause(error)}") from None
        # References to other servers (searchResRef) are not followed: credentials stay with those that were named.
        found = [item for item in connection.response or () if item.get("type") == "searchResEntry"]
        references = [uri for item in connection.response or () for uri in item.get("uri", ())]
        # What a search that came to no end has not found proves nothing.
        if connection.result["result"] not in ((_SUCCESS, _SIZE_LIMIT_EXCEEDED) if found else (_SUCCESS,)):
            raise DirectoryError(f"{self.name} {_unsuccessful(connection.result)}")
        if not found and not all(_WITHOUT_USERS.match(_named_dn(uri)) for uri in references):
            text = "does not have the account and refers to another domain; ask a global catalog (ldaps://…:3269)"
            raise _ElsewhereError(f"{self.name} {text}")
        return [_Entry(str(item["dn"]), item["raw_attributes"]) for item in found[:MAX_ENTRIES]]

    # -------------------------------------------------------------- judging

    def _judge(self, account: Account, entries: List[_Entry], credentials: bool) -> Report:
        uri = account.uri.lower()
        exact = [entry for entry in entries if entry.one("msRTCSIP-PrimaryUserAddress").lower() == uri]
        if len(exact) > 1:
            return Report(Finding.DUPLICATE, " and ".join(sorted(entry.dn for entry in exact)[:2]), self.name)
        if not exact and not entries:
            return Report(Finding.ABSENT, "", self.name)
        entry = exact[0] if exact else _nearest(entries, uri, account.user)
        name = entry.one("sAMAccountName")
        owner = "" if entry.is_of(account.user) else name
        pool = self._pool_of(account).lower()
        catalog = self._connection is not None and self._connection.server.port in GLOBAL_CATALOG_PORTS
        finding, detail = self._first_finding(entry, not exact, owner, credentials, pool) or (Finding.FINE, entry.dn)
        told = entry.shows_account(catalog)
        return Report(finding, detail, self.name, entry.locked_since(), name, owner, told)

    def _first_finding(
        self, entry: _Entry, other: bool, owner: str, credentials: bool, pool: str
    ) -> Optional[Tuple[Finding, str]]:
        """What explains most: the account where somebody cannot sign in, else its place in Lync."""
        if credentials and owner and not other:
            return Finding.OTHER_LOGON, owner
        of_the_account = _account_states(entry, self._now)
        of_lync = self._sip_states(entry, other, pool)
        first, second = (of_the_account, of_lync) if credentials else (of_lync, of_the_account)
        return next(first, None) or next(second, None)

    def _sip_states(self, entry: _Entry, other: bool, pool: str) -> Iterator[Tuple[Finding, str]]:
        address = entry.one("msRTCSIP-PrimaryUserAddress")
        enabled = entry.one("msRTCSIP-UserEnabled").upper()
        if not address or not enabled:
            yield Finding.NOT_ENABLED, entry.dn
        elif other:
            yield Finding.OTHER_ADDRESS, address
        elif enabled != "TRUE":
            yield Finding.SIP_DISABLED, entry.dn
        else:
            yield from self._homes(entry, pool)

    def _homes(self, entry: _Entry, wanted: str) -> Iterator[Tuple[Finding, str]]:
        locator = entry.one("msRTCSIP-DeploymentLocator")
        if locator and locator.upper() != "SRV:":
            yield Finding.HOMED_ONLINE, locator
            return
        home = entry.one("msRTCSIP-PrimaryHomeServer")
        if home not in self._pools:  # both users have the same, as a rule
            self._pools[home] = self._pool_named(home)
        pool = self._pools[home]
        if pool and pool.lower() not in (wanted, wanted.partition(".")[0]):
            yield Finding.OTHER_POOL, pool

    def _pool_named(self, home_server: str) -> str:
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

    def is_of(self, logon_name: str) -> bool:
        """Whether the account has this logon name, as far as it is shown."""
        own = self.one("sAMAccountName").lower()
        full = self.one("userPrincipalName").lower()
        logon = logon_name.lower().rpartition("\\")[2]
        return (
            not own
            or self.signs_in_elsewhere
            or logon == full
            or logon.partition("@")[0] in (own, full.partition("@")[0])
        )

    @property
    def signs_in_elsewhere(self) -> bool:
        """Whether the account is in another forest, and this one stands for it, disabled (resource forest)."""
        return bool(self.one("msRTCSIP-OriginatorSid"))

    def shows_account(self, catalog: bool) -> bool:
        """Whether it can be known if the account is disabled, locked out or expired."""
        if self.number("userAccountControl") is None or self.signs_in_elsewhere:
            return False
        # A global catalog has no lockoutTime; elsewhere it is absent where there never was a lock-out.
        return not catalog or self.number("msDS-User-Account-Control-Computed") is not None

    def locked_since(self) -> Optional[float]:
        """When the account was locked out, as Unix time (0: not told); None if it is not."""
        time = self.number("lockoutTime") or 0
        computed = self.number("msDS-User-Account-Control-Computed")
        # The attribute keeps its value when the lock-out has run out; what is computed knows better, where it is told.
        locked = time > 0 if computed is None else bool(computed & _COMPUTED_LOCKOUT)
        return max(0.0, _unix(time)) if locked else None


def _account_states(entry: _Entry, now: float) -> Iterator[Tuple[Finding, str]]:
    control = entry.number("userAccountControl")
    if control is None or entry.signs_in_elsewhere:
        return  # a contact has no account to sign in with, and its computed values mean nothing
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


def missing_for_kerberos() -> str:
    """What ``--ldap-auth kerberos`` lacks, and how to get it; empty: nothing."""
    for module in ("gssapi", "cryptography"):  # the second for the channel binding
        if find_spec(module) is None:
            return (
                f"Kerberos needs {module}: install python3-{module}, or pip install {module} with the check's own pip"
            )
    return ""


def _literal(value: str) -> str:
    """A value in a filter (RFC 4515 section 3); blanks are escaped too, or ldap3 would strip them."""
    return "".join(chr(octet) if chr(octet) in _PLAIN else f"\\{octet:02x}" for octet in value.encode())


def _named_dn(uri: str) -> str:
    """The name in an LDAP URL (RFC 4516)."""
    return unquote(uri.partition("://")[2].partition("/")[2].partition("?")[0])


def _is_answer(error: Exception) -> bool:
    """Whether a server has answered, with a result that is no success."""
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
_SUCCESS, _SIZE_LIMIT_EXCEEDED, _INVALID_CREDENTIALS = 0, 4, 49
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


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
