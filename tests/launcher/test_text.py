"""`shardfleet text`, by the command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from provision.cli import cli
from shard.errors import JobError, SourceError, StoreError
from tests.support.inputs import json_lines, text_lines
from tests.support.jobs import write_corpus


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["text", *map(str, arguments)], catch_exceptions=False)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_documents_as_json_lines(tmp_path: Path, documents: list[str]) -> None:
    """Every document is a line that holds nothing but its text, in dataset order; what is none is counted."""
    corpus = write_corpus(tmp_path / "corpus", [None, *documents[:40], ""], files=2)
    said = invoke("--dataset", corpus, "--to", tmp_path / "all.jsonl")
    assert lines(tmp_path / "all.jsonl") == [{"text": document} for document in documents[:40]]
    assert f"{tmp_path}/all.jsonl: 40 documents, " in said.stdout
    assert said.stderr == "no documents, and left out: 1 null, 1 empty\n"
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "all.jsonl"}


def test_several_datasets_in_two_forms(tmp_path: Path) -> None:
    """Named datasets come in the order given, and lines of JSON say which; one reading serves several files."""
    for name, texts in (("a", ["one", "zwei", ""]), ("b", ["three"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "raw.txt").write_bytes(text_lines(texts))
    named = ("--dataset", f"b={tmp_path}/b", "--dataset", f"a={tmp_path}/a", "--document-per-line")
    invoke(*named, "--to", tmp_path / "all.jsonl", "--to", tmp_path / "all.txt")
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


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    """Nothing is replaced, kinds of files that are not known and directories that are not there are refused."""
    (tmp_path / "a.jsonl").write_bytes(json_lines(["one"]))
    for target, error in (("a.jsonl", StoreError), ("b.csv", JobError), ("no/b.jsonl", StoreError)):
        with pytest.raises(error, match=target):
            invoke("--dataset", tmp_path, "--to", tmp_path / target)
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "one"}\n["no object"]\n')
    with pytest.raises(SourceError):
        invoke("--dataset", tmp_path, "--to", tmp_path / "b.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "c.jsonl"}
