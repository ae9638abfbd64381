"""Writing a report and a trace, where somebody asked for them: private, whole or not at all, never for long.

Owns the files. Must not know what is in them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import threading
from typing import Callable, List, Optional

from ..settings import Settings
from ..trace.values import Recording
from .view import View

LIMIT = 5.0  # seconds that a file system may take; the verdict is out, and whoever reads it waits for our end


def write_files(settings: Settings, recording: Recording, view: Optional[View]) -> List[str]:
    """Write the files that `settings` name. Returns a sentence for each that was not written.

    Without `view` there is no verdict, and nothing that a report could show.
    """

    def trace() -> str:
        from ..trace.lines import to_lines

        verdict = {"state": view.state, "line": view.line} if view is not None else {"state": "none"}
        return to_lines(recording, verdict)

    def report() -> str:
        from .html import page

        assert view is not None
        return page(settings, recording, view)

    wanted = [("trace", settings.trace, trace), ("report", settings.report if view is not None else None, report)]
    return [text for name, path, make in wanted if path is not None for text in _written(name, path, make)]


def _written(name: str, path: str, make: Callable[[], str]) -> List[str]:
    reasons: List[str] = []

    def work() -> None:
        try:
            write_private(path, make().encode("utf-8", "replace"))
        except OSError as error:
            reasons.append(error.strerror or type(error).__name__)
        except Exception as error:  # a mistake of ours: the verdict stands all the same
            reasons.append(f"internal error, please report it: {type(error).__name__}: {error}")

    # A file system that does not answer blocks whoever asks it, and nobody waits for a thread for ever.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    if thread.is_alive():
        reasons.append(f"the file system has not answered within {LIMIT:.0f} s")
    return [f"The {name} was not written to {path}: {reason}." for reason in reasons]


def write_private(path: str, data: bytes) -> None:
    """Put `data` into the file `path`, mode 0600, all of it or nothing. Raises OSError.

    What stands there is replaced if it is an ordinary file; a symbolic link is not followed.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(0, _KINDS.get(stat.S_IFMT(mode), "it is not an ordinary file"))
    folder, name = os.path.split(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name[:64]}.", dir=folder or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


_KINDS = {stat.S_IFLNK: "it is a symbolic link", stat.S_IFDIR: "it is a folder"}
