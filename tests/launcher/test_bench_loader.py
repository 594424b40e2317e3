"""`shardfleet bench-loader`, by the command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provision.cli import cli
from shard.errors import JobError, LoaderError
from shard.records.job import Holdout
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Two units of bytes of real text."""
    root = tmp_path_factory.mktemp("bench")
    job = make_job(
        write_corpus(root / "corpus", documents[:20], files=2), root, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0)
    )
    write_all(job, root)
    return Path(job.output_dir)


def bench(*arguments: object) -> Result:
    """A short run; errors of ours come through, as they do to main()."""
    words = ["bench-loader", *map(str, arguments), "--seconds", "0.05"]
    return CliRunner().invoke(cli, words, catch_exceptions=False)


@pytest.mark.parametrize("packing", ["concat", "pad"])
@pytest.mark.parametrize("shuffle", ["full", "block", "none"])
def test_figures(shuffle: str, packing: str, shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Documents and tokens are those of the directory, rates and times those of what was read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = bench(
        *(shards, "--context-length", 64, "--batch-size", 4, "--shuffle", shuffle, "--packing", packing, "--json")
    )
    facts = json.loads(said.stdout)
    records = [json.loads(path.read_text()) for path in shards.glob("[0-9]*.json")]
    assert facts["documents"] == sum(record["documents"] for record in records) == 20
    assert facts["tokens_held"] == sum(record["tokens"] for record in records)
    assert facts["steps"] == facts["samples"] // 4
    if packing == "concat":
        assert facts["samples"] == (facts["tokens_held"] - 1) // 64
    assert facts["tokens"] == facts["batches"] * 4 * 64
    assert facts["seconds"] >= 0.05
    assert facts["tokens_per_second"] == facts["tokens"] / facts["seconds"]
    assert 0 < facts["resume"] < 10
    assert 0 < facts["first_batch"] < 10
    assert facts["peak_bytes"] > 10_000_000


def test_says_it_to_people(shards: Path) -> None:
    """A table with the rate, the times and the memory."""
    said = bench(shards, "--context-length", 64, "--batch-size", 4).stdout
    for name in ("tokens/s", "batches/s", "first batch", "resume", "memory", "concat, shuffle full"):
        assert name in said


def test_directory_with_too_few_samples(shards: Path) -> None:
    """A batch that an epoch does not have is refused, with what to change."""
    with pytest.raises(LoaderError, match="are no batch of 100000; choose a smaller --batch-size"):
        bench(shards, "--batch-size", 100000, "--context-length", 64)


def test_directory_of_others(tmp_path: Path) -> None:
    """A directory without dataset.json is none of ours."""
    with pytest.raises(JobError, match="is it the right directory"):
        bench(tmp_path)
