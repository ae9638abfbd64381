"""One attempt at the round trip, or none: what stands between the scheduler and a locked-out account.

Owns the rule of the lockout guard: a refused password is tried again when it has been changed, or when the directory
says that the account is not locked and a back-off has passed. Must not know messages or output.
"""

from __future__ import annotations

import ssl
import time
from typing import List, Optional

from .lockout import BACK_OFF, LockoutGuard, Refusal, why_not_kept
from .net.deadline import Deadline
from .outcome import REGISTER, Cause, Failure, Outcome
from .roundtrip import World, presence_round_trip
from .settings import Account, Settings
from .stop import Stopped

ASKING_SHARE = 0.25  # of the run's time, for each user that the directory is asked about before the round trip


def attempt(settings: Settings, context: Optional[ssl.SSLContext], world: World, deadline: Deadline) -> Outcome:
    """Run the round trip unless a refused password stands in its way; remember what was refused and what was not."""
    guard = guard_of(settings)
    accounts = (settings.publisher, settings.subscriber)
    failures = []
    asked = False
    for account in accounts:
        refusal = guard.refusal(account)
        if refusal is None:
            continue
        asked = True
        if not _may_try_again(refusal, account, settings, world, deadline):
            failures.append(held_back(refusal, account))
    if failures:
        return Outcome(settings.target, tuple(failures), (), None, None, None, dialect=settings.spoken)

    refusals: List[str] = []
    accepted: List[str] = []

    def failed(failure: Failure) -> None:
        if failure.cause is Cause.REFUSED_CREDENTIALS:
            refusals.append(failure.user)
        world.failed(failure)

    # What the directory took is gone; the whole has one time limit.
    timed = settings._replace(timeout=deadline.remaining) if asked else settings
    try:
        outcome = presence_round_trip(timed, context, world._replace(failed=failed, accepted=accepted.append))
    except BaseException:  # whatever else went wrong: the server has counted the refusal
        for account in accounts:
            if account.uri in refusals and account.uri not in accepted:
                guard.remember(account, world.now())
        raise
    signed_in = [item.user for item in outcome.activities if item.name == REGISTER and item.seconds is not None]
    not_remembered: List[str] = []
    for account in accounts:
        if account.uri in accepted:  # what one front end refuses and another takes is right
            guard.forget(account)
        elif account.uri in refusals:
            if not guard.remember(account, world.now()):
                not_remembered.append(account.user)
        elif account.uri in signed_in:  # without a password
            guard.forget(account)
    if not not_remembered:
        return outcome
    remark = (
        f"The refusal of {' and '.join(not_remembered)} could not be remembered "
        f"({why_not_kept(settings.state_folders)}): the next run will try again and may lock the account out."
    )
    return outcome._replace(remarks=(*outcome.remarks, remark))


def guard_of(settings: Settings) -> LockoutGuard:
    """What remembers the passwords that this pool has refused."""
    # Who advises --ntlm-mic must let it be tried: with it, it is another sign-in. So is Kerberos, where NTLM is off.
    way = f"{settings.ntlm_mic}{' kerberos' if settings.auth == 'kerberos' else ''}"
    return LockoutGuard(settings.state_folders, f"{settings.target} {settings.connect} {way}")


def _may_try_again(refusal: Refusal, account: Account, settings: Settings, world: World, deadline: Deadline) -> bool:
    if settings.directory is None or world.now() - refusal.tried < BACK_OFF:
        return False
    from .directory import DirectoryError, Finding, ask

    soon = deadline.within(settings.timeout * ASKING_SHARE)
    guard = LockoutGuard(settings.state_folders, "the directory")
    try:
        (answer,) = ask(settings.directory, settings.pool_of, [(account, True)], world.now(), soon, guard)
    except Stopped as stop:
        stop.stuck_in = f"the question to the directory about {account.user}"
        raise
    if isinstance(answer, DirectoryError) or answer.locked is not None or not answer.told or answer.owner:
        return False
    # What is wrong with the account's place in Lync is no reason to leave its password alone for ever.
    return answer.finding in (
        Finding.FINE, Finding.NOT_ENABLED, Finding.SIP_DISABLED, Finding.OTHER_ADDRESS, Finding.OTHER_POOL,
        Finding.HOMED_ONLINE,
    )  # fmt: skip


def held_back(refusal: Refusal, account: Account) -> Failure:
    """What the check says in place of trying a refused password."""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(refusal.since))
    text = f"No attempt, refused since {since}."
    return Failure(REGISTER, account.uri, Cause.HELD_BACK, text, None, (), refusal.path, "")
