"""Commands in a mount namespace of their own: they find files of the test where the host has others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Mapping

from .required import without_lab

PACKAGES = "util-linux"
_MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'


def seeing(mounts: Mapping[Path, Path]) -> List[str]:
    """What to put before a command so that it finds these files and folders (value) in those places (key)."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = shutil.which("unshare") or without_lab("unshare is missing", PACKAGES)
    pairs = [str(path) for place, file in mounts.items() for path in (file, place)]
    prefix = [unshare, "--mount", *user, "sh", "-c", _MOUNT, "sh", *pairs, "--"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, encoding="utf-8", check=False)
    if tried.returncode:
        without_lab(f"no mount namespace can be made ({tried.stderr.strip()})", PACKAGES)
    return prefix
