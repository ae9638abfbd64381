"""The lockout guard's rule: when a refused password is tried again, and that nothing is sent when it is not."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest
from nagiosplugin.error import Timeout

from check_lync_presence import attempt as module
from check_lync_presence import directory
from check_lync_presence.attempt import attempt
from check_lync_presence.directory import Answer, DirectoryError, Finding, Report
from check_lync_presence.lockout import BACK_OFF, LockoutGuard
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.outcome import REGISTER, Cause, Outcome
from check_lync_presence.roundtrip import World
from check_lync_presence.settings import Account, Secret, Settings, SettingsError
from check_lync_presence.stop import Stopped

from .commands import ACCOUNTS, BEN_PASSWORD, Simulator, environment, run_check, write_accounts
from .loopback import Server
from .samples import ANN, BEN, failure, settings
from .simple.tiny_server import LaxServer
from .tiny_directory import directory as a_directory
from .tiny_pool import TinyPool
from .transcripts import POOL

START = 1_700_000_000.0
WRONG = Secret("wrong")


class Pool(TinyPool):
    """A front end in whose world the time of day is what the test says."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.now = START
        numbers = itertools.count(1)
        self._world = World(
            time.monotonic, lambda: self.now, lambda digits: f"{next(numbers):0{digits}x}"[-digits:], "HOST"
        )
        place = (self.server.address.host, self.server.port)
        self.settings = settings(
            transport="tcp", connect=place, timeout=5.0, notify_timeout=2.0, state_folders=(str(state),)
        )

    def run(self, told: Optional[Settings] = None, **changes: Any) -> Outcome:
        """One run of the check."""
        told = (told or self.settings)._replace(**changes)
        return attempt(told, None, self._world, Deadline(told.timeout, time.monotonic))

    @property
    def tried(self) -> int:
        """How many passwords have been tried so far."""
        return sum(self.tokens.values())


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    running = Pool(tmp_path / "state")
    with running:
        yield running


def wrong(*accounts: Account) -> Dict[str, Any]:
    """What to change so that these accounts have a wrong password."""
    roles = {ANN: "publisher", BEN: "subscriber"}
    return {roles[account]: account._replace(password=WRONG) for account in accounts}


def causes(outcome: Outcome) -> List[Tuple[Cause, str]]:
    return [(failure.cause, failure.user) for failure in outcome.failures]


