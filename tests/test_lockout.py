"""The lockout guard: what is remembered, of whom, where, and that a folder of others is not used."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, List
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from check_lync_presence.lockout import LockoutGuard, Refusal, why_not_kept
from check_lync_presence.settings import Account, Secret

from .samples import ANN, BEN

PLACE = "pool01.contoso.example None"
NOW = 1_700_000_000.0
PASSWORD = "Gehäim;42 |x"
ANN_TOO = ANN._replace(password=Secret(PASSWORD))
ROOT = Path(__file__).parent.parent

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "state" / "check"


@pytest.fixture
def guard(folder: Path) -> LockoutGuard:
    return LockoutGuard((str(folder),), PLACE)


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# --------------------------------------------------------------- what is kept


def test_nothing_is_held_against_an_account_at_first(guard: LockoutGuard, folder: Path) -> None:
    assert guard.refusal(ANN) is None
    assert not folder.exists()


def test_a_refusal_is_remembered_until_it_is_forgotten(guard: LockoutGuard, folder: Path) -> None:
    assert guard.remember(ANN, NOW)
    assert guard.refusal(ANN) == Refusal(NOW, NOW, str(only_file(folder)))
    guard.forget(ANN)
    assert guard.refusal(ANN) is None
    assert list(folder.iterdir()) == []
    guard.forget(ANN)


def test_it_is_known_since_when_and_when_it_was_tried_last(guard: LockoutGuard) -> None:
    for tried in (NOW, NOW + 60, NOW + 120):
        assert guard.remember(ANN, tried)
    found = guard.refusal(ANN)
    assert found is not None
    assert (found.since, found.tried) == (NOW, NOW + 120)


def test_another_password_may_be_tried_at_once_and_has_a_time_of_its_own(guard: LockoutGuard) -> None:
    guard.remember(ANN, NOW)
    assert guard.refusal(ANN_TOO) is None
    guard.remember(ANN_TOO, NOW + 60)
    found = guard.refusal(ANN_TOO)
    assert found is not None
    assert found.since == NOW + 60
    assert guard.refusal(ANN) is None  # the former password is not remembered any more


@pytest.mark.parametrize(
    "other", [BEN, ANN._replace(user="CONTOSO\\anna"), ANN._replace(uri="sip:anna@contoso.example")]
)
def test_a_refusal_is_of_one_account(guard: LockoutGuard, other: Account) -> None:
    guard.remember(ANN, NOW)
    assert guard.refusal(other._replace(password=ANN.password)) is None


def test_the_case_of_a_logon_name_does_not_make_another_account_of_it(guard: LockoutGuard, folder: Path) -> None:
    guard.remember(ANN, NOW)
    guard.forget(ANN._replace(user="contoso\\ANN", uri="sip:Ann@contoso.example"))
    assert list(folder.iterdir()) == []


def test_a_refusal_is_of_one_place(folder: Path) -> None:
    drill = LockoutGuard((str(folder),), "pool01.contoso.example ('127.0.0.1', 5061)")
    pool = LockoutGuard((str(folder),), PLACE)
    drill.remember(ANN, NOW)
    assert pool.refusal(ANN) is None
    pool.forget(ANN)
    assert drill.refusal(ANN) is not None


def test_the_password_is_not_in_the_file_in_any_encoding(guard: LockoutGuard, folder: Path) -> None:
    guard.remember(ANN_TOO, NOW)
    written = only_file(folder).read_bytes().lower()
    octets = PASSWORD.encode()
    for form in (octets, PASSWORD.encode("utf-16-le"), PASSWORD.encode("latin-1"), octets[::-1]):
        for text in (
            form,
            form.hex().encode(),
            base64.b64encode(form),
            base64.urlsafe_b64encode(form),
            quote(form).encode(),
        ):
            assert text.lower().rstrip(b"=") not in written
        for name in ("md4", "md5", "sha1", "sha256", "sha512"):
            if name in hashlib.algorithms_available:
                try:
                    digest = hashlib.new(name, form)
                except ValueError:  # OpenSSL 3 knows MD4 and does not offer it
                    continue
                assert digest.hexdigest().encode() not in written
    assert json.dumps(PASSWORD)[1:-1].encode().lower() not in written
    assert set(json.loads(written)) == {"account", "since", "tried", "salt", "mark"}


def test_the_same_password_leaves_another_mark_every_time(guard: LockoutGuard, folder: Path) -> None:
    marks = set()
    for _ in range(3):
        guard.remember(ANN, NOW)
        marks.add(json.loads(only_file(folder).read_text())["mark"])
    assert len(marks) == 3


# ------------------------------------------------------------- where it is kept


def test_the_file_and_its_folder_are_private(guard: LockoutGuard, folder: Path) -> None:
    former = os.umask(0)
    try:
        guard.remember(ANN, NOW)
    finally:
        os.umask(former)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(folder).stat().st_mode) == 0o600


def test_the_first_folder_that_is_there_and_ours_is_used(tmp_path: Path) -> None:
    public, absent, ours = (tmp_path / name for name in ("public", "absent", "ours"))
    public.mkdir()
    public.chmod(0o777)
    ours.mkdir(mode=0o700)
    guard = LockoutGuard((str(public), str(absent), str(ours)), PLACE)
    assert guard.remember(ANN, NOW)
    assert guard.refusal(ANN) is not None
    assert not absent.exists()
    assert [list(path.iterdir()) for path in (public, ours)] == [[], [only_file(ours)]]


def test_the_first_folder_that_can_be_made_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folders = [tmp_path / "file" / "no", tmp_path / "a" / "b", tmp_path / "c"]
    assert LockoutGuard([str(path) for path in folders], PLACE).remember(ANN, NOW)
    assert [path.exists() for path in folders] == [False, True, False]


def public(folder: Path) -> None:
    folder.chmod(0o770)


def writable_for_all(folder: Path) -> None:
    folder.chmod(0o1777)


def linked(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def a_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.touch()


def anothers(folder: Path) -> None:
    os.chown(folder, 12345, -1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (public, "others may write to it (mode 0770)"),
        (writable_for_all, "others may write to it (mode 1777)"),
        (linked, "not a folder"),
        (a_file, "not a folder"),
        pytest.param(anothers, "it belongs to 12345", marks=as_root),
    ],
)
def test_a_folder_that_is_not_ours_alone_is_not_used_and_it_is_said_why(
    guard: LockoutGuard, folder: Path, spoil: Callable[[Path], None], why: str
) -> None:
    guard.remember(ANN, NOW)
    spoil(folder)
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    assert guard.refusal(ANN) is None
    assert not guard.remember(ANN, NOW)
    guard.forget(ANN)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before
    assert why_not_kept([str(folder)]) == f"{folder}: {why}"


def test_a_folder_that_cannot_be_written_to_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_only, other = tmp_path / "read-only", tmp_path / "other"
    read_only.mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(read_only))  # root may write to every folder
    assert why_not_kept([str(read_only)]) == f"{read_only}: not writable"
    assert LockoutGuard([str(read_only), str(other)], PLACE).remember(ANN, NOW)
    assert only_file(other)


def test_where_a_folder_is_in_order_it_is_said_that_the_file_is_not(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    assert why_not_kept(["/dev/null/a", str(folder)]) == f"{folder}: no file can be written to it"


def linked_file(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "made")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [linked_file, dangling, pipe, directory, pytest.param(anothers, marks=as_root)])
def test_a_file_that_is_not_ours_is_not_used(guard: LockoutGuard, folder: Path, spoil: Callable[[Path], None]) -> None:
    guard.remember(ANN, NOW)
    path = only_file(folder)
    spoil(path)
    elsewhere = folder.parent / "elsewhere"
    before = elsewhere.read_bytes() if elsewhere.exists() else b""
    assert guard.refusal(ANN) is None
    assert not guard.remember(ANN, NOW)
    guard.forget(ANN)
    assert path.is_symlink() or path.exists()
    assert before == (elsewhere.read_bytes() if elsewhere.exists() else b"")
    assert not (folder.parent / "made").exists()


@pytest.mark.parametrize("folders", [[], ["/proc/check"], ["/dev/null/check"], ["/dev/full"], [""]])
def test_without_a_place_nothing_is_remembered_and_nothing_breaks(folders: List[str]) -> None:
    guard = LockoutGuard(folders, PLACE)
    assert guard.refusal(ANN) is None
    assert not guard.remember(ANN, NOW)
    guard.forget(ANN)


def test_a_full_disk_is_harmless_and_loses_nothing(guard: LockoutGuard, folder: Path) -> None:
    guard.remember(ANN, NOW)
    path = only_file(folder)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, former[1]))
    try:
        assert not guard.remember(ANN, NOW + 60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert guard.refusal(ANN) == Refusal(NOW, NOW, str(path))
    assert only_file(folder) == path
    assert guard.remember(ANN, NOW + 120)
    assert guard.refusal(ANN) == Refusal(NOW, NOW + 120, str(path))


# ------------------------------------------------------------- what is damaged

WHOLE = {"account": ANN.uri, "since": NOW, "tried": NOW, "salt": "00" * 16, "mark": "00" * 32}
DAMAGED = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff\xfe", b"\0" * 100, b"[" * 100_000,
    b'{"since": 1' + b"0" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_harmless_and_mends_itself(guard: LockoutGuard, folder: Path, content: bytes) -> None:
    guard.remember(ANN, NOW)
    only_file(folder).write_bytes(content)
    assert guard.refusal(ANN) is None
    only_file(folder).write_bytes(content)
    assert guard.remember(ANN, NOW + 60)
    found = guard.refusal(ANN)
    assert found is not None
    assert found.since == NOW + 60
    guard.forget(ANN)
    assert list(folder.iterdir()) == []


WRONG_TIMES: List[Any] = [None, "x", [], float("nan"), float("inf"), -float("inf"), -1, 1e300, 10**400]
WRONG_WORDS: List[Any] = [None, 1, [], "", "ü", "\ud800", "x" * 10_000]
WRONG = [(key, value) for key in ("since", "tried") for value in WRONG_TIMES]
WRONG += [(key, value) for key in ("salt", "mark") for value in WRONG_WORDS]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=range(len(WRONG)))
def test_one_damaged_value_is_harmless(guard: LockoutGuard, folder: Path, key: str, value: Any) -> None:
    guard.remember(ANN, NOW)
    path = only_file(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert guard.refusal(ANN) is None
    assert guard.remember(ANN, NOW + 60)
    assert guard.refusal(ANN) == Refusal(NOW + 60, NOW + 60, str(path))


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=40) | st.fixed_dictionaries(dict.fromkeys(WHOLE, values)).map(lambda x: json.dumps(x).encode())
)
def test_any_file_is_harmless(tmp_path: Path, content: bytes) -> None:
    guard = LockoutGuard((str(tmp_path / "state"),), PLACE)
    guard.remember(ANN, NOW) if not (tmp_path / "state").exists() else None
    path = only_file(tmp_path / "state")
    path.write_bytes(content)
    assert guard.refusal(ANN) is None


# --------------------------------------------------------------- two at once

OTHER = """\
import sys
from check_lync_presence.lockout import LockoutGuard
from check_lync_presence.settings import Account, Secret
guard = LockoutGuard((sys.argv[1],), sys.argv[2])
account = Account(sys.argv[3], sys.argv[4], Secret(sys.stdin.readline()))
for number in range(8):
    assert guard.remember(account, 1700000000.0 + number)
"""


def test_two_processes_at_once_leave_a_whole_file(guard: LockoutGuard, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER, str(folder), PLACE, ANN.uri, ANN.user],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(ANN.password.reveal().encode())
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate(timeout=20)[1] for process in processes]
    assert errors == [b"", b""]
    assert [process.returncode for process in processes] == [0, 0]
    found = guard.refusal(ANN)
    assert found is not None
    assert found.tried == NOW + 7
