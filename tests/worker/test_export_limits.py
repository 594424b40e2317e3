"""shard/export: what readers cannot take, and targets that cannot be written."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pytest

from shard.errors import DiskFullError, JobError, StoreError
from shard.export.options import ExportOptions
from shard.export.run import FORMATS, export
from shard.formats.megatron import index_bytes
from shard.records.frozen import sealed_json
from shard.records.job import Holdout, TokenizerSpec
from shard.records.shards import read_shard
from tests.support import disks
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all

CONTEXT = 64
Contents = dict[str, bytes]


def make_store(root: Path, documents: list[str], *, tokenizer: TokenizerSpec = BYTES_SPEC, rate: float = 0.3) -> Path:
    """Train and holdout shards of four units under `root`; returns it."""
    job = make_job(
        write_corpus(root / "corpus", documents, files=4), root, tokenizer=tokenizer, holdout=Holdout(rate=rate)
    )
    write_all(job, root)
    return root


def contents(directory: Path) -> Contents:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def options_for(name: str) -> ExportOptions:
    """What a format cannot do without over these shards."""
    return ExportOptions(
        context_length=CONTEXT if name == "parquet-packed" else None,
        shard_tokens=20_000 if name == "llmc" else None,
        local_ranks=2 if name == "catid" else None,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Sixty documents, 18 of them held out."""
    return make_store(tmp_path_factory.mktemp("store"), documents[:60])


