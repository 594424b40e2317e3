"""datatrove and nanotron: `<stem>.ds` (the payload itself, by hard link), `.ds.index` and `.ds.metadata` beside it.

Layout of these two: shard/formats/datatrove.py.
"""

from pathlib import Path

from shard.errors import JobError
from shard.export.options import ExportOptions, require_no_context_length, require_no_shard_size, short_name
from shard.formats.datatrove import ends_bytes, metadata_bytes
from shard.formats.payload import DTYPES
from shard.storage.stored import Stored


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_no_context_length(options, "datatrove", "DatatroveFolderDataset cuts them")
    require_no_shard_size(options, "datatrove", "has the shards as they are")
    name = stored.record.tokenizer.name
    if "|" in name or "\n" in name:
        raise JobError(f"tokenizer {name!r}: its name has a '|' or a line break, which .ds.metadata cannot hold")
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    for shard in stored.shards:
        if not shard.record.tokens:
            continue  # readers map files, and an empty file cannot be mapped
        target = directory / f"{shard.stem}.ds"
        shard.place_payload(target)
        target.with_name(f"{target.name}.index").write_bytes(ends_bytes(shard.lengths()))
        metadata = metadata_bytes(name, DTYPES[stored.record.dtype].itemsize, shard.record.tokens)
        target.with_name(f"{target.name}.metadata").write_bytes(metadata)
    return 0
