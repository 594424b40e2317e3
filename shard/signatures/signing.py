"""Signatures of a shard that is there, from its tokens."""

import os
from pathlib import Path

from shard.records.dedup import Scheme
from shard.signatures.rows import SignatureFile, rows_of
from shard.signatures.text import TokenBytes
from shard.storage.stored import StoredShard


def sign_shard(shard: StoredShard, table: TokenBytes, scheme: Scheme, path: Path) -> str:
    """Write the signatures of a shard, by temporary name and rename; the caller syncs the directory.

    Returns the sha256. Raises VerificationError for a damaged shard, DiskFullError.
    """
    file = SignatureFile(path.with_name(f".{path.name}.{os.getpid()}.tmp"), scheme)
    try:
        for block in shard.blocks():
            for batch in table.texts(block):
                file.write(rows_of(batch, scheme))
        digest = file.finish()
        file.temporary.replace(path)
    finally:
        file.discard()
    return digest
