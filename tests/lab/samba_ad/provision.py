"""Make a Samba AD domain with the Lync schema and the people of the truth table.

Run by the Python that Debian's python3-samba belongs to, as a script: what to make is JSON on standard input.
"""

import base64
import json
import logging
import sys
import time
from typing import Any, Dict, List

from samba.auth import system_session
from samba.credentials import Credentials
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2
from samba.param import LoadParm
from samba.provision import FILL_FULL, provision
from samba.samdb import SamDB

ARC = "1.2.840.113556.1.6.24.1"
# Microsoft's arc for OIDs that scripts make up: the true ones of these are not published.
OWN_ARC = "1.2.840.113556.1.8000.2554.1"
STRING = {"attributeSyntax": "2.5.5.12", "oMSyntax": "64"}
BOOLEAN = {"attributeSyntax": "2.5.5.8", "oMSyntax": "1"}
NAME = {"attributeSyntax": "2.5.5.1", "oMSyntax": "127"}
ATTRIBUTES = (
    ("PrimaryUserAddress", f"{ARC}.1", {**STRING, "searchFlags": "1", "isMemberOfPartialAttributeSet": "TRUE"}),
    ("UserEnabled", f"{ARC}.6", {**BOOLEAN, "isMemberOfPartialAttributeSet": "TRUE"}),
    ("PrimaryHomeServer", f"{ARC}.57", {**NAME, "isMemberOfPartialAttributeSet": "TRUE"}),
    ("DeploymentLocator", f"{OWN_ARC}.1", {**STRING, "isMemberOfPartialAttributeSet": "TRUE"}),
)
DN_OBJECT_CLASS = "KwwCh3McAIVK"  # 1.3.12.2.1011.28.0.714 in BER, base64
READABLE = "D:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;DA)(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;SY)(A;;RPLCLORC;;;AU)"
BYPASS_PASSWORD_LAST_SET = ["local_oid:1.3.6.1.4.1.7165.4.3.12:1"]
DAY = 86400


def filetime(days: float) -> int:
    return int((time.time() + days * DAY + 11644473600) * 10_000_000)


def load_schema(sam: Any, base: str) -> None:
    schema = f"CN=Schema,CN=Configuration,{base}"
    for name, oid, more in ATTRIBUTES:
        lines = [f"dn: CN=msRTCSIP-{name},{schema}", "objectClass: attributeSchema"]
        lines.append(f"lDAPDisplayName: msRTCSIP-{name}")
        lines += [f"attributeID: {oid}", "isSingleValued: TRUE", *(f"{key}: {value}" for key, value in more.items())]
        lines += [f"oMObjectClass:: {DN_OBJECT_CLASS}"] if more["oMSyntax"] == "127" else []
        sam.add_ldif("\n".join(lines) + "\n")
    now = "dn:\nchangetype: modify\nadd: schemaUpdateNow\nschemaUpdateNow: 1\n"
    sam.modify_ldif(now)
    may = "".join(f"mayContain: msRTCSIP-{name}\n" for name, _, _ in ATTRIBUTES)
    for kind in ("User", "Contact"):
        sam.modify_ldif(f"dn: CN={kind},{schema}\nchangetype: modify\nadd: mayContain\n{may}")
    sam.add_ldif(
        f"dn: CN=msRTCSIP-Pool,{schema}\nobjectClass: classSchema\nlDAPDisplayName: msRTCSIP-Pool\n"
        f"governsID: {OWN_ARC}.2\nobjectClassCategory: 1\nsubClassOf: container\nrDNAttID: cn\n"
        f"possSuperiors: container\nmayContain: dNSHostName\ndefaultSecurityDescriptor: {READABLE}\n"
    )
    sam.modify_ldif(now)


