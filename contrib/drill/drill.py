#!/usr/bin/env python3
"""Fire drill: every fault of the simulated pool, one after the other, against your own monitoring.

Point one service of your monitoring at the drill (it says how) and look at what reaches you. Each fault stays until you
press Enter, or for --every seconds. After a fault that alarms the pool is in order again until the service has
recovered, so that the next fault alarms anew. The users are the drill's own: no password of yours is used.

Run it on the machine that runs your checks, as the user that does. Where that cannot be, --listen takes another
address, and the service there needs a copy of the accounts file without its ca_file, and --insecure.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from check_lync_presence.simulator.faults import DIALECTS, LYNC, TABLE, FaultError, Faults
from check_lync_presence.simulator.process import NotStarted, check, running, simulate, state_of, write_accounts
from check_lync_presence.stdout import patient

UDP_ONLY = ("lost",)  # nothing of it shows over TLS, which is what the drill speaks
CLOCK_SKEW = 3600  # seconds
ALARMED, NO_ALARM = "Enter: it alarmed. n and Enter: it did not. ", "Enter: no alarm. n and Enter: it alarmed. "


class Step(NamedTuple):
    """One fault: as ``--fault`` takes it, what the table says, the right state, settings that this state needs."""

    fault: str
    what: str
    should: str
    state: str
    settings: Dict[str, str]


class Result(NamedTuple):
    """What came of a step: when it began, what our own run of the check said, what the person answered."""

    step: Step
    began: str
    state: str
    first_line: str
    as_expected: Optional[bool]


class Pool:
    """The simulated pool in `folder`: the users that a check needs, and a simulator on always the same port."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.accounts = folder / "accounts.ini"
        self._ca = folder / "ca.pem"
        self._state = folder / "state"
        self._place = (f"[{options.listen}]:" if ":" in options.listen else f"{options.listen}:") + str(options.port)
        self._command = ("--tls", str(options.port), "--listen", options.listen, "--dialect", options.dialect)
        self._limits = {"timeout": f"{options.timeout:g}", "notify_timeout": f"{options.notify_timeout:g}"}
        self.new_passwords()
        self._write({})

    def new_passwords(self) -> None:
        self._passwords = {name: secrets.token_urlsafe(12) for name in ("ann", "ben")}

    def _write(self, settings: Dict[str, str]) -> None:
        always = {"connect": self._place, "ca_file": str(self._ca), **self._limits}
        write_accounts(self.accounts, self._passwords, {**always, **settings})

    @contextlib.contextmanager
    def standing(self, step: Optional[Step] = None) -> Iterator[None]:
        """The pool with this fault, or in order. Raises NotStarted."""
        self._write(step.settings if step else {})
        fault = ["--fault", step.fault] if step else []
        with running(simulate(self.accounts, *self._command, "--ca-out", str(self._ca), *fault)):
            yield

    def checked(self) -> Tuple[str, str]:
        """(state, first line without performance data) of one run of the check."""
        command = check(self.accounts, "--state-dir", str(self._state))
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False)
        return state_of(done.returncode), done.stdout.partition("\n")[0].partition(" | ")[0]

    def refused_a_password(self) -> bool:
        """Whether the check holds a password back from now on: it would say so in place of every later fault."""
        return self._state.is_dir() and any(self._state.iterdir())

    def forgive(self) -> None:
        """Give the users other passwords, so that nothing is held back any more."""
        for path in self._state.iterdir():
            path.unlink()
        self.new_passwords()


def steps_of(dialect: str, only: Sequence[str], notify_timeout: float) -> List[Step]:
    """The drill's faults: each with its default value, or those asked for. Raises FaultError."""
    seconds = {"clock-skew": f"{CLOCK_SKEW}", "notification-late": f"{notify_timeout / 2:g}"}
    known = {fault.name: fault for fault in TABLE if dialect in fault.dialects and fault.name not in UDP_ONLY}
    steps = []
    for wanted in only or known:
        name, _, value = wanted.partition("=")
        if name in known and known[name].seconds:
            value = value or seconds[name]
            wanted = f"{name}={value}"
        Faults([wanted], dialect)
        if name not in known:
            raise FaultError(f"the fault {name} shows over UDP only, and the drill speaks TLS")
        fault = known[name]
        step = Step(wanted, fault.what, fault.check, fault.state(value), {})
        if name == "notification-late":
            step = late(step, float(value), notify_timeout)
        steps.append(step)
    return steps


def late(step: Step, seconds: float, notify_timeout: float) -> Step:
    """The one that warns: with a threshold that it is beyond."""
    if seconds >= notify_timeout:
        return step._replace(
            state="CRITICAL", should=f"CRITICAL: later than the {notify_timeout:g} s of notify_timeout"
        )
    threshold = f"{seconds / 2:g}"
    should = f"WARNING: the drill's accounts file now has warning = {threshold}"
    return step._replace(state="WARNING", should=should, settings={"warning": threshold})


