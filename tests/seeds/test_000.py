"""Seed 000, Nanoset: its checklist, line by line, with the real commands. The page is docs/seeds/000.md."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from provision.tokenizer.resolve import fetch_tokenizer
from shard.errors import JobError, SourceError
from shard.loader import DataLoader, MixtureDataset, TokenDataset
from tests.support.hub import running_hub
from tests.support.jobs import write_corpus
from tests.support.seeds import Machine, call, read_pair

EOD = 0
Rows = list[dict[str, str | list[str]]]


@pytest.fixture(scope="module")
def rows(documents: list[str]) -> Rows:
    """Loose JSON as the seed has it; the text of every tenth row is a list of sequences, cut within a word."""
    rows: Rows = [{"src": "a", "text": text, "title": text[:50], "id": str(n)} for n, text in enumerate(documents[:60])]
    for row, text in zip(rows[::10], documents, strict=False):
        row["text"] = [text[:5], "", text[5:100], text[100:]]
    return rows


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, rows: Rows, small_tokenizer: Path) -> Machine:
    """The loose JSON of the seed, and both keys of it prepared by two ranks: `text` with the token after every document
    (--append-eod), `title` without."""
    machine = Machine(tmp_path_factory.mktemp("000"), ranks=2)
    (machine.root / "data").mkdir()
    (machine.root / "data" / "my_corpus.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for key, framed in (("text", ()), ("title", ("--eod", "none"))):
        shards = machine.launch(
            *("data", f"shards/{key}", "--text-column", key, "--tokenizer", small_tokenizer, *framed),
            *("--holdout-rate", "0", "--unit-size", "100KB"),
        )
        pair = machine.root / "processed" / key
        call("export", shards, "--format", "megatron", "--name", f"my-llama2-dataset_{key}", "--to", pair)
    return machine


def expected(rows: Rows, key: str, tokenizer: Path, *end: int) -> list[list[int]]:
    """What the seed's preprocess_data makes of a key, by the tokenizer's own library: of a list, the ids of every
    sequence by itself, in a row, and then the end of the document."""
    encode = tokenizers.Tokenizer.from_file(str(tokenizer)).encode
    texts = [row[key] if isinstance(row[key], list) else [row[key]] for row in rows]
    return [[*(token for text in row for token in encode(text, add_special_tokens=False).ids), *end] for row in texts]


def test_json_to_a_pair_for_every_key(machine: Machine, rows: Rows, small_tokenizer: Path) -> None:
    """`<prefix>_<key>.bin` and `.idx` of each key hold the documents of that key in order, each pair complete."""
    for key, end in (("text", (EOD,)), ("title", ())):
        pair = machine.root / "processed" / key / f"my-llama2-dataset_{key}"
        assert read_pair(pair) == expected(rows, key, small_tokenizer, *end)
    assert len(list((machine.root / "shards" / "text").glob("[0-9]*.bin"))) > 1, "several units, several ranks"


def test_text_that_is_a_list_of_sequences(machine: Machine, rows: Rows, small_tokenizer: Path) -> None:
    """It is one document, whose sequences are tokenized each by itself, and nothing of it is dropped; the index has it
    as one sequence, so that a trainer that shuffles sequences does not tear it apart."""
    found = read_pair(machine.root / "processed" / "text" / "my-llama2-dataset_text")
    joined = [{**row, "text": "".join(row["text"])} for row in rows]
    assert (
        found[0] == expected(rows, "text", small_tokenizer, EOD)[0] != expected(joined, "text", small_tokenizer, EOD)[0]
    )
    records = [json.loads(path.read_bytes()) for path in (machine.root / "shards" / "text").glob("[0-9]*.json")]
    assert (sum(r["documents"] for r in records), sum(sum(r["dropped"].values()) for r in records)) == (len(rows), 0)
    index = (machine.root / "processed" / "text" / "my-llama2-dataset_text.idx").read_bytes()
    assert np.frombuffer(index, "<u8", 2, 18).tolist() == [len(rows), len(rows) + 1]


def test_added_tokens_count_for_the_width(tmp_path: Path) -> None:
    """A vocabulary of 65,530 with 20 added tokens has ids past 65,535, and is stored in four bytes."""
    vocabulary = {f"w{number}": number for number in range(65_530)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "w0"))
    tokenizer.add_special_tokens([f"<|{number}|>" for number in range(20)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    spec = fetch_tokenizer(str(tmp_path / "tokenizer.json"), eod="65549").spec
    assert (spec.vocab_size, spec.dtype) == (65_550, "uint32")


def test_hub_to_json(tmp_path: Path, documents: list[str]) -> None:
    """A column of a dataset on the Hub becomes lines that hold `text` and nothing else."""
    write_corpus(tmp_path / "hub" / "team" / "texts", documents[:20], files=2)
    with running_hub(tmp_path / "hub") as hub:
        given = ("--dataset", "team/texts", "--split", "train", "--text-column", "text", "--to", "my.json")
        Machine(tmp_path).run("text", *given, HF_ENDPOINT=hub.endpoint)
    lines = (tmp_path / "my.json").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"text": document} for document in documents[:20]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of bytes, as the seed's own script writes them."""
    directory = tmp_path_factory.mktemp("pairs")
    for name, text in (("b_text", "zwei"), ("a_text", "one")):
        _write_pair(directory / name, [[*text.encode(), 256]])
    return directory


