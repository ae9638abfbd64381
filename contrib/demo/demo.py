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

POOL = "pool01.contoso.example"
ACCOUNTS = f"""\
[{POOL}]
publisher           = sip:ann@contoso.example
publisher_user      = CONTOSO\\ann
publisher_password  = demo-password-of-ann
subscriber          = sip:ben@contoso.example
subscriber_user     = CONTOSO\\ben
subscriber_password = demo-password-of-ben
"""
STATES = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}
COMMANDS = Path(sys.executable).parent

# (what is shown, the simulator's options, the check's options, the exit code that is right)
SCENES: Tuple[Tuple[str, List[str], List[str], int], ...] = (
    ("A healthy pool", [], ["-v", "-w", "1", "-c", "3"], 0),
    ("A pool that never notifies", ["--fault", "notification-never"], ["--notify-timeout", "3"], 2),
    ("An account that does not exist", ["--fault", "account-unknown"], [], 2),
)


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="check_lync_presence-demo-") as folder:
        accounts = Path(folder, "accounts.ini")
        accounts.touch(mode=0o600)
        accounts.write_text(ACCOUNTS)
        for title, faults, options, expected in SCENES:
            print(f"\n=== {title} " + "=" * (70 - len(title)), flush=True)
            wrong += not show(accounts, faults, options, expected)
    print("\nAll three states are right." if not wrong else f"\n{wrong} of {len(SCENES)} states are wrong.")
    return 1 if wrong else 0


def show(accounts: Path, faults: List[str], options: List[str], expected: int) -> bool:
    """Start a simulator, run the check against it, show both; whether the exit code is `expected`."""
    simulate = [str(COMMANDS / "lync-presence-simulator"), "--accounts", str(accounts), "--tls", "0", *faults]
    print("$ " + shell(simulate) + " &", flush=True)
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        try:
            line = simulator.stdout.readline()
            ready = json.loads(line)
            print(line.rstrip())
            check = [str(COMMANDS / "check_lync_presence"), "-H", POOL, "--accounts", str(accounts)]
            check += ["--connect", f"127.0.0.1:{ready['tls']}", "--ca-file", ready["ca_file"], *options]
            print("$ " + shell(check), flush=True)
            code = subprocess.run(check, check=False, stdin=subprocess.DEVNULL).returncode
        except (ValueError, KeyError):
            print(f"The simulator did not start: {line.strip()}")
            return False
        finally:
            simulator.terminate()
    print(f"exit code {code} ({STATES.get(code, '?')}), expected {expected} ({STATES[expected]})", flush=True)
    return code == expected


def shell(command: List[str]) -> str:
    return shlex.join([os.path.basename(command[0]), *command[1:]])


if __name__ == "__main__":
    sys.exit(main())
