"""A Lync or SIMPLE server in one process, for demonstrations, alarm drills and tests: ``lync-presence-simulator``.

Shares message, framing, signing and NTLM code with the check and nothing else: its documents and its Digest are its
own, so that a mistake in one end is not mirrored by the other.
"""
