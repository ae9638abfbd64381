"""What starts the check where it was not installed by pip: in the one file, and in the packages of distributions.

It must be read by any Python there is, so that an old one gets a sentence and not a syntax error.
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036
    print("LYNC PRESENCE UNKNOWN - Python 3.9 or newer is needed, this is %d.%d" % sys.version_info[:2])  # noqa: UP031
    sys.exit(3)
if sys.version_info >= (3, 13):
    # pyVoIP imports audioop for sounds, and the check makes none. Python has dropped it, and what takes its place is
    # compiled for one version of Python on one kind of machine.
    import types

    sys.modules.setdefault("audioop", types.ModuleType("audioop"))
