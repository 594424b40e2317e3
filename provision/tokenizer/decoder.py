"""The tokenizer that a directory of shards was made with, to decode its documents."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from provision.errors import InputError
from provision.tokenizer.resolve import NO_EOD, fetch_tokenizer
from shard.records.shards import TokenizerFacts
from shard.tokenizer.load import load_reference
from shard.tokenizer.protocol import Reference


def decoder_of(facts: TokenizerFacts, given: str | None = None) -> Reference:
    """The tokenizer, by the name in the shards or as `given` (as for --tokenizer).

    Raises InputError when it cannot be had, or is another.
    """
    fetched = fetch_tokenizer(facts.name if given is None else given, eod=NO_EOD)
    if (fetched.spec.kind, fetched.spec.sha256) != (facts.kind, facts.sha256):
        raise InputError(
            f"{given or facts.name}: a {fetched.spec.kind} tokenizer of sha256 {fetched.spec.sha256[:12]}; the shards "
            f"were made with {facts.name}, {facts.kind}, {facts.sha256[:12]}. Give its file with --tokenizer"
        )
    with TemporaryDirectory(prefix="shardfleet-") as directory:
        (Path(directory) / (fetched.spec.file or "none")).write_bytes(fetched.data)
        return load_reference(
            msgspec.structs.replace(fetched.spec, vocab_size=facts.vocab_size, eod_id=None), Path(directory)
        )
