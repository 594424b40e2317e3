"""Verification finds a changed byte wherever it lies."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from shard.errors import JobError
from shard.records.frozen import sealed_json, unsealed
from shard.records.job import Holdout
from shard.verify.stores import verify
from tests.support.jobs import QUICK, compressed_job, make_job, write_corpus
from tests.support.worker import write_all

FLIPS = 1_000


RAW = {".bin", ".idx", ".json", ".ds", ".npy", ".index", ".metadata", ".gz"}
COMPRESSED = {".zst", ".idx", ".json", ".u32"}


@pytest.fixture(params=[RAW, COMPRESSED], ids=["raw", "compressed"])
def directories(request: pytest.FixtureRequest, tmp_path: Path, documents: list[str]) -> tuple[Path, Path]:
    """Three small units with their holdout: raw with sidecars for every trainer, or compressed."""
    corpus = write_corpus(tmp_path / "corpus", [text[:200] for text in documents[:24]], files=3)
    holdout = Holdout(rate=0.3)
    if request.param is COMPRESSED:
        job = compressed_job(corpus, tmp_path, tmp_path / "ranks", frame_tokens=1024, holdout=holdout)
    else:
        options = replace(QUICK, trainers=("megatron", "nanogpt", "datatrove", "olmo"))
        job = make_job(corpus, tmp_path, holdout=holdout, options=options)
    write_all(job, tmp_path / "ranks")
    for name in ("000001.ds", "000001.npy") if request.param is RAW else ():  # as on a file system without links
        path = Path(job.output_dir) / name
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    return Path(job.output_dir), Path(job.holdout_dir)


def test_every_flipped_byte_is_found_in_its_file(directories: tuple[Path, Path]) -> None:
    """A thousand single-byte changes over all files of a host: each is an error that names the file."""
    files = [path for directory in directories for path in sorted(directory.iterdir()) if path.stat().st_size]
    files = [path for path in files if path.name != ".shardfleet.lock"]  # no data, and no record of any
    # A payload with three names is one file, called by the first.
    files = [path for path in files if path.suffix not in {".ds", ".npy"} or path.stat().st_nlink == 1]
    assert {path.suffix for path in files} in (RAW, COMPRESSED)
    chance = random.Random(11)
    missed = []
    for number in range(FLIPS):
        path = files[number % len(files)]
        whole = path.read_bytes()
        at, change = chance.randrange(len(whole)), chance.randrange(1, 256)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
        found = [finding for finding in verify(directories).findings if finding.severity == "error"]
        if not any(finding.file == str(path) for finding in found):
            missed.append((path.name, at, change))
        path.write_bytes(whole)
    assert missed == []
    assert not verify(directories).findings


def test_a_seal_fits_its_content_only() -> None:
    """Whatever byte of a sealed object changes, it is not opened."""
    data = sealed_json({"a": [1, "é"]})
    assert unsealed(data) == '{"a":[1,"é"]}'.encode()
    for at in range(len(data)):
        for change in range(1, 256):
            with pytest.raises(JobError, match="seal"):
                unsealed(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])


@pytest.mark.parametrize("content", [b"", b"{}", b'{"a":1}', b"\xff" * 200])
def test_what_was_never_sealed_is_refused(content: bytes) -> None:
    """An object without a seal is none of ours."""
    with pytest.raises(JobError, match="does not end with its seal"):
        unsealed(content)
