"""What an import is told."""

from dataclasses import dataclass
from typing import Literal

from shard.errors import JobError
from shard.records.job import TokenizerSpec


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """See the formats for what each makes of them."""

    tokenizer: TokenizerSpec
    """That made the ids; its end-of-document id is the one in the files."""
    ids: Literal["uint16", "uint32"] | None = None
    """Type of the ids in files that do not say it (nanogpt); None for the one that the tokenizer needs."""

    def require_eod(self, format_name: str) -> int:
        """The end-of-document id. Raises JobError where there is none."""
        if self.tokenizer.eod_id is None:
            raise JobError(
                f"--eod none: {format_name} has no index, only the end-of-document id says where a document ends"
            )
        return self.tokenizer.eod_id

    def require_no_ids(self, format_name: str) -> None:
        """Raise JobError where a type was given that the files say themselves."""
        if self.ids is not None:
            raise JobError(f"--ids {self.ids}: the files of {format_name} say themselves how wide their ids are")
