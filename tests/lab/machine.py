"""A Debian machine on which an administrator sets the check up by following the README.

It is this machine, with folders of its own in the places that are changed (a mount namespace): commands run as they
stand in the README, as root, and the programs run as their own user. Its pool is the simulator, on a loopback address
that /etc/hosts names, and on Lync's own port.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, TypeVar

from ..commands import ANN_PASSWORD, BEN_PASSWORD, POOL, Simulator, environment
from .namespace import seeing
from .readme import README, Step, steps
from .required import without_lab
from .servers import Process

PACKAGES = "$(cat tests/lab/packages.txt)"
LIMIT = 300.0  # seconds that a command may take; pip is the slow one
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What an administrator or a program changes: copies of it.
PLACES = (
    "/etc",
    "/usr/lib/nagios",
    "/var/lib/icinga2",
    "/var/lib/nagios4",
    "/var/log/icinga2",
    "/var/log/nagios4",
    "/var/cache/icinga2",
    "/var/spool/icinga2",
)
EMPTY_PLACES = ("/opt", "/run", "/usr/local/bin", "/var/tmp")  # noqa: S108
CA_FILE = "/etc/ssl/certs/contoso-root.pem"
PORTS = (5061, 5665, 5666)  # of Lync, Icinga 2 and NRPE
PACE = 0.1  # seconds between two looks at a program that is busy
PASSWORDS = {"publisher_password": ANN_PASSWORD, "subscriber_password": BEN_PASSWORD}
Found = TypeVar("Found")
_taken: Set[int] = set()


class Machine:
    """The machine. `address` is a loopback address of its own, and its pool's."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            without_lab("this needs root, for its own folders in /etc and the programs' own users", PACKAGES)
        for program in ("icinga2", "nagios4", "nrpe"):
            if not shutil.which(program, path=SYSTEM_PATH):
                without_lab(f"{program} is missing", PACKAGES)
        self.folder = folder
        folder.chmod(0o755)
        self.mounts = {Path(place): self.path(place) for place in (*PLACES, *EMPTY_PLACES)}
        for place in (*PLACES, *EMPTY_PLACES):
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
            if place in EMPTY_PLACES:
                self.path(place).mkdir()
                shutil.copymode(place, self.path(place))
            else:
                subprocess.run(["cp", "-a", place, str(self.path(place))], check=True)
        self._resolve()
        self._prefix = seeing(self.mounts)
        self.clone = folder / "clone"
        self._clone()

    def _resolve(self) -> None:
        """Let the pool's name mean an address of our own; keep the name servers, for pip."""
        resolv = self.path("/etc/resolv.conf")
        if resolv.is_symlink():  # to a file in /run, where there is none here
            text = Path("/etc/resolv.conf").read_text(encoding="utf-8") if Path("/etc/resolv.conf").exists() else ""
            resolv.unlink()
            resolv.write_text(text, encoding="utf-8")
        self.address = free_address()
        self.name(POOL, self.address)

    def _clone(self) -> None:
        source = README.parent
        if (source / ".git").exists():
            trust = self.folder / "gitconfig"  # whoever owns the source
            trust.write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
            git = ["git", "clone", "--quiet", str(source), str(self.clone)]
            subprocess.run(git, check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": str(trust)}, timeout=LIMIT)
        else:
            left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build")
            shutil.copytree(source, self.clone, ignore=left_out)

    def name(self, name: str, address: str) -> None:
        """Let a name mean an address."""
        with self.path("/etc/hosts").open("a", encoding="utf-8") as hosts:
            hosts.write(f"\n{address} {name}\n")

    def path(self, place: str) -> Path:
        """Where a file of this machine is for the test."""
        return self.folder / place.lstrip("/")

    # ----------------------------------------------------------------- doing

    def command(self, *command: str) -> List[str]:
        """A command line that runs `command` on this machine."""
        return [*self._prefix, *command]

    def run(self, *command: str) -> None:
        """Run a command in the clone; it must succeed."""
        done = subprocess.run(
            self.command("env", f"--chdir={self.clone}", *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
            env=system_environment(),
        )
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}: {done.stdout}"

    def follow(self, wanted: Sequence[Step], daemon: Optional[Daemon] = None) -> None:
        """Do what the README says, to the letter.

        What is done in another way: the packages must be there already, `daemon` is reloaded without systemd, and the
        passwords that the README leaves out are filled in.
        """
        for step in wanted:
            if step.path:
                with self.path(step.path).open("w", encoding="utf-8") as file:
                    file.write(with_passwords(step.text))
                continue
            for line in step.text.splitlines():
                words = shlex.split(line)
                if words[:2] == ["apt-get", "install"]:
                    self.run("dpkg-query", "--status", *words[2:])
                elif words[:2] == ["systemctl", "reload"]:
                    assert daemon is not None, line
                    daemon.reload()
                else:
                    self.run("bash", "-c", line)

    def edit(self, place: str, *replacements: Tuple[str, str]) -> None:
        """Change texts in a file; each must be there."""
        path = self.path(place)
        text = path.read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text, f"{old!r} is not in {place}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    # -------------------------------------------------------------- its pool

    @contextlib.contextmanager
    def pool(self, *options: str) -> Iterator[Simulator]:
        """Switch its pool on; `options` are the simulator's."""
        accounts = self.folder / "pool.ini"
        accounts.touch(mode=0o600)
        (accounts_step,) = (step for step in steps() if step.path.endswith("accounts.ini"))
        accounts.write_text(with_passwords(accounts_step.text), encoding="utf-8")
        where = ["--listen", self.address, "--tls", "5061", "--ca-out", str(self.path(CA_FILE))]
        simulator = Simulator(accounts, *where, *options)
        with simulator:
            yield simulator


class Daemon(Process):
    """A program of the machine in the foreground. SIGHUP makes it read its configuration again."""

    def __init__(self, command: Sequence[str], log: Path, listens: Sequence[Tuple[str, int]] = ()) -> None:
        super().__init__(command, log, listens, env=system_environment(), start_new_session=True)

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        super().stop()
        with contextlib.suppress(ProcessLookupError):  # all of its children have ended
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """As if its machine had lost power: the program and its children at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def until(self, probe: Callable[[], Optional[Found]], limit: float) -> Found:
        """What `probe` finds, as soon as it finds something that is true."""
        end = time.monotonic() + limit
        while True:
            found = probe()
            if found:
                return found
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PACE)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


def system_environment() -> Dict[str, str]:
    """A login's environment: Debian's programs and its Python, not those of the tests."""
    kept = {key: value for key, value in environment().items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    kept.pop("XDG_STATE_HOME")
    return {**kept, "PATH": SYSTEM_PATH}


def with_passwords(text: str) -> str:
    """An accounts file of the README with the passwords that it leaves out."""
    lines = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip()
        lines.append(line.replace("…", PASSWORDS[key]) if key in PASSWORDS else line)
    return "\n".join([*lines, ""])


def free_address() -> str:
    """A loopback address where nobody uses the ports that the machine's servers have."""
    for number in range(1, 255):
        host = f"127.61.{os.getpid() % 256}.{number}"
        if number not in _taken and all(_is_free(host, port) for port in PORTS):
            _taken.add(number)
            return host
    return without_lab("somebody has the ports of every loopback address", PACKAGES)


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port)):
            return True
    except OSError:
        return False
