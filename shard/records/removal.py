"""Documents of shards that are there already to be left out, in place of tokenizing; as a frozen record."""

import re

from shard.records.frozen import Record, require, require_directory

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Removal(Record, frozen=True, kw_only=True):
    """What a host writes anew, and where the lists of what is left out are."""

    output_dir: str
    """Of the shards that are there; `~` is the host's home."""
    holdout_dir: str
    fingerprint: str
    """Theirs."""
    lists_sha256: str
    """Of what is removed from the whole dataset."""

    def __post_init__(self) -> None:
        require_directory("removal output_dir", self.output_dir)
        require_directory("removal holdout_dir", self.holdout_dir)
        for digest in (self.fingerprint, self.lists_sha256):
            require(bool(_SHA256.fullmatch(digest)), f"removal: {digest!r} is no sha256")

    @property
    def lists_file(self) -> str:
        """Name of the file with the lists of a host's units, beside its job."""
        return lists_file(self.lists_sha256)


def lists_file(sha256: str) -> str:
    """The same, of the hash."""
    return f"removed-{sha256[:16]}.zip"
