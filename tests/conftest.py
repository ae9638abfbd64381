"""What all tests have in common: property tests try the same examples in every run.

New ones are found by the fuzzer (tests/fuzz); a continuous integration that fails once in a hundred runs is trusted by
nobody.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")
