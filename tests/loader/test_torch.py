"""The torch adapter gives what the numpy loader gives, for any number of workers."""

import json
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shard.loader import Batch, BatchOptions, DataLoader, TokenDataset
from shard.records.job import Holdout
from tests.loader.torch_python import ROOT, environment, torch_python
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all

CONTEXT, BATCH, RANKS, RANK, SEED, STOP = 32, 8, 2, 1, 7, 3
"""As in torch_reader.py, which cannot be imported here: there may be no torch."""
FIELDS = (
    *("input_ids", "labels", "loss_mask", "position_ids", "document_ids"),
    *("cu_seqlens", "max_seqlen", "is_continuation"),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Three units of bytes of real text: documents of at most 150 tokens, so that samples have boundaries."""
    root = tmp_path_factory.mktemp("torch")
    texts = [text[: 20 + 7 * (number % 19)] for number, text in enumerate(documents[:60])]
    job = make_job(write_corpus(root / "corpus", texts, files=3), root, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0))
    write_all(job, root)
    return Path(job.output_dir)


@pytest.fixture
def loader(shards: Path) -> Iterator[DataLoader]:
    with _loader(shards) as made:
        yield made


@pytest.fixture(scope="module")
def numpy_state(shards: Path) -> dict[str, Any]:
    """Of the numpy loader, in its second epoch."""
    with _loader(shards) as made:
        list(made)
        list(islice(made, STOP))
        return made.state_dict()


@pytest.fixture(scope="module")
def answer(shards: Path, numpy_state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What torch_reader.py found: arrays by case, field and batch; and facts."""
    python = torch_python()
    directory = tmp_path_factory.mktemp("answer")
    (directory / "state.json").write_text(json.dumps(numpy_state))
    command = [python, "-P", ROOT / "tests/loader/torch_reader.py", shards, directory / "state.json"]
    done = subprocess.run(
        [*command, directory / "answer.npz"], capture_output=True, text=True, timeout=300, env=environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(directory / "answer.npz") as found:
        return {"arrays": {name: found[name] for name in found if name != "facts"}} | json.loads(str(found["facts"]))


def _loader(shards: Path) -> DataLoader:
    dataset = TokenDataset(shards, CONTEXT, options=BatchOptions(dtype="int64", mask_boundaries=True))
    return DataLoader(dataset, BATCH, dp_rank=RANK, dp_world_size=RANKS, seed=SEED)


def same(answer: dict[str, Any], case: str, batches: list[Batch], fields: tuple[str, ...]) -> None:
    """The case has these batches and no more, byte for byte."""
    arrays = answer["arrays"]
    assert {name for name in arrays if name.startswith(f"{case}/")} == {
        f"{case}/{field}/{number}" for field in fields for number in range(len(batches))
    }
    for number, batch in enumerate(batches):
        for field in fields:
            found, expected = arrays[f"{case}/{field}/{number}"], np.asarray(getattr(batch, field))
            assert np.array_equal(found, expected), f"{case}, batch {number}, {field}"
            # max_seqlen is a plain number.
            assert found.dtype == expected.dtype or field == "max_seqlen"


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_workers_give_the_same_batches(workers: int, answer: dict[str, Any], loader: DataLoader) -> None:
    """Every field of every batch of an epoch, and of the next one's beginning, is the numpy loader's."""
    assert answer[f"length-{workers}"] == len(loader)
    first = list(loader)
    assert len(first) > 10
    same(answer, f"workers-{workers}-0", first, FIELDS)
    same(answer, f"workers-{workers}-1", list(islice(loader, STOP)), FIELDS)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_state_counts_what_was_given_out(workers: int, answer: dict[str, Any], numpy_state: dict[str, Any]) -> None:
    """What workers have read ahead is not in the state: it is the numpy loader's."""
    assert answer["states"][str(workers)] == numpy_state


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_resume_with_workers(
    workers: int, answer: dict[str, Any], loader: DataLoader, numpy_state: dict[str, Any]
) -> None:
    """From a state on come the batches that the numpy loader would have given next."""
    loader.load_state_dict(numpy_state)
    rest = list(loader)
    assert len(rest) == loader.steps_of(1) - STOP
    same(answer, f"resumed-{workers}", rest, ("input_ids", "labels"))


def test_spawned_workers(answer: dict[str, Any], loader: DataLoader) -> None:
    """Workers that are started anew, not forked, give the same."""
    same(answer, "spawn", list(islice(loader, STOP)), ("input_ids", "labels"))


@pytest.mark.parametrize("workers", [0, 3])
def test_iterable_for_trainers(workers: int, answer: dict[str, Any], loader: DataLoader) -> None:
    """Rows that torch's own DataLoader puts together, and whole batches, come in the loader's order."""
    batches = list(loader)
    same(answer, f"rows-{workers}", batches, ("input_ids", "labels"))
    same(answer, f"batches-{workers}", batches, FIELDS)


def test_tensors_share_memory(answer: dict[str, Any]) -> None:
    """A tensor of a batch is no copy."""
    assert answer["shared"]


def test_pinned_memory(answer: dict[str, Any]) -> None:
    """Tokens are read into pinned memory, or the error says that torch has no accelerator to pin it for."""
    assert answer["pinning"] == "pinned" or "torch cannot pin memory here" in answer["pinning"]


def test_shard_deleted_under_workers(answer: dict[str, Any]) -> None:
    """The error of a worker, which names the file, reaches the trainer; nothing hangs."""
    assert "copy/00000" in answer["gone"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("field", "fields ['tokens']: at least one, of input_ids"),
        ("pin", "allocate=shard.loader.torch.pinned"),
        ("row", "cu_seqlens: of a whole batch"),
    ],
)
def test_what_cannot_be_asked(what: str, message: str, answer: dict[str, Any]) -> None:
    """The error names the argument and the remedy."""
    assert message in answer["refused"][what]
