"""What a user may choose about an export, and what every format can be asked about its input."""

import re
from dataclasses import dataclass

from shard.errors import JobError
from shard.records.job import TokenizerSpec
from shard.records.shards import Split
from shard.storage.stored import Stored

UINT16_VOCABULARY = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """See the formats for what each makes of them."""

    context_length: int | None = None
    """Tokens of a sample, where the format cuts samples; None for one sample per document."""
    shard_tokens: int | None = None
    """Tokens of an output file at which the next begins; None for what is customary in the format."""
    name: str | None = None
    """What files are called where the format has a name in them; None for what is customary."""
    local_ranks: int | None = None
    """Of a host that trains, where the format must have a share for each (catid); None for eight."""

    test_rows: int | None = None
    """Rows of the train split that become the test split, where the format has rows and the holdout is left out."""

    def __post_init__(self) -> None:
        for field in ("context_length", "shard_tokens", "local_ranks", "test_rows"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise JobError(f"{field.replace('_', ' ')} {value}: must be positive")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise JobError(f"name {self.name!r}: only letters, digits, - and _ may be in it")


def require_exportable(format_name: str, tokenizer: TokenizerSpec, context_length: int | None) -> None:
    """Raise JobError for an export that could only fail, before there are shards."""
    if format_name in ("nanogpt", "llmc") and tokenizer.dtype != "uint16":
        raise JobError(
            f"--format {format_name}: its readers take uint16, and {tokenizer.name} has {tokenizer.vocab_size} ids; "
            f"choose another format, or a tokenizer of at most {UINT16_VOCABULARY}"
        )
    if format_name == "llmc" and tokenizer.eod_id is None:
        raise JobError("--format llmc with --eod none: its readers find documents by the end-of-document id")
    if format_name == "parquet-packed" and context_length is None:
        raise JobError("--format parquet-packed needs --context-length")


def short_name(split: Split) -> str:
    """What trainers call the split: `train` or `val`."""
    return "train" if split == "train" else "val"


def require_uint16(stored: Stored, reader: str) -> None:
    """Raise JobError where the reader takes two bytes for a token and the vocabulary needs more."""
    tokenizer = stored.record.tokenizer
    if stored.record.dtype != "uint16":
        raise JobError(
            f"{stored.directory}: tokens are {stored.record.dtype}, as {tokenizer.name} has {tokenizer.vocab_size}; "
            f"{reader} reads uint16 and would take every token for two. Choose a format that holds 4 bytes, or a "
            f"tokenizer of at most {UINT16_VOCABULARY}"
        )


def require_eod(stored: Stored, why: str) -> int:
    """The end-of-document id. Raises JobError where documents end without one."""
    eod = stored.record.tokenizer.eod_id
    if eod is None:
        raise JobError(f"{stored.directory}: written with --eod none; {why}. Run again with an end-of-document id")
    return eod


def require_no_context_length(options: ExportOptions, format_name: str, why: str) -> None:
    if options.context_length is not None:
        raise JobError(f"--context-length {options.context_length}: {format_name} has no samples in it; {why}")


def require_no_shard_size(options: ExportOptions, format_name: str, why: str) -> None:
    if options.shard_tokens is not None:
        raise JobError(f"--shard-size {options.shard_tokens}: {format_name} {why}")
