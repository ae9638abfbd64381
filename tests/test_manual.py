"""The manual page and the completions say what the table of options says. ``UPDATE_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from check_lync_presence.options import ABOUT, all_options

FOLDER = Path(__file__).parent.parent / "packaging"
FILES = (
    "man/check_lync_presence.1",
    "completion/check_lync_presence.bash",
    "completion/_check_lync_presence",
    "completion/check_lync_presence.fish",
)
OPTIONS = (*all_options(), *ABOUT.options)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the generator has written to."""
    folder = FOLDER if os.environ.get("UPDATE_GOLDEN") else tmp_path_factory.mktemp("manual")
    subprocess.run([sys.executable, FOLDER / "manual.py", folder], check=True, cwd=FOLDER.parent)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_what_is_committed_is_what_the_generator_writes(written: Path, name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == (written / name).read_text(encoding="utf-8")


def test_the_generator_writes_no_other_files(written: Path) -> None:
    folders = {name.partition("/")[0] for name in FILES}
    there = {
        path.relative_to(written).as_posix() for folder in folders for path in (written / folder).iterdir()
    }  # fmt: skip
    assert there == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_option_is_in_it(name: str) -> None:
    text = re.sub(r"\\(f[BIR])?", "", (FOLDER / name).read_text(encoding="utf-8"))
    for option in OPTIONS:
        for written_as in option.names:
            if name.endswith(".fish"):
                written_as = f"-l {written_as[2:]}" if written_as.startswith("--") else f"-s {written_as[1:]}"
            assert re.search(rf"(?<![\w-]){re.escape(written_as)}(?![\w-])", text), written_as
