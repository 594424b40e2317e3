"""The options that say in what form shards lie on the disk."""

import click

from provision.cli.values import Count, Schemes, Trainers
from shard.errors import JobError
from shard.records.compression import DEFAULT_FRAME_TOKENS, DEFAULT_LEVEL, LEVELS, Compression
from shard.records.trainers import SUFFIXES

for_option = click.option(
    "--for",
    "trainers",
    type=Trainers(),
    default=(),
    metavar="NAMES",
    help=f"Trainers that shall find their files beside the shards, by hard links: {','.join(SUFFIXES)}, or some.",
)

compress_option = click.option(
    "--compress",
    "compress_level",
    is_flag=False,
    flag_value=DEFAULT_LEVEL,
    type=click.IntRange(*LEVELS),
    metavar="[LEVEL]",
    help=f"Write shards compressed, at a zstd level from {LEVELS[0]} to {LEVELS[1]}; {DEFAULT_LEVEL} if none is given.",
)

frame_tokens_option = click.option(
    "--frame-tokens",
    type=Count(),
    metavar="N",
    help=f"With --compress: tokens of a frame; a reader decodes whole ones.  [default: {DEFAULT_FRAME_TOKENS}]",
)


signatures_option = click.option(
    "--signatures",
    is_flag=False,
    flag_value="minhash",
    type=Schemes(),
    metavar="[SCHEME]",
    help="Write beside the shards what 'shardfleet dedup' compares: minhash, exact, or with other values than "
    "minhash,ngram=5,num-perm=64,seed=42.",
)


def compression_of(level: int | None, frame_tokens: int | None) -> Compression | None:
    """What these options mean together. Raises UsageError."""
    if level is None:
        if frame_tokens is not None:
            raise click.UsageError("--frame-tokens is for --compress: give both, or neither")
        return None
    try:
        return Compression(level=level, frame_tokens=DEFAULT_FRAME_TOKENS if frame_tokens is None else frame_tokens)
    except JobError as error:
        raise click.UsageError(f"--frame-tokens {frame_tokens}: {error}") from error
