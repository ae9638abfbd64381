"""Servers that several lab tests share, started when the first test asks for them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Iterator, List

import pytest

from ..commands import Finished, Simulator, write_accounts
from .hundred_runs import hundred_runs
from .machine import Machine
from .readme import steps
from .samba_ad.server import SambaAD
from .servers import Certificates, Pools


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SambaAD]:
    with SambaAD(tmp_path_factory.mktemp("samba"), certificates) as server:
        yield server


@pytest.fixture(scope="session")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    running = Pools(tmp_path_factory.mktemp("pools"))
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> List[Finished]:
    """A hundred real runs."""
    return hundred_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A machine with the check installed as the README says."""
    folder = Path(tempfile.mkdtemp(prefix="check_lync_presence-machine-"))
    try:
        installed = Machine(folder)
        with installed.pool():
            installed.follow(steps())
        yield installed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A pool in order, over TLS."""
    running = Simulator(write_accounts(tmp_path_factory.mktemp("simulator") / "accounts.ini"), "--tls", "0")
    with running:
        yield running
