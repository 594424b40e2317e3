"""Documents in batches: every field against what the index says, worked out here slot by slot."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shard.errors import LoaderError
from shard.loader import Batch, BatchOptions, DataLoader, TokenDataset
from shard.records.job import Holdout
from tests.support.jobs import make_job, write_corpus
from tests.support.stores import EOD, stream_of, write_store
from tests.support.worker import write_all

CONTEXT = 64
Shards = list[list[list[int]]]


def every_sample(dataset: TokenDataset, **options: object) -> Batch:
    return dataset.batch(np.arange(len(dataset)), BatchOptions(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["two bytes", "four bytes"])
def wide(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "four bytes")


@pytest.fixture(scope="module", params=["eod", "no eod"])
def eod(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "eod")


@pytest.fixture(scope="module")
def any_store(tmp_path_factory: pytest.TempPathFactory, shards: Shards, wide: bool, eod: bool) -> Path:
    return write_store(tmp_path_factory.mktemp("any"), shards, wide=wide, eod=eod)


def test_windows_hold_every_token(any_store: Path, shards: Shards, eod: bool) -> None:
    """Concatenated windows share one boundary token: in a row, inputs are all tokens and labels all but the first; less
    than a window is left over. Documents go on from shard to shard, with and without end-of-document tokens."""
    tokens, _ = stream_of(shards, eod=eod)
    dataset = TokenDataset(any_store, CONTEXT)
    batch = every_sample(dataset)
    used = len(dataset) * CONTEXT
    assert batch.input_ids.reshape(-1).tolist() == tokens[:used]
    assert batch.labels.reshape(-1).tolist() == tokens[1 : used + 1]
    assert 1 <= dataset.left_out == len(tokens) - used <= CONTEXT
    assert dataset.tokens == len(tokens)


@pytest.mark.parametrize("context_length", [1, 7, 64, 1000, 5000])
def test_boundaries_are_the_index(any_store: Path, shards: Shards, eod: bool, context_length: int) -> None:
    """For every window cu_seqlens, positions, document numbers and continuations are those of the index."""
    tokens, starts = stream_of(shards, eod=eod)
    dataset = TokenDataset(any_store, context_length)
    begins = set(starts)
    for sample in range(0, len(dataset), 1 + len(dataset) // 300):
        first = sample * context_length
        expected = [slot for slot in range(context_length) if slot == 0 or first + slot in begins]
        batch = dataset.batch(np.array([sample]))
        assert batch.cu_seqlens.tolist() == [*expected, context_length]
        assert batch.cu_seqlens.dtype == np.int32
        assert batch.max_seqlen == max(end - start for start, end in pairwise([*expected, context_length]))
        assert batch.is_continuation.tolist() == [first not in begins]
        check_slots(batch, expected)
    check_many_rows(dataset, np.arange(0, len(dataset), 1 + len(dataset) // 200))
    assert len(tokens) == dataset.tokens


def check_slots(batch: Batch, starts: list[int]) -> None:
    """Positions and document numbers of a batch of one row, from where its documents start."""
    lengths = np.diff([*starts, batch.context_length])
    assert batch.position_ids[0].tolist() == [place for length in lengths for place in range(length)]
    assert batch.document_ids[0].tolist() == np.repeat(np.arange(len(lengths)), lengths).tolist()


def check_many_rows(dataset: TokenDataset, samples: np.ndarray) -> None:
    """A batch is its rows, one by one."""
    together = dataset.batch(samples)
    alone = [dataset.batch(samples[row : row + 1]) for row in range(len(samples))]
    for field in ("input_ids", "labels", "loss_mask", "position_ids", "document_ids", "is_continuation"):
        assert np.array_equal(getattr(together, field), np.concatenate([getattr(one, field) for one in alone])), field
    length = dataset.context_length
    shifted = [one.cu_seqlens[:-1] + row * length for row, one in enumerate(alone)]
    assert together.cu_seqlens.tolist() == [*np.concatenate(shifted).tolist(), len(samples) * length]
    assert together.max_seqlen == max(one.max_seqlen for one in alone)


def test_labels_stay_in_their_document(any_store: Path, shards: Shards, eod: bool) -> None:
    """With mask_boundaries, a token has a label exactly when the next token is of the same document: also the last one
    of a window."""
    tokens, starts = stream_of(shards, eod=eod)
    batch = every_sample(TokenDataset(any_store, CONTEXT), mask_boundaries=True)
    begins = set(starts)
    used = batch.input_ids.size
    expected = [-100 if place + 1 in begins else tokens[place + 1] for place in range(used)]
    assert batch.labels.reshape(-1).tolist() == expected
    assert batch.loss_mask.reshape(-1).tolist() == [label != -100 for label in expected]
    assert -100 in expected
    assert batch.input_ids.reshape(-1).tolist() == tokens[:used], "inputs are not masked"


def test_cu_seqlens_of_one_size(store: Path) -> None:
    """cu_seqlens can be filled up to one size with its last entry; a batch that needs more says so."""
    dataset = TokenDataset(store, CONTEXT)
    plain, sized = every_sample(dataset), every_sample(dataset, cu_seqlens_size=4000)
    count = len(plain.cu_seqlens)
    assert sized.cu_seqlens.tolist() == [*plain.cu_seqlens.tolist(), *[plain.input_ids.size] * (4000 - count)]
    with pytest.raises(LoaderError, match=f"cu_seqlens_size 5: .* {count - 1} documents"):
        _ = every_sample(dataset, cu_seqlens_size=5).cu_seqlens


def test_windows_of_many_documents(tmp_path: Path) -> None:
    """Windows with hundreds of documents have all of them, those without tokens left out."""
    made = [[[7] * (number % 3) for number in range(3000)]]
    _, starts = stream_of(made, eod=False)
    dataset = TokenDataset(write_store(tmp_path, made, eod=False), 700)
    batch = every_sample(dataset, mask_boundaries=True)
    used = batch.input_ids.size
    assert batch.cu_seqlens.tolist() == sorted({*(start for start in starts if start < used), *range(0, used + 1, 700)})
    assert np.flatnonzero(~batch.loss_mask).tolist() == sorted({start - 1 for start in starts if 0 < start <= used})


def test_wide_batches(any_store: Path) -> None:
    """Tokens come as int32 or int64, as asked."""
    dataset = TokenDataset(any_store, CONTEXT)
    narrow, broad = every_sample(dataset), every_sample(dataset, dtype="int64")
    assert (narrow.input_ids.dtype, broad.labels.dtype) == (np.int32, np.int64)
    assert np.array_equal(narrow.tokens, broad.tokens)


def test_one_sample(store: Path) -> None:
    """The dataset is map-style: a sample is its row of a batch, out of range is an IndexError."""
    dataset = TokenDataset(store, CONTEXT)
    batch = dataset.__getitems__([3, 5])
    for field, values in dataset[5].items():
        assert np.array_equal(values, getattr(batch, field)[1]), field
    for sample in (-1, len(dataset)):
        with pytest.raises(IndexError):
            dataset[sample]


def test_train_and_holdout_as_the_worker_writes_them(tmp_path: Path, documents: list[str]) -> None:
    """Directories written by the whole worker are read alike: both splits, the first tokens those of the first text."""
    corpus = write_corpus(tmp_path / "corpus", documents[:60], files=3)
    job = make_job(corpus, tmp_path, holdout=Holdout(rate=0.3))
    write_all(job)
    found: Sequence[str] = []
    for directory, split in ((job.output_dir, "train"), (job.holdout_dir, "holdout")):
        dataset = TokenDataset(directory, CONTEXT, split=split)
        loader = DataLoader(dataset, 1, shuffle="none")
        tokens = [token for batch in loader for token in batch.input_ids[0].tolist()]
        ends = [-1, *(place for place, token in enumerate(tokens) if token == EOD)]
        texts = [bytes(tokens[start + 1 : end]).decode() for start, end in pairwise(ends)]
        found = [*found, *texts]
        assert dataset.documents - 1 <= len(texts) <= dataset.documents
        with pytest.raises(LoaderError, match=f"holds {split}, not"):
            TokenDataset(directory, CONTEXT, split="holdout" if split == "train" else "train")
    assert set(found) <= set(documents[:60])
    assert len(found) >= 58
