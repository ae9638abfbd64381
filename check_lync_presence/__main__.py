"""``python -m check_lync_presence``."""

from .cli import main

main()
