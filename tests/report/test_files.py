"""--report and --trace where they cannot be written: the verdict stands, and one line says what was not written."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import List

import pytest

from check_lync_presence.report import files
from check_lync_presence.report.files import write_private

from ..commands import POOL, Finished, environment, write_accounts
from ..in_process import run_here

NAMES = ("--trace", "--report")


@pytest.fixture
def arguments(tmp_path: Path) -> List[str]:
    """A run that ends at once: nobody listens there."""
    accounts = write_accounts(tmp_path / "accounts.ini")
    return ["-H", POOL, "--accounts", str(accounts), "--connect", "127.0.0.1:1", "--transport", "tcp"]


def assert_stands(result: Finished, *lines: str) -> None:
    """The verdict is what it is without the files, and these lines are the last ones."""
    assert (result.code, result.stderr) == (2, "")
    assert result.first_line.startswith("LYNC PRESENCE CRITICAL - Register failed: cannot connect to 127.0.0.1:1: ")
    assert [line for line in result.lines if " was not written to " in line] == list(lines)
    assert result.lines[len(result.lines) - len(lines) :] == list(lines)
    assert result.stdout.endswith("\n")


def test_both_are_written_and_private(arguments: List[str], tmp_path: Path) -> None:
    trace, report = tmp_path / "run.jsonl", tmp_path / "run.html"
    assert_stands(run_here(*arguments, "--trace", str(trace), "--report", str(report)))
    assert trace.read_text().startswith('{"trace": 1, ')
    assert report.read_text().startswith("<!DOCTYPE html>\n")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (trace, report)] == [0o600, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accounts.ini", "run.html", "run.jsonl"]


def test_a_file_that_is_there_is_replaced_and_becomes_private(arguments: List[str], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("former")
    path.chmod(0o666)
    assert_stands(run_here(*arguments, "--trace", str(path)))
    assert "former" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_accounts_file_can_name_them(arguments: List[str], tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    with (tmp_path / "accounts.ini").open("a") as file:
        file.write(f"report = {path}\n")
    assert_stands(run_here(*arguments))
    assert path.exists()


def test_a_name_without_a_folder_is_one_in_the_working_directory(
    arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_stands(run_here(*arguments, "--trace", "run.jsonl"))
    assert (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/file", "No such file or directory"),
        ("folder", "it is a folder"),
        ("link", "it is a symbolic link"),
        ("dangling", "it is a symbolic link"),
        ("pipe", "it is not an ordinary file"),
        ("accounts.ini/file", "Not a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said(
    arguments: List[str], tmp_path: Path, name: str, place: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    path = tmp_path / place
    shown = str(path) if len(place) < 100 else ""
    result = run_here(*arguments, name, str(path))
    line = f"The {name.strip('-')} was not written to {path}: {reason}."
    assert_stands(result, line if shown else result.lines[-1])
    assert reason in result.lines[-1] or not shown
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "target").read_text() == "untouched"


@pytest.mark.parametrize("name", NAMES)
def test_a_device_is_not_written_to(arguments: List[str], name: str) -> None:
    line = f"The {name.strip('-')} was not written to /dev/full: it is not an ordinary file."
    assert_stands(run_here(*arguments, name, "/dev/full"), line)


def test_a_full_disk_leaves_nothing_behind(arguments: List[str], tmp_path: Path) -> None:
    places = {name: tmp_path / f"run{name}" for name in NAMES}
    given = [text for name, path in places.items() for text in (name, str(path))]

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    done = subprocess.run(
        [sys.executable, "-m", "check_lync_presence", *arguments, *given],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=small,
        timeout=30,
    )
    lines = [f"The {name.strip('-')} was not written to {path}: File too large." for name, path in places.items()]
    assert_stands(Finished(done.returncode, done.stdout, done.stderr), *lines)
    assert [path.name for path in tmp_path.iterdir()] == ["accounts.ini"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that nobody can write to")
def test_a_read_only_place_is_named(arguments: List[str]) -> None:
    result = run_here(*arguments, "--trace", "/proc/run.jsonl")
    assert_stands(result, result.lines[-1])


def test_the_same_file_for_both_is_bad_usage(arguments: List[str], tmp_path: Path) -> None:
    path = str(tmp_path / "run")
    result = run_here(*arguments, "--trace", path, "--report", path)
    assert (result.code, result.lines) == (
        3,
        [f"LYNC PRESENCE UNKNOWN - --report and --trace are the same file, {path}"],
    )


def test_a_file_system_that_does_not_answer_is_not_waited_for(
    arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(files, "LIMIT", 0.05)
    monkeypatch.setattr(files, "write_private", lambda *_: released.wait(30))
    path = tmp_path / "run.jsonl"
    result = run_here(*arguments, "--trace", str(path))
    released.set()
    assert_stands(result, f"The trace was not written to {path}: the file system has not answered within 0 s.")


def test_a_mistake_of_ours_in_the_page_does_not_cost_the_verdict(
    arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("check_lync_presence.report.html.page", broken)
    path = tmp_path / "run.html"
    reason = "internal error, please report it: ZeroDivisionError: by zero"
    assert_stands(run_here(*arguments, "--report", str(path)), f"The report was not written to {path}: {reason}.")


def test_an_internal_error_is_told_first_and_leaves_a_trace(
    arguments: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("check_lync_presence.plugin._Presence.long_output", broken)
    monkeypatch.setattr("check_lync_presence.report.html.page", broken)
    path = tmp_path / "run.jsonl"
    result = run_here(*arguments, "--trace", str(path), "--report", str(tmp_path / "run.html"))
    words = "internal error, please report it: ZeroDivisionError: by zero; -v shows where"
    assert (result.code, result.lines) == (3, [f"LYNC PRESENCE UNKNOWN - {words}"])
    assert path.exists()


def test_where_no_round_trip_is_made_there_is_nothing_to_write(arguments: List[str], tmp_path: Path) -> None:
    result = run_here(*arguments, "--verify-accounts", "--trace", str(tmp_path / "run.jsonl"))
    assert result.code == 3
    assert "--verify-accounts makes no round trip" in result.first_line


def test_a_reader_that_has_gone_does_not_keep_the_files_from_being_written(
    arguments: List[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "check_lync_presence", *arguments, "--trace", str(path)],
            stdout=nobody, stderr=subprocess.PIPE, check=False, env=environment(), timeout=30,
        )  # fmt: skip
    assert done.stderr == b""
    assert path.exists()


def test_a_killed_write_leaves_the_former_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("former")
    code = (
        "import os, signal; from check_lync_presence.report import files; "
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        f"files.write_private({str(path)!r}, b'new')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "former"


def test_what_is_written_is_never_seen_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    replace = os.replace

    def seen(source: str, target: str) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, target)

    monkeypatch.setattr(os, "replace", seen)
    former = os.umask(0)
    try:
        write_private(str(tmp_path / "file"), b"text")
    finally:
        os.umask(former)
    assert modes == [0o600]
