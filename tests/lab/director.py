"""A real Icinga Director with a database of its own, driven by icingacli."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict

from .machine import SYSTEM_PATH
from .required import without_lab
from .servers import Process, free_port

PACKAGES = "icingaweb2-module-director icingacli php-mysql mariadb-server"
MODULE = Path("/usr/share/icingaweb2/modules")
MODULES = ("director", "incubator", "reactbundle")
LIMIT = 120.0  # seconds that a command may take
PASSWORD = "lab-of-the-tests"
INIT = f"""
CREATE DATABASE IF NOT EXISTS director CHARACTER SET utf8;
CREATE USER IF NOT EXISTS director IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON director.* TO director;
"""
RESOURCE = f"""
[director]
type = "db"
db = "mysql"
host = "127.0.0.1"
port = "@PORT@"
dbname = "director"
username = "director"
password = "{PASSWORD}"
charset = "utf8"
"""


class Director(Process):
    """Its database, while it runs; its files are below `folder`, which the user mysql can reach."""

    def __init__(self, folder: Path) -> None:
        for program in ("icingacli", "mariadbd", "mariadb-install-db"):
            if not shutil.which(program, path=SYSTEM_PATH):
                without_lab(f"{program} is missing", PACKAGES)
        if not (MODULE / "director").is_dir():
            without_lab("the Icinga Director is missing", PACKAGES)
        folder.mkdir()
        data, port = folder / "data", free_port()
        data.mkdir()
        shutil.chown(data, "mysql")
        own = ["--no-defaults", "--user=mysql", f"--datadir={data}"]
        subprocess.run(
            ["mariadb-install-db", *own, "--skip-test-db"],
            check=True,
            capture_output=True,
            timeout=LIMIT,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )
        (folder / "init.sql").write_text(INIT)
        self._configure(folder / "icingaweb2", port)
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
        listen = [f"--socket={data}/socket", "--bind-address=127.0.0.1", f"--port={port}"]
        super().__init__(
            [shutil.which("mariadbd", path=SYSTEM_PATH) or "", *own, *listen, *quick, f"--init-file={folder}/init.sql"],
            folder / "mariadbd.log",
            [("127.0.0.1", port)],
        )

    def _configure(self, folder: Path, port: int) -> None:
        (folder / "modules" / "director").mkdir(parents=True)
        (folder / "enabledModules").mkdir()
        for name in MODULES:
            (folder / "enabledModules" / name).symlink_to(MODULE / name)
        (folder / "config.ini").write_text('[logging]\nlog = "none"\n')
        (folder / "resources.ini").write_text(RESOURCE.replace("@PORT@", str(port)))
        (folder / "modules" / "director" / "config.ini").write_text('[db]\nresource = "director"\n')
        self._environment: Dict[str, str] = {**os.environ, "PATH": SYSTEM_PATH, "ICINGAWEB_CONFIGDIR": str(folder)}

    def run(self, *arguments: str, given: str = "") -> str:
        """What ``icingacli director`` with these arguments prints."""
        done = subprocess.run(
            ["icingacli", "director", *arguments],
            input=given,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
            env=self._environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
