"""What every contender's script is given. Imported in the contenders' environments: standard library only."""

import argparse
from dataclasses import dataclass
from pathlib import Path

EOD = "<|endoftext|>"
EOD_ID = 50256
"""Of GPT-2, ends every document."""
ENCODING = "r50k_base"
"""tiktoken's name of GPT-2's encoding that needs only the rank file; its ids are those of `gpt2`."""


@dataclass(frozen=True)
class Arguments:
    """What to read, where to write, and with how many processes."""

    inputs: list[str]
    output: Path
    """An empty directory."""
    workers: int
    tokenizer: str
    """GPT-2's tokenizer.json."""


def arguments() -> Arguments:
    """The command line of a contender's script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--tokenizer", required=True)
    given = parser.parse_args()
    return Arguments(given.inputs, given.output, given.workers, given.tokenizer)
