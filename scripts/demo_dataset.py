"""Write the demo's dataset and tokenizer: DIRECTORY/demo/python-texts and DIRECTORY/demo/python-bpe."""

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

FILES = 8
VOCAB_SIZE = 8192
EOD = "<|endoftext|>"
MOST_BYTES = 24_000_000

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
# Sources and documentation of the Python standard library
"""


def documents() -> Iterator[tuple[str, str]]:
    """(path, text) of sources, documentation and licences of this machine's Python."""
    library = Path(sysconfig.get_paths()["stdlib"])
    size = 0
    for path in sorted(library.rglob("*")):
        if path.suffix not in {".py", ".txt", ".rst"} or "site-packages" in path.parts or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        size += len(text)
        if size > MOST_BYTES:
            return
        yield str(path.relative_to(library)), text


def main(directory: Path) -> None:
    dataset = directory / "demo" / "python-texts"
    (dataset / "data").mkdir(parents=True)
    (dataset / "README.md").write_text(CARD)
    texts = list(documents())
    for index in range(FILES):
        table = pa.table(
            {"text": [text for _, text in texts[index::FILES]], "path": [path for path, _ in texts[index::FILES]]}
        )
        pq.write_table(table, dataset / "data" / f"train-{index:05d}-of-{FILES:05d}.parquet", row_group_size=50)
    print(f"{len(texts):,} documents, {sum(len(text) for _, text in texts) / 1e6:.1f} MB of text in {FILES} files")

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOD],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for _, text in texts[::4]), trainer)
    model = directory / "demo" / "python-bpe"
    model.mkdir(parents=True)
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOD}))
    print(f"a tokenizer of {tokenizer.get_vocab_size():,} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
