"""AutoTokenizer of transformers over what `tokenizer train` made: the ids of every line of texts.jsonl beside it."""

import json
from collections.abc import Iterator, Sequence

import numpy as np
from harness import Request, main
from transformers import AutoTokenizer

ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def texts_of(request: Request) -> list[str]:
    return [json.loads(line) for line in (request.directory / "texts.jsonl").read_text().splitlines()]


def read(request: Request) -> Iterator[object]:
    tokenizer = AutoTokenizer.from_pretrained(str(request.directory))
    return (tokenizer(text)["input_ids"] for text in texts_of(request))


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    tokenizer = AutoTokenizer.from_pretrained(str(request.directory))
    decoded = [tokenizer.decode(sample, skip_special_tokens=True) for sample in samples]
    return {
        "texts come back": decoded == texts_of(request),
        "no <unk>": all(tokenizer.unk_token_id not in sample for sample in samples),
        "special tokens are known": all(getattr(tokenizer, role) == token for role, token in ROLES.items()),
        "their ids are 0 to 3": tokenizer.convert_tokens_to_ids(list(ROLES.values())) == [0, 1, 2, 3],
    }


main("transformers", read, check)