def _write_pair(prefix: Path, documents: list[list[int]], dtype: str = "<u2", code: int = 8) -> None:
    lengths = np.array([len(document) for document in documents], "<i4")
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype("<i8") * np.dtype(dtype).itemsize
    head = b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + bytes([code])
    counts = np.array([len(documents), len(documents) + 1], "<u8").tobytes()
    order = np.arange(len(documents) + 1, dtype="<i8").tobytes()
    Path(f"{prefix}.idx").write_bytes(head + counts + lengths.tobytes() + starts.tobytes() + order)
    Path(f"{prefix}.bin").write_bytes(np.array([token for d in documents for token in d], dtype).tobytes())


def test_pairs_are_merged(pairs: Path, tmp_path: Path) -> None:
    """A directory of pairs becomes one, in the order of their names."""
    _write_pair(pairs / "c_text", [[*b"three", 256], [*b"four", 256]])
    call("import", pairs, "--format", "megatron", "--tokenizer", "bytes", "--to", tmp_path / "all")
    call("export", tmp_path / "all", "--format", "megatron", "--name", "all_text", "--to", tmp_path / "merged")
    texts = [bytes(document[:-1]).decode() for document in read_pair(tmp_path / "merged" / "all_text")]
    assert texts == ["one", "zwei", "three", "four"]


def test_pairs_of_different_types_are_refused(tmp_path: Path) -> None:
    """Ids of two bytes and of four in one directory are an error that names both pairs; each kind by itself is taken,
    and the two can be joined."""
    for name, *kind in (("narrow", "<u2", 8), ("wide", "<i4", 4)):
        (tmp_path / "in" / name).mkdir(parents=True)
        _write_pair(tmp_path / "in" / name / "a_text", [[*name.encode(), 256]], *kind)
    with pytest.raises(JobError, match=r"wide/a_text\.idx: its ids are int32, those of .*narrow/a_text\.idx uint16"):
        call("import", tmp_path / "in", "--format", "megatron", "--tokenizer", "bytes", "--to", tmp_path / "all")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    for name in ("narrow", "wide"):
        given = ("--format", "megatron", "--tokenizer", "bytes", "--to", tmp_path / name)
        call("import", tmp_path / "in" / name, *given)
    call("concat", tmp_path / "narrow", tmp_path / "wide", "--to", tmp_path / "all")
    call("export", tmp_path / "all", "--format", "megatron", "--name", "all_text", "--to", tmp_path / "merged")
    texts = [bytes(document[:-1]).decode() for document in read_pair(tmp_path / "merged" / "all_text")]
    assert texts == ["narrow", "wide"]


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_half_a_pair_is_refused(suffix: str, tmp_path: Path) -> None:
    """A file of a directory of pairs whose partner is missing is named, and nothing is merged."""
    (tmp_path / "in").mkdir()
    for name in ("a_text", "b_text"):
        _write_pair(tmp_path / "in" / name, [[*b"one", 256]])
    (tmp_path / "in" / f"b_text{suffix}").unlink()
    with pytest.raises(JobError, match="b_text"):
        call("import", tmp_path / "in", "--format", "megatron", "--tokenizer", "bytes", "--to", tmp_path / "all")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_pairs_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    """Ids that the named tokenizer does not have are an error that names the file: no pair is taken on faith."""
    _write_pair(tmp_path / "a_text", [[70_000, 256]], "<i4", 4)
    with pytest.raises(SourceError, match="a_text"):
        call("import", tmp_path, "--format", "megatron", "--tokenizer", "bytes", "--to", tmp_path / "all")


def test_nanotron_of_today(machine: Machine, rows: Rows, small_tokenizer: Path) -> None:
    """The same shards as `.ds`, `.ds.index` and `.ds.metadata` hold the same documents, without a second payload."""
    out = machine.root / "ds"
    call("export", machine.root / "shards" / "text", "--format", "datatrove", "--to", out)
    found: list[list[int]] = []
    for path in sorted((out / "train").glob("*.ds")):
        ends = np.fromfile(f"{path}.index", "<u8").astype(np.int64)
        found += [piece.tolist() for piece in np.split(np.fromfile(path, "<u2"), ends[:-1])]
        name, size = Path(f"{path}.metadata").read_text().split("\n")[0].split("|")
        assert (name, size, path.stat().st_nlink) == (str(small_tokenizer), "2", 2)
    assert found == expected(rows, "text", small_tokenizer, EOD)


def test_blends_and_splits(machine: Machine) -> None:
    """`{prefix: weight}` is a mixture, `949,50,1` a split by document order; neither needs an index cache."""
    shards = machine.root / "shards"
    before = set(machine.root.rglob("*"))
    parts = [TokenDataset(shards / "text", 64, split=f"949,50,1:{name}") for name in ("train", "valid", "test")]
    whole = TokenDataset(shards / "text", 64)
    assert sum(part.documents for part in parts) == whole.documents == 60
    mixture = MixtureDataset([parts[0], TokenDataset(shards / "text", 64, split="949,50,1:valid")], weights=[0.8, 0.2])
    batch = next(iter(DataLoader(mixture, 8, seed=1234)))
    assert batch.input_ids.shape == (8, 64)
    assert set(machine.root.rglob("*")) == before
