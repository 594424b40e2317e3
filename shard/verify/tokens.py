"""The tokens of one payload: ids of the vocabulary, each document ended as it should be."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from shard.formats.megatron import Index
from shard.records.job import TokenizerSpec
from shard.records.shards import DirectoryRecord, TokenizerFacts
from shard.tokenizer.ranks import by_sha256
from shard.tokenizer.raw_bytes import EOD_ID

# Ids that no text is ever encoded to, by encoding: these may stand at the end of a document and nowhere else.
_NEVER_TEXT = {"r50k_base": 50256, "p50k_base": 50256, "cl100k_base": 100257, "o200k_base": 199999}


class TokenCheck:
    """Looks at the tokens of one payload, chunk after chunk."""

    def __init__(self, common: DirectoryRecord, index: Index | None) -> None:
        self._vocab_size = common.tokenizer.vocab_size
        self._eod_id = common.tokenizer.eod_id if index is not None else None
        self._only_at_ends = self._eod_id is not None and self._eod_id == never_text(common.tokenizer)
        self._bos_id = common.tokenizer.bos_id if index is not None else None
        lengths = index.lengths if index is not None else np.empty(0, dtype=np.int32)
        # [documents] int64: position of the last token of every document, and of the first
        self._ends = np.cumsum(lengths, dtype=np.int64) - 1
        self._starts = self._ends - lengths + 1
        self._position = 0
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def look_at(self, tokens: NDArray[np.uint16] | NDArray[np.uint32]) -> None:
        """The next tokens."""
        start = self._position
        self._position += len(tokens)
        if len(tokens) and tokens.max() >= self._vocab_size:
            outside = np.flatnonzero(tokens >= self._vocab_size)
            first = f"token {start + outside[0]} is {tokens[outside[0]]}, outside the vocabulary of {self._vocab_size}"
            self._note("vocabulary", first, len(outside))
        if self._bos_id is not None:
            first_document, past = np.searchsorted(self._starts, (start, self._position))
            lacking = np.flatnonzero(tokens[self._starts[first_document:past] - start] != self._bos_id)
            if len(lacking):
                document = first_document + lacking[0]
                first = f"document {document} begins at token {self._starts[document]} without the id it should"
                self._note("begin", first, len(lacking))
        if self._eod_id is None:
            return
        first_document, past = np.searchsorted(self._ends, (start, self._position))
        # [ends in this chunk] positions relative to the chunk
        ends = self._ends[first_document:past] - start
        is_eod = tokens == self._eod_id
        lacking = np.flatnonzero(~is_eod[ends])
        if len(lacking):
            document = first_document + lacking[0]
            first = f"document {document} ends at token {self._ends[document]} without the end-of-document id"
            self._note("end", first, len(lacking))
        if self._only_at_ends and np.count_nonzero(is_eod) != len(ends) - len(lacking):
            is_eod[ends] = False
            inside = np.flatnonzero(is_eod)
            self._note("inside", f"end-of-document id at token {start + inside[0]}, inside a document", len(inside))

    def problems(self) -> list[str]:
        """What was wrong: the first of each kind, and how many more."""
        return [
            first + (f" (and {self._count[kind] - 1} more)" if self._count[kind] > 1 else "")
            for kind, first in self._first.items()
        ]

    def _note(self, kind: str, first: str, count: int) -> None:
        self._first.setdefault(kind, first)
        self._count[kind] += count


def never_text(tokenizer: TokenizerFacts | TokenizerSpec) -> int | None:
    """The end-of-document id that no text of this tokenizer is encoded to, where that is known."""
    if tokenizer.kind == "bytes":
        return EOD_ID
    file = by_sha256(tokenizer.sha256)
    return _NEVER_TEXT[file.encoding] if file is not None else None
