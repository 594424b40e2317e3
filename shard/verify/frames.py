"""A compressed payload against its record: the bytes of the file, then the tokens that they are decoded to."""

import hashlib
from pathlib import Path

from shard.formats.frames import Codec
from shard.records.shards import Compressed, ShardRecord
from shard.storage.disk import file_sha256
from shard.storage.framereader import FrameReader
from shard.verify.tokens import TokenCheck


def check_frames(
    path: Path, record: ShardRecord, compressed: Compressed, codec: Codec | None, tokens: TokenCheck, named: str
) -> list[str]:
    """What is wrong with a `.zst` file. Without a codec its tokens are not looked at.

    Raises OSError, and VerificationError for frames that are not what a codec makes.
    """
    size = path.stat().st_size
    if size != compressed.bytes:
        return [f"{size} bytes; {named} says {compressed.bytes}"]
    digest = file_sha256(path)
    if digest != compressed.sha256:
        return [f"sha256 {digest}; {named} says {compressed.sha256}"]
    return [] if codec is None else _check_tokens(path, record, codec, tokens, named)


def _check_tokens(path: Path, record: ShardRecord, codec: Codec, tokens: TokenCheck, named: str) -> list[str]:
    if record.payload_bytes != record.tokens * codec.dtype.itemsize:
        return [f"{record.tokens} tokens of {codec.dtype} are not the {record.payload_bytes} payload bytes of {named}"]
    raw = hashlib.sha256()
    with FrameReader(path, codec, record.tokens) as reader:
        for decoded in reader.frames():
            raw.update(decoded.data)
            tokens.look_at(decoded)
    problems = tokens.problems()
    if raw.hexdigest() != record.payload_sha256:
        problems.append(f"its tokens have sha256 {raw.hexdigest()}; {named} says {record.payload_sha256}")
    return problems
