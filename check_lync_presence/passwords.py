"""Where passwords come from: files, standard input, commands of a password store; and how long that may take.

Owns their reading. Which source comes first is told by cli; what a password is for must not be known here.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Callable, Iterator, List, Mapping

from .settings import SettingsError, read_private_file
from .stop import Stopped

LIMIT = 10.0  # seconds that a password command, or standard input, may take
MAX_PASSWORD = 64 * 1024  # octets of a line of standard input, and of what a command prints; nobody can remember more
# Of the run's time, for all passwords together: a slow password store must not be reported as a slow pool.
SHARE = 0.5

# What a password command has no use for: the passwords of others.
VARIABLES = ("PUBLISHER_PASSWORD", "SUBSCRIBER_PASSWORD", "LDAP_PASSWORD")


class Sources:
    """Reads passwords. `spent` are the seconds that others have let us wait for them, `known` what was read."""

    def __init__(self, environment: Mapping[str, str], read_line: Callable[[float], str]) -> None:
        self.environment = environment
        self.spent = 0.0
        self.known: List[str] = []
        self._read_line = read_line
        self._whole = LIMIT

    def allow(self, seconds: float) -> None:
        """A run has so much time: passwords get their share of it."""
        self._whole = seconds * SHARE

    def in_file(self, path: str, role: str) -> str:
        """The first line of a file, or the next one of standard input where it is ``-``. Raises SettingsError."""
        if path == "-":
            with self._waiting(f"{role}'s password on standard input") as seconds:
                return self._read_line(seconds).rstrip("\r\n")
        what = f"{role}'s password file"
        text = read_private_file(path, what)
        password = text.partition("\n")[0]
        if not password:
            raise SettingsError(f"the {what} {path} {'begins with an empty line' if text else 'is empty'}")
        return password

    def of_command(self, command: str, role: str) -> str:
        """The first line that a command prints. Raises SettingsError."""
        name = f"{role}_password_command"
        with self._waiting(name) as seconds:
            try:
                return self._run(command, seconds).decode().partition("\n")[0].rstrip("\r")
            except TimeoutError:
                reason = f"it did not end within {seconds:.3g} s"
            except _ExitError as error:
                reason = f"it ended with exit code {error}"
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it cannot be read"
        raise SettingsError(f"{name} gave no password: {reason}")

    def _run(self, command: str, seconds: float) -> bytes:
        import shlex
        import subprocess

        end = time.monotonic() + seconds
        environment = {name: value for name, value in self.environment.items() if name not in VARIABLES}
        with subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as process:
            try:
                assert process.stdout is not None
                output = b""
                while True:
                    if not _readable(process.stdout.fileno(), end - time.monotonic()):
                        raise TimeoutError
                    octets = os.read(process.stdout.fileno(), MAX_PASSWORD)
                    if not octets:
                        break
                    output = (output + octets)[:MAX_PASSWORD]
                code = process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise TimeoutError from None
            finally:
                process.kill()  # which does nothing to one that has been waited for
        if code:
            raise _ExitError(code)
        return output

    @contextlib.contextmanager
    def _waiting(self, what: str) -> Iterator[float]:
        """How many seconds there are for `what`; they are taken from those that are left."""
        seconds = max(0.0, min(LIMIT, self._whole - self.spent))
        started = time.monotonic()
        try:
            yield seconds
        except Stopped as stop:
            stop.stuck_in = what
            raise
        finally:
            # A person at a terminal may take longer.
            self.spent += min(seconds, time.monotonic() - started)


class _ExitError(Exception):
    """A command has failed."""


def standard_input(seconds: float) -> str:
    """A line of standard input, which whoever started us may have closed, or keep open and never write to."""
    stdin = sys.stdin
    if stdin is None:
        return ""
    line, end = b"", time.monotonic() + seconds
    # Octet by octet: what is buffered here could not be waited for, and the next line is the next user's.
    while not line.endswith(b"\n") and len(line) < MAX_PASSWORD:
        if not stdin.isatty() and not _readable(stdin.fileno(), end - time.monotonic()):
            raise SettingsError(f"no password came on standard input within {seconds:.3g} s")
        octet = os.read(stdin.fileno(), 1)
        if not octet:
            break
        line += octet
    try:
        return line.decode(stdin.encoding)
    except UnicodeDecodeError:
        raise SettingsError(f"the password on standard input is not {stdin.encoding} text") from None


def _readable(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], max(0.0, seconds))[0])
