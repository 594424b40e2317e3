"""OLMo-core and Dolma: `<stem>.npy` (raw tokens despite the name, the payload itself by hard link) and `<stem>.csv.gz`.

Layout of the table: shard/formats/olmo.py.
"""

from pathlib import Path

from shard.export.options import ExportOptions, require_no_context_length, require_no_shard_size, short_name
from shard.formats.olmo import table_bytes
from shard.storage.stored import Stored

NOTE = (
    "OLMo-core: use a TokenizerConfig without bos_token_id. With bos = eos, as in TokenizerConfig.gpt2(), it looks for "
    "that id twice in a row and finds no document boundary here"
)


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_no_context_length(options, "olmo", "NumpyFSLDataset cuts them")
    require_no_shard_size(options, "olmo", "has the shards as they are")
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    for shard in stored.shards:
        if not shard.record.tokens:
            continue  # readers map files, and an empty file cannot be mapped
        shard.place_payload(directory / f"{shard.stem}.npy")
        table = table_bytes(shard.stem, shard.lengths(), shard.record.source.path)
        (directory / f"{shard.stem}.csv.gz").write_bytes(table)
    return 0