class Drill:
    """The steps, one after the other, with a person or a clock between them."""

    def __init__(self, pool: Pool, every: Optional[float]) -> None:
        self._pool = pool
        self._every = every

    def run(self, steps: Sequence[Step]) -> Iterator[Result]:
        """Walk through `steps`. Raises NotStarted, EOFError, KeyboardInterrupt."""
        for number, step in enumerate(steps, 1):
            began = time.strftime("%H:%M:%S")
            print(f"\n[{number}/{len(steps)}] {began} {step.fault}: {step.what}", flush=True)
            print(f"  right:     {step.should}")
            with self._pool.standing(step):
                state, first_line = self._pool.checked()
                print(f"  the check: {first_line}")
                if state != step.state:
                    print(f"  This is {state}, and should be {step.state}: please report it.")
                result = Result(step, began, state, first_line, self._wait(step.state))
            if self._pool.refused_a_password():
                self._pool.forgive()
                print("  The users have new passwords now: a check elsewhere needs a new copy of the accounts file.")
            if step.state != "OK":
                self._recover()
            yield result

    def begin(self) -> None:
        """A pool in order, until the service is OK. Raises NotStarted, also if the check is not content with it."""
        with self._pool.standing():
            state, first_line = self._pool.checked()
            print(f"The pool is in order now; the check: {first_line}", flush=True)
            if state != "OK":
                raise NotStarted(f"the check says {state} of a pool in order")
            if self._every is None:
                input("Enter: the service is OK, begin. ")
            else:
                time.sleep(self._every)

    def _wait(self, state: str) -> Optional[bool]:
        if self._every is not None:
            sys.stdout.flush()
            time.sleep(self._every)
            return None
        return input("  " + (NO_ALARM if state == "OK" else ALARMED)).strip().lower()[:1] != "n"

    def _recover(self) -> None:
        if self._every == 0:
            return  # nobody is looking
        with self._pool.standing():
            if self._every is None:
                input("  The pool is in order again. Enter: the service has recovered. ")
            else:
                print("  The pool is in order again; the service should recover.", flush=True)
                time.sleep(self._every)


def summary(results: Sequence[Result], steps: Sequence[Step]) -> int:
    """Print what should have alarmed; the number of steps that did not go as they should."""
    print(f"\n{len(results)} of {len(steps)} faults. What your monitoring should have:")
    wrong = 0
    for step, began, state, first_line, as_expected in results:
        missed = as_expected is False
        wrong += missed or state != step.state
        mark = "  <- NOT AS IT SHOULD" if missed or state != step.state else ""
        alarm = "no alarm" if step.state == "OK" else step.state
        print(f"  {began}  {alarm:8}  {step.fault}{mark}")
        if state != "OK":
            print(f"  {'':20}{first_line}")
    alarms = sum(result.step.state != "OK" for result in results)
    print(f"{alarms} alarms, each with a recovery; none for the other {len(results) - alarms}; {wrong} went wrong.")
    return wrong


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--list", action="store_true", help="print the faults, with the right state of each, and do nothing")
    add("--only", metavar="NAME[=VALUE]", action="append", default=[], help="this fault only; repeatable")
    add("--every", metavar="S", type=_seconds, help="do not ask: every fault for S seconds, 0 for one look at each")
    add("--folder", metavar="DIR", type=Path, help="where accounts.ini and ca.pem go (default: a temporary one)")
    add("--listen", metavar="ADDRESS", default="127.0.0.1", help="where the pool listens (default: %(default)s)")
    add("--port", metavar="N", type=int, default=45061, help="its TLS port (default: %(default)s)")
    add("--dialect", choices=DIALECTS, default=LYNC, help="what the pool speaks (default: %(default)s)")
    add("--timeout", metavar="S", type=_seconds, default=40.0, help="the check's --timeout (default: %(default)g)")
    add("--notify-timeout", metavar="S", type=_seconds, default=25.0, help="the same (default: %(default)g)")
    return made


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError
    return value


def main() -> int:
    sys.stdout = patient(sys.stdout, sys.stderr)
    options = parser().parse_args()
    try:
        steps = steps_of(options.dialect, options.only, options.notify_timeout)
    except FaultError as error:
        print(f"drill: {error}")
        return 3
    if options.list:
        for step in steps:
            print(f"{step.state:8}  {step.fault}: {step.what}\n{'':10}{step.should}")
        return 0
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lync-presence-drill-")))
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            pool = Pool(folder, options)
        except OSError as error:
            print(f"drill: cannot use the folder {folder}: {error.strerror}; name another with --folder")
            return 3
        return conduct(pool, steps, options.every)


def conduct(pool: Pool, steps: Sequence[Step], every: Optional[float]) -> int:
    """Say how to look on, run the drill, sum it up. The exit status."""
    print(f"Let one service of your monitoring run, every few seconds:\n\n  {' '.join(check(pool.accounts))}\n")
    drill = Drill(pool, every)
    results: List[Result] = []
    try:
        drill.begin()
        results.extend(drill.run(steps))
    except NotStarted as said:
        print(f"\ndrill: cannot begin: {said}")
        return 3
    except EOFError:
        print("\ndrill: nobody can press Enter here; let the clock do it with --every SECONDS")
        return 3
    except KeyboardInterrupt:
        print()
    wrong = summary(results, steps)
    return 0 if not wrong and len(results) == len(steps) else 1


if __name__ == "__main__":
    sys.exit(main())
