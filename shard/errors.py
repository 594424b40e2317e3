"""Errors of the worker: one root; each class says its exit code and whether trying again can help.

Exit codes match the launcher's: 0 done, 1 something is missing, 2 the input was refused, 130 stopped.
"""


class ShardError(Exception):
    """Root of everything a worker reports."""

    exit_code = 1
    retryable = False
    """Whether another attempt at the same unit may succeed."""


class JobError(ShardError):
    """The job file cannot be read, or says something impossible."""

    exit_code = 2


class StoreError(ShardError):
    """An output directory cannot be used as it is."""

    exit_code = 2


class FingerprintError(StoreError):
    """An output directory holds shards of another fingerprint; the message names the differing fields."""


class DirectoryInUseError(StoreError):
    """Another run is writing to the same output directory."""


class DiskFullError(ShardError):
    """No space, quota or inodes left for a shard. The unit stays pending and resumes after space is freed."""


class SourceError(ShardError):
    """A source file cannot be used: truncated, corrupt, changed, or without the text column."""


class SourceKindError(SourceError):
    """A source file is of another kind than it is said to be, or has no text where it is said to be."""


class SourceChangedError(SourceError):
    """A source file is not the one that was planned: size, etag or content differ."""


class SourceReadError(SourceError):
    """Bytes of a source file could not be had; another attempt may succeed."""

    retryable = True


class TokenizerError(ShardError):
    """The tokenizer cannot be loaded."""

    exit_code = 2


class TokenMismatchError(ShardError):
    """The fast engine and the reference gave different tokens for a document; the unit was not written."""


class VerificationError(ShardError):
    """What is on disk is not what the records say."""


class LoaderError(ShardError):
    """A loader cannot be made as it was asked for: the message says of which argument."""

    exit_code = 2


class LoaderStateError(LoaderError):
    """A loader's state is of another dataset, context length, seed, packing or batch size; the message names them."""


class ShardChangedError(ShardError):
    """A shard under a running loader was deleted, cut short or replaced."""
