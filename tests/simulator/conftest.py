from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ..commands import Simulator, write_accounts

Start = Callable[..., Simulator]


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return write_accounts(tmp_path / "accounts.ini")


@pytest.fixture
def simulate(accounts: Path) -> Iterator[Start]:
    """Start a simulator with these faults; it is stopped, and must have ended well, when the test is over."""
    with ExitStack() as running:

        def start(*faults: str, options: tuple[str, ...] = ("--tls", "0")) -> Simulator:
            arguments = [argument for fault in faults for argument in ("--fault", fault)]
            simulator = Simulator(accounts, *options, *arguments)
            running.enter_context(simulator)
            return simulator

        yield start
