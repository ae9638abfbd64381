"""The fuzzer's files, each played once: what was found in the past stays mended, and every target still works."""

from __future__ import annotations

import pytest

from .targets import TARGETS, corpus, dictionary, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_no_file_of_the_corpus_breaks_a_promise(name: str) -> None:
    for path in seeds(name):
        try:
            TARGETS[name](path.read_bytes())
        except BaseException as error:
            error.args = (*error.args, f"with {path}")
            raise


def test_every_target_has_a_corpus_and_a_dictionary_and_there_are_no_others() -> None:
    for folder in (corpus("x").parent, dictionary("x").parent):
        assert sorted(path.name for path in folder.iterdir()) == sorted(TARGETS)
