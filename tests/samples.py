"""Values of a run, made by hand: settings, activities, outcomes."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from check_lync_presence.outcome import (
    NOTIFY,
    PUBLISH,
    REGISTER,
    SELF_SUBSCRIBE,
    SUBSCRIBE,
    UNREGISTER,
    Activity,
    Cause,
    Failure,
    Outcome,
)
from check_lync_presence.settings import Account, Secret, Settings, Thresholds, TlsSettings

from .commands import ANN_PASSWORD, BEN_PASSWORD
from .transcripts import POOL

ANN = Account("sip:ann@contoso.example", "CONTOSO\\ann", Secret(ANN_PASSWORD))
BEN = Account("sip:ben@contoso.example", "ben@contoso.example", Secret(BEN_PASSWORD))

ACTIVITIES = (
    Activity(REGISTER, ANN.uri, 0.001, 0.040, ("Authentication: NTLM",)),
    Activity(REGISTER, BEN.uri, 0.002, 0.050, ("Authentication: NTLM",)),
    Activity(SELF_SUBSCRIBE, ANN.uri, 0.050, 0.060),
    Activity(SUBSCRIBE, BEN.uri, 0.050, 0.070),
    Activity(PUBLISH, ANN.uri, 0.070, 0.100),
    Activity(NOTIFY, BEN.uri, 0.070, 0.110),
    Activity(UNREGISTER, ANN.uri, 0.110, 0.130),
    Activity(UNREGISTER, BEN.uri, 0.110, 0.120),
)


def settings(**changes: Any) -> Settings:
    """What the run was told, with some of it changed."""
    return Settings(
        target=POOL,
        publisher=ANN,
        subscriber=BEN,
        port=5061,
        connect=None,
        family=None,
        transport="tls",
        protocol="auto",
        auth="auto",
        ntlm_mic=False,
        user_agent="UCCAPI/15.0.0 test",
        tls=TlsSettings(),
        directory=None,
        account_state="critical",
        state_folders=(),
        thresholds=Thresholds({}, {}),
        timeout=40.0,
        notify_timeout=25.0,
        verbose=0,
    )._replace(**changes)


def failure(
    cause: Cause,
    text: str = "Something happened.",
    activity: str = REGISTER,
    user: str = "",
    status: Optional[int] = None,
    diagnostics: Tuple[str, ...] = (),
    detail: str = "",
    retry_after: str = "",
) -> Failure:
    """One failure."""
    return Failure(activity, user, cause, text, status, diagnostics, detail, retry_after)


def success(**changes: Any) -> Outcome:
    """A run that went well, with some of it changed."""
    return Outcome(POOL, (), ACTIVITIES, 0.2140315, 0.0312, None)._replace(**changes)


def failed(*failures: Failure, **changes: Any) -> Outcome:
    """A run that did not."""
    return Outcome(POOL, failures, (), None, None, None)._replace(**changes)