@pytest.fixture
def own_store(store: Path, tmp_path: Path) -> Path:
    """The same, free to be changed."""
    return shutil.copytree(store, tmp_path / "store")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Another file system, of 256 kB: none of the exports fits."""
    with disks.small_disk(tmp_path / "disk", "256k") as mount:
        yield mount


# What readers cannot take


@pytest.mark.parametrize("name", ["nanogpt", "llmc"])
def test_readers_of_two_bytes_refuse_four(name: str, documents: list[str], tmp_path: Path) -> None:
    """A vocabulary above 65,536 is refused where the reader knows no other width: nothing is written."""
    wide = msgspec.structs.replace(BYTES_SPEC, name="large", vocab_size=100_277)
    root = make_store(tmp_path / "store", documents[:8], tokenizer=wide)
    with pytest.raises(JobError, match=r"uint32, as large has 100277; .* reads uint16"):
        export([root / "train"], name, tmp_path / "out", options_for(name))
    assert not (tmp_path / "out").exists()


def test_llmc_files_stay_below_two_gigabytes(store: Path, tmp_path: Path) -> None:
    """A size that llm.c could not seek in is refused, one token less is not; the size is named."""
    largest = 1_000_000_000
    assert 1024 + 2 * largest < 1 << 31
    with pytest.raises(JobError, match=rf"--shard-size {largest + 1}: llm\.c cannot seek past 2 GiB"):
        export([store / "holdout"], "llmc", tmp_path / "out", ExportOptions(shard_tokens=largest + 1))
    export([store / "holdout"], "llmc", tmp_path / "out", ExportOptions(shard_tokens=largest))


@pytest.mark.parametrize("name", ["llmc"])
def test_documents_without_an_end_are_refused(name: str, documents: list[str], tmp_path: Path) -> None:
    """modded-nanogpt finds documents by their id: shards without one are refused."""
    endless = msgspec.structs.replace(BYTES_SPEC, eod_id=None)
    root = make_store(tmp_path / "store", documents[:8], tokenizer=endless)
    with pytest.raises(JobError, match="--eod none"):
        export([root / "train"], name, tmp_path / "out", options_for(name))


@pytest.mark.parametrize(("ranks", "number"), [*product([1, 2, 4, 7, 9], [5, 18, 42])])
def test_catid_has_spans_for_every_rank(ranks: int, number: int, tmp_path: Path) -> None:
    """A split is refused exactly where it has fewer than R·(R-1) documents; the ranks that are proposed then will do.

    The loader gives each rank ceil(N / R) spans: none of an export leaves the last rank with less than none.
    """
    root = make_store(tmp_path / "store", [f"document {i}" for i in range(number)], rate=0.0)
    if number < ranks * (ranks - 1):
        with pytest.raises(JobError, match=rf"{number} documents, .* take --local-ranks \d ") as caught:
            export([root / "train"], "catid", tmp_path / "out", ExportOptions(local_ranks=ranks))
        assert not (tmp_path / "out").exists()
        ranks = int(str(caught.value).split("--local-ranks ")[1].split()[0])
    export([root / "train"], "catid", tmp_path / "out", ExportOptions(local_ranks=ranks, shard_tokens=1))
    for index in (tmp_path / "out" / "train").glob("index_*.bin"):
        spans = (index.stat().st_size - 14) // 8
        assert -(-spans // ranks) * (ranks - 1) <= spans


def test_catid_takes_eight_ranks_unless_told(store: Path, tmp_path: Path) -> None:
    """Without --local-ranks a split with fewer than 56 documents is refused; other formats do not know the option."""
    with pytest.raises(JobError, match=r"needs 56 for 8 ranks on a host"):
        export([store / "holdout"], "catid", tmp_path / "out", ExportOptions())
    with pytest.raises(JobError, match="--local-ranks 4: only catid's files"):
        export([store / "holdout"], "nanogpt", tmp_path / "out", ExportOptions(local_ranks=4))


def test_catid_refuses_an_empty_span(own_store: Path, tmp_path: Path) -> None:
    """A document that is nothing but its end would stop catid's loader: it is named, nothing is written."""
    train = own_store / "train"
    record = read_shard(train, "000001")
    tokens = np.append(np.fromfile(train / "000001.bin", dtype="<u2"), np.uint16(256))
    lengths = np.frombuffer((train / "000001.idx").read_bytes(), dtype="<i4", offset=34, count=record.documents)
    index = index_bytes([np.append(lengths, np.int32(1))], "uint16")
    changed = msgspec.structs.replace(
        record,
        documents=record.documents + 1,
        tokens=record.tokens + 1,
        payload_bytes=2 * len(tokens),
        payload_sha256=hashlib.sha256(tokens.tobytes()).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    (train / "000001.bin").write_bytes(tokens.tobytes())
    (train / "000001.idx").write_bytes(index)
    (train / "000001.json").write_bytes(sealed_json(changed))
    with pytest.raises(JobError, match=r"document \d+ has no tokens"):
        export([train], "catid", tmp_path / "out", ExportOptions(local_ranks=2))
    assert not (tmp_path / "out").exists()


def test_olmo_says_what_a_config_must_not_have(store: Path, tmp_path: Path) -> None:
    """The export of OLMo's files names the trap of bos = eos; the others have nothing to say."""
    noted = export([store / "train"], "olmo", tmp_path / "olmo", ExportOptions()).note
    assert noted is not None
    assert "bos_token_id" in noted
    assert export([store / "train"], "datatrove", tmp_path / "datatrove", ExportOptions()).note is None


# Targets that cannot be written


@pytest.mark.parametrize("kind", ["directory", "file", "dangling link"])
def test_nothing_is_replaced(kind: str, store: Path, tmp_path: Path) -> None:
    """Whatever stands at the target stays, and is named."""
    target = tmp_path / "out"
    if kind == "directory":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to("nowhere")
    before = os.lstat(target)
    with pytest.raises(StoreError, match=f"{target}: exists"):
        export([store / "train"], "megatron", target, ExportOptions())
    assert os.lstat(target) == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_in_the_way_is_named(store: Path, tmp_path: Path) -> None:
    """A target below a file cannot be made: the error names it."""
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "out"
    with pytest.raises(StoreError, match=str(target)):
        export([store / "train"], "megatron", target, ExportOptions())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.root
@pytest.mark.parametrize("name", FORMATS)
def test_no_space(name: str, store: Path, small_disk: Path) -> None:
    """On a full file system the error names target and reason, nothing is left there, and the shards are as before."""
    before, target = contents(store), small_disk / "out"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    with pytest.raises(DiskFullError, match=rf"{target}: No space left on device; nothing was made"):
        export([store / "train", store / "holdout"], name, target, options_for(name))
    assert os.listdir(small_disk) == ["ballast"]
    assert contents(store) == before


@pytest.mark.root
@pytest.mark.parametrize("name", ["datatrove", "olmo"])
def test_a_file_system_apart(name: str, store: Path, small_disk: Path, tmp_path: Path) -> None:
    """Where links cannot reach, payloads are copied: the same files, all their bytes the export's own."""
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert small_disk.stat().st_dev != store.stat().st_dev
    export([store / "train"], name, tmp_path / "near", ExportOptions())
    done = export([store / "train"], name, small_disk / "far", ExportOptions())
    assert contents(small_disk / "far") == contents(tmp_path / "near")
    assert done.linked_bytes == 0
    assert done.disk_bytes > 2 * done.tokens


@pytest.mark.root
def test_a_file_system_without_links(own_store: Path, tmp_path: Path) -> None:
    """Where link() is not permitted, as on FAT, payloads are copied too.

    What is immutable cannot be linked either, and gives the same error.
    """
    payloads = [str(path) for path in (own_store / "train").glob("[0-9]*.bin")]
    if os.geteuid() != 0 or subprocess.run(["chattr", "+i", *payloads], capture_output=True).returncode != 0:
        pytest.skip("needs root, chattr, and a file system that knows immutable files")
    try:
        with pytest.raises(PermissionError):
            os.link(payloads[0], tmp_path / "link")
        done = export([own_store / "train"], "olmo", tmp_path / "out", ExportOptions())
    finally:
        subprocess.run(["chattr", "-i", *payloads], check=True)
    assert done.linked_bytes == 0
    for payload in map(Path, payloads):
        assert (tmp_path / "out" / "train" / f"{payload.stem}.npy").read_bytes() == payload.read_bytes()
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["splits"]["train"]["units"] == len(payloads)
