"""``--verify-accounts``: states, exit codes, and one sentence a user."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import nagiosplugin
import pytest

from check_lync_presence import verify
from check_lync_presence.diagnosis.accounts import sentence
from check_lync_presence.directory import Answer, DirectoryError, Finding, Report
from check_lync_presence.settings import Account, SettingsError

from . import tiny_directory as tiny
from .commands import ACCOUNTS, ANN_PASSWORD, BEN_PASSWORD, Finished, run_check, write_accounts
from .samples import ANN, BEN, settings
from .tiny_directory import TinyDirectory, entry, user
from .transcripts import POOL

DC = "ldaps://dc01.contoso.example"
WITH_DIRECTORY = settings(directory=tiny.directory(DC))
FINE = Report(Finding.FINE, "CN=x", DC)
UNREACHABLE = DirectoryError(f"{DC}: connection refused")
Verify = Callable[..., Finished]


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Verify]:
    """What is printed of these answers, and the exit code."""
    handlers = list(logging.getLogger("nagiosplugin").handlers)

    def run(*answers: Answer, **changes: Any) -> Finished:
        asked: List[Sequence[Tuple[Account, bool]]] = []

        def ask(_: Any, target: str, questions: Sequence[Tuple[Account, bool]], *__: Any) -> List[Answer]:
            asked.append(questions)
            return list(answers)

        monkeypatch.setattr(nagiosplugin.runtime.Runtime, "instance", None)
        monkeypatch.setattr(verify, "ask", ask)
        with pytest.raises(SystemExit) as end:
            verify.verify_accounts(WITH_DIRECTORY._replace(**changes))
        assert asked == [[(ANN, True), (BEN, True)]]
        output = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Finished(end.value.code, output.out, output.err)

    yield run
    logging.getLogger("nagiosplugin").handlers[:] = handlers


def report(finding: Finding) -> Report:
    return Report(finding, "somewhere", DC)


def test_two_accounts_in_order_are_ok(verified: Verify) -> None:
    result = verified(FINE, FINE)
    assert result == Finished(
        0,
        "LYNC PRESENCE OK - accounts of pool01.contoso.example: sip:ann@contoso.example in order, "
        "sip:ben@contoso.example in order\n"
        f"{DC} finds nothing wrong with {ANN.uri}: enabled for SIP, not homed elsewhere, able to sign in.\n"
        f"{DC} finds nothing wrong with {BEN.uri}: enabled for SIP, not homed elsewhere, able to sign in.\n",
        "",
    )


def test_what_cannot_be_known_is_said() -> None:
    said = sentence(FINE._replace(told=False), ANN, WITH_DIRECTORY)
    assert "able to sign in" not in said
    assert "does not show whether CONTOSO\\ann can sign in" in said


@pytest.mark.parametrize("finding", [finding for finding in Finding if finding is not Finding.FINE])
@pytest.mark.parametrize(("state", "code"), [("critical", 2), ("warning", 1), ("unknown", 3)])
def test_a_finding_has_the_state_that_was_chosen_unless_it_proves_nothing(
    verified: Verify, finding: Finding, state: str, code: int
) -> None:
    result = verified(FINE, report(finding), account_state=state)
    assert result.code == (2 if finding is Finding.CONTRADICTION else code)
    # The worst comes first.
    assert result.first_line.endswith(f": sip:ben@contoso.example {finding.value}, sip:ann@contoso.example in order")
    assert len(result.first_line) < 160
    assert len(result.lines) == 3
    assert len(result.stdout.encode()) < 1024
    assert "|" not in result.stdout


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ((UNREACHABLE, UNREACHABLE), 3),
        ((FINE, UNREACHABLE), 3),
        ((UNREACHABLE, FINE), 3),
        ((report(Finding.LOCKED), report(Finding.ABSENT)), 2),
        ((FINE, report(Finding.CONTRADICTION)), 2),
    ],
)
def test_the_worst_of_both_counts(verified: Verify, answers: Tuple[Answer, Answer], code: int) -> None:
    assert verified(*answers).code == code


def test_what_is_not_known_of_one_user_does_not_hide_what_is_wrong_with_the_other(verified: Verify) -> None:
    result = verified(UNREACHABLE, report(Finding.LOCKED))
    assert "sip:ben@contoso.example locked" in result.first_line
    assert any("Unlock-ADAccount" in line for line in result.lines)


def test_a_directory_that_cannot_be_asked_is_said(verified: Verify) -> None:
    result = verified(UNREACHABLE, UNREACHABLE)
    assert "sip:ann@contoso.example not verified" in result.first_line
    assert result.lines[1:] == [
        f"{one.uri}: the directory could not be asked: {DC}: connection refused." for one in (ANN, BEN)
    ]


def test_what_the_directory_says_is_cleaned(verified: Verify) -> None:
    evil = Report(Finding.OTHER_ADDRESS, "sip:x|y\n<b>\x1b[31m", DC)
    result = verified(evil, FINE)
    assert "|" not in result.stdout
    assert all(line.isprintable() for line in result.lines)
    assert len(result.lines) == 3


def test_without_a_directory_it_is_said_how_to_name_one() -> None:
    with pytest.raises(SettingsError, match="--verify-accounts asks a directory: name it with --ldap-uri"):
        verify.verify_accounts(settings())


# --------------------------------------------------------------- as a process


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return write_accounts(tmp_path / "accounts.ini", ACCOUNTS)


def test_no_directory_is_a_usage_error(accounts: Path) -> None:
    result = run_check("-H", POOL, "--accounts", str(accounts), "--verify-accounts")
    assert (result.code, result.stderr, len(result.lines)) == (3, "", 1)
    assert result.first_line.startswith("LYNC PRESENCE UNKNOWN - --verify-accounts asks a directory")


def test_both_users_are_looked_up_and_nobody_signs_in(accounts: Path) -> None:
    def search(talk: tiny.Talk, request: tiny.Request) -> None:
        changes = {} if b"ann@" in request.body else {"msRTCSIP_PrimaryUserAddress": BEN.uri, "sAMAccountName": "ben"}
        talk.send(entry("CN=x", user(**changes)), tiny.result(tiny.DONE), to=request)

    arguments = ("-H", POOL, "--accounts", str(accounts), "--verify-accounts", "--ldap-base", tiny.BASE)
    # Nobody listens where the pool should be.
    where = ("--connect", "127.0.0.1:1", "--ldap-uri")
    with TinyDirectory(search) as server:
        result = run_check(*arguments, *where, server.uri)
        assert server.tags == [tiny.BIND, tiny.SEARCH, tiny.SEARCH]
    assert (result.code, result.stderr) == (0, ""), result.stdout
    assert "in order, sip:ben@contoso.example in order" in result.first_line
    for secret in (ANN_PASSWORD, BEN_PASSWORD):
        assert secret not in result.stdout


def test_a_silent_directory_is_unknown_in_time(accounts: Path) -> None:
    with TinyDirectory(tiny.silent) as server:
        result = run_check(
            *("-H", POOL, "--accounts", str(accounts), "--verify-accounts", "-t", "0.5"),
            *("--ldap-base", tiny.BASE, "--ldap-uri", server.uri),
        )
    assert (result.code, result.stderr) == (3, "")
    assert "not verified" in result.first_line
    assert "Traceback" not in result.stdout
