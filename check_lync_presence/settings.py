"""What a run is told: Settings, Account, Secret, Thresholds, and the accounts file they may come from.

Owns the accounts file (INI): its permissions, sections and keys. Must not read argv or the environment (cli does).
"""

from __future__ import annotations

import configparser
import os
import re
import stat
from types import MappingProxyType
from typing import Dict, Mapping, Optional, Tuple

from .sip.uri import AddressError, parse_uri
from .value import NamedTuple

MAX_FILE = 1024 * 1024  # an accounts file of a thousand pools has 300 kB
MAX_TIME = 3600.0  # an hour: no scheduler waits longer for a check
ORDINARY_UID = 1000  # the first user id that distributions give to people


class SettingsError(Exception):
    """The check was told something it cannot work with; the text says what, where, and what to do."""


class Secret:
    """A password. It shows as ``***`` wherever it is printed; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> Tuple[object, ...]:
        raise TypeError("a secret is not pickled")


class Keytab(NamedTuple):
    """A file with Kerberos keys; `digest` changes when its contents do.

    It is secret because a key is made of a password: whoever knows it can try passwords at home.
    """

    path: str
    digest: Secret


class ClientCertificate(NamedTuple):
    """What the certificate says that we show: its file, the names that it is for, and its time (Unix)."""

    path: str
    names: Tuple[str, ...]
    begins: float
    ends: float


class UserCertificate(NamedTuple):
    """What a user proves himself with in TLS-DSK, as PEM: certificate (with what stands between it and its CA) and key.

    `subject` is whom it names (CN), `ends` its end as Unix time.
    """

    certificate: str
    key: Secret
    subject: str
    ends: float


class Account(NamedTuple):
    """A test user: SIP address (``sip:user@domain``), logon name (``DOMAIN\\name`` or UPN), and what proves who he is.

    The password is empty where a keytab, a ticket or a certificate takes its place.
    """

    uri: str
    user: str
    password: Secret
    keytab: Optional[Keytab] = None
    certificate: Optional[UserCertificate] = None

    @property
    def address(self) -> str:
        """The address without its scheme."""
        return self.uri.partition(":")[2]

    @property
    def domain(self) -> str:
        """The SIP domain."""
        return self.uri.rpartition("@")[2]


class TlsSettings(NamedTuple):
    """How the server proves itself, and we ourselves. `minimum` is a TLS version as ``"1.2"``.

    `shown` is what the client certificate says, once it has been read.
    """

    ca_file: Optional[str] = None
    client_cert: Optional[str] = None
    client_key: Optional[str] = None
    minimum: str = "1.2"
    insecure: bool = False
    shown: Optional[ClientCertificate] = None


class DirectorySettings(NamedTuple):
    """Where accounts are looked up. `bind`: a DN, a UPN or ``DOMAIN\\name``; `auth`: simple, kerberos or anonymous."""

    uris: Tuple[str, ...]
    base: Optional[str]
    bind: Optional[str]
    password: Secret
    auth: str
    ca_file: Optional[str]
    starttls: bool


class Thresholds(NamedTuple):
    """Warning and critical ranges by perfdata label, as the Monitoring Plugins guidelines write them."""

    warning: Dict[str, str]
    critical: Dict[str, str]


class Settings(NamedTuple):
    """Everything a run needs to know. Times in seconds; `family` is 4, 6 or None for both.

    `subscriber_target` is the subscriber's pool where it is another one, `subscriber_connect` where to connect for it;
    `krb5_config` are the files that configure Kerberos; `report` and `trace` are files to write;
    `accounts_file` is the path of the one that was read; `origins` says where the password of ``"publisher"``,
    ``"subscriber"`` and ``"ldap"`` comes from.
    """

    target: str
    publisher: Account
    subscriber: Account
    port: int
    connect: Optional[Tuple[str, int]]
    family: Optional[int]
    transport: str
    protocol: str
    auth: str
    ntlm_mic: bool
    user_agent: str
    tls: TlsSettings
    directory: Optional[DirectorySettings]
    account_state: str
    state_folders: Tuple[str, ...]
    thresholds: Thresholds
    timeout: float
    notify_timeout: float
    verbose: int
    discover: bool = False
    all_front_ends: bool = False
    subscriber_target: Optional[str] = None
    subscriber_connect: Optional[Tuple[str, int]] = None
    report: Optional[str] = None
    trace: Optional[str] = None
    krb5_config: Tuple[str, ...] = ()
    accounts_file: Optional[str] = None
    origins: Mapping[str, str] = MappingProxyType({})

    @property
    def spoken(self) -> str:
        """The dialect as far as it is known before a server has answered: ``"lync"`` or ``"simple"``."""
        return "simple" if self.protocol == "simple" else "lync"

    def pool_of(self, account: Account) -> str:
        """The FQDN of the pool that `account` signs in at."""
        return self.subscriber_target or self.target if account == self.subscriber else self.target

    @property
    def secrets(self) -> Tuple[str, ...]:
        """What must not appear in any output."""
        known = [self.publisher.password, self.subscriber.password]
        if self.directory is not None:
            known.append(self.directory.password)
        return tuple(secret.reveal() for secret in known)


class AccountsFile(NamedTuple):
    """An accounts file that was read: its path, its keys (lower case) by section, and those of ``[DEFAULT]``."""

    path: str
    sections: Dict[str, Dict[str, str]]
    defaults: Dict[str, str]

    def section(self, target: str) -> Optional[Dict[str, str]]:
        """The keys of the pool `target`, ``[DEFAULT]`` merged in; None if it has no section."""
        wanted = pool_name(target)
        return next((keys for name, keys in self.sections.items() if pool_name(name) == wanted), None)


def pool_name(text: str) -> str:
    """The pool that a section's name means: without the final dot, an IPv6 address without its brackets."""
    return text.strip("[]").rstrip(".").lower()