class Directory:
    """What Active Directory says, at the seam; what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Answer = Report(Finding.FINE, "CN=ann", "ldaps://dc01")
        self.questions: List[Tuple[Account, bool]] = []
        self.limits: List[float] = []
        monkeypatch.setattr(directory, "ask", self._ask)

    def _ask(
        self, _: Any, target: str, accounts: Sequence[Tuple[Account, bool]], now: float, deadline: Deadline, *__: Any
    ) -> List[Answer]:
        self.questions += accounts
        self.limits.append(deadline.remaining)
        return [self.answer for _ in accounts]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Directory:
    return Directory(monkeypatch)


DC = a_directory("ldaps://dc01.contoso.example")

# ------------------------------------------------------------ without a directory


@pytest.mark.parametrize(
    "ended", [Stopped(), SettingsError("Kerberos needs an extra"), Timeout("16s"), KeyError("a bug")]
)
def test_a_password_that_was_refused_before_the_run_came_to_no_end_is_not_tried_again(
    pool: Pool, ended: BaseException
) -> None:
    def stop(_: object) -> None:
        raise ended

    told = pool.settings._replace(**wrong(ANN))
    with pytest.raises(type(ended)):
        attempt(told, None, pool._world._replace(failed=stop), Deadline(told.timeout, time.monotonic))
    tried = pool.tried
    assert causes(pool.run(told)) == [(Cause.HELD_BACK, ANN.uri)]
    assert pool.tried == tried


def test_what_one_front_end_refuses_and_another_takes_is_not_held_back_however_the_run_ends(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(told: Settings, _: object, world: World) -> Outcome:
        world.failed(failure(Cause.REFUSED_CREDENTIALS, user=ANN.uri))
        world.accepted(ANN.uri)
        raise Stopped

    monkeypatch.setattr(module, "presence_round_trip", run)
    with pytest.raises(Stopped):
        attempt(pool.settings, None, pool._world, Deadline(pool.settings.timeout, time.monotonic))
    monkeypatch.undo()
    assert pool.run().success


def test_a_refused_password_is_not_tried_again(pool: Pool) -> None:
    assert causes(pool.run(**wrong(ANN))) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]
    tried, connections = pool.tried, len(pool.sessions)
    for later in (0, 60, BACK_OFF, 10 * BACK_OFF):
        pool.now = START + later
        outcome = pool.run(**wrong(ANN))
        assert causes(outcome) == [(Cause.HELD_BACK, ANN.uri)]
        assert not outcome.success
        assert outcome.activities == ()
        assert outcome.failures[0].activity == REGISTER
        assert outcome.failures[0].text == "No attempt, refused since 2023-11-14 22:13 UTC."
        assert Path(outcome.failures[0].detail).is_file()
    assert (pool.tried, len(pool.sessions)) == (tried, connections)


def test_another_password_is_tried_at_once_and_success_forgets(pool: Pool, tmp_path: Path) -> None:
    pool.run(**wrong(ANN))
    assert pool.run().success
    assert list((tmp_path / "state").iterdir()) == []
    assert pool.run().success


def test_the_right_password_of_one_user_is_not_tried_while_the_other_is_held_back(pool: Pool) -> None:
    pool.run(**wrong(BEN))
    tried = pool.tried
    assert causes(pool.run(**wrong(BEN))) == [(Cause.HELD_BACK, BEN.uri)]
    assert pool.tried == tried


def test_both_are_held_back_when_both_were_refused(pool: Pool) -> None:
    assert causes(pool.run(**wrong(ANN, BEN))) == [
        (Cause.REFUSED_CREDENTIALS, ANN.uri),
        (Cause.REFUSED_CREDENTIALS, BEN.uri),
    ]
    assert causes(pool.run(**wrong(ANN, BEN))) == [(Cause.HELD_BACK, ANN.uri), (Cause.HELD_BACK, BEN.uri)]
    assert causes(pool.run(**wrong(ANN))) == [(Cause.HELD_BACK, ANN.uri)]


def test_who_removes_the_file_lets_it_be_tried_again(pool: Pool) -> None:
    pool.run(**wrong(ANN))
    (failure,) = pool.run(**wrong(ANN)).failures
    Path(failure.detail).unlink()
    assert causes(pool.run(**wrong(ANN))) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]


def test_a_sign_in_of_another_kind_is_tried(pool: Pool) -> None:
    pool.run(**wrong(ANN))
    assert causes(pool.run(**wrong(ANN), ntlm_mic=True)) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]
    assert causes(pool.run(**wrong(ANN), ntlm_mic=True)) == [(Cause.HELD_BACK, ANN.uri)]


def test_another_pool_is_tried(pool: Pool, tmp_path: Path) -> None:
    pool.run(**wrong(ANN))
    other = Pool(tmp_path / "state")
    with other:
        assert causes(other.run(**wrong(ANN))) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]


def test_a_failure_of_another_kind_is_neither_remembered_nor_forgotten(pool: Pool, tmp_path: Path) -> None:
    with Server(lambda sock: sock.close()) as broken:
        place = (broken.address.host, broken.port)
        assert [cause for cause, _ in causes(pool.run(connect=place))] != []
    assert not (tmp_path / "state").exists()


def test_one_user_signed_in_is_forgotten_though_the_other_is_refused(pool: Pool, tmp_path: Path) -> None:
    pool.run(**wrong(ANN))
    pool.run(**wrong(BEN))
    assert causes(pool.run(**wrong(ANN))) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]


def test_a_password_that_is_refused_after_an_open_registration_is_not_tried_again(pool: Pool) -> None:
    with LaxServer() as server:
        told = {"protocol": "simple", "connect": ("127.0.0.1", server.server.port), **wrong(BEN)}
        assert causes(pool.run(**told)) == [(Cause.REFUSED_CREDENTIALS, BEN.uri)]
        received = len(server.received)
        assert causes(pool.run(**told)) == [(Cause.HELD_BACK, BEN.uri)]
        assert len(server.received) == received


def test_what_cannot_be_remembered_is_said(pool: Pool) -> None:
    for _ in range(2):
        outcome = pool.run(**wrong(ANN, BEN), state_folders=("/dev/null/a", "/dev/null/b"))
        assert {cause for cause, _ in causes(outcome)} == {Cause.REFUSED_CREDENTIALS}
        assert outcome.remarks[-1:] == (
            "The refusal of CONTOSO\\ann and ben@contoso.example could not be remembered (/dev/null/a: Not a "
            "directory; /dev/null/b: Not a directory): the next run will try again and may lock the account out.",
        )


# --------------------------------------------------------------- with a directory


def held_and_then(pool: Pool, later: float, **changes: Any) -> List[Cause]:
    pool.run(**wrong(ANN))
    pool.now = START + later
    return [cause for cause, _ in causes(pool.run(**wrong(ANN), **changes))]


def test_the_directory_is_not_asked_before_the_back_off_has_passed(pool: Pool, asked: Directory) -> None:
    assert held_and_then(pool, BACK_OFF - 1, directory=DC) == [Cause.HELD_BACK]
    assert asked.questions == []


def test_after_the_back_off_the_directory_can_let_it_be_tried_again(pool: Pool, asked: Directory) -> None:
    assert held_and_then(pool, BACK_OFF, directory=DC) == [Cause.REFUSED_CREDENTIALS]
    assert [(account.uri, credentials) for account, credentials in asked.questions] == [(ANN.uri, True)]


def test_a_further_refusal_starts_the_back_off_anew_and_keeps_the_date(pool: Pool, asked: Directory) -> None:
    assert held_and_then(pool, BACK_OFF, directory=DC) == [Cause.REFUSED_CREDENTIALS]
    pool.now += BACK_OFF - 1
    outcome = pool.run(**wrong(ANN), directory=DC)
    assert causes(outcome) == [(Cause.HELD_BACK, ANN.uri)]
    assert "2023-11-14 22:13 UTC" in outcome.failures[0].text
    pool.now += 1
    assert causes(pool.run(**wrong(ANN), directory=DC)) == [(Cause.REFUSED_CREDENTIALS, ANN.uri)]


def test_an_account_that_was_mended_succeeds_after_the_back_off(pool: Pool, asked: Directory, tmp_path: Path) -> None:
    guard = LockoutGuard((str(tmp_path / "state"),), f"{POOL} {pool.settings.connect} False")
    assert guard.remember(ANN, START)
    assert causes(pool.run(directory=DC)) == [(Cause.HELD_BACK, ANN.uri)]
    pool.now = START + BACK_OFF
    assert pool.run(directory=DC).success
    assert guard.refusal(ANN) is None


OF_LYNC = (Finding.FINE, Finding.NOT_ENABLED, Finding.SIP_DISABLED, Finding.OTHER_ADDRESS, Finding.OTHER_POOL,
           Finding.HOMED_ONLINE)  # fmt: skip


@pytest.mark.parametrize("finding", OF_LYNC)
def test_what_does_not_speak_against_the_password_does_not_hold_it_back(
    pool: Pool, asked: Directory, finding: Finding
) -> None:
    asked.answer = Report(finding, "", "ldaps://dc01")
    assert held_and_then(pool, BACK_OFF, directory=DC) == [Cause.REFUSED_CREDENTIALS]


@pytest.mark.parametrize(
    "answer",
    [
        DirectoryError("no answer in time"),
        *(Report(finding, "", "ldaps://dc01") for finding in Finding if finding not in OF_LYNC),
        Report(Finding.FINE, "", "ldaps://dc01", told=False),
        Report(Finding.OTHER_ADDRESS, "", "ldaps://dc01", owner="another"),
        Report(Finding.FINE, "", "ldaps://dc01", START),
        Report(Finding.FINE, "", "ldaps://dc01", 0.0),
        Report(Finding.CONTRADICTION, "", "ldaps://dc01", START),
    ],
    ids=str,
)
def test_what_speaks_against_the_account_holds_it_back(pool: Pool, asked: Directory, answer: Answer) -> None:
    asked.answer = answer
    assert held_and_then(pool, 10 * BACK_OFF, directory=DC) == [Cause.HELD_BACK]
    assert pool.tried == 2  # ann and ben, in the first run


def test_a_clock_that_was_set_back_holds_it_back(pool: Pool, asked: Directory) -> None:
    assert held_and_then(pool, -10 * BACK_OFF, directory=DC) == [Cause.HELD_BACK]


def test_the_directory_gets_a_share_of_the_time_and_the_round_trip_what_is_left(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: List[float] = []
    clock = [0.0]

    def ask(_: Any, __: str, accounts: Sequence[Any], ___: float, deadline: Deadline, ____: Any) -> List[Answer]:
        limits.append(deadline.remaining)
        clock[0] += deadline.remaining
        return [Report(Finding.FINE, "", "ldaps://dc01") for _ in accounts]

    monkeypatch.setattr(directory, "ask", ask)
    pool.run(**wrong(ANN, BEN))
    pool.now += BACK_OFF
    told = pool.settings._replace(timeout=40.0, directory=DC, **wrong(ANN, BEN))
    seen: List[float] = []

    def round_trip(told: Settings, *_: Any) -> Outcome:
        seen.append(told.timeout)
        return Outcome(POOL, (), (), 0.1, None, None)

    monkeypatch.setattr("check_lync_presence.attempt.presence_round_trip", round_trip)
    attempt(told, None, pool._world, Deadline(told.timeout, lambda: clock[0]))
    assert limits == [10.0, 10.0]
    assert seen == [20.0]


# ------------------------------------------------------------- as a process


def test_what_is_held_back_is_critical_and_reaches_nobody(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini", ACCOUNTS.replace(BEN_PASSWORD, "wrong"))
    state = tmp_path / "state"
    simulator = Simulator(write_accounts(tmp_path / "pool.ini"), "--tls", "0")
    with simulator:
        simulator.accounts = accounts
        where = f"127.0.0.1:{simulator.tls}"
        first = simulator.check("--state-dir", str(state))
    assert (first.code, first.stderr) == (2, "")
    assert "401" in first.first_line
    reached: List[str] = []

    def hang_up(sock: socket.socket) -> None:
        reached.append("reached")
        sock.close()

    with Server(hang_up) as listener:
        # What is remembered is of that place: a listener there sees nobody.
        file = next(state.iterdir())
        told = settings(connect=("127.0.0.1", listener.port))
        key = LockoutGuard((str(state),), f"{POOL} {told.connect} False")._file_name(BEN)
        file.rename(state / key)
        arguments = ("-H", POOL, "--accounts", str(accounts), "--state-dir", str(state), "--connect")
        second = run_check(*arguments, f"127.0.0.1:{listener.port}")
        assert reached == []
        third = run_check(*arguments, f"127.0.0.1:{listener.port}", "-t", "2", SUBSCRIBER_PASSWORD="new")
    assert reached != []
    assert (third.code, "refused since" in third.stdout) == (2, False)
    assert where not in second.stdout
    assert (second.code, second.stderr) == (2, "")
    assert re.fullmatch(
        r"LYNC PRESENCE CRITICAL - Register failed for sip:ben@contoso\.example: "
        r"No attempt, refused since \d{4}-\d\d-\d\d \d\d:\d\d UTC \| success=0",
        second.first_line,
    )
    assert len(second.first_line.partition(" | ")[0]) < 120
    assert second.perfdata == {"success": "0"}
    assert second.lines[4] == "Error      : " + second.first_line.partition(": ")[2].partition(" | ")[0] + "."
    assert str(state / key) in second.lines[6]
    assert len(second.stdout.encode()) < 1024


def test_a_healthy_run_does_not_load_what_it_does_not_need(tmp_path: Path) -> None:
    accounts = write_accounts(tmp_path / "accounts.ini", ACCOUNTS + "ldap_uri = ldap://127.0.0.1:1\n")
    with Simulator(accounts, "--tls", "0") as simulator:
        done = subprocess.run(
            [
                *(sys.executable, "-X", "importtime", "-m", "check_lync_presence", "-H", POOL),
                *("--accounts", str(accounts), "--connect", f"127.0.0.1:{simulator.tls}"),
                *("--ca-file", simulator.ready["ca_file"], "--state-dir", str(tmp_path / "state")),
            ],
            capture_output=True,
            encoding="utf-8",
            env=environment(),
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stdout[:18]) == (0, "LYNC PRESENCE OK -")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "check_lync_presence.attempt" in loaded
    unwanted = ("directory", "diagnosis.accounts", "verify", "trace", "report.files", "report.html")
    ours = {f"check_lync_presence.{name}" for name in unwanted}
    assert loaded & {"ldap3", "pyasn1", "html", *ours} == set()
    assert not (tmp_path / "state").exists()
