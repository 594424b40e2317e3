"""nanoGPT: `train.bin`, `val.bin`, nothing but ids; documents end with the end-of-document id.

The reader takes uint16; scripts that were changed for larger vocabularies write uint32, and no file says which.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from shard.formats.payload import DTYPES
from shard.imports.blocks import Documents, by_end, chunks
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed


def find(path: Path) -> list[Source]:
    return [Source(name, file, split) for name, file, split in listed(path, "*.bin")]


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    eod = options.require_eod("nanogpt")
    dtype = DTYPES[options.ids or options.tokenizer.dtype]
    for number, source in enumerate(sources):
        for documents in by_end(chunks(source.payload, dtype), eod, str(source.payload)):
            yield number, documents
