"""`shardfleet text`, by the command."""

import fcntl
import json
import resource
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from provision.cli import cli
from shard.errors import JobError, SourceError, StoreError, VerificationError
from shard.records.job import Holdout
from tests.support.inputs import json_lines, text_lines
from tests.support.jobs import json_spec, make_job, model_spec, write_corpus
from tests.support.worker import write_all


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["text", *map(str, arguments)], catch_exceptions=False)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_documents_as_json_lines(tmp_path: Path, documents: list[str]) -> None:
    """Every document is a line that holds nothing but its text, in dataset order; what is none is counted."""
    corpus = write_corpus(tmp_path / "corpus", [None, *documents[:40], ""], files=2)
    said = invoke("--dataset", corpus, "--to", tmp_path / "all.jsonl")
    assert lines(tmp_path / "all.jsonl") == [{"text": document} for document in documents[:40]]
    assert said.stdout == f"{tmp_path}/all.jsonl: 40 documents\n"
    assert said.stderr == "no documents, and left out: 1 null, 1 empty\n"
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "all.jsonl"}


def test_several_datasets_in_every_form(tmp_path: Path) -> None:
    """Named datasets come in the order given, and lines of JSON say which; one reading serves several files."""
    for name, texts in (("a", ["one", "zwei", ""]), ("b", ["three"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "raw.txt").write_bytes(text_lines(texts))
    named = ("--dataset", f"b={tmp_path}/b", "--dataset", f"a={tmp_path}/a", "--document-per-line")
    invoke(*named, "--to", tmp_path / "all.jsonl", "--to", tmp_path / "all.txt", "--to", tmp_path / "all.arrow")
    with pa.ipc.open_stream(tmp_path / "all.arrow") as stream:
        assert stream.read_all().to_pylist() == lines(tmp_path / "all.jsonl")
    assert (tmp_path / "all.txt").read_text() == "three\none\nzwei\n"
    assert [(line["source"], line["text"]) for line in lines(tmp_path / "all.jsonl")] == [
        *[("b", "three"), ("a", "one"), ("a", "zwei")]
    ]


@pytest.mark.parametrize("text", ["two\nlines", "an end\r"])
def test_documents_that_are_no_line(text: str, tmp_path: Path) -> None:
    """A document that would not come back from its line is refused, and nothing is left of any file."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(["one", text]))
    with pytest.raises(JobError, match=r"write \.jsonl"):
        invoke("--dataset", tmp_path / "in", "--to", tmp_path / "all.jsonl", "--to", tmp_path / "all.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_documents_of_several_sequences(tmp_path: Path) -> None:
    """In JSON lines a list stays a list, so that the file gives the same tokens as the dataset; lines and Arrow, which
    have one text for a document, refuse it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(["one", ["two", "", "three"], ["", "four"]]))
    invoke("--dataset", tmp_path / "in", "--to", tmp_path / "all.jsonl")
    assert lines(tmp_path / "all.jsonl") == [{"text": "one"}, {"text": ["two", "three"]}, {"text": "four"}]
    for target in ("all.txt", "all.arrow"):
        with pytest.raises(JobError, match=r"list of 2 sequences: 'two'.*write \.jsonl"):
            invoke("--dataset", tmp_path / "in", "--to", tmp_path / target)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "all.jsonl"}


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    """Nothing is replaced, kinds of files that are not known and directories that are not there are refused."""
    (tmp_path / "a.jsonl").write_bytes(json_lines(["one"]))
    for target, error in (("a.jsonl", StoreError), ("b.csv", JobError), ("no/b.jsonl", StoreError)):
        with pytest.raises(error, match=target):
            invoke("--dataset", tmp_path, "--to", tmp_path / target)
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "one"}\n["no object"]\n')
    with pytest.raises(SourceError):
        invoke("--dataset", tmp_path, "--to", tmp_path / "b.jsonl")
    with pytest.raises(StoreError, match="given twice"):
        invoke("--dataset", tmp_path, "--to", tmp_path / "b.jsonl", "--to", tmp_path / ".." / tmp_path.name / "b.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "c.jsonl"}


def test_what_was_killed_leaves_nothing(tmp_path: Path) -> None:
    """What an attempt left that was killed goes with the next one; what somebody is writing stays."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(["one"]))
    left, written, other = (
        tmp_path / f".{name}.tmp" for name in ("all.jsonl.0a1b2c3d", "all.jsonl.00000000", "of.jsonl.0a1b2c3d")
    )
    for path in (left, written, other):
        path.write_bytes(b"{")
    with written.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        invoke("--dataset", tmp_path / "in", "--to", tmp_path / "all.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "all.jsonl", written.name, other.name}


@pytest.mark.parametrize("kind", ["hf", "sentencepiece"])
def test_documents_of_shards(
    kind: str, tmp_path: Path, documents: list[str], small_tokenizer: Path, small_model: Path
) -> None:
    """Shards are decoded, without what frames documents, in the order of the directories; the source is their file; a
    damaged one is named, and nothing is written."""
    corpus = write_corpus(tmp_path / "corpus", documents[:30], files=3)
    file, spec_of = {"hf": (small_tokenizer, json_spec), "sentencepiece": (small_model, model_spec)}[kind]
    spec = replace(spec_of(file), name=str(file), bos_id=1)
    job = make_job(corpus, tmp_path, tokenizer=spec, holdout=Holdout(rate=0.2))
    write_all(job, file.parent)
    invoke(job.output_dir, job.holdout_dir, "--to", tmp_path / "all.jsonl")
    found = lines(tmp_path / "all.jsonl")
    assert sorted(line["text"] for line in found) == sorted(documents[:30])
    assert {line["source"] for line in found} == {f"part-{number}.parquet" for number in range(3)}
    payload = next(path for path in sorted(Path(job.output_dir).glob("*.bin")) if path.stat().st_size)
    payload.write_bytes(payload.read_bytes()[:-4] + b"\1\0\1\0")
    with pytest.raises(VerificationError, match=payload.name):
        invoke(job.output_dir, "--to", tmp_path / "again.jsonl")
    assert not (tmp_path / "again.jsonl").exists()


def test_dataset_or_shards(tmp_path: Path) -> None:
    """One of the two must be given."""
    for given in ((), (tmp_path, "--dataset", tmp_path)):
        assert CliRunner().invoke(cli, ["text", *map(str, given), "--to", "x.jsonl"]).exit_code == 2


def test_no_room(tmp_path: Path, documents: list[str]) -> None:
    """Where a file cannot grow any more, the files are named, and nothing is left of them."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(documents[:40]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"all\.jsonl and .*all\.arrow: File too large; nothing was made"):
            invoke("--dataset", tmp_path / "in", "--to", tmp_path / "all.jsonl", "--to", tmp_path / "all.arrow")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
