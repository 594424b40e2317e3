"""What a plan will cost, before anything is read: tokens, disk, time. Rules of thumb, said where they are shown."""

from collections.abc import Collection
from dataclasses import dataclass

from provision.plan.plan import HostPlan, Plan
from shard.formats.signatures import HEADER_BYTES, signatures_size
from shard.records.inputs import kind_of

TOKENS_PER_SOURCE_BYTE = 0.36
"""FineWeb's snappy Parquet under a 50 k vocabulary; a denser or larger one gives fewer."""
COMPRESSED_BYTES_PER_TOKEN = 1.35
"""Of web text at the fastest level; the default level takes 0.07 less."""
_TEXT_PER_PARQUET_BYTE = 1.6
_TEXT_PER_BYTE = 1.0
_TEXT_PER_COMPRESSED_BYTE = 2.6
"""Of files in gzip or zstd."""
RANK_BYTES_PER_SECOND = 90e6
_SIGNING_RATE = 0.32
"""Of a rank that makes signatures of 64 values as well, beside one that does not."""
LINK_BYTES_PER_SECOND = 110e6
_DOCUMENT_BYTES = 2700
"""Source bytes per document there: what the 20 bytes of index per document cost."""
_SIDECAR_BYTES = {"megatron": 0, "nanogpt": 0, "datatrove": 8, "olmo": 16}
"""Per document, beside that; other names of the payload cost nothing."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a host will write."""

    train: int
    holdout: int
    scratch: int
    """Whole source files of the units under way, beside the shards."""


def disk_needed(plan: Plan, source_bytes: int) -> int:
    """Bytes of shards, train and holdout, for so many bytes of source."""
    width = 2.0 if plan.tokenizer.dtype == "uint16" else 4.0
    if plan.identity.compression is not None:
        width = COMPRESSED_BYTES_PER_TOKEN
    per_byte = _TEXT_PER_PARQUET_BYTE * _density(plan) if plan.tokenizer.kind == "bytes" else tokens_per_byte(plan)
    per_document = 20 + sum(_SIDECAR_BYTES[trainer] for trainer in plan.options.trainers)
    if plan.options.signatures is not None:
        per_document += signatures_size(plan.options.signatures, 1) - HEADER_BYTES
    return int(source_bytes * (per_byte * width + per_document / _DOCUMENT_BYTES * _density(plan)))


def tokens_per_byte(plan: Plan) -> float:
    """Of source."""
    return TOKENS_PER_SOURCE_BYTE * _density(plan)


def _density(plan: Plan) -> float:
    """Text per byte of source, of Parquet 1; by the first file, which the others are mostly like."""
    kind = kind_of(plan.units[0].path, plan.dataset.input) if plan.units else None
    if kind is None or kind.format == "parquet":
        return 1.0
    per_byte = _TEXT_PER_BYTE if kind.compression is None else _TEXT_PER_COMPRESSED_BYTE
    return per_byte / _TEXT_PER_PARQUET_BYTE


def room_needed(plan: Plan, host: HostPlan, done: Collection[int]) -> Room:
    """What a host still has to write; units in `done` are committed."""
    pending = [plan.unit(ordinal) for ordinal in host.units if ordinal not in done]
    shards = disk_needed(plan, sum(unit.bytes for unit in pending))
    held_out = int(shards * plan.holdout.rate)
    downloads = bool(plan.hub_datasets) and plan.options.fetch == "download"
    # A rank holds one file at a time; of a file that is cut into units, several ranks may each have a copy.
    files = sorted((unit.size for unit in pending), reverse=True)[: host.ranks] if downloads else []
    return Room(shards - held_out, held_out, sum(files))


def seconds_needed(plan: Plan, source_bytes: int, ranks: int) -> float:
    """For a host with so many ranks."""
    scheme = plan.options.signatures
    rank = RANK_BYTES_PER_SECOND * (_SIGNING_RATE if scheme is not None and scheme.kind == "minhash" else 1.0)
    return source_bytes / min(LINK_BYTES_PER_SECOND, ranks * rank)
