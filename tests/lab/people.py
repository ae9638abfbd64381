"""The truth table: test users in every state that Active Directory knows, and what the check has to say of each.

Both directories, slapd and Samba, hold the same people; each has its own way to bring them into their state.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

from ..commands import POOL
from ..simulator_unit.client import BEN

DOMAIN = "contoso.example"
BASE = "DC=contoso,DC=example"
POOLS = f"CN=Pools,CN=RTC Service,CN=Services,CN=Configuration,{BASE}"
PASSWORD = "Pres=Ence|9 test"  # of everybody
MONITOR = f"monitor@{DOMAIN}"
MONITOR_PASSWORD = "Look;Only#7 here"
ELSEWHERE = "pool02.contoso.example"
ONLINE = "sipfed.online.lync.com"

# Pools by the name of their object: up to OCS it was the pool's name, from Lync 2010 on it is an id.
POOL_OBJECTS = {"pool01": POOL, "pool02": ELSEWHERE, "1:1": POOL, "1:2": ELSEWHERE}

# The states of an account, as the directories are told to make them.
DISABLED, LOCKED, EXPIRED = "disabled", "locked", "expired"
PASSWORD_EXPIRED, MUST_CHANGE = "old password", "must change"
REMOVED = "removed"  # enabled for SIP once, then Disable-CsUser: the attributes were there and are gone


def home(pool: str) -> str:
    """The DN of a pool's service, as it stands in msRTCSIP-PrimaryHomeServer."""
    return f"CN=Lc Services,CN=Microsoft,CN={pool},{POOLS}"


def address(name: str) -> str:
    return f"sip:{name}@{DOMAIN}"


class Person(NamedTuple):
    """An account: its logon name, its msRTCSIP attributes (without the prefix), proxy addresses and states."""

    name: str
    sip: Dict[str, str]
    proxies: Tuple[str, ...] = ()
    states: Tuple[str, ...] = ()


def enabled(name: str, uri: str = "", pool: str = "1:1", **sip: str) -> Dict[str, str]:
    """The attributes of a user that is enabled for SIP on a pool."""
    attributes = {"PrimaryUserAddress": uri or address(name), "UserEnabled": "TRUE", "DeploymentLocator": "SRV:"}
    return {**attributes, "PrimaryHomeServer": home(pool), **sip}


ODD = ("a*", "o(ne", "o)ne", "back\\slash", "ünal", "semi;colon", "amp&or|")

PEOPLE = (
    Person("ben", enabled("ben")),
    Person("fine", enabled("fine")),
    Person("finebyname", enabled("finebyname", pool="pool01")),
    Person("finecase", enabled("finecase", address("FineCase"))),
    Person("never", {}),
    Person("removed", enabled("removed"), (address("removed"),), (REMOVED,)),
    Person("switchedoff", enabled("switchedoff", UserEnabled="FALSE")),
    Person("disabled", enabled("disabled"), states=(DISABLED,)),
    Person("locked", enabled("locked"), states=(LOCKED,)),
    Person("expired", enabled("expired"), states=(EXPIRED,)),
    Person("oldpassword", enabled("oldpassword"), states=(PASSWORD_EXPIRED,)),
    Person("mustchange", enabled("mustchange"), states=(MUST_CHANGE,)),
    Person("renamed", enabled("renamed", address("maiden.name"))),
    Person("aliased", enabled("aliased", address("new.alias")), (address("old.alias"), "SMTP:aliased@contoso.example")),
    Person("twin1", enabled("twin1", address("twin"))),
    Person("twin2", enabled("twin2", address("twin"))),
    Person("movedbyname", enabled("movedbyname", pool="pool02")),
    Person("movedbyid", enabled("movedbyid", pool="1:2")),
    Person("online", {key: value for key, value in enabled("online", DeploymentLocator=ONLINE).items() if "Home" not in key}),
    Person("disabledoff", enabled("disabledoff", UserEnabled="FALSE"), states=(DISABLED,)),
    Person("ann", enabled("ann")),
    Person("guessed", enabled("guessed")),  # in order until a test locks it out
    *(Person(f"odd{number}", enabled("", address(name))) for number, name in enumerate(ODD)),
)  # fmt: skip


class Row(NamedTuple):
    """One row: which address and logon name the check is given, and the sentence that it must say.

    `proof`: the account itself is at fault, so that --account-state counts. In the sentence ``{server}`` is who was
    asked, ``{dn[NAME]}`` a person's DN and ``{time}`` a time of day.
    """

    name: str
    uri: str
    logon: str
    sentence: str
    proof: bool = True


def _row(name: str, sentence: str, uri: str = "", logon: str = "", proof: bool = True) -> Row:
    return Row(name, uri or address(name), logon or f"CONTOSO\\{name}", sentence, proof)


