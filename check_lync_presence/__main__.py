"""``python -m check_lync_presence``, and the command of that name: the process around a check.

Owns how the process begins and ends. Must not know what it does in between (cli).
"""

from __future__ import annotations

import gc
import os
import sys

from .stdout import patient

GARBAGE = 100_000  # objects: a run is over before it has made as many, a flood from a server is not


def run() -> None:
    """Run the command line and end the process with its exit code."""
    # Looking for garbage where there is none took a twentieth of a run's CPU time.
    gc.set_threshold(GARBAGE)
    if sys.warnoptions:  # PYTHONWARNINGS asks for warnings of the libraries, and standard error stays empty
        import warnings

        warnings.simplefilter("ignore")
    sys.stdout = patient(sys.stdout, sys.stderr)
    from .cli import main

    code = 3
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    if sys.stdout is not None:
        sys.stdout.flush()
    # Taking the interpreter apart would cost another tenth, and wait for the system's resolver if that still hangs in
    # a thread.
    os._exit(code)


if __name__ == "__main__":
    run()
