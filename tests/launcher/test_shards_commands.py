"""`shardfleet inspect`, `cat` and `export`: directories of shards on this machine, by the command."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from provision.cli import cli
from provision.errors import InputError
from shard.errors import JobError, StoreError, VerificationError
from shard.formats.megatron import read_index
from shard.records.job import Holdout, Job
from tests.support.jobs import BYTES_SPEC, json_spec, make_job, model_spec, write_corpus
from tests.support.worker import write_all


@pytest.fixture(scope="module")
def texts(documents: list[str]) -> list[str]:
    return documents[:40]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Job:
    """Four units, with a row that is no document; nothing is held out."""
    root = tmp_path_factory.mktemp("store")
    made = make_job(
        write_corpus(root / "corpus", [None, *texts], files=4), root, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0)
    )
    write_all(made, root)
    return made


@pytest.fixture
def shards(job: Job, tmp_path: Path) -> Path:
    return Path(shutil.copytree(job.output_dir, tmp_path / "shards"))


def invoke(*arguments: object) -> Result:
    """Errors of ours come through, as they do to main()."""
    return CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)


def test_cat_gives_every_document(shards: Path, texts: list[str]) -> None:
    """`cat` decodes each document as it was, in dataset order, and says where it comes from."""
    said = [invoke("cat", shards, "--document", number) for number in range(len(texts))]
    assert sorted(one.stdout for one in said) == sorted(f"{text}\n" for text in texts)
    payloads = [one.stderr.split(",")[0] for one in said]
    assert payloads == sorted(payloads)
    assert all("part-" in one.stderr for one in said)


def test_cat_gives_ids(shards: Path, texts: list[str]) -> None:
    """With --tokens it prints the ids, end of document included."""
    ids = [*map(int, invoke("cat", shards, "--document", 3, "--tokens").stdout.split())]
    text = invoke("cat", shards, "--document", 3).stdout[:-1]
    assert ids == [*text.encode(), 256]
    assert text in texts


def test_cat_of_a_document_that_is_not_there(shards: Path, texts: list[str]) -> None:
    """The error says how many there are."""
    with pytest.raises(JobError, match=rf"no document {len(texts)}; it has 0 to {len(texts) - 1}"):
        invoke("cat", shards, "--document", len(texts))


def test_cat_of_a_damaged_shard(shards: Path) -> None:
    """A payload that ends too early is named."""
    payload = shards / "000003.bin"
    payload.write_bytes(payload.read_bytes()[:-2])
    with pytest.raises(VerificationError, match=str(payload)):
        invoke("cat", shards, "--document", 39)


def test_cat_leaves_out_what_frames_a_document(tmp_path: Path, small_model: Path) -> None:
    """Text comes back without the ids before and after it; a tokenizer without an own end is found by its name."""
    spec = msgspec.structs.replace(model_spec(small_model), name=str(small_model), bos_id=1)
    for eod in (None, 2):
        tokenizer = msgspec.structs.replace(spec, eod_id=eod)
        job = make_job(
            write_corpus(tmp_path / "corpus", ["a text\n"]),
            tmp_path / str(eod),
            tokenizer=tokenizer,
            holdout=Holdout(rate=0.0),
        )
        write_all(job, small_model.parent)
        assert invoke("cat", job.output_dir, "--document", 0).stdout == "a text\n\n"


def test_inspect_counts(shards: Path, texts: list[str]) -> None:
    """Totals, lengths and shards are those of the files."""
    facts = json.loads(invoke("inspect", shards, "--json").stdout)
    lengths = np.array([len(text.encode()) + 1 for text in texts])
    assert (facts["documents"], facts["tokens"]) == (len(texts), lengths.sum())
    assert facts["bytes"] == 2 * lengths.sum() == sum(path.stat().st_size for path in shards.glob("[0-9]*.bin"))
    assert facts["dropped"]["null"] == 1
    before = facts["disk_bytes"]
    assert before == sum(path.stat().st_size for path in shards.glob("[0-9]*"))
    (shards / "000001.ds").hardlink_to(shards / "000001.bin")  # another name takes nothing
    assert json.loads(invoke("inspect", shards, "--json").stdout)["disk_bytes"] == before
    found = facts["lengths"]
    assert (found["least"], found["most"], found["mean"]) == (lengths.min(), lengths.max(), lengths.mean())
    assert found["median"] == np.median(lengths)
    for low, high, count in found["histogram"]:
        assert count == ((low <= lengths) & (lengths < high)).sum()
    assert all(before[1] == after[0] for before, after in pairwise(found["histogram"]))
    assert sum(count for *_, count in found["histogram"]) == len(texts)
    assert [shard["documents"] for shard in facts["shards"]] == [
        len(read_index(path).lengths) for path in sorted(shards.glob("*.idx"))
    ]


def test_inspect_draws(shards: Path, texts: list[str]) -> None:
    """For people: a table, a histogram, documents decoded."""
    said = invoke("inspect", shards, "--documents", 40).stdout
    assert "bytes, 257 ids, end of document 256" in said
    assert "█" in said
    assert "4 of 4 of the dataset" in said
    assert all(text[:100].splitlines()[0] in said for text in texts)


def test_inspect_without_a_tokenizer_shows_the_rest(tmp_path: Path, texts: list[str], small_tokenizer: Path) -> None:
    """Where the tokenizer cannot be had by its name, all but the documents is shown; its file helps; another is
    refused."""
    spec = json_spec(small_tokenizer)
    job = make_job(
        write_corpus(tmp_path / "corpus", texts), tmp_path, tokenizer=msgspec.structs.replace(spec, name="/gone.json")
    )
    write_all(job, small_tokenizer.parent)
    without = invoke("inspect", job.output_dir)
    assert "no document is decoded: " in without.stderr
    assert "tokens of a document" in without.stdout
    given = invoke("inspect", job.output_dir, "--tokenizer", small_tokenizer)
    assert "no document is decoded" not in given.stderr
    assert any(text[:60].splitlines()[0] in given.stdout for text in texts)
    with pytest.raises(InputError, match=r"the shards were made with /gone\.json"):
        invoke("inspect", job.output_dir, "--tokenizer", "bytes")


def test_directory_without_documents(tmp_path: Path) -> None:
    """A split that nothing fell into is no error."""
    job = make_job(write_corpus(tmp_path / "corpus", ["one"]), tmp_path, holdout=Holdout(rate=0.0))
    write_all(job, tmp_path)
    assert "no document" in invoke("inspect", job.holdout_dir).stdout
    assert json.loads(invoke("inspect", job.holdout_dir, "--json").stdout)["lengths"] is None


@pytest.mark.parametrize(
    "command", [["inspect"], ["cat", "--document", "0"], ["export", "--format", "mds", "--to", "x"]]
)
def test_directory_of_others_is_refused(command: list[str], tmp_path: Path) -> None:
    """A directory without dataset.json is none of ours."""
    with pytest.raises(JobError, match="is it the right directory"):
        invoke(*command, tmp_path)


def test_export_says_what_it_made(shards: Path, texts: list[str], tmp_path: Path) -> None:
    """Documents, tokens, bytes, and what fills no sample; a target that exists is refused."""
    arguments = ("export", shards, "--to", tmp_path / "out", "--format", "mds", "--context-length", 64)
    said = invoke(*arguments).stdout
    tokens = sum(len(text.encode()) + 1 for text in texts)
    assert f"{len(texts)} documents, {tokens - tokens % 64:,} tokens as mds" in said
    assert f"{tokens % 64} tokens at the end fill no sample of 64" in said
    index = json.loads((tmp_path / "out" / "train" / "index.json").read_text())
    assert sum(shard["samples"] for shard in index["shards"]) == tokens // 64
    with pytest.raises(StoreError, match="exists"):
        invoke(*arguments)


@pytest.mark.parametrize(("size", "files"), [("2k", 2), ("0.5K", 4)])
def test_sizes_of_files(size: str, files: int, shards: Path, tmp_path: Path) -> None:
    """--shard-size takes 2k for 2000 tokens."""
    invoke("export", shards, "--to", tmp_path / "out", "--format", "llmc", "--shard-size", size)
    tokens = {"2k": 2000, "0.5K": 500}[size]
    made = sorted((tmp_path / "out").glob("*.bin"))
    assert len(made) >= files
    assert {path.stat().st_size for path in made[:-1]} == {1024 + 2 * tokens}


@pytest.mark.parametrize("size", ["0", "x", "-5", "0.0001", "5q"])
def test_sizes_that_are_none(size: str, shards: Path, tmp_path: Path) -> None:
    """Each is refused before anything is read."""
    done = CliRunner().invoke(
        cli, ["export", str(shards), "--to", str(tmp_path / "out"), "--format", "llmc", f"--shard-size={size}"]
    )
    assert done.exit_code == 2
    assert f"{size!r} is no count" in done.output


def test_export_notes_what_a_trainer_must_know(shards: Path, tmp_path: Path) -> None:
    """OLMo-core's trap is said by the command; ranks of a host matter to catid's files alone."""
    assert (
        "note: OLMo-core: use a TokenizerConfig without bos_token_id"
        in invoke("export", shards, "--to", tmp_path / "olmo", "--format", "olmo").stdout
    )
    assert "note:" not in invoke("export", shards, "--to", tmp_path / "nanogpt", "--format", "nanogpt").stdout
    with pytest.raises(JobError, match="--local-ranks 2"):
        invoke("export", shards, "--to", tmp_path / "mds", "--format", "mds", "--local-ranks", 2)
