"""contrib/README.md knows everything that lies beside it."""

from __future__ import annotations

import re
from pathlib import Path

CONTRIB = Path(__file__).parents[2] / "contrib"


def test_every_folder_has_its_row() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (CONTRIB / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    folders = sorted(path.name for path in CONTRIB.iterdir() if path.is_dir() and path.name != "__pycache__")
    assert rows == folders


def test_every_file_that_the_rows_name_is_there() -> None:
    for folder, how in re.findall(r"^\| `([\w-]+)` \|.*\| (.*) \|$", (CONTRIB / "README.md").read_text(), re.MULTILINE):
        for name in re.findall(r"`([\w.]+\.(?:cfg|conf|ini|json|php|py|xml|yml))`", how):
            assert (CONTRIB / folder / name).is_file(), name
