"""The check against the simulator: a healthy pool, a pool that never notifies, an account that does not exist.

Shows each command and its output, and ends with 0 only if all three states are the right ones.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Tuple

from check_lync_presence.simulator import process

# (what is shown, the simulator's options, the check's options, the state that is right)
SCENES: Tuple[Tuple[str, List[str], List[str], str], ...] = (
    ("A healthy pool", [], ["-v", "-w", "1", "-c", "3"], "OK"),
    ("A pool that never notifies", ["--fault", "notification-never"], ["--notify-timeout", "3"], "CRITICAL"),
    ("An account that does not exist", ["--fault", "account-unknown"], [], "CRITICAL"),
)


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="check_lync_presence-demo-") as folder:
        accounts = Path(folder, "accounts.ini")
        process.write_accounts(accounts, {"ann": "demo-password-of-ann", "ben": "demo-password-of-ben"})
        for title, faults, options, expected in SCENES:
            print(f"\n=== {title} " + "=" * (70 - len(title)), flush=True)
            wrong += not show(accounts, faults, options, expected)
    print("\nAll three states are right." if not wrong else f"\n{wrong} of {len(SCENES)} states are wrong.")
    return 1 if wrong else 0


def show(accounts: Path, faults: List[str], options: List[str], expected: str) -> bool:
    """Start a simulator, run the check against it, show both; whether the state is `expected`."""
    simulate = process.simulate(accounts, "--tls", "0", *faults)
    print("$ " + shell(simulate) + " &", flush=True)
    try:
        with process.running(simulate) as ready:
            print(json.dumps(ready))
            where = ["--connect", f"127.0.0.1:{ready['tls']}", "--ca-file", ready["ca_file"]]
            check = process.check(accounts, *where, *options)
            print("$ " + shell(check), flush=True)
            code = subprocess.run(check, check=False, stdin=subprocess.DEVNULL).returncode
    except process.NotStarted as said:
        print(f"The simulator did not start: {said}")
        return False
    state = process.state_of(code)
    print(f"exit code {code} ({state}), expected {process.STATES.index(expected)} ({expected})", flush=True)
    return state == expected


def shell(command: List[str]) -> str:
    return shlex.join([os.path.basename(command[0]), *command[1:]])


if __name__ == "__main__":
    sys.exit(main())
