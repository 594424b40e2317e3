"""OLMo-core and Dolma: `<stem>.npy` (raw tokens despite the name, the payload itself by hard link) and `<stem>.csv.gz`.

A row of the table for each document: start, end (exclusive), id, source, line, without a header row.
Source: dolma.tokenizer, https://github.com/allenai/dolma; olmo_core.data.
"""

import csv
import gzip
import io
from pathlib import Path

import numpy as np

from shard.export.links import link_or_copy
from shard.export.options import ExportOptions, require_no_context_length, require_no_shard_size, short_name
from shard.stored import Stored, StoredShard

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
        if not shard.record.documents:
            continue  # readers map files, and an empty file cannot be mapped
        shard.check()
        link_or_copy(shard.payload, directory / f"{shard.stem}.npy")
        _write_table(shard, directory / f"{shard.stem}.csv.gz")
    return 0


def _write_table(shard: StoredShard, path: Path) -> None:
    ends = np.cumsum(shard.lengths(), dtype=np.int64).tolist()
    with (
        path.open("wb") as file,
        # No name and no time: the same documents give the same bytes.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        table = csv.writer(text)
        start = 0
        for number, end in enumerate(ends):
            table.writerow((start, end, f"{shard.stem}-{number}", shard.record.source.path, number + 1))
            start = end
