"""A Samba AD domain controller with the people of the truth table, on a loopback address of its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Dict

from ...commands import POOL
from ..people import BASE, DOMAIN, LOCKED, MONITOR_PASSWORD, PASSWORD, PEOPLE, POOL_OBJECTS
from ..required import without_lab
from ..servers import Certificates, Process, free_port

PACKAGES = "samba-ad-dc samba-ad-provision samba-dsdb-modules python3-samba"
PYTHON = "/usr/bin/python3"  # the one that Debian's python3-samba belongs to
PORTS = (389, 636, 3268, 3269)  # cannot be changed
USERS = f"CN=Users,{BASE}"
DC = f"dc01.{DOMAIN}"
PROVISION = Path(__file__).with_name("provision.py")
PROVISION_LIMIT = 120.0
ADMINISTRATOR_PASSWORD = "Over-All;Others-1"

CONFIGURATION = """\
[global]
  netbios name = DC01
  workgroup = CONTOSO
  realm = CONTOSO.EXAMPLE
  server role = active directory domain controller
  server services = ldap, cldap, kdc
  interfaces = {address}/8
  bind interfaces only = yes
  private dir = {folder}/private
  state directory = {folder}/state
  cache directory = {folder}/cache
  lock directory = {folder}
  pid directory = {folder}/run
  ncalrpc dir = {folder}/ncalrpc
  krb5 port = {kerberos}
  kpasswd port = {kpasswd}
  cldap port = {cldap}
  ldap server require strong auth = allow_sasl_over_tls
  tls enabled = yes
  tls keyfile = {key}
  tls certfile = {certificate}
  tls cafile = {ca}
"""


def dn(name: str) -> str:
    return f"CN={name},{USERS}"


def free_address() -> str:  # noqa: RET503 (without_lab does not return)
    """A loopback address where nobody uses the ports of LDAP."""
    for last in range(10, 250):
        try:
            for port in PORTS:
                with contextlib.closing(socket.socket()) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((f"127.0.0.{last}", port))
            return f"127.0.0.{last}"
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EADDRNOTAVAIL):
                break
    without_lab("Samba's LDAP ports, 389, 636, 3268 and 3269, need root and a loopback address that is free", PACKAGES)


class SambaAD(Process):
    """A running domain controller; `ldaps`, `ldap` and `catalog` are its addresses."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        asked = [PYTHON, "-c", "import samba.provision"]
        found = shutil.which("samba") and Path(PYTHON).exists()
        if not found or subprocess.run(asked, capture_output=True, check=False).returncode:
            without_lab("the Samba AD domain controller is missing", PACKAGES)
        address = free_address()
        self.folder = folder
        self.host = address
        self.ldap, self.ldaps, self.catalog = f"ldap://{address}", f"ldaps://{address}", f"ldaps://{address}:3269"
        self.kerberos = free_port()
        self._provision()
        certificate, key = certificates.issue("samba", DC, address)
        names: Dict[str, object] = {"kpasswd": free_port(), "cldap": free_port(), "kerberos": self.kerberos}
        names.update(folder=folder, address=address, key=key, certificate=certificate, ca=certificates.ca)
        configuration = self._configuration = folder / "smb.conf"
        configuration.write_text(CONFIGURATION.format(**names))
        for name in ("run", "ncalrpc", "cache"):
            (folder / name).mkdir(exist_ok=True)
        command = ["samba", "-F", "--no-process-group", "-M", "single", "-s", str(configuration), "--debug-stdout"]
        super().__init__(command, folder / "samba.log", [(address, port) for port in PORTS])
        try:
            self._lock_out()
        except BaseException:
            self.stop()
            raise

    def _provision(self) -> None:
        people = [{**person._asdict(), "password": PASSWORD} for person in PEOPLE]
        people.append({"name": "monitor", "password": MONITOR_PASSWORD, "sip": {}, "proxies": [], "states": []})
        wanted: Dict[str, object] = {"folder": str(self.folder), "base": BASE, "realm": DOMAIN.upper()}
        wanted["password"] = ADMINISTRATOR_PASSWORD
        wanted["services"] = [f"ldap/{DC}", f"ldap/{self.host}"]
        wanted["front ends"] = {"POOL01": [f"sip/{POOL}", f"HTTP/{POOL}"]}
        wanted_json = json.dumps({**wanted, "pools": POOL_OBJECTS, "people": people})
        done = subprocess.run(
            [PYTHON, str(PROVISION)],
            input=wanted_json,
            capture_output=True,
            text=True,
            timeout=PROVISION_LIMIT,
            check=False,
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def _lock_out(self) -> None:
        for person in PEOPLE:
            for _ in range(4 if LOCKED in person.states else 0):
                self.try_wrong_password(person.name)

    def try_wrong_password(self, name: str) -> None:
        """Bind with a wrong password, as somebody who guesses."""
        connection = self._connection(f"{name}@{DOMAIN}", "not this one")
        try:
            assert not connection.bind()
        finally:
            connection.unbind()

    def unlock(self, name: str) -> None:
        """Unlock-ADAccount."""
        import ldap3

        connection = self._connection(f"Administrator@{DOMAIN}", ADMINISTRATOR_PASSWORD)
        try:
            assert connection.bind()
            assert connection.modify(dn(name), {"lockoutTime": [(ldap3.MODIFY_REPLACE, ["0"])]}), connection.result
        finally:
            connection.unbind()

    def wrong_passwords(self, name: str) -> int:
        """How many have been tried since the last right one."""
        connection = self._connection(f"Administrator@{DOMAIN}", ADMINISTRATOR_PASSWORD)
        try:
            assert connection.bind()
            assert connection.search(dn(name), "(objectClass=*)", attributes=["badPwdCount"]), connection.result
            return int(connection.response[0]["raw_attributes"]["badPwdCount"][0])
        finally:
            connection.unbind()

    def export_keytab(self, name: str, path: Path) -> None:
        """Keys of an account, as ktpass writes them."""
        done = subprocess.run(
            ["samba-tool", "domain", "exportkeytab", str(path), f"--principal={name}", "-s", str(self._configuration)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _connection(self, user: str, password: str) -> Any:
        import ldap3

        server = ldap3.Server(self.host, port=636, use_ssl=True, get_info=ldap3.NONE, connect_timeout=10)
        return ldap3.Connection(server, user, password, receive_timeout=10)
