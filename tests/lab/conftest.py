"""Servers that several lab tests share, started when the first test asks for them."""

from __future__ import annotations

from typing import Iterator

import pytest

from .servers import Certificates, Pools


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    running = Pools(tmp_path_factory.mktemp("pools"))
    try:
        yield running
    finally:
        running.close()
