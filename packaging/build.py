"""Packages for machines without pip: ``make pyz``, ``make deb``, ``make rpm``.

Each holds the check with the libraries that it needs, all pure Python, and starts with packaging/launcher.py. The
arguments are the folder to write to and what to build. Only building needs pip and its index.
"""

from __future__ import annotations

import compileall
import email.utils
import gzip
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipapp
from pathlib import Path
from typing import Callable, Dict, Sequence

from check_lync_presence import __version__

NAME = "check_lync_presence"
DEBIAN_NAME = NAME.replace("_", "-")
# As Debian's own tools take it from the environment.
MAINTAINER = f"{os.environ.get('DEBFULLNAME') or NAME} <{os.environ.get('DEBEMAIL') or 'root@localhost'}>"
HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES = ("check_lync_presence", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")
# Compiled for one Python; see launcher.py.
COMPILED = ("audioop", "audioop_lts-*")
# Of contrib/: what works in a checkout only.
NOT_TO_COPY = shutil.ignore_patterns("__pycache__", "generate.py")
COMMANDS = {
    f"usr/lib/nagios/plugins/{NAME}": "check_lync_presence.cli",
    "usr/bin/lync-presence-simulator": "check_lync_presence.simulator.command",
}


def libraries(folder: Path) -> None:
    """The check and what it needs, to be put on Python's path."""
    with tempfile.TemporaryDirectory() as source:  # setuptools leaves a folder behind where it builds
        for name in SOURCES:
            path = ROOT / name
            if path.is_dir():
                shutil.copytree(path, Path(source, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, source)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        # As root pip warns of what it does not do here.
        subprocess.run([*command, "--root-user-action=ignore", "--target", folder, source], check=True)
    for pattern in (*COMPILED, "bin"):
        for path in folder.glob(pattern):
            shutil.rmtree(path)
    compiled = [path.name for path in folder.rglob("*.so")]
    if compiled:
        raise SystemExit(f"these libraries are not pure Python: {', '.join(compiled)}")


def launcher(module: str, library: str = "") -> str:
    """A program that runs `module`, with `library` on the path."""
    lines = [(HERE / "launcher.py").read_text(encoding="utf-8").rstrip("\n")]
    lines += [f'sys.path.insert(0, "{library}")'] if library else []
    lines += [f"from {module} import main  # noqa: E402", "", "sys.exit(main())", ""]
    return "\n".join(lines)


def pyz(library: Path, out: Path) -> Path:
    """One file that any Python from 3.9 on runs; the one that builds it starts it fastest."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(library, Path(temporary, "pyz"))
        Path(folder, "__main__.py").write_text(launcher(f"{NAME}.cli"), encoding="utf-8")
        # Beside its source, where zipimport looks; another version of Python ignores it and compiles the source.
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(folder, quiet=1, legacy=True, invalidation_mode=unchecked, stripdir=folder)
        target = out / f"{NAME}.pyz"
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
    target.chmod(0o755)
    return target


def moved(text: str, name: str) -> str:
    """`text` of the README or contrib/ with the paths that things have where the package `name` is installed."""
    share = f"/usr/share/{NAME}/"
    drill = ("/opt/check_lync_presence/bin/python contrib/", f"env PYTHONPATH=/usr/lib/{NAME} python3 {share}")
    for of_a_clone, installed in (drill, ("contrib/", share), ("../README.md", f"/usr/share/doc/{name}/README.md")):
        text = text.replace(of_a_clone, installed)
    return text


def tree(library: Path, root: Path, name: str) -> None:
    """The files of a distribution's package, which is called `name` there, below `root`."""

    def put(path: str, text: str, mode: int = 0o644) -> None:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)

    shutil.copytree(library, root / "usr/lib" / NAME)
    for path, module in COMMANDS.items():
        put(path, "#!/usr/bin/python3 -I\n" + launcher(module, f"/usr/lib/{NAME}"), 0o755)
    (root / "usr/bin" / NAME).symlink_to(f"../lib/nagios/plugins/{NAME}")
    man = root / "usr/share/man/man1" / f"{NAME}.1.gz"
    man.parent.mkdir(parents=True)
    man.write_bytes(gzip.compress((HERE / f"man/{NAME}.1").read_bytes(), mtime=0))
    completions = {
        f"{NAME}.bash": f"usr/share/bash-completion/completions/{NAME}",
        f"_{NAME}": f"usr/share/zsh/vendor-completions/_{NAME}",
        f"{NAME}.fish": f"usr/share/fish/vendor_completions.d/{NAME}.fish",
    }
    for shell, path in completions.items():
        put(path, (HERE / "completion" / shell).read_text(encoding="utf-8"))
    put(f"etc/{NAME}/accounts.ini.example", (HERE / "accounts.ini.example").read_text(encoding="utf-8"), 0o640)
    (root / "etc" / NAME).chmod(0o750)
    # Whatever is there to be copied into a monitoring system's configuration.
    share = shutil.copytree(ROOT / "contrib", root / "usr/share" / NAME, ignore=NOT_TO_COPY)
    for file in filter(Path.is_file, share.rglob("*")):
        file.write_text(moved(file.read_text(encoding="utf-8"), name), encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Its last section is about files that are in a clone alone.
    put(f"usr/share/doc/{name}/README.md", moved(readme.partition("\n## Licence\n")[0] + "\n", name))
    put(f"usr/share/doc/{name}/CHANGELOG.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def deb(library: Path, out: Path) -> Path:
    """A Debian package, the same on every architecture."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, DEBIAN_NAME)
        root.mkdir(mode=0o755)
        tree(library, root, DEBIAN_NAME)
        documents = root / "usr/share/doc" / DEBIAN_NAME
        shutil.copy(HERE / "debian/copyright", documents)
        (documents / "changelog.gz").write_bytes(gzip.compress(_debian_changelog().encode(), mtime=0))
        overrides = root / "usr/share/lintian/overrides"
        overrides.mkdir(parents=True)
        shutil.copy(HERE / "debian/lintian-overrides", overrides / DEBIAN_NAME)
        control = root / "DEBIAN"
        control.mkdir()
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        facts = {"name": DEBIAN_NAME, "version": __version__, "maintainer": MAINTAINER}
        facts["size"] = str(sum(path.stat().st_size for path in files) // 1024)
        text = (HERE / "debian/control").read_text(encoding="utf-8")
        (control / "control").write_text(text.format_map(facts), encoding="utf-8")
        for name in ("conffiles", "triggers", "postinst", "prerm", "postrm"):
            shutil.copy(HERE / "debian" / name, control)
            (control / name).chmod(0o755 if name.startswith("p") else 0o644)
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]
        (control / "md5sums").write_text("".join(sums), encoding="utf-8")
        target = out / f"{DEBIAN_NAME}_{__version__}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", "-Zxz", root, target], check=True, stdout=2)
    return target


def _debian_changelog() -> str:
    when = email.utils.formatdate(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))
    entry = "  * What has changed stands in CHANGELOG.md."
    return f"{DEBIAN_NAME} ({__version__}) unstable; urgency=medium\n\n{entry}\n\n -- {MAINTAINER}  {when}\n"


def rpm(library: Path, out: Path) -> Path:
    """An RPM, the same on every architecture; where plugins go stands in the spec."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "tree")
        root.mkdir()
        tree(library, root, NAME)
        with tarfile.open(Path(folder, f"{NAME}.tar.gz"), "w:gz") as archive:
            archive.add(root, ".")
        shutil.copy(HERE / "debian/postinst", Path(folder, "post.sh"))
        defines = [f"--define={name} {value}" for name, value in (("_topdir", folder), ("_sourcedir", folder))]
        defines.append(f"--define=release_version {__version__}")
        subprocess.run(["rpmbuild", "-bb", "--quiet", *defines, HERE / f"{NAME}.spec"], check=True, stdout=2)
        (built,) = Path(folder, "RPMS").rglob("*.rpm")
        return Path(shutil.copy(built, out))


KINDS: Dict[str, Callable[[Path, Path], Path]] = {"pyz": pyz, "deb": deb, "rpm": rpm}


def main(argv: Sequence[str]) -> int:
    out, *kinds = argv
    Path(out).mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as library:
        libraries(Path(library))
        Path(library).chmod(0o755)
        for kind in kinds:
            print(KINDS[kind](Path(library), Path(out)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
