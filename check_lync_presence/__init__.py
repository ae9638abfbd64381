"""check_lync_presence: the presence round trip of Test-CsPresence, from Linux.

The version stands here and nowhere else; setup.cfg reads it.
"""

__version__ = "0.1.0"
