"""Print the beginning of a document from a directory of shards: show_document.py DIRECTORY TOKENIZER_DIRECTORY."""

import sys
from pathlib import Path

import numpy as np

from shard.formats.megatron import read_index
from shard.job import TokenizerSpec
from shard.records import read_directory, read_shard
from shard.tokenizer.load import load_reference

CHARACTERS = 400


def main(directory: Path, tokenizer_directory: Path) -> None:
    facts = read_directory(directory)
    file = next((path.name for path in tokenizer_directory.iterdir()), None)
    spec = TokenizerSpec(
        name=facts.tokenizer.name,
        kind=facts.tokenizer.kind,  # type: ignore[arg-type]
        vocab_size=facts.tokenizer.vocab_size,
        eod_id=facts.tokenizer.eod_id,
        sha256=facts.tokenizer.sha256,
        file=file,
    )
    reference = load_reference(spec, tokenizer_directory)
    for record_path in sorted(directory.glob("[0-9]*.json")):
        record = read_shard(directory, record_path.stem)
        if record.documents == 0:
            continue
        index = read_index(record_path.with_suffix(".idx"))
        chosen = record.documents // 2
        tokens = np.memmap(record_path.with_suffix(".bin"), dtype=f"<{np.dtype(facts.dtype).str[1:]}", mode="r")
        start = int(index.byte_offsets[chosen]) // tokens.itemsize
        ids = tokens[start : start + int(index.lengths[chosen])].tolist()
        print(
            f"{record_path.with_suffix('.bin').name}, document {chosen} of {record.documents} ({record.source.path}),"
        )
        print(f"{len(ids)} tokens, {ids[:8]} … {ids[-3:]}:\n")
        print(reference.decode(ids)[:CHARACTERS])
        return
    print(f"{directory}: no shard holds a document")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
