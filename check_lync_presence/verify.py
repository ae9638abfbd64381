"""``--verify-accounts``: what the directory says of both test users, and nothing else.

Owns the nagiosplugin edge of that. What a finding means stands in diagnosis.accounts.
"""

from __future__ import annotations

import time
from typing import Dict, Generator, List, NoReturn

import nagiosplugin
from nagiosplugin.state import ServiceState

from .diagnosis.accounts import is_proof, sentence
from .directory import Answer, DirectoryError, Finding, Report, ask
from .net.deadline import Deadline
from .plugin import STATES, Judgement, Subject
from .report.text import clean
from .settings import Account, Settings, SettingsError
from .stop import Stopped, finish_anyway


def verify_accounts(settings: Settings) -> NoReturn:
    """Ask about both users and exit with the worst state."""
    if settings.directory is None:
        raise SettingsError(
            "--verify-accounts asks a directory: name it with --ldap-uri, or ldap_uri in the accounts file"
        )
    accounts = _Accounts(settings)
    Judgement(accounts, _State("account"), _Summary(accounts)).conclude(settings)


class _Accounts(Subject):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.answers: Dict[Account, Answer] = {}

    def probe(self) -> Generator[nagiosplugin.Metric, None, None]:
        settings = self.settings
        assert settings.directory is not None
        accounts = (settings.publisher, settings.subscriber)
        questions = [(account, True) for account in accounts]
        deadline = Deadline(settings.timeout, time.monotonic)
        started = time.monotonic()
        try:
            answers = ask(settings.directory, settings.pool_of, questions, time.time(), deadline)
        except Stopped:
            ended = DirectoryError(f"not over after {time.monotonic() - started:.1f} s, then SIGTERM")
            answers = [ended] * len(accounts)
        finish_anyway()
        self.answers = dict(zip(accounts, answers))
        for account, answer in self.answers.items():
            yield nagiosplugin.Metric(account.uri, answer, context="account")

    def long_output(self, _: int) -> List[str]:
        return [
            clean(
                f"{account.uri}: the directory could not be asked: {answer}."
                if isinstance(answer, DirectoryError)
                else sentence(answer, account, self.settings)
            )
            for account, answer in self.answers.items()
        ]


class _State(nagiosplugin.Context):
    def evaluate(self, metric: nagiosplugin.Metric, resource: nagiosplugin.Resource) -> nagiosplugin.Result:
        assert isinstance(resource, _Accounts)
        answer: Answer = resource.answers[next(item for item in resource.answers if item.uri == metric.name)]
        if isinstance(answer, DirectoryError):
            return nagiosplugin.Result(nagiosplugin.Unknown, "not verified", metric)
        if answer.finding is Finding.FINE:
            return nagiosplugin.Result(nagiosplugin.Ok, "in order", metric)
        return nagiosplugin.Result(state_of(answer, resource.settings), answer.finding.value, metric)


def state_of(report: Report, settings: Settings) -> ServiceState:
    """The state of a finding that is not fine."""
    return STATES[settings.account_state] if is_proof(report) else nagiosplugin.Critical


class _Summary(nagiosplugin.Summary):
    def __init__(self, accounts: _Accounts) -> None:
        self._accounts = accounts

    def ok(self, results: nagiosplugin.Results) -> str:
        return self.problem(results)

    def problem(self, results: nagiosplugin.Results) -> str:
        found = [f"{result.metric.name} {result.hint}" for result in results if result.metric is not None]
        return clean(f"accounts of {self._accounts.settings.target}: {', '.join(found)}")
