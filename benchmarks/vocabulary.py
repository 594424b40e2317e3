"""GPT-2's tokenizer in the two forms that contenders read: tiktoken's rank file and Hugging Face's tokenizer.json.

python -m benchmarks.vocabulary DIRECTORY ranks|tokenizer.json
"""

import argparse
import json
import os
from pathlib import Path

from huggingface_hub import hf_hub_download

from shard.tokenizer.ranks import RANK_FILES
from tests.support.data import data_directory
from tests.support.text import rank_file

_REPOSITORY = "openai-community/gpt2"
NAME = "tokenizer.json"


def write_ranks(directory: Path) -> None:
    """Write the rank file, named as in tiktoken's cache. Raises UnavailableError."""
    (directory / RANK_FILES["r50k_base"].cache_name).write_bytes(rank_file("r50k_base"))


def write_tokenizer(directory: Path) -> None:
    """Write `tokenizer.json`. Raises what fetching it from the Hub raises, where it is not in the shared test data."""
    shared = data_directory()
    local = shared / "tokenizers" / "gpt2" / NAME if shared is not None else None
    source = local if local is not None and local.is_file() else Path(hf_hub_download(_REPOSITORY, NAME))
    tokenizer = json.loads(source.read_bytes())
    # dolma's release of `tokenizers` knows merges only as strings; the others read both.
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    partial = directory / f"{NAME}.{os.getpid()}"
    partial.write_text(json.dumps(tokenizer))
    partial.replace(directory / NAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("what", choices=["ranks", NAME])
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    (write_ranks if options.what == "ranks" else write_tokenizer)(options.directory)


if __name__ == "__main__":
    main()