def add_pools(sam: Any, base: str, pools: Dict[str, str]) -> None:
    service = f"CN=RTC Service,CN=Services,CN=Configuration,{base}"
    sam.add_ldif(f"dn: {service}\nobjectClass: container\n")
    sam.add_ldif(f"dn: CN=Pools,{service}\nobjectClass: container\n")
    for name, fqdn in pools.items():
        pool = f"CN={name},CN=Pools,{service}"
        told = f"dNSHostName: {fqdn}\n" if ":" in name else ""
        sam.add_ldif(f"dn: {pool}\nobjectClass: msRTCSIP-Pool\n{told}")
        sam.add_ldif(f"dn: CN=Microsoft,{pool}\nobjectClass: container\n")
        sam.add_ldif(f"dn: CN=Lc Services,CN=Microsoft,{pool}\nobjectClass: container\n")


def modify(sam: Any, dn: str, action: str, values: Dict[str, List[str]], **keywords: Any) -> None:
    lines = [f"dn: {dn}", "changetype: modify"]
    for key, items in values.items():
        lines.append(f"{action}: {key}")
        lines += [f"{key}:: {base64.b64encode(item.encode()).decode()}" for item in items]
        lines.append("-")
    sam.modify_ldif("\n".join(lines) + "\n", **keywords)


def add_person(sam: Any, base: str, password: str, person: Dict[str, Any]) -> None:
    name, states = person["name"], person["states"]
    dn = f"CN={name},CN=Users,{base}"
    sam.newuser(name, password)
    values = {f"msRTCSIP-{key}": [value] for key, value in person["sip"].items()}
    if person["proxies"]:
        values["proxyAddresses"] = person["proxies"]
    if values:
        modify(sam, dn, "add", values)
    if "removed" in states:
        modify(sam, dn, "delete", {f"msRTCSIP-{key}": [] for key in person["sip"]})
    if "disabled" in states:
        sam.disable_account(f"(sAMAccountName={name})")
    if "expired" in states:
        modify(sam, dn, "replace", {"accountExpires": [str(filetime(-2))]})
    if "must change" in states:
        modify(sam, dn, "replace", {"pwdLastSet": ["0"]})
    if "old password" in states:
        old = {"pwdLastSet": [str(filetime(-50))]}
        modify(sam, dn, "replace", old, controls=BYPASS_PASSWORD_LAST_SET)


def add_front_end(sam: Any, base: str, name: str, password: str, services: List[str]) -> None:
    """The computer account of a front end, with the names of its services."""
    sam.newcomputer(name)
    sam.setpassword(f"(sAMAccountName={name}$)", password)
    sam.enable_account(f"(sAMAccountName={name}$)")
    modify(sam, f"CN={name},CN=Computers,{base}", "add", {"servicePrincipalName": services})


def main() -> None:
    wanted = json.load(sys.stdin)
    folder, base, realm = wanted["folder"], wanted["base"], wanted["realm"]
    provision(
        logging.getLogger(), system_session(), smbconf=f"{folder}/etc/smb.conf", targetdir=folder, samdb_fill=FILL_FULL,
        realm=realm, domain=realm.partition(".")[0], hostname="dc01", hostip="127.0.0.1", hostip6=None,
        adminpass=wanted["password"], serverrole="active directory domain controller", dns_backend="NONE",
        dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2, use_ntvfs=False, skip_sysvolacl=True, lp=LoadParm(),
    )  # fmt: skip
    parameters = LoadParm()
    parameters.load(f"{folder}/etc/smb.conf")
    parameters.set("dsdb:schema update allowed", "yes")
    credentials = Credentials()
    credentials.guess(parameters)
    sam = SamDB(url=f"{folder}/private/sam.ldb", session_info=system_session(), credentials=credentials, lp=parameters)
    load_schema(sam, base)
    add_pools(sam, base, wanted["pools"])
    # Locked out after three wrong passwords, for ever.
    policy = {"lockoutThreshold": ["3"], "lockoutDuration": ["-9223372036854775808"]}
    modify(sam, base, "replace", policy)
    sam.transaction_start()
    for person in wanted["people"]:
        add_person(sam, base, person["password"], person)
    sam.transaction_commit()
    # The DC's own updater of service names does not run here.
    modify(sam, f"CN=DC01,OU=Domain Controllers,{base}", "add", {"servicePrincipalName": wanted["services"]})
    for name, services in wanted["front ends"].items():
        add_front_end(sam, base, name, wanted["password"], services)


if __name__ == "__main__":
    main()