# What is wrong with an account in Lync shows as 404 or 403 of the pool.
UNKNOWN_TO_THE_POOL = (
    _row("nobody", "{server} knows no account with sip:nobody@contoso.example or CONTOSO\\nobody: check the address, or "
         "create the test user (New-ADUser, then Enable-CsUser)."),
    _row("never", "The account of sip:never@contoso.example is there and not enabled for SIP: Enable-CsUser -Identity "
         "CONTOSO\\never -RegistrarPool pool01.contoso.example -SipAddress sip:never@contoso.example."),
    _row("removed", "The account of sip:removed@contoso.example is there and not enabled for SIP: Enable-CsUser -Identity "
         "CONTOSO\\removed -RegistrarPool pool01.contoso.example -SipAddress sip:removed@contoso.example."),
    _row("switchedoff", "sip:switchedoff@contoso.example is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser "
         "-Identity sip:switchedoff@contoso.example -Enabled $true."),
    _row("renamed", "The account CONTOSO\\renamed has the SIP address sip:maiden.name@contoso.example, not "
         "sip:renamed@contoso.example: correct the accounts file, or Set-CsUser -Identity sip:maiden.name@contoso.example "
         "-SipAddress sip:renamed@contoso.example."),
    _row("renamed by UPN", "The account renamed@contoso.example has the SIP address sip:maiden.name@contoso.example, not "
         "sip:other@contoso.example: correct the accounts file, or Set-CsUser -Identity sip:maiden.name@contoso.example "
         "-SipAddress sip:other@contoso.example.", address("other"), "renamed@contoso.example"),
    _row("aliased", "The account aliased has the SIP address sip:new.alias@contoso.example, not "
         "sip:old.alias@contoso.example: correct the accounts file, or Set-CsUser -Identity sip:new.alias@contoso.example "
         "-SipAddress sip:old.alias@contoso.example.", address("old.alias"), "CONTOSO\\gone"),
    _row("twin", "Two accounts carry sip:twin@contoso.example: {dn[twin1]} and {dn[twin2]}. Take it from one of them: "
         "Disable-CsUser -Identity ‹the wrong one›.", address("twin"), "CONTOSO\\twin1"),
    _row("movedbyname", "sip:movedbyname@contoso.example is homed on pool02, not on pool01.contoso.example: "
         "test that pool with -H, or Move-CsUser -Identity sip:movedbyname@contoso.example -Target pool01.contoso.example."),
    _row("movedbyid", "sip:movedbyid@contoso.example is homed on pool02.contoso.example, not on pool01.contoso.example: "
         "test that pool with -H, or Move-CsUser -Identity sip:movedbyid@contoso.example -Target pool01.contoso.example."),
    _row("online", "sip:online@contoso.example is homed online (sipfed.online.lync.com), not on pool01.contoso.example: "
         "name a test user that is homed there, or Move-CsUser -Identity sip:online@contoso.example -Target "
         "pool01.contoso.example."),
    # Of an account with two faults the one that explains the pool's answer is named.
    _row("disabledoff", "sip:disabledoff@contoso.example is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser "
         "-Identity sip:disabledoff@contoso.example -Enabled $true."),
    _row("disabled", "The AD account CONTOSO\\disabled is disabled: Enable-ADAccount -Identity disabled."),
    *(_row(name, f"{{server}} finds nothing wrong with sip:{name}@contoso.example: the pool is to blame. Check the User "
           "Replicator (event LS User Replicator 30061, Update-CsUserDatabase) and LS User Services on "
           "pool01.contoso.example.", proof=False)
      for name in ("fine", "finebyname", "finecase")),
)  # fmt: skip

# What is wrong with the AD account shows as a refused password.
REFUSED_BY_THE_POOL = (
    _row("other logon name", "sip:fine@contoso.example is the SIP address of fine, not of CONTOSO\\fien: correct "
         "publisher_user or subscriber_user in the accounts file (Get-CsUser -Identity sip:fine@contoso.example).",
         address("fine"), "CONTOSO\\fien"),
    _row("disabled", "The AD account CONTOSO\\disabled is disabled: Enable-ADAccount -Identity disabled."),
    _row("disabledoff", "The AD account CONTOSO\\disabledoff is disabled: Enable-ADAccount -Identity disabledoff."),
    _row("locked", "The AD account CONTOSO\\locked has been locked out since {time}: Unlock-ADAccount -Identity locked; "
         "find out who tries wrong passwords first."),
    _row("expired", "The AD account CONTOSO\\expired expired on {time}: Clear-ADAccountExpiration -Identity expired."),
    _row("oldpassword", "The password of CONTOSO\\oldpassword has expired: Set-ADUser -Identity oldpassword "
         "-PasswordNeverExpires $true lets a test user keep it; or set another one (Set-ADAccountPassword) and store it "
         "here."),
    _row("mustchange", "CONTOSO\\mustchange must change its password at the next logon: Set-ADUser -Identity mustchange "
         "-ChangePasswordAtLogon $false."),
    _row("switchedoff", "sip:switchedoff@contoso.example is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser "
         "-Identity sip:switchedoff@contoso.example -Enabled $true.", proof=False),
    _row("nobody", "{server} knows no account with sip:nobody@contoso.example or CONTOSO\\nobody: check the address, or "
         "create the test user (New-ADUser, then Enable-CsUser)."),
    _row("fine", "{server} finds CONTOSO\\fine enabled, unlocked and not expired: the stored password is wrong, or the "
         "pool's NTLM policies refuse it.", proof=False),
)  # fmt: skip

USERS = {address: logon for _, address, logon, _, _ in (*UNKNOWN_TO_THE_POOL, *REFUSED_BY_THE_POOL)}
USERS[BEN] = "CONTOSO\\ben"
USERS[address("guessed")] = "CONTOSO\\guessed"
