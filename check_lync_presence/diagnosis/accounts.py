"""What the directory says of an account, in one sentence with the command that mends it.

Owns the truth table: a sentence and a remedy for each finding. Must not know LDAP.
"""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Optional

from ..directory import DirectoryError, Finding, Report, ask
from ..net.deadline import Deadline
from ..outcome import Cause, Failure, Outcome
from ..settings import Account, Settings
from . import subject

# {user} SIP address, {logon} logon name as we have it, {name} as AD's cmdlets want it (sAMAccountName), {pool} the pool,
# {detail} of the finding, {server} who says it.
_SENTENCES: Dict[Finding, str] = {
    Finding.ABSENT: "{server} knows no account with {user} or {logon}: check the address, or create the test user "
    "(New-ADUser, then Enable-CsUser).",
    Finding.DUPLICATE: "Two accounts carry {user}: {detail}. Take it from one of them: Disable-CsUser -Identity <the wrong one>.",
    Finding.OTHER_ADDRESS: "The account {logon} has the SIP address {detail}, not {user}: correct the accounts file, or "
    "Set-CsUser -Identity {detail} -SipAddress {user}.",
    Finding.NOT_ENABLED: "The account of {user} is there and not enabled for SIP: Enable-CsUser -Identity {logon} "
    "-RegistrarPool {pool} -SipAddress {user}.",
    Finding.SIP_DISABLED: "{user} is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser -Identity {user} "
    "-Enabled $true.",
    Finding.OTHER_POOL: "{user} is homed on {detail}, not on {pool}: test that pool with -H, or Move-CsUser -Identity {user} "
    "-Target {pool}.",
    Finding.HOMED_ONLINE: "{user} is homed online ({detail}), not on {pool}: name a test user that is homed there, or "
    "Move-CsUser -Identity {user} -Target {pool}.",
    Finding.DISABLED: "The AD account {logon} is disabled: Enable-ADAccount -Identity {name}.",
    Finding.LOCKED: "The AD account {logon} has been locked out{detail}: Unlock-ADAccount -Identity {name}; find out who "
    "tries wrong passwords first.",
    Finding.EXPIRED: "The AD account {logon} expired on {detail}: Clear-ADAccountExpiration -Identity {name}.",
    Finding.PASSWORD_EXPIRED: "The password of {logon} has expired: Set-ADUser -Identity {name} -PasswordNeverExpires $true "
    "lets a test user keep it; or set another one (Set-ADAccountPassword) and store it here.",
    Finding.MUST_CHANGE: "{logon} must change its password at the next logon: Set-ADUser -Identity {name} "
    "-ChangePasswordAtLogon $false.",
    Finding.CONTRADICTION: "The domain controllers disagree about {user} ({detail}): wait for the replication or mend it "
    "(repadmin /replsummary).",
}
_FINE_BUT_UNKNOWN = (
    "{server} finds nothing wrong with {user}: the pool is to blame. Check the User Replicator (event LS User Replicator "
    "30061, Update-CsUserDatabase) and LS User Services on {pool}."
)
_FINE_BUT_REFUSED = (
    "{server} finds {logon} enabled, unlocked and not expired: the stored password is wrong, or the pool's NTLM policies "
    "refuse it."
)

# What speaks for the pool or for the replication and not against the account.
_NOT_THE_ACCOUNT = (Finding.FINE, Finding.CONTRADICTION)


# Held back or tried: it is about the password. A run that holds back must not judge otherwise than the one before it.
_CREDENTIALS = (Cause.REFUSED_CREDENTIALS, Cause.HELD_BACK)


class Investigation(NamedTuple):
    """What the directory says: sentences by account, whether it explains every failure by an account, and a remark
    (``""``: none) where it could not be asked.
    """

    said: Mapping[Account, str]
    proven: bool
    remark: str


def investigate(outcome: Outcome, settings: Settings, now: float, deadline: Deadline) -> Investigation:
    """Ask the directory about the accounts that could be the fault: those of which the pool says 403 or 404, or whose
    password it refuses. Never raises, never later than the deadline.
    """
    doubtful: Dict[Account, Failure] = {}
    for failure in outcome.failures:
        if _is_of_an_account(failure):
            doubtful.setdefault(subject(failure, settings), failure)
    if not doubtful:
        return Investigation({}, False, "")
    if outcome.dialect == "simple":
        # The directory would find nobody enabled for Lync, and prove by that what is not so.
        own = "Active Directory was not asked: a SIMPLE server has accounts of its own."
        return Investigation({}, False, own if settings.directory is not None else "")
    if settings.directory is None:
        if all(failure.cause is Cause.HELD_BACK for failure in doubtful.values()):
            return Investigation({}, False, "")
        return Investigation({}, False, "Active Directory was not asked about the account: there is no ldap_uri.")
    questions = [(account, failure.cause in _CREDENTIALS) for account, failure in doubtful.items()]
    said: Dict[Account, str] = {}
    reasons: Dict[str, None] = {}
    proofs = 0
    for (account, failure), answer in zip(
        doubtful.items(), ask(settings.directory, settings.target, questions, now, deadline)
    ):
        if isinstance(answer, DirectoryError):
            reasons[str(answer)] = None
        else:
            said[account] = sentence(answer, account, settings, failure)
            proofs += is_proof(answer)
    remark = f"Active Directory could not be asked: {'; '.join(reasons)}." if reasons else ""
    explained = all(map(_is_of_an_account, outcome.failures))
    return Investigation(said, explained and proofs == len(doubtful), remark)


def _is_of_an_account(failure: Failure) -> bool:
    was_disabled = failure.cause is Cause.DEREGISTERED and failure.detail == "rejected"
    return failure.cause in _CREDENTIALS or failure.status in (403, 404) or was_disabled


def sentence(report: Report, account: Account, settings: Settings, failure: Optional[Failure] = None) -> str:
    """What a report says of an account and what to do about it. `failure` is what the pool said of it, if it was asked."""
    if report.finding is not Finding.FINE:
        template = _SENTENCES[report.finding]
    elif failure is None:
        template = "{server} finds nothing wrong with {user}: enabled for SIP, not homed elsewhere, able to sign in."
    elif failure.cause in _CREDENTIALS:
        template = _FINE_BUT_REFUSED
    else:
        template = _FINE_BUT_UNKNOWN
    detail = report.detail
    if report.finding is Finding.LOCKED and detail:  # not every directory tells since when: a global catalog need not
        detail = f" since {detail}"
    return template.format(
        user=account.uri,
        logon=account.user,
        name=report.name or account.user.rpartition("\\")[2].partition("@")[0],
        pool=settings.target,
        detail=detail,
        server=report.server,
    )


def is_proof(report: Report) -> bool:
    """Whether the directory proves that the account itself is the fault."""
    return report.finding not in _NOT_THE_ACCOUNT
