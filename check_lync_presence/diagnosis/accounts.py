"""What the directory says of an account, in one sentence with the command that mends it.

Owns the truth table: a sentence and a remedy for each finding. Must not know LDAP.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..directory import OF_THE_ACCOUNT, Answer, DirectoryError, Finding, Report, ask
from ..lockout import LockoutGuard
from ..net.deadline import Deadline
from ..outcome import REGISTER, SUBSCRIBE, Cause, Failure, Outcome
from ..settings import Account, DirectorySettings, Settings
from ..value import NamedTuple
from . import codes, subject

# {user} SIP address, {logon} logon name (the file's where it is the account's own), {name} what AD's cmdlets call the
# account (sAMAccountName), {pool} the pool, {detail} of the finding, {server} who says it, {given} the logon name of the
# file. With :q they are quoted for PowerShell where they have to be.
_SENTENCES: Dict[Finding, str] = {
    Finding.ABSENT: "{server} knows no account with {user} or {logon}: check the address, or create the test user "
    "(New-ADUser, then Enable-CsUser).",
    Finding.DUPLICATE: "Two accounts carry {user}: {detail}. Take it from one of them: Disable-CsUser -Identity <the wrong one>.",
    Finding.OTHER_ADDRESS: "The account {logon} has the SIP address {detail}, not {user}: correct the accounts file, or "
    "Set-CsUser -Identity {detail:q} -SipAddress {user:q}.",
    Finding.OTHER_LOGON: "{user} is the SIP address of {detail}, not of {given}: correct publisher_user or subscriber_user in the "
    "accounts file (Get-CsUser -Identity {user:q}).",
    Finding.NOT_ENABLED: "The account of {user} is there and not enabled for SIP: Enable-CsUser -Identity {logon:q} "
    "-RegistrarPool {pool:q} -SipAddress {user:q}.",
    Finding.SIP_DISABLED: "{user} is switched off for SIP (msRTCSIP-UserEnabled FALSE): Set-CsUser -Identity {user:q} "
    "-Enabled $true.",
    Finding.OTHER_POOL: "{user} is homed on {detail}, not on {pool}: test that pool with -H, or Move-CsUser -Identity {user:q} "
    "-Target {pool:q}.",
    Finding.HOMED_ONLINE: "{user} is homed online ({detail}), not on {pool}: name a test user that is homed there, or "
    "Move-CsUser -Identity {user:q} -Target {pool:q}.",
    Finding.DISABLED: "The AD account {logon} is disabled: Enable-ADAccount -Identity {name:q}.",
    Finding.LOCKED: "The AD account {logon} has been locked out{detail}: Unlock-ADAccount -Identity {name:q}; find out who "
    "tries wrong passwords first.",
    Finding.EXPIRED: "The AD account {logon} expired on {detail}: Clear-ADAccountExpiration -Identity {name:q}.",
    Finding.PASSWORD_EXPIRED: "The password of {logon} has expired: Set-ADUser -Identity {name:q} -PasswordNeverExpires $true "
    "lets a test user keep it; or set another one (Set-ADAccountPassword) and store it here.",
    Finding.MUST_CHANGE: "{logon} must change its password at the next logon: Set-ADUser -Identity {name:q} "
    "-ChangePasswordAtLogon $false.",
    Finding.CONTRADICTION: "The domain controllers disagree about {user} ({detail}): wait for the replication or mend it "
    "(repadmin /replsummary).",
}
_VERIFIED = "{server} finds nothing wrong with {user}: enabled for SIP, not homed elsewhere, able to sign in."
_VERIFIED_IN_PART = (
    "{server} finds {user} enabled for SIP and not homed elsewhere; it does not show whether {logon} can sign in "
    "(global catalog, other forest or no right)."
)
_FINE_BUT_UNKNOWN = (
    "{server} finds nothing wrong with {user}: the pool is to blame. Check the User Replicator (event LS User Replicator "
    "30061, Update-CsUserDatabase) and LS User Services on {pool}."
)
_FINE_BUT_FORBIDDEN = "{server} finds nothing wrong with {user}: the pool is to blame, or a policy of it."
_FINE_BUT_REFUSED = (
    "{server} finds {logon} enabled, unlocked and not expired: the stored password is wrong, or the pool's NTLM policies "
    "refuse it."
)
_REFUSED_AND_NOT_TOLD = (
    "{server} does not show whether {logon} is disabled, locked out or expired (global catalog, other forest or no right): "
    "look with Get-ADUser -Identity {name:q} -Properties LockedOut,PasswordExpired."
)
_FINE_BUT_REFUSED_BY_THE_KDC = (
    "{server} finds {logon} enabled, unlocked and not expired: the stored password or keytab is wrong."
)
_FINE_BUT_NOT_FOR_THE_KDC = (
    "{server} finds {logon} enabled, unlocked and not expired, and the KDC does not: wait for the replication or mend it "
    "(repadmin /replsummary)."
)

# What speaks for the pool or for the replication and not against the account.
_NOT_THE_ACCOUNT = (Finding.FINE, Finding.CONTRADICTION)

# Why a password can be refused that is right. An account's place in Lync is no such reason.
_OF_SIGNING_IN = (*OF_THE_ACCOUNT, Finding.OTHER_LOGON, Finding.ABSENT, Finding.DUPLICATE)

# What is not so, whatever the directory says, of somebody whom the pool has just registered.
_NOT_OF_THE_REGISTERED = (*OF_THE_ACCOUNT, Finding.OTHER_POOL, Finding.HOMED_ONLINE)

# Held back or tried: it is about the password. A run that holds back must not judge otherwise than the one before it.
_CREDENTIALS = (Cause.REFUSED_CREDENTIALS, Cause.HELD_BACK, Cause.ACCOUNT)

# ms-diagnostics: who is meant is not known, the logon name is another user's, and what is no account's fault.
_NOT_KNOWN = {1003, 2005, 4005, 4006}
_NOT_THIS_LOGON_NAME = 4004
_THE_CLIENT = {17000, 17001, 17002, 17003}

MAX_DETAIL = 200  # characters of what a directory names


# What directory.ask is.
Ask = Callable[
    [
        DirectorySettings,
        Callable[[Account], str],
        Sequence[Tuple[Account, bool]],
        float,
        Deadline,
        Optional[LockoutGuard],
    ],
    List[Answer],
]


class Investigation(NamedTuple):
    """What the directory says: sentences by account, whether it explains every failure by an account, and a remark
    (``""``: none) where it could not be asked. `explained` are the failures that need no other advice.
    """

    said: Mapping[Account, str]
    proven: bool
    remark: str
    explained: Tuple[Failure, ...] = ()


def investigate(
    outcome: Outcome, settings: Settings, now: float, deadline: Deadline, played: Optional[Ask] = None
) -> Investigation:
    """Ask the directory about the accounts that could be the fault: those of which the pool says 403 or 404, or whose
    password it refuses. `played` answers in its place. Never raises, never later than the deadline.
    """
    doubtful = {failure: _suspects(failure, settings) for failure in outcome.failures if _is_of_an_account(failure)}
    if not doubtful:
        return Investigation({}, False, "")
    if outcome.dialect == "simple":
        # The directory would find nobody enabled for Lync, and prove by that what is not so.
        own = "Active Directory was not asked: a SIMPLE server has accounts of its own."
        return Investigation({}, False, own if settings.directory is not None else "")
    if settings.directory is None:
        if all(failure.cause is Cause.HELD_BACK for failure in doubtful):
            return Investigation({}, False, "")
        return Investigation({}, False, "Active Directory was not asked about the account: there is no ldap_uri.")
    questions: Dict[Account, bool] = {}
    for failure, accounts in doubtful.items():
        for account in accounts:
            questions.setdefault(account, _is_of_signing_in(failure))
    guard = LockoutGuard(settings.state_folders, "the directory")
    asked = list(questions.items())
    told = (played or ask)(settings.directory, settings.pool_of, asked, now, deadline, guard)
    answers = dict(zip(questions, told))
    said: Dict[Account, str] = {}
    explained: List[Failure] = []
    proven = all(map(_is_of_an_account, outcome.failures))
    registered = {item.user for item in outcome.activities if item.name == REGISTER and item.seconds is not None}
    for failure, accounts in doubtful.items():
        reports: Dict[Account, Report] = {}
        for account in accounts:
            answer = answers[account]
            if isinstance(answer, Report) and not (account.uri in registered and _is_refuted(answer, failure)):
                reports[account] = answer
        proofs = {account: report for account, report in reports.items() if _proves(report, failure)}
        for account, report in (proofs or reports).items():
            said.setdefault(account, sentence(report, account, settings, failure))
        in_order = accounts[0] in reports and not is_proof(reports[accounts[0]])
        if proofs or (in_order and _is_of_the_account_alone(failure)):
            explained.append(failure)
        proven = proven and bool(proofs)
    reasons = dict.fromkeys(str(answer) for answer in answers.values() if isinstance(answer, DirectoryError))
    remark = f"Active Directory could not be asked: {'; '.join(reasons)}." if reasons else ""
    return Investigation(said, proven, remark, tuple(explained))


def _is_of_an_account(failure: Failure) -> bool:
    if failure.cause in (Cause.NOT_TRUSTED, Cause.CERTIFICATE):
        return False
    if failure.status in (403, 404):
        return not _THE_CLIENT.intersection(codes(failure))
    was_disabled = failure.cause is Cause.DEREGISTERED and failure.detail == "rejected"
    return failure.cause in _CREDENTIALS or was_disabled


def _is_of_signing_in(failure: Failure) -> bool:
    return failure.cause in _CREDENTIALS or _NOT_THIS_LOGON_NAME in codes(failure)


def _is_of_the_account_alone(failure: Failure) -> bool:
    """Whether the server has said nothing that the directory cannot see."""
    return failure.cause in _CREDENTIALS or (failure.status == 404 and _NOT_KNOWN.issuperset(codes(failure)))


def _suspects(failure: Failure, settings: Settings) -> List[Account]:
    """Who could be the fault, the likelier first: a subscription needs a watcher and a presentity, unless the server
    has said that it does not know the one.
    """
    first = subject(failure, settings)
    if failure.activity != SUBSCRIBE or (codes(failure) and _is_of_the_account_alone(failure)):
        return [first]
    return [first, settings.subscriber if first == settings.publisher else settings.publisher]


def _is_refuted(report: Report, failure: Failure) -> bool:
    """Whether a finding cannot be about somebody who was registered before the failure, and not thrown out by it."""
    return report.finding in _NOT_OF_THE_REGISTERED and failure.cause is not Cause.DEREGISTERED


def _proves(report: Report, failure: Failure) -> bool:
    """Whether a report proves that its account is the reason of this failure."""
    return report.finding in _OF_SIGNING_IN if failure.cause in _CREDENTIALS else is_proof(report)


def sentence(report: Report, account: Account, settings: Settings, failure: Optional[Failure] = None) -> str:
    """What a report says of an account and what to do about it. `failure` is what the pool said of it, if it was asked."""
    if report.finding is not Finding.FINE:
        template = _SENTENCES[report.finding]
    elif failure is None:
        template = _VERIFIED if report.told else _VERIFIED_IN_PART
    elif failure.cause in _CREDENTIALS:
        template = _fine_but(failure) if report.told else _REFUSED_AND_NOT_TOLD
    else:
        template = _FINE_BUT_UNKNOWN if _is_of_the_account_alone(failure) else _FINE_BUT_FORBIDDEN
    detail = report.detail if len(report.detail) <= MAX_DETAIL else f"{report.detail[: MAX_DETAIL - 1]}…"
    if report.finding is Finding.LOCKED and detail:  # not every directory tells since when: a global catalog need not
        detail = f" since {detail}"
    words = {
        "user": account.uri,
        "logon": report.owner or account.user,
        "given": account.user,
        "name": report.name or account.user.rpartition("\\")[2].partition("@")[0],
        "pool": settings.pool_of(account),
        "detail": detail,
        "server": report.server,
    }
    return template.format_map({key: _Word(word) for key, word in words.items()})


def _fine_but(failure: Failure) -> str:
    """What a sign-in that was refused means where the directory finds nothing against the account."""
    if failure.cause is Cause.ACCOUNT:
        return _FINE_BUT_NOT_FOR_THE_KDC
    return _FINE_BUT_REFUSED_BY_THE_KDC if failure.detail == "REFUSED" else _FINE_BUT_REFUSED


class _Word(str):
    """A name in a sentence; in a command (``:q``) quoted, where PowerShell would not take it for one word."""

    def __format__(self, purpose: str) -> str:
        if purpose != "q" or re.fullmatch(r"[\w:.@\\][\w:.@\\-]*", self):
            return str(self)
        return "'" + re.sub("(['‘’‚‛])", r"\1\1", self) + "'"


def is_proof(answer: Answer) -> bool:
    """Whether the directory proves that the account itself is the fault."""
    return isinstance(answer, Report) and answer.finding not in _NOT_THE_ACCOUNT
