"""The first of many equal shards of many short documents, in a directory that is like another one in all else.

python -m benchmarks.manydocs SOURCE TARGET DOCUMENTS SHARDS
"""

import hashlib
import sys
from pathlib import Path

import msgspec
import numpy as np

from shard.formats.megatron import index_bytes
from shard.formats.payload import DTYPES
from shard.records.frozen import sealed_json
from shard.records.shards import read_directory, read_shard

DOCUMENT_TOKENS = 64


def write_many(source: Path, target: Path, documents: int, shards: int) -> None:
    """dataset.json of so many units, and unit 0 with `documents` documents of 64 tokens, cut from the payload of the
    source's first shard."""
    common, first = read_directory(source), read_shard(source, "000000")
    identity = msgspec.structs.replace(common.identity, units=shards)
    common = msgspec.structs.replace(common, identity=identity, fingerprint=identity.fingerprint)
    (target / "dataset.json").write_bytes(sealed_json(common))
    tokens = np.fromfile(source / "000000.bin", dtype=DTYPES[common.dtype])
    # [documents, DOCUMENT_TOKENS], the last of each the end of document
    grid = np.resize(tokens, (documents, DOCUMENT_TOKENS))
    if common.tokenizer.eod_id is not None:
        grid[:, -1] = common.tokenizer.eod_id
    payload = grid.tobytes()
    index = index_bytes([np.full(documents, DOCUMENT_TOKENS, dtype=np.int32)], common.dtype)
    (target / "000000.bin").write_bytes(payload)
    (target / "000000.idx").write_bytes(index)
    record = msgspec.structs.replace(
        first,
        fingerprint=identity.fingerprint,
        documents=documents,
        tokens=grid.size,
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
        sidecars={},
    )
    (target / "000000.json").write_bytes(sealed_json(record))


if __name__ == "__main__":
    write_many(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
