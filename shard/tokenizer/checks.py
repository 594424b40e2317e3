"""Is the fast engine right? Asked at start over tricky strings, and for every unit over a sample of its documents."""

from collections.abc import Iterable, Sequence

import numpy as np

from shard.batch import TextBatch, TokenBatch
from shard.errors import TokenMismatchError
from shard.tokenizer.mixtures import mixtures
from shard.tokenizer.protocol import Engine, Reference

TRICKY: tuple[str, ...] = (
    "Hello, world!",
    " leading and trailing ",
    "tabs\tand\nnewlines\r\nand\r\n\r\nblank lines\n\n\n",
    "   \n \t \u00a0\u2003\u3000 mixed spaces",
    "it's I'm you'll they've DON'T we'd 'tis 's",
    "CamelCase snake_case kebab-case SCREAMING_CASE",
    "3.14159 1,000,000 0xDEADBEEF 1e-9 ２０２６ ١٢٣ Ⅷ ½",
    "<|endoftext|>",
    "a<|endoftext|>b <|endofprompt|> <s></s><pad><unk>[CLS]",
    "<0x0A> \u2581a\u2581 \u2581",
    "naïve café Å ﬁ ǅ ẞ",
    "e\u0301 versus \u00e9",
    "日本語のテキスト、漢字かな交じり文。",
    "中文没有空格但是有标点！",
    "한국어 텍스트",
    "עברית وعربية ไทย हिन्दी",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "\u200b\u200d\ufeff zero width",
    "\x00\x01\x1f control \x7f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "====================================================================",
    "https://example.org/a/b?c=d&e=%20#f user@example.org",
    "def f(x):\n    return {k: v for k, v in x.items()}  # comment\n",
    '{"key": [1, 2.5, null, true], "nested": {"a": "\\u00e9"}}',
    "x" * 3000 + " " + "y " * 1000,
    "\n" * 200 + " " * 200,
    "\U0010ffff\U0001f600\ud7ff\ue000",
    "a",
    " ",
    "\n",
)

_SAMPLE_EVERY_BYTES = 16 << 20
_SAMPLE_LONGEST_BYTES = 64 << 10


def first_difference(engine: Engine, reference: Reference, added: Sequence[str] = ()) -> str | None:
    """The first tricky string that the engine encodes differently, or None.

    `added` are tokens that may be taken out of a text before the rest of it is encoded: every one makes a string more,
    and they are mixed into others.
    """
    strings = (*TRICKY, *(f"{token}a {token} b{token}" for token in added), *mixtures(added))
    encoded = engine.encode(_batch(text.encode() for text in strings))
    for index, text in enumerate(strings):
        if encoded.document(index).tolist() != reference.encode(text.encode()):
            return text
    return None


class SampleCheck:
    """Re-encodes a sample of one unit's documents with the reference.

    The first document, and one about every 16 MiB of text: at a reference twelve times slower than the path this
    costs about half a percent. Documents over 64 KiB are passed over, because a reference may need hours for one.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._until_next = 0
        self.checked = 0

    def check(self, texts: TextBatch, tokens: TokenBatch, *, first_document: int) -> None:
        """Compare this batch's share of the sample.

        `first_document` is the number, within the unit, of the batch's first document. Raises TokenMismatchError.
        """
        for index in self._choose(texts):
            text = bytes(texts.document(index))
            expected = [token for piece in texts.pieces_of(index) for token in self._reference.encode(bytes(piece))]
            actual = tokens.document(index).tolist()
            if expected != actual:
                raise TokenMismatchError(
                    f"document {first_document + index} ({text[:60]!r}…): the fast engine gives {len(actual)} tokens "
                    f"where {self._reference.name} gives {len(expected)}, or others; nothing was written. "
                    "Please report this document."
                )
            self.checked += 1

    def _choose(self, texts: TextBatch) -> list[int]:
        lengths = np.diff(texts.offsets)
        chosen = []
        position = self._until_next
        size = int(texts.offsets[-1])
        while position < size:
            # The first document that starts at or after the position and is short enough.
            start = int(np.searchsorted(texts.offsets[:-1], position))
            short = np.flatnonzero(lengths[start:] <= _SAMPLE_LONGEST_BYTES)
            if not len(short):
                break
            index = start + int(short[0])
            chosen.append(index)
            position = int(texts.offsets[index]) + _SAMPLE_EVERY_BYTES
        self._until_next = max(0, position - size)
        return chosen


def _batch(documents: Iterable[bytes]) -> TextBatch:
    listed = list(documents)
    offsets = np.zeros(len(listed) + 1, dtype=np.int64)
    np.cumsum([len(document) for document in listed], out=offsets[1:])
    data = np.frombuffer(b"".join(listed), dtype=np.uint8)
    return TextBatch(data=data, offsets=offsets, rows=len(listed), dropped={})
