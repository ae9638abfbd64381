"""What tests with a real KDC share: Python's gssapi, krb5.conf, tickets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict

from .people import DOMAIN
from .required import without_lab

REALM = DOMAIN.upper()
DEBIAN_MODULES = Path("/usr/lib/python3/dist-packages")
CONFIGURATION = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
[realms]
  {realm} = {{
    kdc = {kdc}
  }}
"""


def gssapi(folder: Path) -> Dict[str, str]:
    """The environment in which our Python has gssapi: its own, else Debian's, to which links are put into `folder`."""
    if importlib.util.find_spec("gssapi") is not None:
        return {}
    if not list(DEBIAN_MODULES.glob(f"gssapi/raw/misc.cpython-3{sys.version_info[1]}-*.so")):
        without_lab("gssapi for Python is missing (or: pip install gssapi)", "python3-gssapi")
    modules = folder / "modules"
    modules.mkdir(exist_ok=True)
    for name in ("gssapi", "decorator.py"):
        if not (modules / name).exists():
            (modules / name).symlink_to(DEBIAN_MODULES / name)
    return {"PYTHONPATH": str(modules)}


def configured(folder: Path, kdc: str) -> Dict[str, str]:
    """The environment of a host that knows this KDC, and has no ticket."""
    configuration = folder / "krb5.conf"
    configuration.write_text(CONFIGURATION.format(realm=REALM, kdc=kdc))
    return {"KRB5_CONFIG": str(configuration), "KRB5CCNAME": f"FILE:{folder / 'ccache'}"}


def kinit(user: str, password: str, environment: Dict[str, str], *options: str) -> None:
    """Put a ticket into the cache that the environment names."""
    try:
        done = subprocess.run(
            ["kinit", *options, f"{user}@{REALM}"],
            input=password,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **environment},
        )
    except FileNotFoundError:
        without_lab("kinit is missing", "krb5-user")
    assert done.returncode == 0, done.stdout
