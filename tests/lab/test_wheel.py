"""Wheel and source archive: built from a copy of the sources, installed into clean environments, run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from check_lync_presence import __version__

from ..commands import POOL, Finished, Simulator, environment

ROOT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "build", "dist", "*.egg-info", "__pycache__")


class Archives(NamedTuple):
    """What was built, and what the tools said."""

    wheel: Path
    sdist: Path
    said: str


class Environment:
    """An empty environment of Python's own venv."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        self._bin = folder / "bin"

    def run(self, program: str, *arguments: str) -> Finished:
        done = subprocess.run(
            [self._bin / program, *arguments], capture_output=True, encoding="utf-8", check=False, timeout=240,
            stdin=subprocess.DEVNULL, cwd=self._bin, env=environment(),
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    def install(self, *what: str) -> None:
        done = self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)
        assert done.code == 0, done


@pytest.fixture(scope="module")
def environment_of_the_wheel(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("wheel") / "venv")
    made.install(str(archives.wheel))
    return made


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("builder") / "venv")
    made.install("build")
    return made


@pytest.fixture(scope="module")
def archives(builder: Environment, tmp_path_factory: pytest.TempPathFactory) -> Archives:
    folder = tmp_path_factory.mktemp("build")
    sources = folder / "sources"
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    done = builder.run("python", "-m", "build", "--outdir", str(folder / "dist"), str(sources))
    assert done.code == 0, done
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return Archives(wheel, sdist, done.stdout + done.stderr)


def test_the_tools_have_nothing_to_complain_of(archives: Archives) -> None:
    assert "Deprecat" not in archives.said
    assert archives.wheel.name == f"check_lync_presence-{__version__}-py3-none-any.whl"
    assert archives.sdist.name == f"check_lync_presence-{__version__}.tar.gz"


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(archives: Archives) -> None:
    names = zipfile.ZipFile(archives.wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "check_lync_presence",
        f"check_lync_presence-{__version__}.dist-info",
    }
    assert "check_lync_presence/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)
    metadata = zipfile.ZipFile(archives.wheel).read(f"check_lync_presence-{__version__}.dist-info/METADATA").decode()
    assert "GPL-3.0-or-later" in metadata
    assert "License ::" not in metadata


def test_the_source_archive_has_what_a_distribution_builds_tests_and_ships(archives: Archives) -> None:
    with tarfile.open(archives.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "setup.cfg",
        "packaging/man/check_lync_presence.1",
        "packaging/check_lync_presence.spec",
        "contrib/demo/demo.py",
        "tests/test_cli.py",
    } <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_installed_from_the_wheel_it_makes_the_round_trip(
    environment_of_the_wheel: Environment, simulator: Simulator
) -> None:
    version = environment_of_the_wheel.run("check_lync_presence", "-V")
    assert (version.code, version.first_line, version.stderr) == (3, f"check_lync_presence {__version__}", "")
    done = environment_of_the_wheel.run(
        "check_lync_presence", "-H", POOL, "--accounts", str(simulator.accounts),
        "--connect", f"127.0.0.1:{simulator.tls}", "--ca-file", simulator.ready["ca_file"],
    )  # fmt: skip
    assert (done.code, done.stderr) == (0, ""), done.stdout
    assert done.first_line.startswith("LYNC PRESENCE OK - ")


def test_the_simulator_asks_for_its_extra_and_runs_with_it(
    environment_of_the_wheel: Environment, archives: Archives, simulator: Simulator
) -> None:
    arguments = ("lync-presence-simulator", "--accounts", str(simulator.accounts), "--tls", "0")
    without = environment_of_the_wheel.run(*arguments)
    assert (without.code, without.stderr) == (3, "")
    assert "pip install 'check_lync_presence[simulator]'" in without.stdout
    environment_of_the_wheel.install(f"{archives.wheel}[simulator]")
    code = (
        "import os, signal, subprocess, sys\n"
        "with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE) as process:\n"
        "    print(process.stdout.readline().decode())\n"
        "    process.send_signal(signal.SIGTERM)\n"
        "sys.exit(process.wait())\n"
    )
    program = environment_of_the_wheel.run("python", "-c", "import sys; print(sys.prefix)").stdout.strip()
    done = environment_of_the_wheel.run("python", "-c", code, f"{program}/bin/{arguments[0]}", *arguments[1:])
    assert (done.code, done.stderr) == (0, "")
    assert '"ready": true' in done.stdout


def test_installed_from_the_source_archive_it_runs(archives: Archives, builder: Environment) -> None:
    builder.install(str(archives.sdist))
    done = builder.run("check_lync_presence", "-V")
    assert (done.code, done.first_line) == (3, f"check_lync_presence {__version__}")
    assert f"Python {sys.version.split()[0]}" in done.lines
