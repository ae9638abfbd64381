"""OpenLDAP's slapd with the people of the truth table: their states are stored as Active Directory would show them."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

from ..people import (
    BASE,
    DISABLED,
    DOMAIN,
    EXPIRED,
    LOCKED,
    MONITOR_PASSWORD,
    MUST_CHANGE,
    PASSWORD_EXPIRED,
    PEOPLE,
    POOL_OBJECTS,
    POOLS,
    REMOVED,
    Person,
)
from ..required import without_lab
from ..servers import Process, free_port

SCHEMA = Path(__file__).with_name("active_directory.schema")
STANDARD_SCHEMAS = Path("/etc/ldap/schema")
MODULES = Path("/usr/lib/ldap")
USERS = f"ou=People,{BASE.lower()}"  # slapd writes the names of attributes in small letters
MONITOR = f"cn=monitor,{USERS}"

NEVER = 0x7FFFFFFFFFFFFFFF
DAY = 86400.0

Value = Union[str, int]


def filetime(days: float) -> int:
    """A time `days` from now as Active Directory writes it."""
    return int((time.time() + days * DAY + 11644473600) * 10_000_000)


def dn(name: str) -> str:
    return f"cn={name},{USERS}"


def state_attributes(states: Sequence[str]) -> Dict[str, Value]:
    """What Active Directory shows of an account in these states."""
    shown: Dict[str, Value] = {
        "userAccountControl": 514 if DISABLED in states else 512,
        "msDS-User-Account-Control-Computed": 0,
        "lockoutTime": 0,
        "accountExpires": NEVER,
        "pwdLastSet": filetime(-1),
        "msDS-UserPasswordExpiryTimeComputed": filetime(41),
    }
    if LOCKED in states:
        shown.update({"msDS-User-Account-Control-Computed": 0x10, "lockoutTime": filetime(-0.1)})
    if EXPIRED in states:
        shown["accountExpires"] = filetime(-2)
    if PASSWORD_EXPIRED in states:
        shown.update({"pwdLastSet": filetime(-50), "msDS-UserPasswordExpiryTimeComputed": filetime(-8)})
        shown["msDS-User-Account-Control-Computed"] = 0x800000
    if MUST_CHANGE in states:
        shown.update({"pwdLastSet": 0, "msDS-UserPasswordExpiryTimeComputed": 0})
        shown["msDS-User-Account-Control-Computed"] = 0x800000
    return shown


def entry(name: str, kind: str, attributes: Iterable[Tuple[str, Value]]) -> str:
    lines = [f"dn: {name}", f"objectClass: {kind}"]
    for key, value in attributes:
        lines.append(f"{key}:: {base64.b64encode(str(value).encode()).decode()}")
    return "\n".join(lines) + "\n\n"


def person_entry(person: Person, **changed: Optional[Value]) -> str:
    """An account as LDIF; `changed` replaces attributes, None leaves them out."""
    attributes: Dict[str, Optional[Value]] = {
        "sn": person.name,
        "sAMAccountName": person.name,
        "userPrincipalName": f"{person.name}@{DOMAIN}",
        **({f"msRTCSIP-{key}": value for key, value in person.sip.items()} if REMOVED not in person.states else {}),
        **state_attributes(person.states),
        **{key.replace("_", "-"): value for key, value in changed.items()},
    }
    values = [(key, value) for key, value in attributes.items() if value is not None]
    return entry(dn(person.name), "user", [*values, *(("proxyAddresses", value) for value in person.proxies)])


def ldif(*people: str) -> str:
    """The whole directory: its tree, its pools, a bind account and these accounts."""
    parts = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: contoso\no: Contoso\n\n",
        f"dn: {USERS}\nobjectClass: organizationalUnit\n\n",
        entry(MONITOR, "user", [("sn", "monitor"), ("userPassword", MONITOR_PASSWORD)]),
    ]
    above = POOLS[: -len(BASE) - 1].split(",")
    for depth in reversed(range(len(above))):
        parts.append(entry(",".join([*above[depth:], BASE]), "container", []))
    for name, fqdn in POOL_OBJECTS.items():
        pool = f"CN={name},{POOLS}"
        # Only the objects that are named by an id tell the pool's name as an attribute.
        parts.append(entry(pool, "msRTCSIP-Pool", [("dNSHostName", fqdn)] if ":" in name else []))
        parts.append(entry(f"CN=Microsoft,{pool}", "container", []))
        parts.append(entry(f"CN=Lc Services,CN=Microsoft,{pool}", "container", []))
    return "".join([*parts, *people])


EVERYBODY = tuple(person_entry(person) for person in PEOPLE)


class Slapd(Process):
    """A running slapd. `ldap` and `ldaps` are its addresses; its log has a line for every operation."""

    def __init__(
        self, folder: Path, certificate: Tuple[Path, Path], data: str = "", extra: str = "", host: str = "localhost"
    ) -> None:
        if shutil.which("slapd") is None:
            without_lab("slapd is missing", "slapd")
        folder.mkdir()
        database = folder / "database"
        database.mkdir()
        configuration = folder / "slapd.conf"
        schemas = [STANDARD_SCHEMAS / f"{name}.schema" for name in ("core", "cosine", "inetorgperson")]
        lines = [f"include {schema}" for schema in (*schemas, SCHEMA)]
        lines += [f"modulepath {MODULES}", "moduleload back_mdb", f"pidfile {folder / 'pid'}"]
        lines += [
            f"TLSCertificateFile {certificate[0]}",
            f"TLSCertificateKeyFile {certificate[1]}",
            "TLSVerifyClient never",
        ]
        lines += ["disallow bind_anon"] if "disallow" in extra else []
        lines += ["database mdb", f"suffix {BASE}", f"directory {database}"]
        lines += [extra] if extra and "disallow" not in extra else []
        lines += ["access to * by * read"]
        configuration.write_text("\n".join(lines) + "\n")
        people = folder / "people.ldif"
        people.write_text(data or ldif(*EVERYBODY))
        loaded = subprocess.run(
            ["slapadd", "-q", "-f", str(configuration), "-l", str(people)], capture_output=True, text=True, check=False
        )
        assert loaded.returncode == 0, loaded.stderr
        plain, tls = free_port(), free_port()
        self.ldap, self.ldaps = f"ldap://{host}:{plain}", f"ldaps://{host}:{tls}"
        where = f"ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}"
        command = ["slapd", "-d", "stats", "-f", str(configuration), "-h", where]
        super().__init__(command, folder / "log", [("127.0.0.1", plain), ("127.0.0.1", tls)])

    def operations(self) -> List[str]:
        """BIND and SRCH, as the log has them, in their order."""
        text = self.log.read_text(errors="replace")
        return re.findall(r"op=\d+ (BIND dn=\"[^\"]*\" method|SRCH base=\"[^\"]*\" scope=\d)", text)
