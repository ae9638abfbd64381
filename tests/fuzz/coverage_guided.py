"""One target under atheris: ``python -m tests.fuzz.coverage_guided TARGET [libFuzzer's options] [corpus folders]``.

atheris is installed by ``make fuzz`` and by nothing else.
"""

from __future__ import annotations

import sys

import atheris

# The simulator is what the client is fuzzed with, not what is fuzzed: what it does must not count as something new.
with atheris.instrument_imports(include=["check_lync_presence"], exclude=["check_lync_presence.simulator"]):
    from .scripts import changed
    from .targets import TARGETS


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """What libFuzzer tries next of a script."""
    return changed(data, seed, lambda octets: bytes(atheris.Mutate(octets, max_size)))[:max_size]


if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name == "client":
        atheris.Setup(sys.argv, TARGETS[name], custom_mutator=mutate)
    else:
        atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
