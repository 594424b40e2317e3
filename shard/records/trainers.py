"""`--for`: trainers that read the payload as it lies, the names and sidecars they want beside it, and what they ask of
it (pure).

All four take a flat stream of ids without a header, so one payload serves them. Sources: docs/formats.md.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from shard.records.frozen import require

Trainer = Literal["megatron", "nanogpt", "datatrove", "olmo"]

SUFFIXES: Mapping[Trainer, tuple[str, ...]] = {
    "megatron": (),  # its index stands beside every payload
    "nanogpt": (),  # the payload is its file
    "datatrove": ("ds", "ds.index", "ds.metadata"),
    "olmo": ("npy", "csv.gz"),
}
"""Trainer → what stands beside a payload for it, as suffixes of the shard's name."""

ALIASES = frozenset({"ds", "npy"})
"""Of these, other names of the payload."""

SIGNATURES = "sig"
"""What `--signatures` has beside a payload: see shard/dedup."""

SIDECARS = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes) | {SIGNATURES}
"""All that may stand beside a payload and its index."""


def sidecars_for(trainers: Iterable[Trainer], tokens: int) -> tuple[str, ...]:
    """The suffixes beside a payload of so many tokens. None for an empty one: readers map files, and cannot map it."""
    return tuple(sorted({suffix for trainer in trainers for suffix in SUFFIXES[trainer]})) if tokens else ()


def require_served(
    trainers: Iterable[Trainer], *, tokenizer: str, vocab_size: int, dtype: str, eod_id: int | None
) -> None:
    """Raise JobError where a trainer could not read, or would misread, tokens of this kind."""
    for trainer in trainers:
        require(
            trainer != "nanogpt" or dtype == "uint16",
            f"--for nanogpt: it reads uint16, and would take every {dtype} of {tokenizer}, which has {vocab_size} "
            "tokens, for two; leave nanogpt out, or choose a tokenizer of at most 65536",
        )
        require(
            trainer not in {"nanogpt", "olmo"} or eod_id is not None,
            f"--for {trainer}: it finds documents by their end-of-document id, and --eod none writes none; leave "
            f"{trainer} out, or give an id",
        )
        require(
            trainer != "datatrove" or not {"|", "\n"} & set(tokenizer),
            f"--for datatrove: the name of tokenizer {tokenizer!r} has a '|' or a line break, which .ds.metadata "
            "cannot hold; rename its file",
        )