def sip_address(text: str) -> str:
    """``sip:user@domain``, with or without its scheme on input. Raises SettingsError."""
    user = re.sub(r"\A\s*<?(?:sips?:|[a-z]+://)", "", text, flags=re.IGNORECASE).rpartition("@")[0]
    if ":" in user:  # RFC 3261 knows sip:ann:password@contoso.example, and it must not be shown
        raise SettingsError(
            "a SIP address with a password, or a colon, in front of the @ is none for us; write it as "
            "sip:ann@contoso.example, and give the password by itself"
        )
    uri = text if ":" in text.partition("@")[0] else f"sip:{text}"
    try:
        parsed = parse_uri(uri)
    except AddressError as error:
        raise SettingsError(f"{text!r} is not a SIP address ({error}); write it as sip:ann@contoso.example") from None
    if not parsed.user or parsed.port or parsed.params:
        raise SettingsError(f"{text!r} is not a user's SIP address; write it as sip:ann@contoso.example")
    return parsed.aor


def read_private_file(path: str, what: str) -> str:
    """The text of a file that holds passwords. Raises SettingsError when it cannot be read or others may."""
    try:
        text = read_private_octets(path, what, "may hold passwords").decode()
    except UnicodeDecodeError:
        raise SettingsError(f"the {what} {path} is not UTF-8 text; save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_private_octets(path: str, what: str, holds: str) -> bytes:
    """What stands in a file that `holds` secrets. Raises SettingsError when it cannot be read or others may.

    The permissions are those of the opened file, so that nobody can exchange it in between.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            _refuse_public(path, what, holds, os.fstat(file.fileno()))
            octets = file.read(MAX_FILE + 1)
    except OSError as error:
        raise SettingsError(f"cannot read the {what} {path}: {error.strerror}") from None
    if len(octets) > MAX_FILE:
        raise SettingsError(f"the {what} {path} is larger than {MAX_FILE // 1024} KiB; is it the right file?")
    return octets


def read_accounts_file(path: str, inline_comments: bool = True) -> AccountsFile:
    """Read an accounts file. Raises SettingsError. Without `inline_comments` they are part of the values."""
    text = read_private_file(path, "accounts file")
    parser = configparser.ConfigParser(
        interpolation=None,
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=(";",) if inline_comments else None,
    )
    try:
        parser.read_string(text.lstrip("\ufeff"))
    except configparser.Error as error:
        # configparser quotes the line it stumbles on, and that line may hold a password.
        raise SettingsError(f"the accounts file {path} is not valid: {_ini_fault(error)}") from None
    sections = {name: dict(parser[name]) for name in parser.sections()}
    known: Dict[str, str] = {}
    for name in sections:
        other = known.setdefault(pool_name(name), name)
        if other != name:
            raise SettingsError(f"the accounts file {path} is not valid: [{other}] and [{name}] are the same pool")
    return AccountsFile(path, sections, dict(parser.defaults()))


def user_name(uid: int) -> str:
    """The name of a user of this machine; his number where he has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes to would be waited for until the timeout


def _refuse_public(path: str, what: str, holds: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"the {what} {path} is not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~0o640:
        raise SettingsError(
            f"the {what} {path} has mode {mode:04o} and {holds}; make it private with: chmod {mode & 0o640:04o} {path}"
        )
    if status.st_uid not in (0, os.geteuid()) and status.st_uid >= ORDINARY_UID:
        raise SettingsError(
            f"the {what} {path} belongs to another user (uid {status.st_uid}); "
            f"give it to root or to the monitoring user with: chown root {path}"
        )


def _ini_fault(error: configparser.Error) -> str:
    line = getattr(error, "lineno", None)
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {line}: the section [{error.section}] stands there twice"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {line}: {error.option} stands twice in [{error.section}]"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {line}: a line before the first [section]"
    lines = [number for number, _ in getattr(error, "errors", ())]
    return f"line {lines[0]}: neither [section] nor name = value" if lines else "it is not an INI file"
