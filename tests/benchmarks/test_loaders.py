"""What benchmarks/loader.py rests on: scripts and versions of every loader, their answers, and very many documents."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.loaderdata import many_documents
from benchmarks.loaders.protocol import Answer
from benchmarks.manydocs import write_many
from benchmarks.readers import READERS
from shard.loader import DataLoader, TokenDataset
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all


@pytest.mark.parametrize("name", READERS)
def test_every_reader_has_its_script_and_exact_versions(name: str) -> None:
    """What peers.sh installs for it is pinned, and what is told of it is among that."""
    reader = READERS[name]
    directory = Path(write_many.__code__.co_filename).parent
    assert (directory / "loaders" / reader.script).is_file()
    assert all(f"{package} " in f"{reader.versions} " for package in reader.packages)
    for path in (directory / "loaders").glob("*.txt"):
        assert all(line.count("==") == 1 for line in path.read_text().splitlines())


def test_answer_among_warnings(tmp_path: Path) -> None:
    """A script's line is found wherever its libraries have written."""
    log = tmp_path / "log"
    counted = '"opened": 0.5, "batches": 2, "tokens": 8, "seconds": 1.0, "cpu_seconds": 0.9'
    facts = f'{counted}, "peak_bytes": 3, "anonymous_bytes": 1'
    log.write_text(f'warning: {{x}}\n{{"first_batch": 1.5, {facts}}}\nbye\n')
    assert Answer.read(log) == Answer(1.5, 0.5, 2, 8, 1.0, 0.9, 3, 1)


def test_many_documents(tmp_path: Path, documents: list[str]) -> None:
    """Shards that are links to one: the loader takes them for as many as they say, and reads any of them."""
    job = make_job(write_corpus(tmp_path / "corpus", documents[:10]), tmp_path, tokenizer=BYTES_SPEC)
    write_all(job, tmp_path)
    made = many_documents(Path(job.output_dir), tmp_path / "many", 30_000, 10_000)
    assert (made / "000000.bin").stat().st_nlink == 3
    dataset = TokenDataset(made, 128)
    assert (dataset.documents, dataset.tokens) == (30_000, 30_000 * 64)
    with DataLoader(dataset, 4) as loader:
        batch = next(iter(loader))
    assert np.all(np.diff(batch.cu_seqlens) <= 64)
    assert batch.max_seqlen == 64
