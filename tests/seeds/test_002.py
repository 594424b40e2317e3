"""Seed 002, nanoGPT-extra: its checklist, line by line, with the real commands. The page is docs/seeds/002.md."""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xxhash

from provision.errors import ProvisionError
from shard.errors import ShardError
from shard.tokenizer.ranks import RANK_FILES
from tests.support.oracle import tiktoken_encode
from tests.support.rules import nanogpt_batch
from tests.support.seeds import Machine, call, payload

EOT = 50256


@dataclass(frozen=True)
class Prepared:
    """Two corpora, each prepared alone, and both as one; the ranks of GPT-2."""

    machine: Machine
    encode: Callable[[str], list[int]]
    """By tiktoken; r50k_base is what GPT-2 has."""
    tokenizer: Path
    texts: list[str]
    """In the order of their files: those of `a`, then those of `b`."""

    def run(self, dataset: str, to: str, *arguments: object) -> Path:
        options = ("--tokenizer", self.tokenizer, "--drop-empty-lines", "--holdout-rate", "0")
        return self.machine.launch(dataset, to, *options, *arguments)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, documents: list[str], rank_directory: Path) -> Prepared:
    """`a` is text files, `b` archives of them, as the seed has it; `both` is the folder with the two."""
    machine = Machine(tmp_path_factory.mktemp("002"))
    texts = [f"{text}\n\n  \nlast line" for text in documents[:200]]
    both = machine.root / "both"
    for name in ("a", "b"):
        (both / name).mkdir(parents=True)
        (machine.root / name).symlink_to(both / name)
    for number, text in enumerate(texts[:100]):
        (both / "a" / f"{number:06d}.txt").write_text(text, encoding="utf-8", newline="")
    for archive in range(2):
        with tarfile.open(both / "b" / f"{archive}.tar", "w") as tar:
            for number in range(100 + 50 * archive, 150 + 50 * archive):
                path = machine.root / f"{number}.txt"
                path.write_text(texts[number], encoding="utf-8", newline="")
                tar.add(path)
                path.unlink()
    ranks = RANK_FILES["r50k_base"]
    tokenizer = machine.root / "gpt2.tiktoken"
    tokenizer.write_bytes((rank_directory / ranks.cache_name).read_bytes())
    made = Prepared(machine, tiktoken_encode("r50k_base", rank_directory), tokenizer, texts)
    for name in ("a", "b", "both"):
        made.run(name, f"shards/{name}")
    return made


def dropped(text: str) -> str:
    """Without lines of white space; only line feeds end lines."""
    *lines, last = text.split("\n")
    return "".join(line for line in (*(f"{line}\n" for line in lines), last) if line.strip())


def test_text_and_archives_as_gpt2_tokens(prepared: Prepared) -> None:
    """Every file and every member is one document, its empty lines dropped, 50256 behind it; nothing else is there."""
    expected: list[int] = []
    for text in prepared.texts:
        expected += [*prepared.encode(dropped(text)), EOT]
    found = np.frombuffer(payload(prepared.machine.root / "shards" / "both"), "<u2")
    assert found.tolist() == expected


def test_archives_that_are_called_txt(prepared: Prepared) -> None:
    """Archives with .txt behind their names, as the seed has them, are refused as text, and read when it is said that
    they are archives."""
    root = prepared.machine.root
    (root / "renamed").mkdir()
    for archive in (root / "b").iterdir():
        (root / "renamed" / archive.with_suffix(".txt").name).write_bytes(archive.read_bytes())
    refused = prepared.machine.run("plan", "--dataset", "renamed", "--tokenizer", "bytes", code=2)
    assert "0.txt: a tar archive; give it with --include, and --input-format tar" in refused.stderr
    prepared.run("renamed", "shards/renamed", "--include", "*.txt", "--input-format", "tar")
    assert payload(root / "shards" / "renamed") == payload(root / "shards" / "b")


def test_cat_equals_preparing_both(prepared: Prepared) -> None:
    """`cat a.bin b.bin` is what preparing a and b together gives; so is concat."""
    shards = prepared.machine.root / "shards"
    both = payload(shards / "both")
    assert payload(shards / "a") + payload(shards / "b") == both
    call("concat", shards / "a", shards / "b", "--to", shards / "joined")
    assert payload(shards / "joined") == both


