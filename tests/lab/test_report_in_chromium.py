"""The page of a run in a real browser: it is laid out, it is silent, and it asks nobody for anything."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from ..in_process import replay
from ..test_replay import TRACES
from .required import without_lab

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
LIMIT = 120.0  # seconds; it takes two where nothing else runs
DARK = ("--force-dark-mode",)
PAGES = ("lync-healthy", "lync-account-unknown", "simple-healthy")


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        without_lab("there is no Chromium", "chromium")
    return found


class Listener:
    """Where a browser would go if the page sent it anywhere: nobody may come."""

    def __init__(self) -> None:
        self.visitors: List[bytes] = []
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._sock.accept()
                with connection:
                    self.visitors.append(connection.recv(1024))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(10)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


def page_of(trace: Path, folder: Path) -> Path:
    page = folder / "page.html"
    replay(trace, "--report", str(page))
    return page


def browse(browser: str, page: Path, folder: Path, *arguments: str) -> str:
    """What Chromium prints; it has nothing to say of the page."""
    with contextlib.ExitStack() as stack:
        profile = folder / f"profile{len(list(folder.iterdir()))}"
        stack.callback(shutil.rmtree, profile, ignore_errors=True)
        done = subprocess.run(
            [browser, *QUIET, f"--user-data-dir={profile}", *arguments, page.as_uri()],
            capture_output=True, encoding="utf-8", timeout=LIMIT, check=False, cwd=folder,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.findall(r".*CONSOLE.*|.*Refused to.*", done.stderr) == []
    return done.stdout


def corner(path: Path) -> Tuple[int, ...]:
    """Red, green and blue of the first pixel of a screenshot: PNG stores it as it is, whatever the filter."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    packed, offset = b"", 8
    while offset < len(data):
        (length,) = struct.unpack(">I", data[offset : offset + 4])
        if data[offset + 4 : offset + 8] == b"IDAT":
            packed += data[offset + 8 : offset + 8 + length]
        offset += length + 12
    return tuple(zlib.decompress(packed)[1:4])


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_laid_out_and_says_the_verdict(browser: str, tmp_path: Path, name: str) -> None:
    trace = TRACES / f"{name}.jsonl"
    first, *messages = map(json.loads, trace.read_text(encoding="ascii").splitlines())
    dom = browse(browser, page_of(trace, tmp_path), tmp_path, "--dump-dom")
    assert f"<h1>{first['verdict']['line']}</h1>" in dom
    assert dom.count("<details>") == len(messages)
    assert dom.count("<svg ") == 2
    assert "<script" not in dom


def test_it_is_white_by_day_and_dark_by_night(browser: str, tmp_path: Path) -> None:
    page = page_of(TRACES / "lync-healthy.jsonl", tmp_path)
    corners: List[Tuple[int, ...]] = []
    for arguments in ((), DARK):
        shot = tmp_path / f"shot{len(corners)}.png"
        browse(browser, page, tmp_path, *arguments, f"--screenshot={shot}", "--window-size=1100,1400")
        corners.append(corner(shot))
    assert corners == [(0xFF, 0xFF, 0xFF), (0x12, 0x16, 0x1B)]


def test_on_paper_every_message_is_open(browser: str, tmp_path: Path) -> None:
    page, paper = page_of(TRACES / "lync-healthy.jsonl", tmp_path), tmp_path / "page.pdf"
    browse(browser, page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    data = paper.read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) > 6  # with the messages closed there are four


def test_a_page_that_somebody_has_changed_still_runs_nothing(browser: str, tmp_path: Path, listener: Listener) -> None:
    page = page_of(TRACES / "lync-healthy.jsonl", tmp_path)
    evil = (
        f'<img src="http://{listener.place}/image"><link rel="stylesheet" href="http://{listener.place}/style">'
        f'<iframe src="http://{listener.place}/frame"></iframe>'
        "<script>document.body.append('ran')</script><p onclick='1' style='color:red'>end</p>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("<main>", f"<main>{evil}"), encoding="utf-8")
    with pytest.raises(AssertionError, match="CONSOLE"):
        browse(browser, page, tmp_path, "--dump-dom")
    assert b"".join(listener.visitors) == b""  # to get ready for a question is not to ask it
