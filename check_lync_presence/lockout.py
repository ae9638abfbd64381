"""The lockout guard: a password that a pool has refused is not tried again until there is a reason to.

A monitor that tries a wrong password every minute locks the account out in Active Directory. What was refused is
remembered in one small file an account (nagiosplugin's Cookie), private, whole at every moment, and harmless if it
cannot be written. Owns these files; must not know how a password is refused or who asks the directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import stat
from typing import Any, Iterator, Optional, Sequence

from .settings import Account, user_name
from .value import NamedTuple

# Tries of a stolen state file cost as much as this makes them; it is paid only while a refusal is remembered.
_ROUNDS = 100_000
BACK_OFF = 1800.0  # seconds: AD's usual observation window for wrong passwords (lockoutObservationWindow) is 30 minutes
END_OF_TIME = 2.0**37  # the year 6325; time.gmtime does not know every number


class Refusal(NamedTuple):
    """A refused password: `since` when, and when it was `tried` last (Unix times); `path` remembers it."""

    since: float
    tried: float
    path: str


class LockoutGuard:
    """The memory of refused passwords, in the first of `folders` that is ours alone.

    `place` is who refuses: a drill against a simulator that refuses must not keep the check from the real pool.
    """

    def __init__(self, folders: Sequence[str], place: str) -> None:
        self._folders = folders
        self._place = place

    def refusal(self, account: Account) -> Optional[Refusal]:
        """What is held against this account with this very password; None: nothing, it may be tried."""
        path = self._existing(account)
        if path is None:
            return None
        try:
            with _opened(path) as cookie:
                since, tried, salt, mark = (cookie.get(key) for key in ("since", "tried", "salt", "mark"))
        except (OSError, ValueError):
            return None
        if not _is_time(since) or not _is_time(tried) or not _is_hex(salt) or not _is_hex(mark):
            return None
        return Refusal(float(since), float(tried), path) if hmac.compare_digest(_mark(account, salt), mark) else None

    def folder(self) -> Optional[str]:
        """Where a refusal is noted; None: nowhere."""
        return folder_of(self._folders)

    def remember(self, account: Account, now: float) -> bool:
        """Note that the account's password was refused; False if there is no place to note it."""
        former = self.refusal(account)
        folder = self.folder()
        if folder is None:
            return False
        path = os.path.join(folder, self._file_name(account))
        if os.path.lexists(path) and not _prepared(path, create=False):
            return False
        # Put in place when it is whole: on a full disk what is known already must not be lost.
        new = f"{path}.{os.getpid()}"
        if not _prepared(new, create=True):
            return False
        salt = os.urandom(16).hex()
        since = former.since if former is not None else now
        try:
            with _opened(new) as cookie:
                cookie.update(account=account.uri, since=since, tried=now, salt=salt, mark=_mark(account, salt))
                cookie.commit()
            os.replace(new, path)
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                os.unlink(new)
            return False
        return True

    def forget(self, account: Account) -> None:
        """The account has signed in: nothing is held against it any more."""
        path = self._existing(account)
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _file_name(self, account: Account) -> str:
        key = "\0".join((account.uri.lower(), account.user.lower(), self._place))
        return f"refused-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"

    def _existing(self, account: Account) -> Optional[str]:
        name = self._file_name(account)
        for folder in self._folders:
            path = os.path.join(folder, name)
            if os.path.lexists(path) and is_ours(folder) and _prepared(path, create=False):
                return path
        return None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """nagiosplugin's Cookie, locked. Raises OSError, ValueError."""
    from nagiosplugin import Cookie

    cookie = Cookie(path)
    try:
        try:
            cookie.open()
        except (ValueError, RecursionError):  # a damaged file; an empty one is whole
            cookie.close()
            os.truncate(path, 0)
            cookie.open()
        yield cookie
    finally:
        cookie.close()


def _is_time(value: object) -> bool:
    """Whether a value of a file that may be damaged is a Unix time that can be written as a date."""
    return isinstance(value, (int, float)) and 0 <= value < END_OF_TIME


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{1,128}", value) is not None


def is_ours(folder: str) -> bool:
    """Whether nobody else can put files into `folder`."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def folder_of(folders: Sequence[str]) -> Optional[str]:
    """The first of `folders` that is ours alone and can be written to, made if there is none; None: nowhere."""
    there = (folder for folder in folders if is_ours(folder) and os.access(folder, os.W_OK))
    return next(there, None) or next((folder for folder in folders if not _obstacle(folder)), None)


def why_not_kept(folders: Sequence[str]) -> str:
    """Why a file could not be kept in `folders`, for whoever can mend it."""
    folder = folder_of(folders)
    if folder is not None:
        return f"{folder}: no file can be written to it"
    return "; ".join(f"{folder}: {_obstacle(folder)}" for folder in folders)


def _obstacle(folder: str) -> str:
    """What keeps `folder`, made if it is not there, from being ours alone and writable; empty: nothing."""
    try:
        with contextlib.suppress(FileExistsError):
            os.makedirs(folder, mode=0o700)
        status = os.lstat(folder)
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISDIR(status.st_mode):
        return "not a folder"
    if status.st_uid != os.geteuid():
        return f"it belongs to {user_name(status.st_uid)}"
    if not is_ours(folder):
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})"
    return "" if os.access(folder, os.W_OK) else "not writable"


def _prepared(path: str, create: bool) -> bool:
    """Whether `path` is a private file of ours; it is made with mode 0600 and never reached through a link."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    finally:
        os.close(descriptor)


def _mark(account: Account, salt: str) -> str:
    digest = account.keytab.digest.reveal() if account.keytab else ""
    secret = f"{account.user}\0{account.password.reveal()}{digest}".encode()
    return hashlib.pbkdf2_hmac("sha256", secret, salt.encode(), _ROUNDS).hex()
