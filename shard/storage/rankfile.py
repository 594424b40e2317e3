"""The rank table on disk, beside a job or beside the shards that are coded by it."""

from pathlib import Path

from shard.errors import VerificationError
from shard.formats.frames import Codec
from shard.formats.ranks import read_table, sha256_of
from shard.records.compression import RANKS_FILE
from shard.records.job import Identity


def read_codec(directory: Path, identity: Identity) -> Codec | None:
    """The codec of shards of this identity, by the table in a directory; None where they are raw.

    Raises VerificationError, naming the table, when it is missing or another.
    """
    compression = identity.compression
    if compression is None:
        return None
    path = directory / RANKS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path}: {error.strerror}; without it no compressed shard can be read") from error
    if (digest := sha256_of(data)) != compression.ranks_sha256:
        raise VerificationError(f"{path}: sha256 {digest}; the shards were coded by {compression.ranks_sha256}")
    return Codec(compression, read_table(data, identity.vocab_size, identity.dtype, where=str(path)), identity.dtype)
