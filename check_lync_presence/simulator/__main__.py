"""``python -m check_lync_presence.simulator``."""

import sys

from .command import main

sys.exit(main())
