"""What `shardfleet export` writes for nanoGPT, llm.c and modded-nanogpt, read by their rules: tiktoken's tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shard.export.options import ExportOptions
from shard.export.run import export
from tests.support.oracle import Documents
from tests.support.rules import llmc_batches, modded_documents, nanogpt_batch

SPLITS = {"train": "train", "val": "holdout"}
SIZE = 50_000


def joined(documents: Documents) -> list[int]:
    return [token for document in documents for token in document]


def id_first(documents: Documents) -> list[int]:
    """All tokens in a row, the end-of-document id before every document."""
    return joined([[document[-1], *document[:-1]] for document in documents])


@pytest.fixture(scope="module")
def llmc(narrow: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("llmc") / "export"
    export([narrow.train, narrow.holdout], "llmc", out, ExportOptions(shard_tokens=SIZE, name="fineweb"))
    return out


@pytest.mark.parametrize("name", SPLITS)
def test_nanogpt(name: str, narrow: Any, tmp_path: Path) -> None:
    """Windows anywhere in train.bin and val.bin are those of all documents in a row, labels one token further."""
    export([narrow.train, narrow.holdout], "nanogpt", tmp_path / "out", ExportOptions())
    path, stream = tmp_path / "out" / f"{name}.bin", joined(narrow.documents(SPLITS[name]))
    assert np.fromfile(path, dtype="<u2").tolist() == stream
    starts, inputs, labels = nanogpt_batch(path, 200, 256, np.random.default_rng(0))
    assert inputs.tolist() == [stream[start : start + 256] for start in starts]
    assert labels.tolist() == [stream[start + 1 : start + 257] for start in starts]


@pytest.mark.parametrize("name", SPLITS)
def test_llmc(name: str, narrow: Any, llmc: Path) -> None:
    """llm.c's batches, file after file, are those of all documents in a row, the id before each."""
    rows, length = 4, 64
    stream = id_first(narrow.documents(SPLITS[name]))
    found = list(llmc_batches(sorted(llmc.glob(f"fineweb_{name}_*.bin")), rows, length))
    places = [
        start + number * rows * length
        for start in range(0, len(stream), SIZE)
        for number in range((min(SIZE, len(stream) - start) - 1) // (rows * length))
    ]
    assert [inputs.tolist() for inputs, _ in found] == [stream[place : place + rows * length] for place in places]
    assert [labels.tolist() for _, labels in found] == [
        stream[place + 1 : place + 1 + rows * length] for place in places
    ]


def test_modded_nanogpt(narrow: Any, llmc: Path) -> None:
    """Every document begins where modded-nanogpt looks for it, in the file where its first token is."""
    found = list(modded_documents(list(llmc.glob("fineweb_train_*.bin")), narrow.eod))
    stream = id_first(narrow.documents())
    documents: list[list[list[int]]] = [[] for _ in range(0, len(stream), SIZE)]
    place = 0
    for document in narrow.documents():
        number, offset = divmod(place, SIZE)
        # A file ends where it is full, and the rest of the document is in the next.
        documents[number].append([narrow.eod, *document[:-1]][: SIZE - offset])
        place += len(document)
    assert found == documents
