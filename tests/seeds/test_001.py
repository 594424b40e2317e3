"""Seed 001, SnakModel: its checklist, line by line, with the real commands. The page is docs/seeds/001.md."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import sentencepiece

from tests.support.seeds import Machine, call, read_pair

NAMES = ("dataset_a", "dataset_b")
COPIES = 30


@pytest.fixture(scope="module")
def lines(documents: list[str]) -> dict[str, list[str]]:
    """The documents of two datasets: on each line one; the first of `a` stand at the end of `b` again."""
    found = [line for text in documents[:60] for line in text.split("\n") if len(line) > 20]
    return {"dataset_a": found[: len(found) // 2], "dataset_b": [*found[len(found) // 2 :], *found[:COPIES]]}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, lines: dict[str, list[str]]) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("001"))
    for name, texts in lines.items():
        (machine.root / "raw" / name).mkdir(parents=True)
        (machine.root / "raw" / name / "all.txt").write_text("".join(f"{text}\n" for text in texts), newline="")
    return machine


def named(machine: Machine) -> list[object]:
    """Both datasets, a document on every line."""
    pairs = [("--dataset", f"{name}={machine.root / 'raw' / name}") for name in NAMES]
    return [*(word for pair in pairs for word in pair), "--document-per-line"]


def test_named_datasets_to_arrow_json_and_text(machine: Machine, lines: dict[str, list[str]]) -> None:
    """Several named datasets become one Arrow with `text` and `source`, one JSON lines and one text, in one reading; a
    single one is had by naming it alone."""
    targets = [machine.root / f"all.{suffix}" for suffix in ("arrow", "jsonl", "txt")]
    call("text", *named(machine), *(word for target in targets for word in ("--to", target)))
    expected = [{"text": text, "source": name} for name in NAMES for text in lines[name]]
    with pa.ipc.open_stream(targets[0]) as stream:
        assert stream.read_all().to_pylist() == expected
    assert [json.loads(line) for line in targets[1].read_bytes().splitlines()] == expected
    assert targets[2].read_bytes().decode() == "".join(f"{row['text']}\n" for row in expected)
    call("text", "--dataset", machine.root / "raw" / "dataset_b", "--document-per-line", "--to", machine.root / "b.txt")
    assert (machine.root / "b.txt").read_bytes().decode() == "".join(f"{text}\n" for text in lines["dataset_b"])


@pytest.fixture(scope="module")
def unique(machine: Machine) -> Path:
    """The documents as bytes, deduplicated by the seed's arguments, as one JSON lines and one text."""
    shards = machine.root / "bytes"
    machine.launch(named(machine)[1], "bytes", *named(machine)[2:], "--tokenizer", "bytes", "--holdout-rate", "0")
    wishes = ("--seed", 42, "--num-perm", 64, "--threshold", 0.85, "--max-removed", "50%")
    call("dedup", shards, machine.root / "bytes_holdout", "--to", machine.root / "unique", *wishes)
    (machine.root / "pretraining").mkdir()
    targets = [machine.root / "pretraining" / f"all.{suffix}" for suffix in ("jsonl", "txt")]
    call("text", machine.root / "unique", *(word for target in targets for word in ("--to", target)))
    return machine.root / "pretraining"


def test_deduplicated_to_json_and_text(unique: Path, lines: dict[str, list[str]]) -> None:
    """No text is left twice, the first of equal ones stays, and what is left becomes one JSON lines and one text."""
    rows = [json.loads(line) for line in (unique / "all.jsonl").read_bytes().splitlines()]
    left = [_normal(row["text"]) for row in rows]
    assert len(set(left)) == len(left)
    everything = [(_normal(text), f"{name}/all.txt") for name in NAMES for text in lines[name]]
    first = dict(reversed(everything))
    assert all(first[text] == row["source"] for text, row in zip(left, rows, strict=True))
    assert len(everything) - len(first) >= COPIES
    # What else went was nearly equal to something.
    assert 0.9 * len(first) < len(left) <= len(first)
    assert {row["source"] for row in rows} == {f"{name}/all.txt" for name in NAMES}
    assert (unique / "all.txt").read_bytes().decode() == "".join(f"{row['text']}\n" for row in rows)


def _normal(text: str) -> str:
    """White space and the case of A to Z make no difference."""
    return " ".join(text.encode().lower().decode().split())


def test_sentencepiece_pair_without_bos_and_eod(machine: Machine, unique: Path, small_model: Path) -> None:
    """`<prefix>_text_document.bin` and `.idx` hold what SentencePiece itself makes of every document that is left, with
    nothing before or behind it."""
    options = ("--include", "*.jsonl", "--tokenizer", small_model, "--eod", "none", "--holdout-rate", "0")
    shards = machine.launch(unique, "shards", *options)
    call("export", shards, "--format", "megatron", "--name", "snak_text_document", "--to", machine.root / "pair")
    encode = sentencepiece.SentencePieceProcessor(model_file=str(small_model)).encode
    texts = [json.loads(line)["text"] for line in (unique / "all.jsonl").read_bytes().splitlines()]
    assert read_pair(machine.root / "pair" / "snak_text_document") == [encode(text) for text in texts]
