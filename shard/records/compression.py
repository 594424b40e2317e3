"""`--compress`: what decides the bytes of a compressed store (no I/O). Layout: docs/formats.md."""

import re
from typing import Literal

from shard.records.frozen import Record, require

RANKS_FILE = "ranks.u32"
"""In every compressed directory: token ids in order of rank."""

DEFAULT_LEVEL = 9
DEFAULT_FRAME_TOKENS = 1 << 18
LEVELS = (1, 19)
FRAME_TOKENS = (1 << 10, 1 << 24)
"""Least and most. A frame is what is decoded for one token; in smaller ones headers cost more than they spare."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Compression(Record, frozen=True, kw_only=True):
    """How payloads are compressed."""

    codec: Literal["rank16-zstd"] = "rank16-zstd"
    """Frequency ranks as uint16, rarer ids behind them as uint32, in independent zstd frames."""
    level: int = DEFAULT_LEVEL
    frame_tokens: int = DEFAULT_FRAME_TOKENS
    """Tokens of a frame; the last of a shard has what is left."""
    ranks_sha256: str = ""
    """Of the rank table; empty while it is still to be made."""

    def __post_init__(self) -> None:
        for name, (least, most) in (("level", LEVELS), ("frame_tokens", FRAME_TOKENS)):
            value = getattr(self, name)
            require(least <= value <= most, f"compression {name} {value} is not from {least} to {most}")
        require(
            not self.ranks_sha256 or bool(_SHA256.fullmatch(self.ranks_sha256)),
            f"compression: sha256 of the rank table {self.ranks_sha256!r}",
        )
