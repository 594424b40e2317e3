"""What tests of the loader share: real text as small directories of shards."""

from pathlib import Path

import pytest

from tests.support.stores import ids_of_text, write_store


@pytest.fixture(scope="session")
def shards(documents: list[str]) -> list[list[list[int]]]:
    """Real text as ids, cut to documents of 1 to 900 ids: five shards, of which one has no document, and one an empty
    one."""
    texts = [text[: 1 + 37 * number % 900] for number, text in enumerate(documents[:150])]
    found = ids_of_text(texts)
    return [found[:40], found[40:41], [], [*found[41:100], []], found[100:]]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, shards: list[list[list[int]]]) -> Path:
    """Those documents as a directory of two-byte tokens, with end-of-document tokens."""
    return write_store(tmp_path_factory.mktemp("store"), shards)
