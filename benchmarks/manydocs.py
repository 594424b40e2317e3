"""A directory with one shard of many short documents, like those of another directory in all that they have in common.

python -m benchmarks.manydocs SOURCE TARGET DOCUMENTS
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from shard.formats.megatron import index_bytes

DOCUMENT_TOKENS = 64


def write_many(source: Path, target: Path, documents: int) -> None:
    """Unit 0 with `documents` documents of 64 tokens, cut from the payload of the source's first shard."""
    shutil.copy(source / "dataset.json", target)
    common = json.loads((source / "dataset.json").read_text())
    record = json.loads((source / "000000.json").read_text())
    dtype = np.dtype(common["dtype"]).newbyteorder("<")
    tokens = np.fromfile(source / "000000.bin", dtype=dtype)
    # [documents, DOCUMENT_TOKENS], the last of each the end of document
    grid = np.resize(tokens, (documents, DOCUMENT_TOKENS))
    if (eod := common["tokenizer"]["eod_id"]) is not None:
        grid[:, -1] = eod
    payload = grid.tobytes()
    index = index_bytes([np.full(documents, DOCUMENT_TOKENS, dtype=np.int32)], common["dtype"])
    (target / "000000.bin").write_bytes(payload)
    (target / "000000.idx").write_bytes(index)
    facts = {
        "unit": 0,
        "documents": documents,
        "tokens": grid.size,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    (target / "000000.json").write_text(json.dumps(record | facts))


if __name__ == "__main__":
    write_many(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
