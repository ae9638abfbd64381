"""What runs here: our version, and those of what we stand on, for ``-V`` and for reports of bugs.

Owns the list. Reads the installed packages' metadata, which takes longer than a check's whole start: for those who ask.
"""

from __future__ import annotations

import importlib.metadata
import platform
import pyexpat
import ssl
from typing import Dict

from . import __version__

LIBRARIES = ("nagiosplugin", "pyVoIP", "ldap3", "dnspython")
EXTRAS = ("cryptography", "gssapi", "pyOpenSSL", "pyspnego")


def versions() -> Dict[str, str]:
    """Version by name, ours first; an extra that is not installed is left out."""
    found = {"check_lync_presence": __version__, "Python": platform.python_version()}
    found["OpenSSL"] = ssl.OPENSSL_VERSION.partition(" ")[2]
    found["expat"] = pyexpat.EXPAT_VERSION.partition("_")[2]
    for name in (*LIBRARIES, *EXTRAS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name in LIBRARIES:
                found[name] = "of unknown version"
    return found
