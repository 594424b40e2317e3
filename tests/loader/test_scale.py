"""What a loader costs does not grow with the data: memory, start, resume."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shard.loader import DataLoader, TokenDataset
from tests.support.stores import write_many

_READ_ALL = """
import resource, sys
from shard.loader import DataLoader
loader = DataLoader(sys.argv[1], 64, context_length=1024, prepare=("labels", "cu_seqlens", "position_ids"))
for steps, batch in enumerate(loader, 1):
    pass
print(steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 shards of a million documents each, as an index shows them; the payload is a hole."""
    lengths = np.random.default_rng(1).integers(1, 2000, 1_000_000)
    return write_many(tmp_path_factory.mktemp("billion"), lengths, 1000)


def test_memory_is_flat(tmp_path: Path) -> None:
    """Reading ten times as much data, all of it, takes the same memory within 4 MB: a tenth of the data."""
    lengths = np.random.default_rng(2).integers(1, 200, 20_000)
    peaks = []
    for times in (1, 10):
        store = write_many(tmp_path / str(times), lengths, times)
        answer = subprocess.run([sys.executable, "-c", _READ_ALL, store], capture_output=True, text=True, check=False)
        assert answer.stderr == ""
        steps, kibibytes = map(int, answer.stdout.split())
        assert steps == (times * int(lengths.sum()) - 1) // 1024 // 64
        peaks.append(kibibytes / 1024)
    assert peaks[1] - peaks[0] < 4


def test_a_billion_documents(billion: Path) -> None:
    """With 10^9 documents and 10^12 tokens the first batch takes less than a second of work, with its documents looked
    up; going to the middle of an epoch, and the batch there, less than 50 ms."""
    started = time.process_time()
    dataset = TokenDataset(billion, 4096)
    loader = DataLoader(dataset, 32, prepare=("cu_seqlens",))
    first = next(iter(loader))
    assert time.process_time() - started < 1
    assert dataset.documents == 10**9
    assert len(first.cu_seqlens) > 100
    loader.close()
    state = loader.state_dict()
    middle = len(loader) // 2
    state |= {"step": middle, "epoch_step": middle}
    resumed = DataLoader(dataset, 32, prefetch_factor=0)
    started = time.process_time()
    resumed.load_state_dict(state)
    batch = next(iter(resumed))
    assert time.process_time() - started < 0.05
    assert batch.step == middle


def test_a_split_of_a_billion_documents(billion: Path) -> None:
    """A split by document looks into one index."""
    started = time.process_time()
    dataset = TokenDataset(billion, 4096, split="949,50,1:valid")
    assert time.process_time() - started < 0.5
    assert dataset.document_range == (949_000_000, 999_000_000)