def test_append(prepared: Prepared) -> None:
    """`cat a.bin >> b.bin` is an append of the files of a: what was there is not touched, the new comes behind it."""
    shards = prepared.machine.root / "shards"
    before, new = payload(shards / "b"), payload(shards / "a")
    directories = ("--holdout-dir", shards / "b_holdout", "--tokenizer", prepared.tokenizer)
    given = ("--dataset", "a", "--drop-empty-lines", "--holdout-rate", "0", "--plain")
    prepared.machine.run("append", shards / "b", *directories, *given)
    assert payload(shards / "b") == before + new


def test_size_and_disk(prepared: Prepared) -> None:
    """The tokens take 0.3 to 0.7 of the text, with indexes and records, too; no copy of the text is anywhere."""
    machine = prepared.machine
    shards = machine.root / "shards" / "both"
    text = sum(len(text.encode()) for text in prepared.texts)
    print(f"tokens take {len(payload(shards)) / text:.3f} of the text")
    assert 0.3 < len(payload(shards)) / text < 0.7
    assert sum(path.stat().st_size for path in shards.iterdir()) < 0.7 * text
    sources = set((machine.root / "both").rglob("*"))
    for path in machine.root.rglob("*"):
        if path.is_file() and path.resolve() not in sources:
            assert prepared.texts[0][:100].encode() not in path.read_bytes(), path


def test_resume_skips_finished_archives(prepared: Prepared) -> None:
    """Launched again after a crash, only the archive that was not finished is done; the others are not touched."""
    shards = prepared.machine.root / "shards" / "both"
    before = payload(shards)
    units = sorted(shards.glob("[0-9]*.json"))
    assert len(units) == 3, "the text files, and each archive"
    for suffix in (".json", ".bin", ".idx"):
        units[-1].with_suffix(suffix).unlink()
    kept = {path: path.stat() for path in shards.glob("[0-9]*.*")}
    prepared.run("both", "shards/both")
    assert payload(shards) == before
    for path, stat in kept.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def test_train_and_val(prepared: Prepared) -> None:
    """`train.bin` and `val.bin`, nothing but uint16: 0.0005 of the documents are in val, by the hash of their text, and
    nanoGPT's windows come out of them."""
    machine = prepared.machine
    lines = [line for text in prepared.texts for line in text.split("\n") if line.strip()]
    (machine.root / "lines").mkdir()
    (machine.root / "lines" / "a.txt").write_text("\n".join(lines), encoding="utf-8", newline="")
    options = ("--document-per-line", "--drop-empty-lines", "--holdout-rate", "0.0005")
    machine.launch("lines", "line", "--tokenizer", prepared.tokenizer, *options)
    out = machine.root / "data" / "mine"
    call("export", machine.root / "line", machine.root / "line_holdout", "--format", "nanogpt", "--to", out)
    held = [xxhash.xxh3_64_intdigest(line.encode()) < 0.0005 * 2**64 for line in lines]
    assert any(held)
    for name, side in (("train", False), ("val", True)):
        chosen = [line for line, out_ in zip(lines, held, strict=True) if out_ is side]
        wanted = [token for line in chosen for token in (*prepared.encode(line), EOT)]
        assert np.fromfile(out / f"{name}.bin", "<u2").tolist() == wanted
    starts, inputs, labels = nanogpt_batch(out / "train.bin", 4, 64, np.random.default_rng(1))
    tokens = np.fromfile(out / "train.bin", "<u2")
    assert inputs[0].tolist() == tokens[starts[0] : starts[0] + 64].tolist()
    assert labels[0].tolist() == tokens[starts[0] + 1 : starts[0] + 65].tolist()


def test_wide_vocabularies_are_refused(prepared: Prepared, cl100k_directory: Path, tmp_path: Path) -> None:
    """A vocabulary over 65,536 does not fit nanoGPT's files: refused before anything starts."""
    wide = tmp_path / "wide.tiktoken"
    wide.write_bytes((cl100k_directory / RANK_FILES["cl100k_base"].cache_name).read_bytes())
    (tmp_path / "hosts.txt").write_text("localhost 1\n")
    given = ("--dataset", prepared.machine.root / "a", "--tokenizer", wide, "--hosts", tmp_path / "hosts.txt")
    for wish in (("--for", "nanogpt"), ("--format", "nanogpt", "--to", tmp_path / "out")):
        with pytest.raises((ProvisionError, ShardError), match="nanogpt"):
            call("plan", *given, *wish)
